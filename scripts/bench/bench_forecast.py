"""Measures forecasting every series: growth with their number, statsforecast beside it, and reading beside fetch.

In a database of its own on the configured server, with made series of 90 days. Figures are medians of --repetitions
runs, taken in turns; peaks of memory are the highest of all runs.
"""

import argparse
import asyncio
import datetime as dt
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil
import torch
from harness import Place, Process, clean_environment, family_of, memory_of
from scratch_database import connected, execute, find_postmaster, read_server_version, scratch_database

from forecasting.errors import CannotStart
from forecasting.evaluation.statsforecast_baselines import check_installed, forecast_peer
from forecasting.jobs.pages import SeriesLookup, forecast_page, load_version
from forecasting.runtime.machine import describe_processor
from forecasting.runtime.process import run
from forecasting.settings.loading import load_config
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import OwnConnection, connect
from forecasting.warehouse.daily import read_pages
from forecasting.warehouse.pages import DailyQuery, Page
from forecasting.warehouse.schema import load_schema
from forecasting.warehouse.sites import SiteIndex

if TYPE_CHECKING:
    from asyncpg import Record

NUM_DAYS, DAYS_AHEAD = 90, 7
MAX_READ_SERIES = 10_000  # for reading beside fetch, which needs 300 bytes of memory for each row
CHUNK = 1000  # series made by one statement
WARM_UPS = 3  # calls of each method before it is timed: the first ones compile
MIB = 2**20
TODAY = dt.date(2030, 1, 1)
# Weekly seasonality, growth and noise, in the order of the primary key, as a first refresh writes them.
FILL = """
insert into forecasting.daily (site, metric, day, value)
select
    'site ' || lpad(n::text, 9, '0'),
    'page_visits',
    date '2024-01-01' + d,
    round(1000 * (1 + n % 17) * (1 + 0.3 * sin(d * 2 * pi() / 7)) * exp(0.002 * d + 0.2 * (random() - random())))
from generate_series($1::integer, $2::integer) as n, generate_series(0, $3::integer - 1) as d
order by n, d
"""
ROWS = "select site, metric, day, value from forecasting.daily where day < $1 order by site, metric, day"


@dataclass(frozen=True)
class Run:
    """One run of scripts/forecast.py: seconds from its first read to its last row, and in all; peaks in bytes."""

    seconds: float
    all_seconds: float
    memory: int
    server_memory: int


