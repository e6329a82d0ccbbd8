"""Measures what faults do to serving under 100 requests/s: failed requests, the longest wait, seconds to recovery.

Each fault strikes a server of its own, on made sites in a scratch folder that is removed at the end. Half of the
requests are for series that were asked for before, half for series that were not. Every forecast is compared with
what PredictionService answers in this process.
"""

import argparse
import itertools
import math
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Any, Self

import numpy as np
import orjson
import psutil
from faults import FAULTS, Fault, Scene
from harness import Process
from load_generator import CUT, HALF, NO_ANSWER, Load, Loader, Plan
from rich.table import Table
from serving_stack import (
    METRICS,
    UNLIMITED,
    Stack,
    Truth,
    ask_shim,
    made_stack,
    predict_here,
    read_health,
)

from forecasting.errors import CannotStart
from forecasting.runtime.machine import describe_processor
from forecasting.runtime.process import run
from forecasting.runtime.terminal import render

LEAD_SECONDS = 2.0  # of requests before the fault
DEADLINE_SECONDS = 30.0  # after which a client gives a request up
HEALTH_SECONDS = 0.3  # between two looks at it
TOLERANCE = 1.0  # float32's last digits differ between batch sizes: a number near .5 is rounded either way
NAMES = {NO_ANSWER: "no answer", CUT: "cut off", HALF: "half an answer"}
SiteMetric = tuple[str, str]


@dataclass(frozen=True)
class Outcome:
    """What became of the requests. `struck_at` is on their clock; `stale` marks old forecasts; `wrong` lists others."""

    load: Load
    struck_at: float
    stale: np.ndarray
    wrong: Sequence[str]
    problems: Sequence[str] = ()  # in /health

    @property
    def fresh(self) -> np.ndarray:
        return (self.load.status == 200) & ~self.stale

    def describe_recovery(self) -> str:
        """Seconds from the fault to the first request after which each gets a new forecast."""
        hurt = self.load.due[~self.fresh]
        if not len(hurt):
            return "0"
        after = self.load.due[self.fresh & (self.load.due > hurt.max())]
        return f"{after.min() - self.struck_at:.1f}" if len(after) else "not in this time"


def main() -> None:
    arguments, faults = parse_arguments()
    seconds = arguments.seconds + LEAD_SECONDS
    num_series = arguments.known + math.ceil(arguments.rate * seconds / 2)
    with made_stack(num_sites=math.ceil(num_series / len(METRICS))) as stack, Loader() as loader:
        truth = predict_here(stack, [(series.site, series.metric) for series in stack.card.series])
        stack.leave_database()
        plan = Plan(0, [], seconds, rate=arguments.rate, deadline_seconds=DEADLINE_SECONDS, keep_every=1)
        settings = (UNLIMITED, f"serving.workers={arguments.workers}")
        bench = Bench(stack, loader, plan, truth, settings, num_known=arguments.known, lasts=arguments.lasts)
        rate = f"{arguments.rate:g} requests/s"
        print(f"{describe_processor()}; {rate}, {arguments.seconds:g} s of them after each fault", flush=True)
        print(f"\n{render(tabulate({name: bench.measure(name) for name in faults}))}")


