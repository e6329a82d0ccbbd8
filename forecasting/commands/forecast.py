"""Forecasts every series and writes the forecasts to the database, in batches."""

from collections.abc import Sequence

from forecasting.runtime.log import LOGGER, start_log
from forecasting.runtime.process import without_collection
from forecasting.settings.command_line import SOURCE, CommandLine
from forecasting.settings.loading import SERVED_VERSION

QUERY = (
    "select site, metric, day, quantiles[2] as lower, quantiles[4] as median, quantiles[6] as upper "
    "from forecasting.latest where version = '{version}' order by site, metric, day limit 14"
)
COMMAND = CommandLine(
    "forecast",
    about=__doc__,
    examples=(
        ("", "every series, seven days ahead, by the version that is served"),
        ("--days-ahead 30 --site blog,shop", "two sites, a month ahead"),
        ("--model-version base --source umami", "by the base model, without training"),
    ),
    keys=("model_version", "forecast.days_ahead", *SOURCE),
    version_help="base, or a version in model_store/; unset: the version that is served",
    section="forecast",
    version_from=(*SERVED_VERSION, "forecast.model"),
    reads_version=True,
)


def main(argv: Sequence[str] | None = None) -> None:
    config, _ = COMMAND.parse(argv)
    start_log(None, debug=config.debug)
    with without_collection():
        from forecasting.jobs.forecast_all import forecast_everything
        from forecasting.warehouse.psql import show_psql

    version = forecast_everything(config)
    LOGGER.info("next: %s", show_psql(config.kept_in, QUERY.format(version=version)))
