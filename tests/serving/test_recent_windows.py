"""Cached windows on the real PostgreSQL: valid until anybody changes a day."""

import asyncio
import gc
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import numpy as np
import pytest

from forecasting.artifact import Artifact
from forecasting.errors import DataError, TimedOut
from forecasting.predictor import Window
from forecasting.serving.database_client import RELEASE_SECONDS, DatabaseClient
from forecasting.serving.recent_windows import RecentWindows
from forecasting.serving.revision_watch import CHECK_SECONDS
from forecasting.settings.schema import Config, DatabaseConfig, ServingConfig
from forecasting.warehouse.connection import Connection

Step = Callable[[RecentWindows, asyncpg.Connection], Awaitable[None]]
RAISE_ALL = "update forecasting.daily set value = value + 1000 where metric = 'page_visits'"


@pytest.fixture
def config(database: DatabaseConfig, sample_artifact: Artifact) -> Config:
    return Config(database=database, model_dir=sample_artifact.folder.parent)


def use(config: Config, artifact: Artifact, step: Step) -> None:
    async def run() -> None:
        windows = RecentWindows(config, artifact.card)
        database = config.database
        other = await asyncpg.connect(
            host=database.host, user="postgres", password="", database=database.name, ssl=False
        )
        try:
            await windows.read(artifact.card.series)  # which waits for the first update
            await step(windows, other)
        finally:
            await other.close()
            await windows.close()

    asyncio.run(run())


async def read(windows: RecentWindows, artifact: Artifact) -> np.ndarray:
    [window] = await windows.read(artifact.card.series[:1])
    assert isinstance(window, Window)
    return window.history


def test_what_was_read_is_not_taken_for_what_is_while_nobody_can_say(config: Config, sample_artifact: Artifact) -> None:
    async def step(windows: RecentWindows, other: asyncpg.Connection) -> None:
        await windows.check()
        before = await read(windows, sample_artifact)
        windows.revisions.is_current = False  # as after a check that PostgreSQL did not answer
        await other.execute(RAISE_ALL)
        np.testing.assert_array_equal(await read(windows, sample_artifact), before + 1000)

    use(config, sample_artifact, step)


def test_postgresql_that_stands_still_is_noticed_within_seconds(config: Config, sample_artifact: Artifact) -> None:
    """Over an idle connection: returning it to the pool must not wait for a query that the server does not end."""
    backends = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"

    async def step(windows: RecentWindows, other: asyncpg.Connection) -> None:
        await windows.check()
        pids = [row["pid"] for row in await other.fetch(backends)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            await windows.check()
            seconds = time.monotonic() - began
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        assert pids
        assert not windows.revisions.is_current
        assert windows.problem == "PostgreSQL did not answer within 2 s. Try again later."
        assert CHECK_SECONDS <= seconds < CHECK_SECONDS + RELEASE_SECONDS + 30

    use(config, sample_artifact, step)


def test_deadline_while_a_connection_is_given_back_leaves_nothing_unheard(config: Config) -> None:
    unheard: list[dict[str, Any]] = []

    async def read_and_stop_the_server(connection: Connection) -> int:
        pid = await connection.fetchval("select pg_backend_pid()")
        os.kill(pid, signal.SIGSTOP)  # so that the connection cannot be reset
        return int(pid)

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(context))
        client = DatabaseClient(config.database, deadline_seconds=60.0)
        pid = await client.run(lambda connection: connection.fetchval("select pg_backend_pid()"))
        try:
            with pytest.raises(TimedOut, match="within 0.5 s"):
                await client.run(read_and_stop_the_server, max_seconds=RELEASE_SECONDS / 2)
            await asyncio.sleep(2 * RELEASE_SECONDS)
        finally:
            os.kill(pid, signal.SIGCONT)
        await client.close()
        gc.collect()

    asyncio.run(run())
    assert not unheard


