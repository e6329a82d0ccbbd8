"""Measures judging the new day of every series, as scripts/forecast.py does after forecasting: CPU seconds by part.

In a database of its own on the configured server, with made series of --days days. One series in fifty drops to nothing
on the new day. CPU seconds, unlike the seconds of a clock, stay about the same on a busy machine.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import numpy as np
import psutil
import torch
from bench_forecast import CHUNK, FILL, NUM_DAYS, TODAY, print_machine
from harness import cpu_of
from jaxtyping import Float
from scratch_database import connected, execute, scratch_database

from forecasting.jobs import judge_all
from forecasting.jobs.pages import SeriesLookup, load_version
from forecasting.monitoring import daily_judge
from forecasting.predictor import Predictor, Windows
from forecasting.runtime.process import run
from forecasting.settings.loading import load_config
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.anomaly_store import read_days_to_compare, write_judged_days
from forecasting.warehouse.pages import DailyQuery
from forecasting.warehouse.schema import load_schema
from forecasting.warehouse.sites import SiteIndex

DROP = """
update forecasting.daily set value = 0
where day = (select max(day) from forecasting.daily) and substr(site, 6)::integer % 50 = 0
"""
ALL_BUT_ONE = """
insert into forecasting.judged (site, metric, until, judged_at)
select site, metric, max(day) - 1, now() from forecasting.daily group by site, metric
on conflict (site, metric) do update set until = excluded.until, judged_at = excluded.judged_at
"""
NONE_KEPT = "truncate forecasting.anomalies"
READING, FORECASTING, WRITING, ALL, SERVER = "reading", "forecasting", "writing", "in all", "{}, PostgreSQL"
FIELDS = [field.name for field in fields(Predictor)]


class Clock:
    """CPU seconds of this process and of PostgreSQL's that serves it, by part."""

    def __init__(self, server: psutil.Process | None) -> None:
        self.seconds: Counter[str] = Counter()
        self._server = server

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        ours, theirs = time.process_time(), self._read_server()
        yield
        self.seconds[part] += time.process_time() - ours
        self.seconds[SERVER.format(part)] += self._read_server() - theirs

    def _read_server(self) -> float:
        return cpu_of([self._server]) if self._server else 0.0

    def watch(self, part: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def watched(*arguments: Any, **named: Any) -> Any:  # Any: as it is called
            with self.measure(part):
                return await call(*arguments, **named)

        return watched


class WatchedPredictor(Predictor):
    """Counts what forecasting takes."""

    clock: Clock
    num_windows = 0

    def predict(self, windows: Windows) -> Float[np.ndarray, "windows days levels"]:
        type(self).num_windows += len(windows)
        with self.clock.measure(FORECASTING):
            return super().predict(windows)


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    with scratch_database() as database:
        print_machine(database)
        asyncio.run(fill(database, arguments.series, arguments.days))
        for _ in range(arguments.repetitions):
            asyncio.run(execute(database, f"{ALL_BUT_ONE}; {NONE_KEPT}"))
            report(asyncio.run(judge(database)), arguments.series)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=5000, help="%(default)s")
    parser.add_argument("--days", type=int, default=90, help="of each series (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=2, help="%(default)s")
    parser.add_argument("--quick", action="store_true", help="1,000 series, once")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.series, arguments.repetitions = 1000, 1
    return arguments


async def fill(database: DatabaseConfig, num_series: int, num_days: int) -> None:
    await execute(database, load_schema())
    for first in range(0, num_series, CHUNK):
        await execute(database, FILL, first, min(first + CHUNK, num_series) - 1, num_days)
    await execute(database, DROP)
    await execute(database, "vacuum analyze forecasting.daily")


async def judge(database: DatabaseConfig) -> Counter[str]:
    """CPU seconds by part, those in all, and the seconds of a clock."""
    version = load_version(load_config(["model_version=base"]))
    lookup = SeriesLookup(version, {}, SiteIndex(()), unnamed=None)
    async with connected(database) as connection:
        pid = connection.get_server_pid()
        clock = Clock(psutil.Process(pid) if database.host.startswith("/") else None)
        WatchedPredictor.clock, WatchedPredictor.num_windows = clock, 0
        predictor = WatchedPredictor(**{name: getattr(version.predictor, name) for name in FIELDS})
        daily_judge.read_days_to_compare = clock.watch(READING, read_days_to_compare)
        daily_judge.write_judged_days = clock.watch(WRITING, write_judged_days)
        began = time.perf_counter()
        with clock.measure(ALL):
            query = DailyQuery(TODAY, num_days=NUM_DAYS)
            await judge_all.judge_new_days(replace(version, predictor=predictor), lookup, connection, query)
        clock.seconds["clock"] = time.perf_counter() - began
    return clock.seconds


def report(seconds: Counter[str], num_series: int) -> None:
    ours = {part: seconds[part] for part in (READING, FORECASTING, WRITING)}
    ours["laying out, judging, wording"] = seconds[ALL] - sum(ours.values())
    server = seconds[SERVER.format(ALL)]
    print(f"\n{num_series:,} series, {WatchedPredictor.num_windows:,} windows: CPU seconds")
    for part, spent in {**ours, "PostgreSQL": server, "in all": seconds[ALL] + server}.items():
        print(f"  {part:32}{spent:8.2f}{1e6 * spent / num_series:10.0f} us a series")
    print(f"  {'by the clock':32}{seconds['clock']:8.2f}", flush=True)


if __name__ == "__main__":
    run(main)
