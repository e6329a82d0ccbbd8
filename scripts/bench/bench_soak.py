"""Serves for an hour at a quarter of the load that it bears, while days change: does the memory of any process grow?

On made sites in a scratch folder that is removed at the end. At the end each site's forecast is compared with what
PredictionService makes of the days as they are then.
"""

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import orjson
from bench_serving import METRIC, MIB, NUM_CLIENTS, TOLERANCE, read_medians, watch_memory
from harness import Process
from load_generator import Load, Loader, Plan, write_request
from rich.table import Table
from serving_stack import (
    KEY,
    UNLIMITED,
    Stack,
    ask_shim,
    ask_shim_multiple,
    made_stack,
    post_shim,
    predict_here,
)

from forecasting.runtime.machine import describe_processor
from forecasting.runtime.process import run
from forecasting.runtime.terminal import render
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import connect

SAMPLE_SECONDS = 10.0
RATE_SECONDS = 10.0  # in which the load is found that it bears
MINUTES_TO_SETTLE = 10.0  # after which memory should not grow any more
LIST_LENGTH = 16  # series of each request for several
CHANGE = """
update daily_metrics set page_visits = page_visits * 1.02 + 1
where site = $1 and date = (select max(date) from daily_metrics) - $2::integer
"""
NUM_CHANGED = 59  # days of a site that change
REFRESHES = 3  # after which a change must have been seen
PLAIN_PATHS = ("/health", "/ready", "/metrics", "/sites", "/model/info")


@dataclass
class Changes:
    """Changes one day of a site every so many seconds until it is told to end."""

    database: DatabaseConfig
    sites: Sequence[str]
    every_seconds: float
    number: int = 0

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._change()))

    async def _change(self) -> None:
        connection = await connect(self.database, writable=True)
        try:
            while not await asyncio.to_thread(self._ended.wait, self.every_seconds):
                await connection.execute(CHANGE, self.sites[self.number % len(self.sites)], self.number % NUM_CHANGED)
                self.number += 1
        finally:
            await connection.close()

    @contextmanager
    def going_on(self) -> Iterator["Changes"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._thread.join()


def main() -> None:
    arguments = parse_arguments()
    refresh = f"serving.refresh_seconds={arguments.change_seconds:g}"
    with made_stack(num_sites=arguments.sites) as stack, Loader() as loader, stack.serve(UNLIMITED, refresh) as shim:
        sites = sorted({card.site for card in stack.card.series})
        plan = Plan(shim.port, list(make_requests(sites)), RATE_SECONDS, NUM_CLIENTS)
        print(f"{describe_processor()}; {arguments.sites} sites of {len(stack.card.series)} series", flush=True)
        changes = Changes(stack.config.database, sites, arguments.change_seconds)
        with changes.going_on():
            rate = arguments.rate or max(1.0, loader.run(plan).rate / 4)
            print(f"{arguments.minutes:g} min at {rate:,.0f} requests/s", flush=True)
            loader.start(replace(plan, seconds=60 * arguments.minutes, rate=rate, keep_every=100_000))
            times, samples = watch_memory(stack, shim, loader, every=min(SAMPLE_SECONDS, 3 * arguments.minutes))
            load = loader.wait()
        print(f"\n{render(tabulate_load(load))}\n\n{render(tabulate_memory(times, samples))}", flush=True)
        time.sleep(REFRESHES * arguments.change_seconds)
        num_wrong = count_wrong(stack, shim, sites)
        print(f"\n{changes.number} changes of days; forecasts that miss one: {num_wrong} of {len(sites)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=256, help="of four series each (%(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="of load (%(default)s)")
    parser.add_argument("--rate", type=float, help="requests/s (a quarter of what 64 clients get)")
    parser.add_argument("--change-seconds", type=float, default=5, help="between two changed days (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="half a minute of load, a changed day each second")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.minutes, arguments.change_seconds = 0.5, 1.0
    return arguments


def make_requests(sites: Sequence[str]) -> Iterator[bytes]:
    """Of each kind that people ask, most for one site."""
    for place, site in enumerate(sites):
        yield ask_shim(site, METRIC)
        yield post_shim(site, METRIC)
        yield ask_shim(site, METRIC, days_ahead=30)
        if place % LIST_LENGTH == 0:
            yield ask_shim_multiple(sites[place : place + LIST_LENGTH])
            yield from (write_request("GET", path, key=KEY) for path in PLAIN_PATHS)


def tabulate_load(load: Load) -> Table:
    table = Table("requests", "failed", "p50, ms", "p99, ms", "longest, ms", box=None, header_style="")
    waits = (f"{load.milliseconds(percentile):,.1f}" for percentile in (50, 99, 100))
    table.add_row(f"{len(load.took):,}", f"{load.num_failed:,}", *waits)
    for place, body in load.answers:
        if load.status[place] != 200:
            print(f"failed: {load.status[place]} {body[:300]!r}", file=sys.stderr)
            break
    return table


def tabulate_memory(times: Sequence[float], samples: Sequence[Mapping[str, int]]) -> Table:
    """MiB of each part as the load began, when caches are full, and at the end; medians of a minute. Parts, since a
    process that was replaced goes on as another one.
    """
    settled = min(MINUTES_TO_SETTLE * 60, times[-1] / 3)
    minute = min(60.0, times[-1] / 6)
    ends = {"first minute": (0.0, minute), f"after {settled / 60:.3g} min": (settled, settled + minute)}
    ends["last minute"] = (times[-1] - minute, times[-1])
    table = Table("memory, MiB", *ends, box=None, header_style="")
    at = np.array(times)
    for part in dict.fromkeys(part_of(name) for name in samples[0]):
        held = np.array([sum(sample[name] for name in sample if part_of(name) == part) for sample in samples]) / MIB
        medians = (np.median(held[(at >= begin) & (at <= end)]) for begin, end in ends.values())
        table.add_row(part, *(f"{median:,.0f}" for median in medians))
    return table


def part_of(name: str) -> str:
    return name.partition(" (process")[0]


def count_wrong(stack: Stack, shim: Process, sites: Sequence[str]) -> int:
    """Sites whose forecast is not of the days as they are now."""
    truth = predict_here(stack, [(site, METRIC) for site in sites])
    plan = Plan(shim.port, [ask_shim(site, METRIC) for site in sites], RATE_SECONDS, NUM_CLIENTS, keep_every=1)
    with Loader() as loader:
        load = loader.run(plan)
    good = [(load.question[place], body) for place, body in load.answers if load.status[place] == 200]
    answered = {sites[question]: read_medians(orjson.loads(body)) for question, body in good}
    return sum(not is_near(answered.get(site, []), truth[site, METRIC]) for site in sites)


def is_near(medians: Sequence[int], rows: Sequence[Mapping[str, int]]) -> bool:
    expected = [row["predicted_visits"] for row in rows]
    return len(medians) == len(expected) and bool(np.abs(np.subtract(medians, expected)).max() <= TOLERANCE)


if __name__ == "__main__":
    run(main)