def main() -> None:
    arguments = parse_arguments()
    sizes = sorted(int(size) for size in arguments.series.split(","))
    read_size = max((size for size in sizes if size <= MAX_READ_SERIES), default=sizes[0])
    with scratch_database() as database:
        print_machine(database)
        runs, num_series = {}, 0
        for size in sizes:
            asyncio.run(fill(database, num_series, size))
            num_series = size
            if size == read_size:
                page = compare_reading(database, repetitions=arguments.repetitions)
                compare_methods(page, repetitions=arguments.repetitions, sample=arguments.sample)
            runs[size] = [time_script(database) for _ in range(arguments.repetitions)]
        print_growth(runs)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", default="1000,10000,100000", help="sizes of the database (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of which the median is shown (%(default)s)")
    parser.add_argument("--sample", type=int, default=60, help="series that AutoETS forecasts (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="1,000 and 10,000 series, each once, 10 for AutoETS")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.series, arguments.repetitions, arguments.sample = "1000,10000", 1, 10
    return arguments


def print_machine(database: DatabaseConfig) -> None:
    async def read() -> str:
        async with connected(database) as connection:
            return await read_server_version(connection)

    version = asyncio.run(read())
    print(f"{describe_processor()}, torch {torch.__version__}, PostgreSQL {version} on the same machine", flush=True)


async def fill(database: DatabaseConfig, start: int, end: int) -> None:
    """With the series numbered start to end, and none of their forecasts."""
    print(f"making {end - start:,} series of {NUM_DAYS} days ...", file=sys.stderr, flush=True)
    await execute(database, load_schema())
    for first in range(start, end, CHUNK):
        await execute(database, FILL, first, min(first + CHUNK, end) - 1, NUM_DAYS)
    await execute(database, "vacuum analyze forecasting.daily")


def compare_reading(database: DatabaseConfig, *, repetitions: int) -> Page:
    """Prints rows a second of the bulk reader and of asyncpg's fetch, over one connection; returns some of the rows."""
    everything, recent = DailyQuery(TODAY), DailyQuery(TODAY, num_days=NUM_DAYS)
    with asyncio.Runner() as loop:
        connection = loop.run(connect(database, timeout_seconds=600))
        pages, num_rows = loop.run(read_all(connection, everything)), len(loop.run(fetch_all(connection)))
        if num_rows != sum(len(page.days) for page in pages):
            sys.exit("the bulk reader and fetch read different rows")
        bulk, last, fetched = take_turns(
            [
                lambda: loop.run(read_all(connection, everything)),
                lambda: loop.run(read_all(connection, recent)),
                lambda: loop.run(fetch_all(connection)),
            ],
            repetitions,
        )
        loop.run(connection.close())
    print(f"\nreading {num_rows:,} rows of {num_rows // NUM_DAYS:,} series")
    for name, seconds in (("in key order (panels)", bulk), ("last days of each (forecasts)", last), ("fetch", fetched)):
        print(f"  {name:32}{num_rows / seconds / 1e6:6.2f} M rows/s{fetched / seconds:8.1f} x fetch", flush=True)
    return pages[0]


async def read_all(connection: OwnConnection, query: DailyQuery) -> list[Page]:
    return [page async for page in read_pages(connection, query, page_size=2048)]


async def fetch_all(connection: OwnConnection) -> "list[Record]":
    return await connection.fetch(ROWS, TODAY)


def compare_methods(page: Page, *, repetitions: int, sample: int) -> None:
    """Prints series a second of the base model and of statsforecast's methods, on one core, with days in memory."""
    check_installed()
    torch.set_num_threads(1)
    model = load_version(load_config(["model_version=base"]))
    lookup = SeriesLookup(model, {}, SiteIndex(()), unnamed=None)
    histories = list(page.values.reshape(-1, NUM_DAYS))
    methods: dict[str, tuple[Callable[[], object], int]] = {
        "this, the base model": (
            lambda: forecast_page(model, lookup, page, days_ahead=DAYS_AHEAD), len(page.keys),
        ),
        "AutoETS": (lambda: forecast_peer("AutoETS", histories[:sample], horizon=DAYS_AHEAD), sample),
        "SeasonalNaive": (lambda: forecast_peer("SeasonalNaive", histories, horizon=DAYS_AHEAD), len(histories)),
    }  # fmt: skip
    calls = [method for method, _ in methods.values()]
    take_turns(calls, WARM_UPS)
    medians = take_turns(calls, repetitions)
    print(f"\nforecasting {DAYS_AHEAD} days with 80% and 90% bands on one core, {NUM_DAYS} days of history in memory")
    for (name, (_, number)), seconds in zip(methods.items(), medians, strict=True):
        print(f"  {name:32}{number / seconds:10,.0f} series/s   (of {number:,})", flush=True)


def take_turns(methods: Sequence[Callable[[], object]], repetitions: int) -> list[float]:
    """The median seconds of each, one after another in each round, so that a busy machine slows all of them."""
    rounds = []
    for _ in range(repetitions):
        rounds.append([])
        for method in methods:
            began = time.perf_counter()
            method()
            rounds[-1].append(time.perf_counter() - began)
    return [median(seconds) for seconds in zip(*rounds, strict=True)]


def time_script(database: DatabaseConfig) -> Run:
    """scripts/forecast.py as people run it, with no forecast written before."""
    asyncio.run(execute(database, "truncate forecasting.forecasts"))
    variables = {
        "DB_HOST": database.host, "DB_PORT": str(database.port), "DB_NAME": database.name,
        "DB_USER": database.user, "DB_PASSWORD": database.password,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), clean_environment(**variables))
        began = time.perf_counter()
        with place.start("forecast.py", "--model", "base", "--days-ahead", str(DAYS_AHEAD)) as script:
            memory, server_memory = watch_memory(script, find_postmaster(database))
        all_seconds = time.perf_counter() - began
        if script.process.returncode:
            raise CannotStart(f"scripts/forecast.py ended with {script.process.returncode}:\n{script.text[-2000:]}")
        return Run(float(script.text.split(" in ")[1].split(" s: ")[0]), all_seconds, memory, server_memory)


def watch_memory(script: Process, postmaster: psutil.Process | None) -> tuple[int, int]:
    """Until it ends: its peak of resident memory, and that of the server's processes, shared memory counted once."""
    memory = server_memory = 0
    while script.process.poll() is None:
        with suppress(OSError, TypeError):  # it has ended
            peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{script.process.pid}/status").read_text())
            memory = max(memory, 1024 * int(peak[1]))  # not wait4's, which counts what this process had when it forked
        if postmaster is not None:
            server_memory = max(server_memory, memory_of(family_of(postmaster)))
        time.sleep(0.1)
    return memory, server_memory


def print_growth(runs_by_size: Mapping[int, Sequence[Run]]) -> None:
    print(f"\nscripts/forecast.py, {DAYS_AHEAD} days of each series, {NUM_DAYS} days of history in forecasting.daily")
    print(
        f"  {'series':>9}{'read to written':>17}{'series/s':>10}{'in all':>9}{'peak memory':>13}{'of the server':>15}"
    )
    for size, runs in runs_by_size.items():
        seconds, in_all = median(run.seconds for run in runs), median(run.all_seconds for run in runs)
        memory, server = (
            max(peaks) / MIB for peaks in zip(*((run.memory, run.server_memory) for run in runs), strict=True)
        )
        print(f"  {size:9,}{seconds:15.1f} s{size / seconds:10,.0f}{in_all:7.1f} s{memory:9.0f} MiB{server:11.0f} MiB")


if __name__ == "__main__":
    run(main)