def parse_arguments() -> tuple[argparse.Namespace, Sequence[str]]:
    """Also the names of the faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100, help="requests a second (%(default)g)")
    parser.add_argument("--seconds", type=float, default=60, help="of requests after each fault (%(default)g)")
    parser.add_argument("--lasts", type=float, default=30, help="seconds that PostgreSQL hangs (%(default)g)")
    parser.add_argument(
        "--known", type=int, default=64, help="series that are asked for before the fault (%(default)d)"
    )
    parser.add_argument("--workers", type=int, default=0, help="TorchServe's workers (one a core)")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"some of: {', '.join(FAULTS)} (all)")
    parser.add_argument("--quick", action="store_true", help="4 s after each fault, PostgreSQL hangs for 2 s")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.lasts = 4.0, 2.0
    faults = arguments.only.split(",") if arguments.only else list(FAULTS)
    if unknown := set(faults) - set(FAULTS):
        parser.error(f"--only names {', '.join(sorted(unknown))}; there are: {', '.join(FAULTS)}.")
    return arguments, faults


@dataclass(frozen=True)
class Bench:
    """What all faults have in common. `lasts` is in seconds, for faults that pass by themselves."""

    stack: Stack
    loader: Loader
    plan: Plan
    truth: Truth
    settings: tuple[str, ...]
    num_known: int
    lasts: float

    def measure(self, name: str) -> Sequence[str]:
        """A row of the table; the reason if the fault could not be made."""
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            outcome = self.strike(FAULTS[name])
        except (CannotStart, psutil.Error, OSError, subprocess.CalledProcessError) as error:
            return [f"not measured: {str(error).partition(chr(10))[0]}"]
        print_details(outcome)
        return describe(outcome)

    def strike(self, fault: Fault) -> Outcome:
        """Starts serving, asks for the known series, then for all, and lets the fault strike meanwhile."""
        known, new = list(self.truth)[: self.num_known], list(self.truth)[self.num_known :]
        turns = [series for pair in zip(itertools.cycle(known), new, strict=False) for series in pair]
        with (
            fault.around(self.stack) as variables,
            self.stack.serve(*self.settings, *fault.settings, **variables) as server,
        ):
            plan = replace(self.plan, port=server.port)
            asked_before = [ask_shim(*series) for series in known]
            self.loader.run(replace(plan, requests=asked_before, rate=self.num_known, seconds=1.0))
            self.loader.start(replace(plan, requests=[ask_shim(*series) for series in turns]))
            time.sleep(LEAD_SECONDS)
            struck_at = time.perf_counter()
            with HealthWatch(server) as health:
                try:
                    fault.strike(Scene(self.stack, server, self.lasts))
                finally:
                    load = self.loader.wait()  # else the next fault would get it
        outcome = judge(load, struck_at - load.begun, turns, self.truth)
        return replace(outcome, problems=list(health.problems))


class HealthWatch:
    """What GET /health says while the fault lasts: its problems, in the order in which they showed."""

    def __init__(self, server: Process) -> None:
        self.problems: dict[str, None] = {}
        self._server = server
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._is_over.wait(HEALTH_SECONDS):
            with suppress(OSError, HTTPException, orjson.JSONDecodeError):
                self.problems |= dict.fromkeys(read_health(self._server)["problems"])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


def judge(load: Load, struck_at: float, turns: Sequence[SiteMetric], truth: Truth) -> Outcome:
    stale, wrong = np.zeros(len(load.status), bool), []
    for place, body in load.answers:
        if load.status[place] != 200:
            continue
        series = turns[load.question[place]]
        try:
            forecast = orjson.loads(body)
            stale[place] = forecast.get("stale", False)
            is_right = is_close(forecast["predictions"], truth[series])
            is_right &= (forecast["site"], forecast["metric"]) == series
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            is_right = False
            print(f"no forecast ({error!r})", file=sys.stderr)
        if not is_right:
            wrong.append(f"{series}: {body[:500]!r}")
    return Outcome(load, struck_at, stale, wrong)


def is_close(rows: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> bool:
    """Whether the days are the same, and the numbers as near as rounding allows."""
    return len(rows) == len(expected) and all(
        row.keys() == other.keys()
        and row["date"] == other["date"]
        and all(abs(row[name] - other[name]) <= TOLERANCE for name in row if name != "date")
        for row, other in zip(rows, expected, strict=True)
    )


def print_details(outcome: Outcome) -> None:
    """On stderr: the first wrong forecasts, what /health said, and the first failure of each kind."""
    load = outcome.load
    for wrong in outcome.wrong[:3]:
        print(f"  wrong: {wrong}", file=sys.stderr)
    first = {int(load.status[place]): body for place, body in reversed(load.answers) if load.status[place] != 200}
    for problem in outcome.problems:
        print(f"  /health: {problem}", file=sys.stderr)
    for status, body in first.items():
        print(f"  {NAMES.get(status, status)}: {body[:300].decode(errors='replace')}", file=sys.stderr)


def describe(outcome: Outcome) -> list[str]:
    load = outcome.load
    failed, is_known = load.status != 200, load.question % 2 == 0
    kinds = Counter(NAMES.get(int(status), str(status)) for status in load.status[failed])
    return [
        f"{len(load.status):,}",
        f"{failed.sum():,}",
        f"{(failed & is_known).sum():,}",
        f"{(failed & ~is_known).sum():,}",
        f"{outcome.stale.sum():,}",
        f"{len(outcome.wrong):,}",
        f"{load.took.max():.1f}",
        outcome.describe_recovery(),
        "yes" if outcome.problems else "no",
        ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()),
    ]


def tabulate(rows: Mapping[str, Sequence[str]]) -> Table:
    table = Table("fault", box=None, header_style="")
    for column in (
        "requests",
        "failed",
        "of known",
        "of new",
        "stale",
        "wrong",
        "longest wait, s",
        "s until well",
        "in /health",
    ):
        table.add_column(column, justify="right")
    table.add_column("how they failed")
    for name, row in rows.items():
        table.add_row(name, *row)
    return table


if __name__ == "__main__":
    run(main)
