"""`forecasting.runs`: what ran without a request, one at a time across processes and hosts, and how it ended."""

import datetime as dt
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from forecasting.errors import AlreadyRunning, CannotConnect
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import Connection, OwnConnection, connected, translate_errors
from forecasting.warehouse.queries import fetch
from forecasting.warehouse.schema import OWN_TIMEOUT_SECONDS

DAILY = "daily"
RUNNING, SUCCEEDED, FAILED = "running", "succeeded", "failed"
WHOLE = ""  # in place of a step: the run
DAYS_KEPT = 400  # runs and forecasts; what became of forecasts is kept for ever


@dataclass(frozen=True)
class StepRecord:
    """A run as a whole, or one of its steps. `outcome` may also be `interrupted`."""

    run_id: str
    step: str
    due_at: dt.datetime
    began_at: dt.datetime
    ended_at: dt.datetime | None
    outcome: str
    reason: str
    holder: str

    @property
    def seconds(self) -> float | None:
        return (self.ended_at - self.began_at).total_seconds() if self.ended_at else None


@dataclass(frozen=True)
class RunHistory:
    """Of the daily job, at `now` by PostgreSQL's clock, which is the same for all hosts."""

    now: dt.datetime | None = None  # None: not known yet
    last: StepRecord | None = None
    last_good: StepRecord | None = None
    steps: Sequence[StepRecord] = ()  # of the last run


@dataclass(frozen=True)
class Run:
    """Whoever holds the lock writes down what is done."""

    connection: OwnConnection
    locking: OwnConnection
    id: str
    due_at: dt.datetime

    async def begin_step(self, step: str) -> None:
        """Raises CannotConnect once the lock is lost: another process may have it by now."""
        if self.locking.is_closed():
            raise CannotConnect("The connection that holds the lock of the daily job was lost. Run the job again.")
        with translate_errors("writing to forecasting.runs"):
            await fetch(self.connection, "begin_run", self.id, DAILY, step, self.due_at, describe_holder())

    async def end_step(self, step: str, outcome: str, reason: str) -> float:
        """Returns the seconds that it took."""
        with translate_errors("writing to forecasting.runs"):
            [row] = await fetch(self.connection, "end_run", self.id, step, outcome, reason)
        return float(row["seconds"])


@asynccontextmanager
async def hold_run(database: DatabaseConfig, due_at: dt.datetime) -> AsyncIterator[Run]:
    """A run of the daily job, begun. Raises AlreadyRunning while another process has one, on any host.

    The lock is a transaction's, so it also holds through a pooler, and ends with this process, however that ends.
    """
    async with (
        connected(database, writable=True, timeout_seconds=OWN_TIMEOUT_SECONDS) as connection,
        connected(database, timeout_seconds=OWN_TIMEOUT_SECONDS) as locking,
    ):
        with translate_errors("holding the lock of the daily job"):
            async with locking.transaction():
                [lock] = await fetch(locking, "lock_job")
                if not lock["has_lock"]:
                    raise AlreadyRunning(_describe_running((await read_runs(connection)).last))
                run = Run(connection, locking, token_hex(8), due_at)
                await run.begin_step(WHOLE)
                yield run


async def read_runs(connection: Connection) -> RunHistory:
    """The last run of the daily job, and the last that succeeded."""
    with translate_errors("reading forecasting.runs"):
        rows = await fetch(connection, "read_runs", DAILY)
        now = await read_now(connection)
    if not rows:
        return RunHistory(now)
    records = [_make_record(row) for row in rows]
    whole = [record for record in records if record.step == WHOLE]
    good = [record for record in whole if record.outcome == SUCCEEDED]
    steps = [record for record in records if record.run_id == whole[0].run_id and record.step != WHOLE]
    return RunHistory(now, whole[0], good[0] if good else None, steps[::-1])


async def find_last_step(connection: Connection, step: str) -> dt.datetime | None:
    """When the last one that succeeded began; None: never."""
    with translate_errors("reading forecasting.runs"):
        [row] = await fetch(connection, "find_last_step", DAILY, step)
    began_at: dt.datetime | None = row["began_at"]
    return began_at


async def prune_history(connection: Connection, now: dt.datetime) -> int:
    """Deletes runs and forecasts older than DAYS_KEPT. Returns how many forecast days."""
    oldest = now - dt.timedelta(days=DAYS_KEPT)
    with translate_errors("deleting old forecasts"):
        rows = await fetch(connection, "prune_forecasts", oldest.date())
        await fetch(connection, "prune_runs", oldest)
    return int(rows[0]["num_rows"])


async def read_now(connection: Connection) -> dt.datetime:
    """PostgreSQL's clock."""
    [clock] = await fetch(connection, "read_clock")
    now: dt.datetime = clock["now"]
    return now


def describe_holder() -> str:
    return f"{socket.gethostname()}, process {os.getpid()}"


def _describe_running(last: StepRecord | None) -> str:
    if last is None or last.outcome != RUNNING:
        return "Another daily job has just begun. Wait until it has ended."
    return f"The daily job is already running, since {last.began_at:%Y-%m-%d %H:%M:%S} UTC on {last.holder}."


def _make_record(row: Any) -> StepRecord:  # Any: PostgreSQL's row
    names = ("step", "due_at", "began_at", "ended_at", "outcome", "reason", "holder")
    return StepRecord(row["id"], *(row[name] for name in names))
