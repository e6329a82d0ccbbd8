"""The daily job: brings days up to date, keeps forecasts, judges new days, and fills in what came true."""

import os
from collections.abc import Sequence

from forecasting.errors import JobFailed
from forecasting.runtime.log import LOGGER, start_log
from forecasting.runtime.process import run_async, without_collection
from forecasting.settings.command_line import SOURCE, CommandLine
from forecasting.settings.loading import SERVED_VERSION

NICENESS = 10  # requests that are answered meanwhile go first
COMMAND = CommandLine(
    "daily",
    about=__doc__,
    examples=(
        ("", "by the version that is served, else by the base"),
        ("--days-ahead 30", "forecasts of a month are kept"),
        ("--source umami", "of Umami's sites"),
    ),
    keys=("model_version", "forecast.days_ahead", *SOURCE),
    version_help="base, or a version in model_store/; unset: the version that is served",
    section="forecast",
    version_from=(*SERVED_VERSION, "forecast.model"),
    reads_version=True,
)


def main(argv: Sequence[str] | None = None) -> None:
    """Raises JobFailed after the last step if any has failed."""
    config, _ = COMMAND.parse(argv)
    start_log(None, debug=config.debug)
    os.nice(NICENESS)
    with without_collection():
        from forecasting.jobs.daily import DailyReport, run_daily

    report = DailyReport()
    run_async(run_daily(config, report))
    LOGGER.info("%s", report.describe())
    if report.failed:
        raise JobFailed(f"{len(report.failed)} of {len(report.steps)} steps failed; the next run tries them again.")
