"""The product through a real PgBouncer, in both of its modes, as Debian configures it."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from forecasting.domain import SourceName
from forecasting.errors import CannotConnect
from forecasting.serving.database_client import POOL_SIZE, DatabaseClient
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.connection import Connection, connect, connected
from forecasting.warehouse.daily import read_last_days
from forecasting.warehouse.forecast_writer import encode_forecasts, write_forecasts
from forecasting.warehouse.ingest import update
from tests.warehouse.ingesting import GUARDED, anew, bring, contents, days, events_of, stored
from tests.warehouse.pgbouncer import pgbouncer
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import UMAMI

LATE = "2024-06-11 09:00"
DAYS = days("2024-05-01", "2024-06-10")
IGNORING = "ignore_startup_parameters = statement_timeout,default_transaction_read_only,options"
MODES = pytest.mark.parametrize(
    "pooled",
    [("session", ""), ("session", IGNORING), ("transaction", "")],
    indirect=True,
    ids=["session", "ignoring", "transaction"],
)


@pytest.fixture
def pooled(request: pytest.FixtureRequest, database: DatabaseConfig, short_folder: Path) -> Iterator[DatabaseConfig]:
    """The database behind PgBouncer, in transaction mode unless the test says otherwise."""
    mode, more = getattr(request, "param", ("transaction", ""))
    folder = short_folder / f"pgbouncer-{database.name}"
    folder.mkdir()
    with pgbouncer(database, folder, mode=mode, more=more) as config:
        yield config


@MODES
def test_updates_read_only_and_in_time_and_write_the_same_as_without(
    database: DatabaseConfig, pooled: DatabaseConfig
) -> None:
    prepare(database, UMAMI, DAYS, GUARDED)
    config = events_of(pooled, statement_timeout_seconds=7.0)
    assert bring(config, LATE).num_rows == 41 * 5
    assert bring(config, LATE).num_rows == 0
    behind = contents(database)
    assert behind == anew(events_of(database, statement_timeout_seconds=7.0), LATE)


@MODES
def test_a_reading_connection_cannot_write_nor_take_longer_than_it_may(pooled: DatabaseConfig) -> None:
    async def write() -> None:
        async with connected(pooled, timeout_seconds=0.2) as connection:
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                async with connection.transaction():
                    await connection.execute("create table written ()")
            with pytest.raises(asyncpg.QueryCanceledError):
                async with connection.transaction():
                    await connection.execute("select pg_sleep(600)")

    asyncio.run(write())


def test_requests_at_once_share_few_server_sessions(database: DatabaseConfig, pooled: DatabaseConfig) -> None:
    """More connections than server sessions, so that each transaction finds itself in another one."""
    data = DataConfig()
    asyncio.run(update(Config(database=database, data=data)))
    today, num_days = dt.date(2020, 8, 20), 30

    async def read(connection: Connection) -> list[float]:
        page = await read_last_days(
            connection, [(database.name, "page_visits")], today=today, num_days=num_days, masked=()
        )
        return page.values.tolist()

    async def read_often(config: DatabaseConfig, times: int) -> list[list[float]]:
        client = DatabaseClient(config, deadline_seconds=60.0)
        try:
            return list(await asyncio.gather(*(client.run(read) for _ in range(times))))
        finally:
            await client.close()

    [directly] = asyncio.run(read_often(database, 1))
    assert len(directly) == num_days
    assert asyncio.run(read_often(pooled, 10 * POOL_SIZE)) == [directly] * (10 * POOL_SIZE)


def test_a_query_of_ones_own_and_written_forecasts(
    database: DatabaseConfig, pooled: DatabaseConfig, tmp_path: Path
) -> None:
    file = tmp_path / "traffic.sql"
    file.write_text("""
        select 'shop' as site, 'page_visits' as metric, day::date as day, 7 as value
        from generate_series($1::date, $2::date - 1, interval '1 day') as day where day >= '2024-05-01'
    """)
    data = DataConfig(source=SourceName.query, query=file)
    config = replace(events_of(pooled), data=data)
    for _ in range(2):
        bring(config, LATE)
    assert set(stored(database, site="shop").values()) == {7.0}

    async def write() -> list[int]:
        encoded = encode_forecasts([("shop", "page_visits")], np.array([19000]), np.ones((1, 7, 3), np.float32))
        made_at = dt.datetime(2024, 6, 11, tzinfo=dt.UTC)
        async with connected(pooled, writable=True) as first, connected(pooled, writable=True) as second:
            return [
                await write_forecasts(connection, encoded, version="v1", made_at=made_at, num_levels=3)
                for connection in (first, second, first)
            ]

    assert asyncio.run(write()) == [7, 0, 0]


def test_nothing_is_left_in_the_server_sessions(database: DatabaseConfig, pooled: DatabaseConfig) -> None:
    prepare(database, UMAMI, DAYS)
    bring(events_of(pooled), LATE)
    left = """
        select pg_backend_pid(), current_setting('statement_timeout'), current_setting('transaction_read_only'),
            (select count(*) from pg_prepared_statements where name <> ''), to_regclass('pg_temp.incoming')
    """

    async def look() -> list[tuple[object, ...]]:
        """In all sessions at once: each transaction keeps its own."""
        connections = [
            await asyncpg.connect(
                host=pooled.host, port=pooled.port, user="postgres", database=pooled.name, statement_cache_size=0
            )
            for _ in range(2)
        ]
        sessions = []
        for connection in connections:
            await connection.execute("begin")
            sessions.append(tuple(await connection.fetchrow(left)))
        for connection in connections:
            await connection.close()
        return sessions

    sessions = asyncio.run(look())
    assert len({pid for pid, *_ in sessions}) == 2
    assert {tuple(rest) for _, *rest in sessions} == {("0", "off", 0, None)}


def test_the_poolers_own_reason_is_shown(pooled: DatabaseConfig) -> None:
    with pytest.raises(CannotConnect) as caught:
        asyncio.run(connect(replace(pooled, name="nowhere")))
    assert str(caught.value) == (
        f"Cannot connect to PostgreSQL at host 127.0.0.1, port {pooled.port}, database nowhere, as user postgres: "
        "the server refuses the connection (no such database: nowhere). Check DB_HOST, DB_PORT and DB_NAME, "
        "and its log."
    )
