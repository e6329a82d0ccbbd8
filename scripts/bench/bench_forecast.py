"""Measures forecasting every series: growth with their number, statsforecast beside it, and reading beside fetch.

In a database of its own on the configured server, filled with made series of 90 days and dropped when this ends,
however it ends. Every figure is the median of --repetitions runs, taken in turns; peaks of memory are the highest.
"""

import argparse
import asyncio
import datetime as dt
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil

try:
    from forecasting.runtime import describe_processor, run
    from forecasting.settings.loading import load_config
    from forecasting.settings.schema import DatabaseConfig
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}. Set everything up with `make demo`, or: pip install -e '.[bench]' -c constraints.txt")

if TYPE_CHECKING:
    from asyncpg import Record

    from forecasting.warehouse.connection import OwnConnection
    from forecasting.warehouse.pages import Page

SCRIPT = Path(__file__).resolve().parents[1] / "forecast.py"
NAME = f"bench_forecast_{os.getpid()}"
NUM_DAYS, HORIZON = 90, 7
READ_SERIES = 10_000  # for reading beside fetch, which needs 300 bytes a row for its answer
CHUNK = 1000  # series made by one statement
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", default="1000,10000,100000", help="sizes of the database (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of which the median is shown (%(default)s)")
    parser.add_argument("--sample", type=int, default=60, help="series that AutoETS forecasts (%(default)s)")
    arguments = parser.parse_args()
    sizes = sorted(int(size) for size in arguments.series.split(","))
    with made_database() as database:
        print_machine(database)
        growth, filled = {}, 0
        for size in sizes:
            asyncio.run(fill(database, filled, size))
            filled = size
            if size == max((one for one in sizes if one <= READ_SERIES), default=sizes[0]):
                page = compare_reading(database, repetitions=arguments.repetitions)
                compare_methods(page, repetitions=arguments.repetitions, sample=arguments.sample)
            growth[size] = [forecast(database) for _ in range(arguments.repetitions)]
        print_growth(growth)


@contextmanager
def made_database() -> "Iterator[DatabaseConfig]":
    """An empty one, dropped at the end."""
    server = load_config().database
    try:
        asyncio.run(execute(server, f"create database {NAME}"))
        yield place_of(server)
    finally:
        asyncio.run(execute(server, f"drop database if exists {NAME} with (force)"))


def place_of(server: DatabaseConfig) -> DatabaseConfig:
    """The database that was made there."""
    if server.embedded:  # which would fill it with the sample site, were it asked for by its name
        from forecasting.warehouse.embedded import find_server

        host = str(find_server(server.pgdata).socket_folder)
        return DatabaseConfig(embedded=False, host=host, name=NAME, password="")
    return replace(server, name=NAME)


@asynccontextmanager
async def connected(database: DatabaseConfig) -> "AsyncIterator[OwnConnection]":
    from forecasting.warehouse.connection import connect

    connection = await connect(database, writable=True, timeout_seconds=600)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(database: DatabaseConfig, statement: str, *values: object) -> None:
    async with connected(database) as connection:
        await connection.execute(statement, *values)


async def fill(database: DatabaseConfig, start: int, end: int) -> None:
    """With the series numbered start to end, and none of their forecasts."""
    from forecasting.warehouse.queries import load_query

    print(f"making {end - start:,} series of {NUM_DAYS} days ...", file=sys.stderr, flush=True)
    await execute(database, load_query("create_forecasting"))
    for first in range(start, end, CHUNK):
        await execute(database, FILL, first, min(first + CHUNK, end) - 1, NUM_DAYS)
    await execute(database, "vacuum analyze forecasting.daily")


def print_machine(database: DatabaseConfig) -> None:
    import torch

    async def ask() -> str:
        async with connected(database) as connection:
            return await connection.fetchval("select current_setting('server_version')")

    server = asyncio.run(ask())
    print(f"{describe_processor()}, torch {torch.__version__}, PostgreSQL {server} on the same machine", flush=True)


def compare_reading(database: DatabaseConfig, *, repetitions: int) -> "Page":
    """Prints rows a second of the bulk reader and of asyncpg's fetch, over one connection; returns some of the rows."""
    from forecasting.warehouse.connection import connect
    from forecasting.warehouse.daily import read_pages
    from forecasting.warehouse.pages import DailyQuery

    async def read(connection: "OwnConnection", query: DailyQuery) -> "list[Page]":
        return [page async for page in read_pages(connection, query, page_size=2048)]

    with asyncio.Runner() as loop:
        connection = loop.run(connect(database, timeout_seconds=600))
        everything, recent = DailyQuery(TODAY), DailyQuery(TODAY, num_days=NUM_DAYS)
        pages, num_rows = loop.run(read(connection, everything)), len(loop.run(fetch(connection)))
        if num_rows != sum(len(page.days) for page in pages):
            sys.exit("the bulk reader and fetch read different rows")
        bulk, last, fetched = take_turns(
            [
                lambda: loop.run(read(connection, everything)),
                lambda: loop.run(read(connection, recent)),
                lambda: loop.run(fetch(connection)),
            ],
            repetitions,
        )
        loop.run(connection.close())
    print(f"\nreading {num_rows:,} rows of {num_rows // NUM_DAYS:,} series")
    for name, seconds in (("in key order (panels)", bulk), ("last days of each (forecasts)", last), ("fetch", fetched)):
        print(f"  {name:32}{num_rows / seconds / 1e6:6.2f} M rows/s{fetched / seconds:8.1f} x fetch", flush=True)
    return pages[0]


async def fetch(connection: "OwnConnection") -> "list[Record]":
    return await connection.fetch(ROWS, TODAY)


def compare_methods(page: "Page", *, repetitions: int, sample: int) -> None:
    """Prints series a second of the base and of statsforecast's methods, on one core, days in memory."""
    import torch

    from forecasting.evaluation.statsforecast_baselines import check_installed, forecast_peer
    from forecasting.jobs.pages import SeriesLookup, forecast_page, load_version

    check_installed()
    torch.set_num_threads(1)
    model = load_version(load_config(["model_version=base"]))
    lookup = SeriesLookup(model, {}, database="")
    histories = list(page.values.reshape(-1, NUM_DAYS))
    methods = {
        "this, the base model": (lambda: forecast_page(model, lookup, page, days_ahead=HORIZON), len(page.keys)),
        "AutoETS": (lambda: forecast_peer("AutoETS", histories[:sample], horizon=HORIZON), sample),
        "SeasonalNaive": (lambda: forecast_peer("SeasonalNaive", histories, horizon=HORIZON), len(histories)),
    }
    for method, _ in methods.values():
        method()  # compiles what it needs
    medians = take_turns([method for method, _ in methods.values()], repetitions)
    print(f"\nforecasting {HORIZON} days with 80% and 90% bands on one core, {NUM_DAYS} days of history in memory")
    for (name, (_, number)), seconds in zip(methods.items(), medians, strict=True):
        print(f"  {name:32}{number / seconds:10,.0f} series/s   (of {number:,})", flush=True)


def take_turns(methods: list[Callable[[], object]], repetitions: int) -> list[float]:
    """The median seconds of each, one after another in each round, so that a busy machine is so for all."""
    rounds = []
    for _ in range(repetitions):
        seconds = []
        for method in methods:
            began = time.perf_counter()
            method()
            seconds.append(time.perf_counter() - began)
        rounds.append(seconds)
    return [median(of) for of in zip(*rounds, strict=True)]


def forecast(database: DatabaseConfig) -> Run:
    """Runs the script as people do, with nothing written before."""
    asyncio.run(execute(database, "truncate forecasting.forecasts"))
    where = {"DB_HOST": database.host, "DB_PORT": str(database.port), "DB_NAME": database.name}
    said = {**where, "DB_USER": database.user, "DB_PASSWORD": database.password}
    command = [sys.executable, SCRIPT, "--model", "base", "--days-ahead", str(HORIZON)]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen(command, env={**os.environ, **said}, stdout=output) as process:
            try:
                memory, server_memory = watch(process, find_postmaster(database))
            except BaseException:
                process.terminate()
                raise
        all_seconds = time.perf_counter() - began
        output.seek(0)
        text = output.read()
    if process.returncode:
        sys.exit(f"scripts/forecast.py ended with {process.returncode}")
    return Run(float(text.split(" in ")[1].split(" s: ")[0]), all_seconds, memory, server_memory)


def watch(process: "subprocess.Popen[bytes]", postmaster: psutil.Process | None) -> tuple[int, int]:
    """Until it ends: its peak of resident memory, and that of the server's processes, shared memory counted once."""
    memory = server_memory = 0
    while process.poll() is None:
        with suppress(OSError, TypeError):  # it has ended
            peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            memory = max(memory, 1024 * int(peak[1]))  # not wait4's, which counts what this process had when it forked
        if postmaster is not None:
            server_memory = max(server_memory, sum(map(share_of_memory, family(postmaster))))
        time.sleep(0.1)
    return memory, server_memory


def family(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def share_of_memory(process: psutil.Process) -> int:
    with suppress(psutil.Error, AttributeError):
        return process.memory_full_info().pss
    return 0


def find_postmaster(database: DatabaseConfig) -> psutil.Process | None:
    """None where the server is not on this machine."""

    async def ask() -> psutil.Process | None:
        async with connected(database) as connection:
            pid = connection.get_server_pid()
            return psutil.Process(pid).parent() if psutil.pid_exists(pid) else None

    return asyncio.run(ask()) if database.host.startswith("/") else None


def print_growth(growth: dict[int, list[Run]]) -> None:
    print(f"\nscripts/forecast.py, {HORIZON} days of each series, {NUM_DAYS} days of history in forecasting.daily")
    print(
        f"  {'series':>9}{'read to written':>17}{'series/s':>10}{'in all':>9}{'peak memory':>13}{'of the server':>15}"
    )
    for size, runs in growth.items():
        seconds, in_all = median(run.seconds for run in runs), median(run.all_seconds for run in runs)
        memory, server = (max(of) / MIB for of in zip(*((run.memory, run.server_memory) for run in runs), strict=True))
        print(f"  {size:9,}{seconds:15.1f} s{size / seconds:10,.0f}{in_all:7.1f} s{memory:9.0f} MiB{server:11.0f} MiB")


if __name__ == "__main__":
    run(main)
