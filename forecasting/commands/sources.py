"""Describes the analytics sources. With a flag: checks yours, lists unusual days, or reads new days."""

import asyncio
from collections.abc import Sequence

from forecasting.runtime.log import LOGGER, start_log
from forecasting.settings.command_line import SOURCE, CommandLine

COMMAND = CommandLine(
    "sources",
    about=__doc__,
    examples=(
        ("", "what each source's metrics mean"),
        ("--check --source umami data.timezone=Europe/Paris", "what is there; writes nothing"),
        ("--days --source csv data.csv=traffic.csv", "every unusual day of a file"),
    ),
    keys=SOURCE,
    switches={
        "--check": "connect, and report sites, metrics, days, problems and missing rights",
        "--days": "list every unusual day, and why: outage, partial day, bots, ...",
        "--update": "read new days, and the last ones again; training and serving do it too",
        "--whole": "with --update: read every day again that the source still has, and forget the others",
    },
)


def main(argv: Sequence[str] | None = None) -> None:
    config, arguments = COMMAND.parse(argv)
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
