"""Measures what faults do to serving under 100 requests/s: failures, the longest wait, and when all is well again.

Each fault meets a serving of its own, on made sites in a scratch folder that is removed at the end. Half of the
requests are for series that were answered before, half for series that nobody has asked for. Every answer of 200 is
held against what PredictionService says.
"""

import argparse
import itertools
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

try:
    import numpy as np
    import orjson
    import psutil
    from bench_stack import (
        METRICS,
        Place,
        Program,
        ask_shim,
        find_parts,
        find_postgres,
        find_torchserve,
        made_place,
        promote_another,
        send_all,
        serving,
        tell_truth,
    )
    from load_generator import CUT, HALF, NO_ANSWER, Load, Loader, Plan
    from rich.table import Table

    from forecasting.errors import CannotStart
    from forecasting.runtime import describe_processor, render, run
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}. Set everything up with `make demo`, or: pip install -e . -c constraints.txt")

UNLIMITED = "guard.requests_per_second=0"
KNOWN = 64  # series that are asked for before the fault
LEAD_SECONDS = 2.0  # of requests before the fault
DEADLINE_SECONDS = 30.0  # of a request: after it nobody waits any more
DISK_MIB = 64  # of the small disk that is filled
TOLERANCE = 1.0  # float32's last digits may differ between batch sizes: a number near .5 is rounded either way
NAMES = {NO_ANSWER: "no answer", CUT: "cut off", HALF: "half an answer"}
Asked = tuple[str, str]  # site and metric
Rows = list[dict[str, Any]]  # json's own types
Truth = dict[Asked, Rows]


@dataclass(frozen=True)
class Scene:
    """What a fault strikes, and how long it is to last where it does not last for good."""

    place: Place
    program: Program
    lasts: float

    @property
    def java(self) -> list[psutil.Process]:
        return find_parts(self.place, self.program)["TorchServe, Java"]

    @property
    def workers(self) -> list[psutil.Process]:
        return find_parts(self.place, self.program)["TorchServe, workers"]

    @property
    def postgres(self) -> list[psutil.Process]:
        return find_postgres(self.place.folder)


def fill_disk(scene: Scene) -> None:
    """Where TorchServe has its logs and temporary files, and everything else of its own."""
    with suppress(OSError), (find_torchserve(scene.program).run_dir / "filling").open("wb", buffering=0) as file:
        while file.write(bytes(2**16)):
            pass


def hang_for_a_while(scene: Scene) -> None:
    stopped = scene.postgres
    send_all(stopped, SIGSTOP)
    try:
        time.sleep(scene.lasts)
    finally:
        send_all(stopped, SIGCONT)


FAULTS: dict[str, Callable[[Scene], None]] = {
    "nothing": lambda scene: None,
    "version promoted": lambda scene: promote_another(scene.place, scene.program),
    "worker killed": lambda scene: send_all(scene.workers[:1], SIGKILL),
    "all workers killed": lambda scene: send_all(scene.workers, SIGKILL),
    "Java killed": lambda scene: send_all(scene.java, SIGKILL),
    "PostgreSQL killed": lambda scene: send_all(scene.postgres, SIGKILL),
    "log disk full": fill_disk,
    "worker hangs": lambda scene: send_all(scene.workers[:1], SIGSTOP),
    "Java hangs": lambda scene: send_all(scene.java, SIGSTOP),
    "PostgreSQL hangs": hang_for_a_while,
}


@dataclass(frozen=True)
class Seen:
    """What came of the requests; `struck`: when, on their clock."""

    load: Load
    struck: float
    stale: np.ndarray
    wrong: Sequence[str]

    @property
    def fresh(self) -> np.ndarray:
        return (self.load.status == 200) & ~self.stale

    def seconds_until_well(self) -> str:
        """Until the first request after which each has a new answer."""
        hurt = self.load.due[~self.fresh]
        if not len(hurt):
            return "0"
        after = self.load.due[self.fresh & (self.load.due > hurt.max())]
        return f"{after.min() - self.struck:.1f}" if len(after) else "not in this time"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100, help="requests a second (%(default)g)")
    parser.add_argument("--seconds", type=float, default=60, help="of requests after each fault (%(default)g)")
    parser.add_argument("--lasts", type=float, default=30, help="seconds that PostgreSQL hangs (%(default)g)")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(FAULTS)}; all where none is named")
    parser.add_argument("--quick", action="store_true", help="4 s after each fault, PostgreSQL hangs for 2: to try it")
    said = parser.parse_args()
    if said.quick:
        said.seconds, said.lasts = 4.0, 2.0
    chosen = said.only.split(",") if said.only else list(FAULTS)
    if unknown := set(chosen) - set(FAULTS):
        parser.error(f"--only names {', '.join(sorted(unknown))}; there are: {', '.join(FAULTS)}.")
    seconds = said.seconds + LEAD_SECONDS
    num_series = KNOWN + math.ceil(said.rate * seconds / 2)
    with made_place(num_sites=math.ceil(num_series / len(METRICS))) as place, Loader() as loader:
        series = [(one.site, one.metric) for one in place.card.series]
        truth = tell_truth(place, series)
        place.leave_database()
        plan = Plan(0, [], seconds, rate=said.rate, deadline_seconds=DEADLINE_SECONDS, keep_every=1)
        print(
            f"{describe_processor()}; {said.rate:g} requests/s, {said.seconds:g} s of them after each fault", flush=True
        )
        table = make_table()
        for name in chosen:
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                table.add_row(name, *describe(meet(name, place, loader, plan, truth, lasts=said.lasts)))
            except (CannotStart, psutil.Error, OSError, subprocess.CalledProcessError) as error:
                table.add_row(name, f"not measured: {error}")
        print(f"\n{render(table)}")


