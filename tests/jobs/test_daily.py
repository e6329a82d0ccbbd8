"""The daily job in the real PostgreSQL: each step, failures, two at once, and kills in each step."""

import asyncio
import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forecasting.errors import AlreadyRunning
from forecasting.jobs.daily import DailyReport, run_daily
from forecasting.settings.schema import Config, DatabaseConfig, ForecastConfig
from forecasting.warehouse.connection import OwnConnection, connected
from forecasting.warehouse.run_store import hold_run
from forecasting.warehouse.schema import load_schema
from scripts.bench.harness import PATIENCE_SECONDS
from tests.warehouse.ingesting import ask_own
from tests.warehouse.sources.asking import prepare

STEPS = ["update", "forecast", "judge", "outcomes", "prune", "tell"]
# Two weekly sites until yesterday, and a forecast of a week that was made eight days ago.
SITES = """
drop table daily_metrics;
create table daily_metrics (site text, date date, visits integer);
insert into daily_metrics (site, date, visits)
    select site, current_date - 1 - d, 1000 + 10 * ((current_date - 1 - d - date '2024-01-01') % 7) + d % 3
    from unnest(array['shop', 'blog']) as site, generate_series(0, 119) as d;
update daily_metrics set visits = 9000 where site = 'shop' and date = current_date - 1;
insert into forecasting.forecasts (site, metric, version, cutoff, day, made_at, quantiles)
    select 'shop', 'visits', 'v1', current_date - 8, current_date - 8 + ahead, now(), '{1,2,3,1000,1100,1200,1300}'
    from generate_series(1, 7) as ahead;
"""
# That is to be pruned.
OLD = """
insert into forecasting.forecasts (site, metric, version, cutoff, day, made_at, quantiles)
values ('shop', 'visits', 'v0', current_date - 500, current_date - 499, now(), '{1,2,3,4,5,6,7}')
on conflict do nothing
"""
RESULTS = {
    "daily": "select site, metric, day, value, verdict from forecasting.daily order by 1, 2, 3",
    "forecasts": "select site, version, cutoff, day, quantiles from forecasting.forecasts order by 1, 2, 3, 4",
    "anomalies": "select site, metric, day, score, told_at is null from forecasting.anomalies order by 1, 2, 3",
    "judged": "select site, metric, until from forecasting.judged order by 1, 2",
    "messages": "select cause, day, title from forecasting.messages order by 1, 2",
    "outcomes": "select * from forecasting.outcomes order by 1, 2, 3, 4, 5",
}
# What each step does first, by which it is held up: rows wait for the lock that a test holds.
DOES = {
    "update": "insert on forecasting.daily",
    "forecast": "insert on forecasting.forecasts",
    "judge": "insert on forecasting.judged",
    "outcomes": "insert on forecasting.outcomes",
    "prune": "delete on forecasting.forecasts",
    "tell": "insert on forecasting.messages",
}
HOLD_UP = """
create or replace function hold_up() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(7);
    return coalesce(new, old);
end
$$;
create trigger hold_up before {} for each row execute function hold_up();
"""
WAITS = """
select
    exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())
    and exists (select from forecasting.runs where step = $1 and outcome = 'running')
"""
TROUBLES = "select title, body from forecasting.messages where kind = 'trouble' order by id"
NOBODY = """
select not exists (
    select from pg_locks where locktype = 'advisory' and database = (
        select oid from pg_database where datname = current_database()
    )
)
"""


def execute(config: Config) -> DailyReport:
    report = DailyReport()
    asyncio.run(run_daily(config, report))
    return report


def read(database: DatabaseConfig) -> dict[str, list[tuple[Any, ...]]]:
    return {name: [tuple(row) for row in ask_own(database, query)] for name, query in RESULTS.items()}


def read_outcomes(database: DatabaseConfig) -> list[tuple[str, str]]:
    rows = ask_own(database, "select step, outcome from forecasting.runs order by began_at, step")
    return [tuple(row) for row in rows]


@pytest.fixture
def config(database: DatabaseConfig, tmp_path: Path) -> Config:
    prepare(database, load_schema(), SITES)
    return Config(database=database, model_dir=tmp_path, model_version="base", forecast=ForecastConfig(days_ahead=7))


def test_a_second_run_changes_nothing(config: Config, database: DatabaseConfig) -> None:
    report = execute(config)
    assert [step.name for step in report.steps] == STEPS
    assert not report.failed
    first = read(database)
    assert len(first["forecasts"]) == 3 * 7
    assert [row[5] for row in first["outcomes"]] == [1] * 7
    lines = report.describe().splitlines()
    assert len(lines) <= 10
    assert lines[0].startswith(f"daily job {report.run_id} succeeded after ")
    assert " s  succeeded: base forecast 2 of 2 series, 14 rows are new" in lines[2]
    assert " s  succeeded: counted what came true of 7 forecast days" in lines[4]
    again = execute(config)
    assert read(database) == first
    assert ", 0 rows are new" in again.describe()
    assert read_outcomes(database) == 2 * [("", "succeeded"), *((step, "succeeded") for step in STEPS)]


