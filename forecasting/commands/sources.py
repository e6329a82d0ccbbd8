"""Says what the sources define; with a switch, what yours has, or what its days are worth, or reads what is new."""

import asyncio
from collections.abc import Sequence

from forecasting.runtime import LOGGER, start_log
from forecasting.settings.command_line import parse_arguments
from forecasting.settings.schema import SOURCE_FLAGS

SWITCHES = {
    "--check": "connect, and say which sites and metrics there are, how many days, what is wrong, and what rights",
    "--days": "list every day that is not as usual, and why: an outage, a part of a day, bots, ...",
    "--update": "read the days that are new, and the last ones again; training and serving do so by themselves",
    "--whole": "with --update: read every day that the source has again",
}


def main(argv: Sequence[str] | None = None) -> None:
    config, arguments = parse_arguments(argv, about=__doc__, flags=SOURCE_FLAGS, switches=SWITCHES)
    start_log(None, debug=config.debug)
    from forecasting.warehouse.day_report import list_days
    from forecasting.warehouse.ingest import update_with_progress
    from forecasting.warehouse.source_report import check_source, describe_sources, describe_update

    if not (arguments.check or arguments.days or arguments.update or arguments.whole):
        LOGGER.info("%s", describe_sources())
    if arguments.check:
        LOGGER.info("%s", asyncio.run(check_source(config)))
    if arguments.update or arguments.whole:
        LOGGER.info("%s", describe_update(asyncio.run(update_with_progress(config, whole=arguments.whole)), config))
    if arguments.days:
        LOGGER.info("%s", asyncio.run(list_days(config)))