def test_of_partitions_nothing_is_kept(config: Config, sample_artifact: Artifact) -> None:
    """Partitions can be written to directly, and detached, without any trigger."""
    partitioned = """
        alter table forecasting.daily rename to daily_all;
        create table forecasting.daily (like forecasting.daily_all including defaults, primary key (site, metric, day))
        partition by list (site);
        create table forecasting.rest partition of forecasting.daily default;
        insert into forecasting.daily select * from forecasting.daily_all;
        drop table forecasting.daily_all;
    """

    async def step(windows: RecentWindows, other: asyncpg.Connection) -> None:
        await other.execute(partitioned)
        await windows.check()
        before = await read(windows, sample_artifact)
        assert not windows.revisions.is_cacheable
        await other.execute("update forecasting.rest set value = value + 1000 where metric = 'page_visits'")
        await windows.check()
        np.testing.assert_array_equal(await read(windows, sample_artifact), before + 1000)

    use(config, sample_artifact, step)


def test_what_was_read_is_kept_until_somebody_changes_it(config: Config, sample_artifact: Artifact) -> None:
    async def step(windows: RecentWindows, other: asyncpg.Connection) -> None:
        await windows.check()
        revision = windows.revisions.revision
        before = await read(windows, sample_artifact)
        await other.execute(RAISE_ALL)
        assert await read(windows, sample_artifact) is before, "cached until the next check"
        await windows.check()
        np.testing.assert_array_equal(await read(windows, sample_artifact), before + 1000)
        assert windows.revisions.revision != revision

    use(config, sample_artifact, step)


@pytest.mark.parametrize(
    ("statement", "counts"),
    [
        ("insert into forecasting.daily values ('new', 'page_visits', '2020-01-01', 1)", True),
        ("update forecasting.daily set verdict = 'bot' where day = '2020-08-01'", True),
        ("delete from forecasting.daily where day = '2020-08-01'", True),
        ("truncate forecasting.daily", True),
        ("update forecasting.daily set value = 1 where day = '1999-01-01'", False),
        ("update forecasting.sites set read_until = read_until", False),
    ],
)
def test_every_change_of_a_day_counts_and_nothing_else(
    config: Config, sample_artifact: Artifact, statement: str, counts: bool
) -> None:
    async def step(windows: RecentWindows, other: asyncpg.Connection) -> None:
        await windows.check()
        before = windows.revisions.revision
        await windows.check()
        assert windows.revisions.revision == before
        await other.execute(statement)
        await windows.check()
        assert (windows.revisions.revision != before) is counts

    use(config, sample_artifact, step)


def test_change_counts_when_it_can_be_seen(config: Config, sample_artifact: Artifact) -> None:
    """A transaction that has not ended changes neither the revision nor the days."""

    async def step(windows: RecentWindows, other: asyncpg.Connection) -> None:
        await windows.check()
        before = windows.revisions.revision
        async with other.transaction():
            await other.execute(RAISE_ALL)
            await windows.check()
            assert windows.revisions.revision == before
        await windows.check()
        assert windows.revisions.revision != before

    use(config, sample_artifact, step)


def test_where_nobody_counts_nothing_is_kept(config: Config, sample_artifact: Artifact) -> None:
    async def step(windows: RecentWindows, other: asyncpg.Connection) -> None:
        await other.execute("drop trigger count_updated on forecasting.daily")
        await windows.check()
        before = await read(windows, sample_artifact)
        await other.execute(RAISE_ALL)
        assert not windows.revisions.is_cacheable
        np.testing.assert_array_equal(await read(windows, sample_artifact), before + 1000)

    use(config, sample_artifact, step)


def test_days_that_are_wanted_new_each_time_are_not_kept(config: Config, sample_artifact: Artifact) -> None:
    each_time = replace(config, serving=ServingConfig(refresh_seconds=0.0))

    async def step(windows: RecentWindows, other: asyncpg.Connection) -> None:
        await windows.check()
        before = await read(windows, sample_artifact)
        await other.execute("update daily_metrics set page_visits = page_visits + 1000")
        np.testing.assert_array_equal(await read(windows, sample_artifact), before + 1000)

    use(each_time, sample_artifact, step)


def test_one_that_cannot_be_read_does_not_keep_the_others_from_it(config: Config, sample_artifact: Artifact) -> None:
    known = sample_artifact.card.series[0]
    cards = (known, replace(known, metric="nope"), sample_artifact.card.series[1])

    async def step(windows: RecentWindows, other: asyncpg.Connection) -> None:
        first, unknown, second = await windows.read(cards)
        assert isinstance(first, Window)
        assert isinstance(second, Window)
        assert isinstance(unknown, DataError)
        assert str(unknown).startswith("There is no metric 'nope'. Metrics: ")

    use(config, sample_artifact, step)
