"""Forecasts every series of the database and writes the forecasts back, in batches."""

from collections.abc import Sequence

from forecasting.runtime import LOGGER, start_log, without_collection
from forecasting.settings.command_line import FORECAST_FLAGS, parse_arguments

QUERY = (
    "select site, metric, day, quantiles[2] as lower, quantiles[4] as median, quantiles[6] as upper "
    "from forecasting.forecasts where version = '{version}' order by site, metric, day limit 14"
)


def main(argv: Sequence[str] | None = None) -> None:
    config, _ = parse_arguments(argv, about=__doc__, flags=FORECAST_FLAGS)
    start_log(None, debug=config.debug)
    with without_collection():
        from forecasting.jobs.forecast_all import forecast_everything

    version = forecast_everything(config)
    LOGGER.info('next: psql -c "%s"', QUERY.format(version=version))
