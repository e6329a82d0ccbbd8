"""A large daily_metrics for bench_sources.py: how long updates take when nothing, a little or much has changed in it.

Its last day is yesterday, so that scripts/forecast.py finds days to read as it would.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import median

import psutil
from bench_forecast import time_script
from scratch_database import execute, find_postmaster

from forecasting.settings.loading import load_config
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.ingest import UpdateResult, update

NUM_DAYS = 400
TABLE = """
create table daily_metrics (
    id serial primary key, date date, site text, page_visits integer, unique_visitors integer,
    avg_time_on_page double precision, created_at timestamp default now(), updated_at timestamp default now(),
    unique (site, date)
)
"""
# Days are counted back from yesterday. $1 first and $2 last day, $3 sites.
ROWS = """
insert into daily_metrics (date, site, page_visits, unique_visitors, avg_time_on_page)
select
    current_date - 1 - back,
    'site ' || lpad(number::text, 6, '0'),
    made.visits,
    (0.6 * made.visits)::integer,
    60 + 20 * random()
from generate_series($1::integer, $2::integer, -1) as back
cross join generate_series(1, $3::integer) as number
cross join lateral (
    select (1000 * (1 + number % 17) * (1 + 0.3 * sin(back * 2 * pi() / 7)) * (0.9 + 0.2 * random()))::integer as visits
) as made
"""
CORRECTED = (
    "update daily_metrics set page_visits = page_visits + 1 where site < 'site 000011' and date = current_date - 90"
)
PURGED = "delete from daily_metrics where date < current_date - 200"


@dataclass(frozen=True)
class Effort:
    """Seconds of an update: by the clock, and of processors in this process and the server's."""

    seconds: float
    cpu_seconds: float
    updated: UpdateResult

    def __str__(self) -> str:
        rows = f"{self.updated.num_rows or 0:,} rows changed"
        return f"{self.seconds:6.2f} s, {self.cpu_seconds:6.2f} CPU s ({rows})"


async def measure_totals(database: DatabaseConfig, num_sites: int, *, repetitions: int) -> None:
    """Prints the first read, and updates after each kind of change."""
    config = replace(load_config(), database=database, source_database=None, cache_database=None)
    await execute(database, TABLE)
    await execute(database, ROWS, NUM_DAYS, 1, num_sites)
    await execute(database, "vacuum analyze daily_metrics")
    print(f"\ndaily_metrics with 3 metrics of {num_sites:,} sites on {NUM_DAYS} days", flush=True)

    async def time_update(*changes: tuple[str, Sequence[object]]) -> Effort:
        for statement, values in changes:
            await execute(database, statement, *values)
        return await measure_update(lambda: update(config), database)

    print(f"  first read                {await time_update()}", flush=True)
    await execute(database, "vacuum analyze forecasting.daily")
    again = [await time_update() for _ in range(repetitions)]
    print(f"  nothing new               {find_median(again)}")
    print(f"  a new day of each site    {await time_update((ROWS, (0, 0, num_sites)))}")
    print(f"  10 corrected values       {await time_update((CORRECTED, ()))}")
    print(f"  half of the rows purged   {await time_update((PURGED, ()))}", flush=True)


def measure_forecasts(database: DatabaseConfig, *, repetitions: int) -> None:
    """Prints how long scripts/forecast.py takes with that source, of which nothing is new."""
    runs = [time_script(database) for _ in range(repetitions)]
    seconds, in_all = median(run.seconds for run in runs), median(run.all_seconds for run in runs)
    print(f"  scripts/forecast.py, with nothing new: {seconds:.1f} s, the whole program {in_all:.1f} s", flush=True)


async def measure_update(work: Callable[[], Awaitable[UpdateResult]], database: DatabaseConfig) -> Effort:
    server = await asyncio.to_thread(find_postmaster, database)
    began, cpu = time.perf_counter(), time.process_time() + _read_cpu(server)
    updated = await work()
    return Effort(time.perf_counter() - began, time.process_time() + _read_cpu(server) - cpu, updated)


def _read_cpu(server: psutil.Process | None) -> float:
    """Of the server's processes, those that have ended too; 0 if the server is on another machine."""
    if server is None:
        return 0.0
    running = 0.0
    for process in server.children():
        with suppress(psutil.NoSuchProcess):  # it has just ended, and counts below
            running += sum(process.cpu_times()[:2])
    times = server.cpu_times()
    return times.children_user + times.children_system + running


def find_median(efforts: Sequence[Effort]) -> Effort:
    return sorted(efforts, key=lambda effort: effort.cpu_seconds)[len(efforts) // 2]