def test_a_step_that_fails_does_not_keep_the_others_from_being_tried(config: Config, database: DatabaseConfig) -> None:
    prepare(database, "alter table forecasting.forecasts add constraint bad check (site <> 'shop') not valid")
    report = execute(config)
    assert [step.name for step in report.failed] == ["forecast"]
    assert report.describe().startswith(f"daily job {report.run_id} failed in forecast after ")
    assert report.failed[0].text.startswith("PostgreSQL failed while writing forecasts: new row for relation ")
    assert len(read(database)["judged"]) == 2
    [whole] = ask_own(database, "select outcome, reason from forecasting.runs where step = ''")
    assert whole["outcome"] == "failed"
    assert whole["reason"] == f"forecast: {report.failed[0].text}"
    prepare(database, "alter table forecasting.forecasts drop constraint bad")
    assert not execute(config).failed
    assert [tuple(row) for row in ask_own(database, TROUBLES)] == [
        (
            "The daily job failed in forecast",
            "Its other steps were tried. Its log and the table forecasting.runs say why; the next run tries again.",
        ),
        ("The daily job works again", "It works again."),
    ]
    assert len(read(database)["forecasts"]) == 3 * 7


def test_another_job_says_who_holds_it(config: Config, database: DatabaseConfig) -> None:
    async def run() -> str:
        async with hold_run(database, dt.datetime.now(dt.UTC)):
            with pytest.raises(AlreadyRunning) as caught:
                await run_daily(config, DailyReport())
        await run_daily(config, DailyReport())  # the lock is free again
        return str(caught.value)

    text = asyncio.run(run())
    [row] = ask_own(database, "select began_at, holder from forecasting.runs where step = '' order by began_at limit 1")
    assert (
        text == f"The daily job is already running, since {row['began_at']:%Y-%m-%d %H:%M:%S} UTC on {row['holder']}."
    )
    assert row["holder"].endswith(f", process {os.getpid()}")


@pytest.fixture
def program(config: Config, database: DatabaseConfig) -> Iterator["subprocess.Popen[str]"]:
    """Runs the job in a new process for each line that it reads, and says how each ended."""
    arguments = [sys.executable, "-m", "tests.jobs.daily_program", database.host, database.name, str(config.model_dir)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        yield started
        assert started.stdin is not None
        started.stdin.close()
        assert started.wait(PATIENCE_SECONDS) == 0


def start_job(program: "subprocess.Popen[str]") -> int:
    """Its process id."""
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write("start\n")
    program.stdin.flush()
    return int(program.stdout.readline())


def wait_for_end(program: "subprocess.Popen[str]") -> int:
    """The status of the last one that was started."""
    assert program.stdout is not None
    return int(program.stdout.readline())


def test_what_was_killed_in_any_step_is_completed(
    config: Config, database: DatabaseConfig, program: "subprocess.Popen[str]"
) -> None:
    for step in DOES:
        prepare(database, OLD)
        asyncio.run(_kill_in(step, database, program))
        assert (step, "running") in read_outcomes(database)
        prepare(database, "truncate forecasting.runs")
    assert not execute(config).failed
    completed = read(database)
    prepare(
        database,
        "truncate forecasting.outcomes, forecasting.judged, forecasting.anomalies, forecasting.messages cascade",
    )
    prepare(database, "delete from forecasting.forecasts where version = 'base'")
    execute(config)
    assert read(database) == completed


def test_a_run_that_was_cut_off_is_told(
    config: Config, database: DatabaseConfig, program: "subprocess.Popen[str]"
) -> None:
    asyncio.run(_kill_in("judge", database, program))
    execute(replace(config))
    outcomes = read_outcomes(database)
    assert outcomes[:4] == [
        ("", "interrupted"), ("update", "succeeded"), ("forecast", "succeeded"), ("judge", "interrupted")
    ]  # fmt: skip
    assert outcomes[4:] == [("", "succeeded"), *((step, "succeeded") for step in STEPS)]


async def _kill_in(step: str, database: DatabaseConfig, program: "subprocess.Popen[str]") -> None:
    """Kills a job that is held up in this step."""
    table = DOES[step].partition(" on ")[2]
    async with connected(database, writable=True) as holding, connected(database) as watching:
        await holding.execute(HOLD_UP.format(DOES[step]))
        async with holding.transaction():
            await holding.execute("select pg_advisory_xact_lock(7)")
            pid = start_job(program)
            await _wait_until(watching, WAITS, step)
            os.kill(pid, signal.SIGKILL)
            assert wait_for_end(program) == signal.SIGKILL
        await _wait_until(watching, NOBODY)
        await holding.execute(f"drop trigger hold_up on {table}")


async def _wait_until(connection: OwnConnection, query: str, *values: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await connection.fetchval(query, *values):  # noqa: ASYNC110 - what happens in PostgreSQL
            await asyncio.sleep(0.02)
