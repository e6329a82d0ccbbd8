"""The daily job: brings everything up to date, step by step. Each step does only what is missing, so a run that was cut
off is completed by the next, and running it twice changes nothing.
"""

import datetime as dt
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from zoneinfo import ZoneInfo

from forecasting.alerts.telling import describe_counts, tell_people
from forecasting.alerts.trouble_watch import report_trouble
from forecasting.errors import ForecastingError
from forecasting.jobs.forecast_all import Tally, forecast_series, judge_series, log_tally, update_days
from forecasting.jobs.pages import LoadedVersion, load_version
from forecasting.lifecycle.registry import Registry
from forecasting.lifecycle.schedule import find_last_due
from forecasting.model.forecaster import LEVELS
from forecasting.monitoring.daily_judge import describe_changes
from forecasting.runtime.log import LOGGER
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import connected
from forecasting.warehouse.origin import find_origin
from forecasting.warehouse.outcome_store import count_outcomes
from forecasting.warehouse.run_store import (
    FAILED,
    SUCCEEDED,
    WHOLE,
    Run,
    find_last_step,
    hold_run,
    prune_history,
    read_now,
)
from forecasting.warehouse.schema import OWN_TIMEOUT_SECONDS, open_own_schema

MIDNIGHT = dt.time()  # of a day's run, where nothing is scheduled
FAILED_TEXT = "Its other steps were tried. Its log and the table forecasting.runs say why; the next run tries again."
OUTCOMES = "outcomes"  # the step whose last run says what is new


@dataclass(frozen=True)
class StepResult:
    name: str
    seconds: float
    outcome: str
    text: str  # what was done, or why it failed

    @property
    def has_failed(self) -> bool:
        return self.outcome == FAILED


@dataclass
class DailyReport:
    """What a run did."""

    run_id: str = ""
    seconds: float = 0.0
    steps: list[StepResult] = field(default_factory=list)

    @property
    def failed(self) -> list[StepResult]:
        return [step for step in self.steps if step.has_failed]

    def describe(self) -> str:
        """About ten lines."""
        outcome = f"failed in {', '.join(step.name for step in self.failed)}" if self.failed else SUCCEEDED
        lines = [f"daily job {self.run_id} {outcome} after {self.seconds:.1f} s on {socket.gethostname()}"]
        lines += [f"  {step.name:9} {step.seconds:6.1f} s  {step.outcome}: {step.text}" for step in self.steps]
        return "\n".join(lines)


class DailyJob:
    """The steps of one run, in their order. A step that fails does not keep the later ones from being tried: days that
    cannot be read today are no reason not to tell what is known.
    """

    def __init__(self, config: Config, database: DatabaseConfig, report: DailyReport) -> None:
        """`report` has the steps so far."""
        self._config = config
        self._database = database  # that has our own schema
        self._report = report

    @property
    def steps(self) -> dict[str, Callable[[], Awaitable[str]]]:
        """By name; each returns what it did."""
        return {
            "update": self._update,
            "forecast": self._forecast,
            "judge": self._judge,
            OUTCOMES: self._fill_in,
            "prune": self._prune,
            "tell": self._tell,
        }

    @property
    def timezone(self) -> ZoneInfo:
        """Of the sites; that of the settings if the version, which may know better, cannot be loaded."""
        with suppress(ForecastingError):  # the first step fails by it
            return ZoneInfo(self._version.config.data.timezone)
        return ZoneInfo(self._config.data.timezone)

    @cached_property
    def _version(self) -> LoadedVersion:
        """Which days are read is as the version was trained."""
        return load_version(self._config)

    async def _update(self) -> str:
        _, line = await update_days(self._version.config)
        return line

    async def _forecast(self) -> str:
        tally = Tally()
        await forecast_series(self._version, self._database, tally)
        log_tally(tally, self._version)
        name = self._version.predictor.name
        return f"{name} forecast {tally.num_forecast:,} of {tally.num_read:,} series, {tally.num_rows:,} rows are new"

    async def _judge(self) -> str:
        changes = await judge_series(self._version, self._database)
        return f"new days of {changes['series']:,} series, {describe_changes(changes)}"

    async def _fill_in(self) -> str:
        """What came true."""
        async with connected(self._database, writable=True, timeout_seconds=OWN_TIMEOUT_SECONDS) as connection:
            origin = await find_origin(connection, self._config.data)
            number = await count_outcomes(
                connection,
                today=origin.today(self._config.data),
                since=await find_last_step(connection, OUTCOMES),
                masked=self._config.verdicts.masked,
                levels=LEVELS,
            )
        return f"counted what came true of {number:,} forecast days"

    async def _prune(self) -> str:
        """Deletes what is old: forecasts, runs and versions."""
        async with connected(self._database, writable=True, timeout_seconds=OWN_TIMEOUT_SECONDS) as connection:
            num_rows = await prune_history(connection, await read_now(connection))
        pruned = Registry(self._config.model_dir).prune(self._config.data.today())
        versions = f"version {', '.join(pruned)}" if pruned else "no version"
        return f"deleted {num_rows:,} old forecast days and {versions}"

    async def _tell(self) -> str:
        failed = ", ".join(step.name for step in self._report.failed)
        async with connected(self._database, writable=True) as connection:
            await report_trouble(
                connection,
                self._config,
                cause="daily job",
                title=f"The daily job failed in {failed}" if failed else "The daily job works again",
                text=FAILED_TEXT if failed else None,
            )
        counts = await tell_people(self._version.config, self._database)
        return describe_counts(counts) if any(counts.values()) else "no new message"


async def run_daily(config: Config, report: DailyReport) -> None:
    """Fills the report. Raises AlreadyRunning, and what keeps our own schema from being opened."""
    async with AsyncExitStack() as opened:
        own = await opened.enter_async_context(open_own_schema(config))
        if own.refusal is not None:
            raise own.refusal
        now = await read_now(own.connection)
        job = DailyJob(config, own.database, report)
        due_at = find_last_due(config.schedule.daily_time or MIDNIGHT, job.timezone, now)
        run = await opened.enter_async_context(hold_run(own.database, due_at))
        report.run_id = run.id
        outcome, reason = FAILED, "The run was ended."
        try:
            for name, work in job.steps.items():
                report.steps.append(await _take_step(run, name, work))
            outcome = FAILED if report.failed else SUCCEEDED
            reason = " ".join(f"{step.name}: {step.text}" for step in report.failed)
        finally:
            report.seconds = await run.end_step(WHOLE, outcome, reason)


async def _take_step(run: Run, name: str, work: Callable[[], Awaitable[str]]) -> StepResult:
    await run.begin_step(name)
    outcome, text = FAILED, "It was ended."
    try:
        text = await work()
        outcome = SUCCEEDED
    except ForecastingError as error:
        text = str(error)
        LOGGER.warning("%s failed: %s", name, error)
    finally:
        seconds = await run.end_step(name, outcome, text)
    return StepResult(name, seconds, outcome, text)
