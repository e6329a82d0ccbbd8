"""Measures a year of kept forecasts: their size, what filling in what came true costs, and GET /model/accuracy's time.

In a database of its own on the configured server: made days of some series, and a forecast of seven days from each day
of a year.
"""

import argparse
import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import TypeVar

from scratch_database import connected, scratch_database

from forecasting.model.forecaster import LEVELS
from forecasting.monitoring.accuracy_report import describe_for_routes, report_accuracy
from forecasting.runtime.machine import describe_processor
from forecasting.runtime.process import run
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import OwnConnection
from forecasting.warehouse.outcome_store import OutcomeQuery, count_outcomes
from forecasting.warehouse.schema import load_schema

T = TypeVar("T")
UNTIL = dt.date(2026, 1, 1)
REPETITIONS = 5
TABLES = ("forecasting.forecasts", "forecasting.outcomes", "forecasting.daily")
DAYS = """
insert into forecasting.daily (site, metric, day, value, read_at)
select 'site ' || n, 'page_visits', $2::date - d, 1000 + (n * 37 + d * 101) % 400, '2025-01-01'
from generate_series(1, $1::integer) as n, generate_series(1, 460) as d
"""
FORECASTS = """
insert into forecasting.forecasts (site, metric, version, cutoff, day, made_at, quantiles)
select
    'site ' || n, 'page_visits', 'v1.0.0', $2::date - c - 1, $2::date - c - 1 + ahead, ($2::date - c)::timestamptz,
    array(select (1000 + (n * 41 + c * 73 + ahead) % 400 + 60 * level)::real from generate_series(-3, 3) as level)
from generate_series(1, $1::integer) as n, generate_series(1, 365) as c, generate_series(1, 7) as ahead
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="20 series")
    arguments = parser.parse_args()
    with scratch_database() as database:
        asyncio.run(measure(database, 20 if arguments.quick else arguments.series))


async def measure(database: DatabaseConfig, num_series: int) -> None:
    async with connected(database) as connection:
        print(f"{num_series:,} series, a forecast of 7 days from each day of a year, {describe_processor()}")
        await connection.execute(load_schema())
        for name, statement in (("days", DAYS), ("forecasts", FORECASTS)):
            _, seconds = await timed(lambda statement=statement: connection.execute(statement, num_series, UNTIL))
            print(f"made the {name} in {seconds:.1f} s")
        await connection.execute("analyze")
        number, seconds = await timed(lambda: count(connection, since=None))
        print(f"what came true of all {number:,} forecast days: counted in {seconds:.1f} s")
        _, seconds = await timed(lambda: count(connection, since=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))
        print(f"the same on the next day, with nothing new (the last two weeks again): {seconds:.1f} s")
        await show_sizes(connection, num_series)
        await measure_reports(connection, Config(database=database))


async def count(connection: OwnConnection, *, since: dt.datetime | None) -> int:
    return await count_outcomes(connection, today=UNTIL, since=since, masked=["outage"], levels=LEVELS)


async def show_sizes(connection: OwnConnection, num_series: int) -> None:
    for table in TABLES:
        size, rows = await connection.fetchrow(
            f"select pg_total_relation_size('{table}'), (select count(*) from {table})"  # noqa: S608 - ours
        )
        print(f"{table}: {size / 2**20:,.0f} MiB, {rows:,} rows, {size / rows:.0f} bytes a row")


async def measure_reports(connection: OwnConnection, config: Config) -> None:
    for text, sites, days in (
        ("all series, a year", [], 365),
        ("all series, 91 days", [], 91),
        ("one series, a year", ["site 1"], 365),
    ):
        query = OutcomeQuery(UNTIL - dt.timedelta(days=days), 7, sites=sites)
        times = []
        for _ in range(REPETITIONS):
            report, seconds = await timed(lambda query=query: report_accuracy(connection, config, query))
            times.append(seconds)
        body = describe_for_routes(report, limit=100, offset=0)
        print(f"/model/accuracy, {text}: {1000 * median(times):,.0f} ms, {body['num_series']:,} series")


async def timed(work: Callable[[], Awaitable[T]]) -> tuple[T, float]:
    began = time.perf_counter()
    return await work(), time.perf_counter() - began


if __name__ == "__main__":
    run(main)
