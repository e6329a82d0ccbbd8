"""When a server starts the daily job, by what PostgreSQL knows of earlier runs; and what people hear of them."""

import asyncio
import datetime as dt
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from forecasting.lifecycle.schedule import find_last_due
from forecasting.serving.daily_schedule import DailySchedule
from forecasting.serving.database_client import DatabaseClient
from forecasting.settings.schema import Config, DatabaseConfig, ScheduleConfig
from forecasting.warehouse.connection import connected
from forecasting.warehouse.run_store import hold_run, read_now
from forecasting.warehouse.schema import load_schema
from tests.warehouse.ingesting import ask_own
from tests.warehouse.sources.asking import prepare

JOB = "import pathlib, sys; pathlib.Path(sys.argv[1]).open('a').write('ran\\n'); sys.exit(int(sys.argv[2]))"
AT = dt.time(6, 15)


@pytest.fixture
def database_with_schema(database: DatabaseConfig) -> DatabaseConfig:
    prepare(database, load_schema())
    return database


@pytest.fixture
def run(database_with_schema: DatabaseConfig, tmp_path: Path) -> Callable[..., tuple[int, DailySchedule]]:
    """A server's look: how often the job has been started by now, and what the server knows."""

    def run(*, daily: str = "06:15", code: int = 0) -> tuple[int, DailySchedule]:
        log = tmp_path / "ran"
        config = Config(database=database_with_schema, schedule=ScheduleConfig(daily=daily))

        async def look() -> DailySchedule:
            client = DatabaseClient(database_with_schema, deadline_seconds=60.0)
            command = [sys.executable, "-S", "-c", JOB, str(log), str(code)]
            schedule = DailySchedule(config, lambda: client, command)
            await schedule.check()
            await schedule.finish()
            await client.close()
            return schedule

        schedule = asyncio.run(look())
        return len(log.read_text().splitlines()) if log.exists() else 0, schedule

    return run


def note_run(database: DatabaseConfig, outcome: str, *, hours_ago: float, due_hours_ago: float = 0.0) -> None:
    """A run for the time that is due now, or for an earlier one."""

    async def note() -> None:
        async with connected(database) as connection:
            now = await read_now(connection)
        due_at = find_last_due(AT, ZoneInfo("UTC"), now) - dt.timedelta(hours=due_hours_ago)
        async with hold_run(database, due_at) as held:
            await held.begin_step("update")
            await held.end_step("update", outcome, "as it was")
            await held.end_step("", outcome, "update: The source is gone.")

    asyncio.run(note())
    prepare(database, f"update forecasting.runs set began_at = began_at - interval '{hours_ago} hours'")  # noqa: S608


def test_a_server_that_starts_catches_up_once(
    run: Callable[..., tuple[int, DailySchedule]], database_with_schema: DatabaseConfig
) -> None:
    assert run()[0] == 1  # nothing has ever run
    note_run(database_with_schema, "succeeded", hours_ago=30, due_hours_ago=24)
    assert run()[0] == 2  # yesterday's was the last
    note_run(database_with_schema, "succeeded", hours_ago=0)
    number, schedule = run()
    assert number == 2
    state = schedule.state
    assert state.outcome == "succeeded"
    assert state.succeeded_at is not None
    assert state.age_hours == 0.0
    assert state.next_at is not None
    assert state.next_at.time() == AT
    assert list(state.seconds) == ["update"]
    assert schedule.problem is None


def test_a_clock_that_was_set_back_runs_nothing_twice(
    run: Callable[..., tuple[int, DailySchedule]], database_with_schema: DatabaseConfig
) -> None:
    note_run(database_with_schema, "succeeded", hours_ago=0, due_hours_ago=-24)  # for a time that is yet to come
    assert run()[0] == 0


def test_a_run_that_failed_is_told_and_tried_again_after_half_an_hour(
    run: Callable[..., tuple[int, DailySchedule]], database_with_schema: DatabaseConfig
) -> None:
    note_run(database_with_schema, "failed", hours_ago=0.4)
    number, schedule = run()
    assert number == 0
    [(began_at,)] = ask_own(database_with_schema, "select began_at from forecasting.runs where step = ''")
    assert schedule.problem == (
        f"The daily job failed at {began_at:%Y-%m-%d %H:%M} UTC: update: The source is gone. The server tries it again "
        "every 30 minutes."
    )
    prepare(database_with_schema, "update forecasting.runs set began_at = began_at - interval '10 minutes'")
    assert run()[0] == 1


@pytest.mark.parametrize("outcome", ["running", "interrupted"])
def test_a_run_that_was_cut_off_is_completed(
    run: Callable[..., tuple[int, DailySchedule]], database_with_schema: DatabaseConfig, outcome: str
) -> None:
    note_run(database_with_schema, outcome, hours_ago=0.4)
    assert run()[0] == 0  # it may still be at work
    prepare(database_with_schema, "update forecasting.runs set began_at = began_at - interval '10 minutes'")
    number, schedule = run()
    assert number == 1
    assert schedule.problem is None


def test_nothing_runs_where_it_is_off(
    run: Callable[..., tuple[int, DailySchedule]], database_with_schema: DatabaseConfig
) -> None:
    number, schedule = run(daily="off")
    assert number == 0
    assert schedule.state.next_at is None
    note_run(database_with_schema, "failed", hours_ago=0)
    assert str(run(daily="off")[1].problem).endswith(" UTC: update: The source is gone. Run it again.")


def test_a_job_that_fails_is_logged(
    run: Callable[..., tuple[int, DailySchedule]], caplog: pytest.LogCaptureFixture
) -> None:
    run(code=3)
    assert "the daily job ended with 3: its lines above say why" in caplog.text


def test_what_is_no_time_is_refused() -> None:
    for text in ("6:15", "24:00", "06:60", "morning", ""):
        with pytest.raises(ValueError, match="Write a time such as 06:15, or off") as caught:
            ScheduleConfig(daily=text)
        assert str(caught.value) == f"schedule.daily is {text!r}. Write a time such as 06:15, or off."
    assert replace(ScheduleConfig(), daily="23:59").daily_time == dt.time(23, 59)
