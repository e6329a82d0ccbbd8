"""Reads new days from the analytics source into `forecasting.daily`, in the background."""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from forecasting.card import Card
from forecasting.errors import ForecastingError, TimedOut, Unavailable, WarehouseError
from forecasting.latest_windows import SPARE_DAYS
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import first_line
from forecasting.warehouse.ingest import UpdateResult, update

logger = logging.getLogger("forecasting.warehouse")

SLOW_UPDATE_MINUTES = 5  # after which a running update counts as a problem
CLOSE_SECONDS = 2.0  # for a running update to end
COMPARE_PAUSE = 100  # times as long as looking for changed days took: at most 1% of a source's time goes into it


OnDays = Callable[[DatabaseConfig, bool], None]


class SourceUpdates:
    """Runs an update when the last one is `serving.refresh_seconds` old. Forecasts are made from what was read before;
    only the first update is waited for. Whatever keeps days from being read is a `problem`, which does not stop
    forecasts, and is tried again at the usual pace.

    `on_update` gets the database that has `forecasting.daily`: the first update finds or creates it.
    """

    def __init__(
        self,
        config: Config,
        card: Card,
        on_update: Callable[[DatabaseConfig], Awaitable[None]],
        *,
        on_days: OnDays | None = None,
    ) -> None:
        """`on_days` hears of every update that succeeded, and whether it has changed any day."""
        metrics = config.metrics | {series.metric: series.metric_config for series in card.series}
        self._config = replace(config, metrics=metrics)
        self._num_days = card.context_length + SPARE_DAYS
        self._on_update = on_update
        self._on_days = on_days
        self._task: asyncio.Task[None] | None = None
        self._started_at = 0.0  # these two by the monotonic clock
        self._finished_at: float | None = None
        self._is_expired = False
        self._compare_again_at = 0.0  # by the monotonic clock
        self._last_problem: str | None = None
        self._failing_since: dt.datetime | None = None
        self._read_on: dt.date | None = None  # the day of the last update that succeeded
        self.notes: tuple[str, ...] = ()  # of that update, about the source
        self.read_at: dt.datetime | None = None  # when it ended
        self.kept: tuple[str, ...] = ()  # what our copy has and the source no longer has, a sentence each
        self.has_succeeded = False  # at least once

    @property
    def before_each_answer(self) -> bool:
        return not self._config.serving.refresh_seconds

    @property
    def problem(self) -> str | None:
        """Why new days cannot be read."""
        minutes = (time.monotonic() - self._started_at) / 60
        if self._task is None or self._task.done() or minutes < SLOW_UPDATE_MINUTES:
            return self._last_problem
        return f"Reading new days has taken {minutes:.0f} minutes so far."

    @property
    def is_first(self) -> bool:
        """Whether the first update is under way: its days come one after another."""
        return not self.has_succeeded and self.problem is None

    def misses_days(self, data_until: dt.date, *, today: dt.date | None) -> bool:
        """Whether days before `today` (None: that of data.timezone) may be missing because they cannot be read.

        After an update that succeeded today, every day that the source had is known.
        """
        today = today or self._config.data.today()
        has_read_today = self._read_on is not None and self._read_on >= today
        return self.problem is not None and not has_read_today and data_until < today - dt.timedelta(days=1)

    async def refresh(self, *, wait: bool = True) -> None:
        """Starts an update if one is due. Waits for it if it is the first, or if each answer needs the newest days: for
        half of the deadline, which leaves the other half for the answer.
        """
        refresh_seconds = self._config.serving.refresh_seconds
        is_due = self._finished_at is None or time.monotonic() - self._finished_at >= refresh_seconds
        if is_due or self._is_expired:
            self._start()
        if wait and self._task is not None and (self._finished_at is None or self.before_each_answer):
            await asyncio.wait({self._task}, timeout=self._config.serving.deadline_seconds / 2)

    def expire(self) -> None:
        """The next `refresh` starts an update, however recent the last one is."""
        self._is_expired = True

    async def wait_for_first(self) -> None:
        """Raises TimedOut, and Unavailable if no update has ever succeeded."""
        deadline = self._config.serving.deadline_seconds
        done, _ = await asyncio.wait({self._start()}, timeout=deadline / 2)
        if not done:
            raise TimedOut(f"PostgreSQL did not answer within {deadline:g} s. Try again later.")
        if not self.has_succeeded and self.problem:
            raise Unavailable(self.problem)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)

    def _start(self) -> "asyncio.Task[None]":
        if self._task is None or self._task.done():
            self._started_at, self._is_expired = time.monotonic(), False
            self._task = asyncio.create_task(self._update())
        return self._task

    async def _update(self) -> None:
        try:
            compare = time.monotonic() >= self._compare_again_at
            updated = await update(self._config, recent_days=self._num_days, compare=compare)
            await self._on_update(updated.database)
        except Exception as error:  # noqa: BLE001 - an update is nobody's request, so nobody else would hear of it
            self._report(error)
        else:
            self.has_succeeded = True
            if self._on_days is not None:
                self._on_days(updated.database, updated.num_rows != 0)
            if compare:
                self._compare_again_at = time.monotonic() + COMPARE_PAUSE * updated.compare_seconds
            self._log_news(updated)
            if updated.problem:
                self._report(WarehouseError(updated.problem))
            else:
                self._read_on, self.read_at = self._config.data.today(), dt.datetime.now(dt.UTC)
                self._end_problem()
        self._finished_at = time.monotonic()

    def _report(self, error: Exception) -> None:
        self._failing_since = self._failing_since or dt.datetime.now(dt.UTC)
        failed = f"New days cannot be read since {self._failing_since:%Y-%m-%d %H:%M} UTC"
        if isinstance(error, ForecastingError):
            self._last_problem = f"{failed}: {error}"
            logger.warning("%s", self._last_problem)
            return
        self._last_problem = (
            f"{failed}, for a reason that nobody foresaw: {type(error).__name__}: {first_line(error)}. "
            "Please report it; the server's log has the details."
        )
        logger.exception("%s", self._last_problem)

    def _end_problem(self) -> None:
        if self._failing_since is not None:
            logger.info(
                "new days can be read again: they could not since %s UTC", f"{self._failing_since:%Y-%m-%d %H:%M}"
            )
        self._failing_since = self._last_problem = None

    def _log_news(self, updated: UpdateResult) -> None:
        """What the update says about the source, unless the previous one has said it."""
        for note in updated.notes:
            if note not in self.notes:
                logger.warning("%s: %s", self._config.data.source, note)
        for sentence in updated.kept:
            if sentence not in self.kept:
                logger.warning("%s", sentence)
        self.notes, self.kept = updated.notes, updated.kept