def meet(name: str, place: Place, loader: Loader, plan: Plan, truth: Truth, *, lasts: float) -> Seen:
    """Starts serving, asks for the known series, and then for all, while the fault strikes."""
    series = list(truth)
    known, new = series[:KNOWN], series[KNOWN:]
    turns = [one for pair in zip(itertools.cycle(known), new, strict=False) for one in pair]
    with (
        small_disk(place, needed=FAULTS[name] is fill_disk) as temporary,
        serving(place, UNLIMITED, temporary=temporary) as program,
    ):
        plan = replace(plan, port=program.port)
        loader.run(replace(plan, requests=[ask_shim(*one) for one in known], rate=KNOWN, seconds=1.0))
        loader.start(replace(plan, requests=[ask_shim(*one) for one in turns]))
        time.sleep(LEAD_SECONDS)
        struck = time.perf_counter()
        try:
            FAULTS[name](Scene(place, program, lasts))
        finally:
            load = loader.wait()  # else the next would be given this one
    return look(load, struck - load.begun, turns, truth)


@contextmanager
def small_disk(place: Place, *, needed: bool) -> Iterator[Path | None]:
    """A disk in memory that can be filled without harm to anything else. Only root may mount one."""
    if not needed:
        yield None
        return
    folder = place.folder / "small"
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "bench", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def look(load: Load, struck: float, turns: Sequence[Asked], truth: Truth) -> Seen:
    stale, wrong = np.zeros(len(load.status), bool), []
    for place, body in load.answers:
        if load.status[place] != 200:
            continue
        asked = turns[load.question[place]]
        try:
            content = orjson.loads(body)
            stale[place] = content.get("stale", False)
            right = is_same(content["predictions"], truth[asked]) and (content["site"], content["metric"]) == asked
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            right = False
            print(f"no forecast ({error!r})", file=sys.stderr)
        if not right:
            wrong.append(f"{asked}: {body[:500]!r}")
    return Seen(load, struck, stale, wrong)


def is_same(said: Rows, expected: Rows) -> bool:
    """The same days, and each number as near as rounding allows."""
    return len(said) == len(expected) and all(
        one.keys() == other.keys()
        and one["date"] == other["date"]
        and all(abs(one[name] - other[name]) <= TOLERANCE for name in one if name != "date")
        for one, other in zip(said, expected, strict=True)
    )


def make_table() -> Table:
    table = Table("fault", box=None, header_style="")
    for column in ("requests", "failed", "of known", "of new", "stale", "wrong", "longest wait, s", "s until well"):
        table.add_column(column, justify="right")
    table.add_column("how they failed")
    return table


def describe(seen: Seen) -> list[str]:
    """A row of the table; what was wrong, and what the first failure of each kind said, to stderr."""
    load = seen.load
    failed, is_known = load.status != 200, load.question % 2 == 0
    for wrong in seen.wrong[:3]:
        print(f"  wrong: {wrong}", file=sys.stderr)
    said = {int(load.status[place]): body for place, body in reversed(load.answers) if load.status[place] != 200}
    for status, body in said.items():
        print(f"  {NAMES.get(status, status)}: {body[:300].decode(errors='replace')}", file=sys.stderr)
    kinds = Counter(NAMES.get(int(status), str(status)) for status in load.status[failed])
    return [
        f"{len(load.status):,}",
        f"{failed.sum():,}",
        f"{(failed & is_known).sum():,}",
        f"{(failed & ~is_known).sum():,}",
        f"{seen.stale.sum():,}",
        f"{len(seen.wrong):,}",
        f"{load.took.max():.1f}",
        seen.seconds_until_well(),
        ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()),
    ]


if __name__ == "__main__":
    run(main)
