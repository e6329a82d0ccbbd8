"""Forecasts every series: of a database, into which it writes the forecasts in batches, or of a file."""

from collections.abc import Sequence

from forecasting.runtime.log import LOGGER, start_log
from forecasting.runtime.process import without_collection
from forecasting.settings.command_line import SOURCE, CommandLine
from forecasting.settings.loading import SERVED_VERSION
from forecasting.settings.schema import ForecastConfig

QUERY = (
    "select site, metric, day, quantiles[2] as lower, quantiles[4] as median, quantiles[6] as upper "
    "from forecasting.latest where version = '{version}' order by site, metric, day limit 14"
)
COMMAND = CommandLine(
    "forecast",
    about=__doc__,
    examples=(
        ("", "every series, seven days ahead, by the version that is served"),
        ("--model base --days-ahead 30 --site blog,shop", "two sites, a month ahead, without training"),
        ("--csv traffic.csv --out out.csv --plot out.png", "a file, without a database; - is stdin or stdout"),
    ),
    keys=("model_version", "forecast.days_ahead", "forecast.csv", "forecast.out", "forecast.plot", *SOURCE),
    version_help="base, or a version in model_store/; unset: the version that is served",
    section="forecast",
    version_from=(*SERVED_VERSION, "forecast.model"),
    reads_version=True,
)


def main(argv: Sequence[str] | None = None) -> None:
    config, _ = COMMAND.parse(argv)
    if config.forecast.csv is not None:
        start_log(None, debug=config.debug, to_stderr=writes_to_stdout(config.forecast))
        with without_collection():
            from forecasting.frames.files import forecast_file

        forecast_file(config)
        return
    start_log(None, debug=config.debug)
    with without_collection():
        from forecasting.jobs.forecast_all import forecast_everything
        from forecasting.warehouse.psql import show_psql

    version = forecast_everything(config)
    LOGGER.info("next: %s", show_psql(config.kept_in, QUERY.format(version=version)))


def writes_to_stdout(forecast: ForecastConfig) -> bool:
    return forecast.out is None or str(forecast.out) == "-"
