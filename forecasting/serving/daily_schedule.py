"""Runs the daily job at its time, beside serving, and knows how it went, whoever ran it."""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from zoneinfo import ZoneInfo

from forecasting.errors import ForecastingError
from forecasting.lifecycle.schedule import find_last_due, find_next_due
from forecasting.serving.database_client import DatabaseClient
from forecasting.serving.health import JobState
from forecasting.settings.schema import Config
from forecasting.warehouse.run_store import FAILED, RunHistory, read_runs

logger = logging.getLogger("forecasting.serving")

CHECK_SECONDS = 60
RETRY = dt.timedelta(minutes=30)  # after a run that failed, or was cut off
CLOSE_SECONDS = 10.0  # for a running job to end; the next one completes it


class DailySchedule:
    """Looks every minute whether a run is due: the last time that it was scheduled for has no run that succeeded. So
    what was missed while nobody served is caught up with, a clock that is set back makes nothing run twice, and of
    several servers one runs it. The job is a process of its own, at a low priority.
    """

    def __init__(self, config: Config, find_client: Callable[[], DatabaseClient], command: Sequence[str] = ()) -> None:
        """`command` starts the job; empty: it is never started here."""
        self._at = config.schedule.daily_time if command else None
        self._zone = ZoneInfo(config.data.timezone)
        self._find_client = find_client
        self._command = command
        self._job: asyncio.Task[None] | None = None
        self.history = RunHistory()

    @property
    def problem(self) -> str | None:
        """Why the last run failed. A run that was cut off is completed by the next, and is none."""
        last = self.history.last
        if last is None or last.outcome != FAILED:
            return None
        again = "The server tries it again every 30 minutes." if self._at else "Run it again."
        return f"The daily job failed at {last.began_at:%Y-%m-%d %H:%M} UTC: {last.reason} {again}"

    @property
    def state(self) -> JobState:
        good, last, now = self.history.last_good, self.history.last, self.history.now
        return JobState(
            succeeded_at=good.began_at if good else None,
            outcome=last.outcome if last else None,
            next_at=find_next_due(self._at, self._zone, now) if self._at and now else None,
            seconds={step.step: step.seconds for step in self.history.steps if step.seconds is not None},
        )

    async def watch(self) -> None:
        """Checks every minute, until it is cancelled."""
        from apscheduler.schedulers.asyncio import AsyncIOScheduler

        scheduler = AsyncIOScheduler(timezone=dt.UTC)
        scheduler.add_job(
            self.check, "interval", seconds=CHECK_SECONDS, next_run_time=dt.datetime.now(dt.UTC),
            coalesce=True, misfire_grace_time=None,
        )  # fmt: skip
        scheduler.start()
        try:
            await asyncio.Event().wait()
        finally:
            scheduler.shutdown(wait=False)

    async def check(self) -> None:
        """Reads how the last runs went, and starts the job if it is due."""
        try:
            self.history = await self._find_client().run(read_runs)
        except ForecastingError as error:
            logger.debug("how the daily job went cannot be read: %s", error)  # /health says what is wrong
            return
        if self._is_due(self.history) and (self._job is None or self._job.done()):
            self._job = asyncio.create_task(self._run())

    async def finish(self) -> None:
        """Waits for the job that was started."""
        if self._job is not None:
            await self._job

    async def close(self) -> None:
        """Ends the job that was started, which may be completed by the next run."""
        if self._job is not None:
            self._job.cancel()
            await asyncio.wait({self._job})

    def _is_due(self, history: RunHistory) -> bool:
        if self._at is None or history.now is None:
            return False
        due_at = find_last_due(self._at, self._zone, history.now)
        if history.last_good is not None and history.last_good.due_at >= due_at:
            return False
        return history.last is None or history.last.due_at < due_at or history.now - history.last.began_at >= RETRY

    async def _run(self) -> None:
        logger.info("the daily job is due: starting it")
        process = await asyncio.create_subprocess_exec(*self._command, stdin=asyncio.subprocess.DEVNULL)
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await _end(process)
        if code:
            logger.warning("the daily job ended with %d: its lines above say why", code)
        with suppress(ForecastingError):
            self.history = await self._find_client().run(read_runs)


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
