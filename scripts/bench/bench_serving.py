"""Measures serving side by side in one run: the routes, TorchServe directly, and the model in a plain FastAPI process.

On made sites in a scratch folder that is removed at the end. Rates and latencies are medians of --repetitions runs,
taken in turns; every answer's status is seen, and of each 64 one is held against what PredictionService says.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

try:
    import numpy as np
    import orjson
    import psutil
    import torch
    from bench_stack import (
        MIB,
        Place,
        Program,
        ask_plain,
        ask_shim,
        ask_shim_multiple,
        ask_torchserve,
        find_parts,
        find_torchserve,
        made_place,
        memory_of,
        post_shim,
        running,
        serving,
        tell_truth,
    )
    from load_generator import Load, Loader, Plan, measure_ceiling
    from rich.table import Table

    from forecasting.artifact import PROGRAM
    from forecasting.predictor import Window
    from forecasting.runtime import describe_processor, render, run
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}. Set everything up with `make demo`, or: pip install -e . -c constraints.txt")

METRIC = "page_visits"
NUM_CLIENTS, NUM_LISTS, LIST_LENGTH = 64, 4, 256
FIRST_PER_SECOND = 400  # more than one client gets answers for
UNLIMITED = "guard.requests_per_second=0"
SAMPLE_SECONDS = 10.0
MIN_GROWTH_SECONDS = 120  # that a slope of memory needs to be told
ROUNDING = 1.0  # float32's last digits may differ between batch sizes: a median near .5 is rounded either way


@dataclass(frozen=True)
class Case:
    """What is measured: a plan, how many series each of its requests asks for, and what is wrong with an answer."""

    name: str
    server: str
    plan: Plan
    check: Callable[[int, bytes], str | None]
    num_series: int = 1


@dataclass(frozen=True)
class Questions:
    """A request each site, and the medians that answer it."""

    sites: Sequence[str]
    instances: Sequence[Window]
    truth: np.ndarray

    @property
    def lists(self) -> list[slice]:
        """Without a site in two of them: equal questions at the same time are answered once, which would flatter."""
        return [slice(begin, begin + LIST_LENGTH) for begin in range(0, len(self.sites) - LIST_LENGTH + 1, LIST_LENGTH)]

    def check_answer(self, question: int, body: bytes) -> str | None:
        return self._compare(question, [row["predicted_visits"] for row in orjson.loads(body)["predictions"]])

    def check_lists(self, question: int, body: bytes) -> str | None:
        content = orjson.loads(body)
        said = [[row["predicted_visits"] for row in of[METRIC]["predictions"]] for of in content.values()]
        asked = self.lists[question]
        return self._compare(asked, said) if list(content) == list(self.sites[asked]) else "other sites than asked for"

    def check_quantiles(self, question: int, body: bytes) -> str | None:
        return self._compare(question, np.array(orjson.loads(body)["quantiles"])[0, :, 3])

    def check_quantile_lists(self, question: int, body: bytes) -> str | None:
        return self._compare(self.lists[question], np.array(orjson.loads(body)["quantiles"])[:, :, 3])

    def _compare(self, place: int | slice, said: object) -> str | None:
        expected, found = self.truth[place], np.array(said, float)
        near = found.shape == expected.shape and np.abs(found - expected).max() <= ROUNDING
        return None if near else f"{found.tolist()} instead of {expected.tolist()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=1024, help="sites in the database, 256 at least (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="that a figure is measured for (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of which the median is shown (%(default)s)")
    parser.add_argument("--minutes", type=float, default=0, help="of half the load, twice; 0: none (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="2 s a figure, once, and 6 s of half the load: to try it")
    said = parser.parse_args()
    if said.sites < LIST_LENGTH:
        parser.error(f"--sites is {said.sites}; /predict/multiple is asked for {LIST_LENGTH} series.")
    if said.quick:
        said.seconds, said.repetitions, said.minutes = 2.0, 1, 0.1
    ceiling = measure_ceiling(min(3.0, said.seconds))
    with made_place(num_sites=said.sites) as place, Loader() as loader:
        questions = make_questions(place)
        print(f"{describe_processor()}, torch {torch.__version__}; load, serving and PostgreSQL share them")
        print(
            f"{said.sites} sites of 120 days, base weights (hidden 64); {said.seconds:g} s a figure, median of "
            f"{said.repetitions}; the load generator alone, 64 clients: {ceiling.rate:,.0f} requests/s, "
            f"{ceiling.cpu_seconds / len(ceiling.took) * 1e6:.0f} us of CPU each",
            flush=True,
        )
        measure_cached(place, questions, loader, said)
        measure_computed(place, questions, loader, said)


def make_questions(place: Place) -> Questions:
    asked = [(one, of) for one, of in zip(place.instances, place.card.series, strict=True) if of.metric == METRIC]
    sites = [of.site for _, of in asked]
    truth = tell_truth(place, [(site, METRIC) for site in sites])
    medians = [[row["predicted_visits"] for row in truth[site, METRIC]] for site in sites]
    return Questions(sites, [one for one, _ in asked], np.array(medians, float))


def measure_cached(place: Place, of: Questions, loader: Loader, said: argparse.Namespace) -> None:
    """As it is started by default: answers that did not change come from memory."""
    with serving(place, UNLIMITED) as shim:
        gets = Plan(shim.port, [ask_shim(site, METRIC) for site in of.sites], said.seconds, NUM_CLIENTS)
        posts = replace(gets, requests=[post_shim(site, METRIC) for site in of.sites])
        cases = [
            Case(f"GET /predict/page-visits, {NUM_CLIENTS} clients", "shim, cached", gets, of.check_answer),
            Case(f"POST /predict, {NUM_CLIENTS} clients", "shim, cached", posts, of.check_answer),
        ]
        loads = take_turns(cases, loader, repetitions=said.repetitions)
        print(f"\n{render(tabulate(cases, loads))}\n\n{render(tabulate_memory(find_parts(place, shim)))}", flush=True)
        if said.minutes:
            soak(place, shim, half_of(cases[0], loads[0], said.minutes), loader)


def measure_computed(place: Place, of: Questions, loader: Loader, said: argparse.Namespace) -> None:
    """Each answer by the model; the days that it is made from are kept in memory."""
    program = place.config.model_dir / place.card.version / PROGRAM
    with (
        serving(place, UNLIMITED, "serving.cache_mb=0") as shim,
        running(place, "bench/plain_server.py", str(program)) as plain,
    ):
        plain.url = plain.wait_for(r"served on (http://\S+)")[1]
        torchserve = find_torchserve(shim)
        lone = {
            "shim": Plan(shim.port, [ask_shim(site, METRIC) for site in of.sites], said.seconds),
            "TorchServe": Plan(
                torchserve.port, [ask_torchserve([one], key=torchserve.key) for one in of.instances], said.seconds
            ),
            "plain FastAPI": Plan(plain.port, [ask_plain([one]) for one in of.instances], said.seconds),
        }
        begin = Case("one series, 1 client, days read too", "shim", first_asked(lone["shim"]), of.check_answer)
        print(f"\n{render(tabulate([begin], [[loader.run(begin.plan)]]))}", flush=True)
        lists = {
            "shim": [ask_shim_multiple(of.sites[asked]) for asked in of.lists],
            "TorchServe": [ask_torchserve(of.instances[asked], key=torchserve.key) for asked in of.lists],
            "plain FastAPI": [ask_plain(of.instances[asked]) for asked in of.lists],
        }
        cases = []
        for clients in (NUM_CLIENTS, 1):
            name = f"one series, {clients} client{'s' * (clients > 1)}"
            for server, plan in lone.items():
                check = of.check_answer if server == "shim" else of.check_quantiles
                cases.append(Case(name, server, replace(plan, clients=clients), check))
        for server, requests in lists.items():
            check = of.check_lists if server == "shim" else of.check_quantile_lists
            plan = replace(lone[server], requests=requests, clients=NUM_LISTS)
            cases.append(Case(f"{LIST_LENGTH} series, {NUM_LISTS} clients", server, plan, check, LIST_LENGTH))
        loads = take_turns(cases, loader, repetitions=said.repetitions)
        parts = {**find_parts(place, shim), "plain FastAPI": [psutil.Process(plain.process.pid)]}
        print(f"\n{render(tabulate(cases, loads))}\n{tell_share(cases, loads)}\n\n{render(tabulate_memory(parts))}")
        sys.stdout.flush()
        if said.minutes:
            soak(place, shim, half_of(cases[0], loads[0], said.minutes), loader)


def first_asked(plan: Plan) -> Plan:
    """By one client, so shortly that no site is asked for twice: the days of none have been read before."""
    return replace(plan, seconds=min(plan.seconds, len(plan.requests) / FIRST_PER_SECOND), clients=1)


def take_turns(cases: Sequence[Case], loader: Loader, *, repetitions: int) -> list[list[Load]]:
    """Of each case its runs, one case after another in each round, so that a busy machine is so for all."""
    for case in cases:
        loader.run(replace(case.plan, seconds=min(2.0, case.plan.seconds)))
    rounds = [[loader.run(case.plan) for case in cases] for _ in range(repetitions)]
    return [list(runs) for runs in zip(*rounds, strict=True)]


def tabulate(cases: Sequence[Case], loads: Sequence[Sequence[Load]]) -> Table:
    columns = (
        "requests/s",
        "series/s",
        "p50, ms",
        "p99, ms",
        "longest, ms",
        "requests",
        "failed",
        "looked at",
        "wrong",
    )
    table = Table("asked for", "of", box=None, header_style="")
    for column in columns:
        table.add_column(column, justify="right")
    for case, runs in zip(cases, loads, strict=True):
        table.add_row(case.name, case.server, *describe_runs(case, runs))
    return table


def describe_runs(case: Case, runs: Sequence[Load]) -> list[str]:
    rate = median(one.rate for one in runs)
    faults = [fault for one in runs for fault in find_faults(case, one)]
    tell_first(case, runs, faults)
    return [
        f"{rate:,.0f}",
        f"{rate * case.num_series:,.0f}",
        *(f"{median(one.milliseconds(percentile) for one in runs):.1f}" for percentile in (50, 99)),
        f"{max(one.milliseconds(100) for one in runs):.0f}",
        f"{sum(len(one.took) for one in runs):,}",
        f"{sum(one.num_failed for one in runs):,}",
        f"{sum(len(one.answers) for one in runs):,}",
        f"{len(faults):,}",
    ]


def find_faults(case: Case, load: Load) -> list[str]:
    """What is wrong with the good answers that were kept."""
    faults = (case.check(int(load.question[place]), body) for place, body in load.answers if load.status[place] == 200)
    return [fault for fault in faults if fault is not None]


def tell_first(case: Case, runs: Sequence[Load], faults: Sequence[str]) -> None:
    """On stderr, the first failure and the first wrong answer."""
    failures = [
        f"{one.status[place]} {body[:300]!r}" for one in runs for place, body in one.answers if one.status[place] != 200
    ]
    for what, found in (("failed", failures), ("wrong", faults)):
        if found:
            print(f"{case.name}, {case.server}: {what}: {found[0][:500]}", file=sys.stderr)


def tell_share(cases: Sequence[Case], loads: Sequence[Sequence[Load]]) -> str:
    lists = {
        case.server: median(one.rate for one in runs)
        for case, runs in zip(cases, loads, strict=True)
        if case.num_series > 1
    }
    share = lists["shim"] / lists["TorchServe"] if lists["TorchServe"] else float("nan")
    return f"{LIST_LENGTH} series: the shim gives {share:.0%} of TorchServe's own series/s"


def tabulate_memory(parts: dict[str, list[psutil.Process]]) -> Table:
    table = Table("memory after it", "processes", "MiB", box=None, header_style="")
    for name, processes in parts.items():
        table.add_row(name, str(len(processes)), f"{memory_of(processes) / MIB:,.0f}")
    return table


def half_of(case: Case, runs: Sequence[Load], minutes: float) -> Case:
    """Half of what it gave, each request at its time whatever the answers do."""
    rate = max(1.0, median(one.rate for one in runs) / 2)
    plan = replace(case.plan, seconds=60 * minutes, rate=rate, keep_every=1000 if minutes > 1 else 64)
    return replace(case, name=f"{minutes:g} min at {rate:,.0f}/s", plan=plan)


def soak(place: Place, shim: Program, case: Case, loader: Loader) -> None:
    """Prints what came of it, and what the processes held meanwhile."""
    loader.start(case.plan)
    times, samples = watch_memory(place, shim, loader, every=min(SAMPLE_SECONDS, case.plan.seconds / 20))
    print(f"\n{render(tabulate([case], [[loader.wait()]]))}\n\n{render(tabulate_growth(times, samples))}", flush=True)


def watch_memory(
    place: Place, shim: Program, loader: Loader, *, every: float
) -> tuple[list[float], list[dict[str, int]]]:
    """Seconds, and bytes of each process, PostgreSQL's together: they come and go."""
    began, times, samples = time.monotonic(), [], []
    while not loader.is_done:
        parts = find_parts(place, shim)
        times.append(time.monotonic() - began)
        samples.append({"PostgreSQL": memory_of(parts.pop("PostgreSQL"))})
        for part, processes in parts.items():
            for one in sorted(processes, key=lambda process: process.pid):
                samples[-1][f"{part} (process {one.pid})"] = memory_of([one])
        time.sleep(max(0.0, every * len(times) - (time.monotonic() - began)))
    return times, samples


def tabulate_growth(times: Sequence[float], samples: Sequence[dict[str, int]]) -> Table:
    table = Table("memory", "first minute, MiB", "last minute, MiB", "growth, MiB/hour", box=None, header_style="")
    minute = min(60.0, times[-1] / 3)
    for name in dict.fromkeys(name for sample in samples for name in sample):
        seen = [(at, sample[name] / MIB) for at, sample in zip(times, samples, strict=True) if name in sample]
        at, held = np.array(seen).T
        first, last = held[at <= at[0] + minute], held[at >= at[-1] - minute]
        steady = at >= at[0] + minute  # caches fill in the first one
        told = "too short to tell"
        if at[-1] - at[0] - minute >= MIN_GROWTH_SECONDS:
            told = f"{np.polyfit(at[steady], held[steady], 1)[0] * 3600:+.1f}"
        table.add_row(name, f"{np.median(first):.1f}", f"{np.median(last):.1f}", told)
    return table


if __name__ == "__main__":
    run(main)
