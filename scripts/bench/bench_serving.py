"""Measures serving side by side: the routes, TorchServe asked directly, and the model in a plain FastAPI process.

On made sites in a scratch folder that is removed at the end. Rates and latencies are medians of --repetitions runs,
taken in turns. The status of every answer is counted; one in 64 is compared with what PredictionService answers.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import orjson
import psutil
import torch
from harness import Process, cpu_of, memory_of
from load_generator import Load, Loader, Plan, measure_ceiling
from rich.table import Table
from serving_stack import (
    UNLIMITED,
    Stack,
    ask_plain,
    ask_shim,
    ask_shim_multiple,
    ask_torchserve,
    find_parts,
    find_torchserve,
    made_stack,
    post_shim,
    predict_here,
)

from forecasting.artifact import PROGRAM
from forecasting.model.forecaster import MEDIAN
from forecasting.predictor import Window
from forecasting.runtime.machine import describe_processor
from forecasting.runtime.process import run
from forecasting.runtime.terminal import render

METRIC = "page_visits"
NUM_CLIENTS, NUM_LISTS, LIST_LENGTH = 64, 4, 256
MONTH_DAYS = 30
FIRST_PER_SECOND = 400  # more than one client gets answers for
SAMPLE_SECONDS = 10.0
MIN_GROWTH_SECONDS = 120  # that a slope of memory needs to mean anything
TOLERANCE = 1.0  # float32's last digits differ between batch sizes: a median near .5 is rounded either way
MIB = 2**20
COLUMNS = ("requests/s", "series/s", "p50, ms", "p99, ms", "longest, ms", "requests", "failed", "looked at", "wrong")


@dataclass(frozen=True)
class Case:
    """What is measured: a plan, how many series each request asks for, and a check that says what is wrong."""

    name: str
    server: str
    plan: Plan
    check: Callable[[int, bytes], str | None]
    num_series: int = 1


@dataclass(frozen=True)
class Questions:
    """A request for each site, and the right medians."""

    sites: Sequence[str]
    windows: Sequence[Window]
    truth: np.ndarray

    @property
    def lists(self) -> list[slice]:
        """No site is in two of them: equal questions at the same time are answered once, which would flatter."""
        return [slice(begin, begin + LIST_LENGTH) for begin in range(0, len(self.sites) - LIST_LENGTH + 1, LIST_LENGTH)]

    def check_answer(self, question: int, body: bytes) -> str | None:
        return self._compare(question, read_medians(orjson.loads(body)))

    def check_month(self, question: int, body: bytes) -> str | None:
        """A forecast of MONTH_DAYS begins with the one of seven days."""
        medians = read_medians(orjson.loads(body))
        if len(medians) != MONTH_DAYS:
            return f"{len(medians)} days instead of {MONTH_DAYS}"
        return self._compare(question, medians[: self.truth.shape[1]])

    def check_lists(self, question: int, body: bytes) -> str | None:
        by_site, places = orjson.loads(body), self.lists[question]
        if list(by_site) != list(self.sites[places]):
            return "other sites than asked for"
        return self._compare(places, [read_medians(metrics[METRIC]) for metrics in by_site.values()])

    def check_quantiles(self, question: int, body: bytes) -> str | None:
        return self._compare(question, np.array(orjson.loads(body)["quantiles"])[0, :, MEDIAN])

    def check_quantile_lists(self, question: int, body: bytes) -> str | None:
        return self._compare(self.lists[question], np.array(orjson.loads(body)["quantiles"])[:, :, MEDIAN])

    def _compare(self, place: int | slice, medians: object) -> str | None:
        expected, answered = self.truth[place], np.array(medians, float)
        is_near = answered.shape == expected.shape and np.abs(answered - expected).max() <= TOLERANCE
        return None if is_near else f"{answered.tolist()} instead of {expected.tolist()}"


def read_medians(forecast: Mapping[str, Any]) -> list[int]:  # Any: json's own types
    """Of each day of a forecast, as the routes answer it."""
    return [row["predicted_visits"] for row in forecast["predictions"]]


def main() -> None:
    arguments = parse_arguments()
    ceiling = measure_ceiling(min(3.0, arguments.seconds))
    with made_stack(num_sites=arguments.sites) as stack, Loader() as loader:
        questions = make_questions(stack)
        print(f"{describe_processor()}, torch {torch.__version__}; load, serving and PostgreSQL share them")
        print(
            f"{arguments.sites} sites of 120 days, base weights (hidden 64); {arguments.seconds:g} s a figure, median "
            f"of {arguments.repetitions}; the load generator alone, 64 clients: {ceiling.rate:,.0f} requests/s, "
            f"{ceiling.cpu_seconds / len(ceiling.took) * 1e6:.0f} us of CPU each",
            flush=True,
        )
        measure_cached(stack, questions, loader, arguments)
        measure_computed(stack, questions, loader, arguments)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=1024, help=f"at least {LIST_LENGTH} (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="that each figure is measured for (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of which the median is shown (%(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="of TorchServe (serve.py's default)")
    parser.add_argument("--minutes", type=float, default=0, help="of half the load afterwards, twice (none)")
    parser.add_argument("--quick", action="store_true", help="2 s a figure, once, and 6 s of half the load")
    arguments = parser.parse_args()
    if arguments.sites < LIST_LENGTH:
        parser.error(f"--sites is {arguments.sites}; /predict/multiple is asked for {LIST_LENGTH} series.")
    if arguments.quick:
        arguments.seconds, arguments.repetitions, arguments.minutes = 2.0, 1, 0.1
    return arguments


def workers_of(arguments: argparse.Namespace) -> list[str]:
    return [f"serving.workers={arguments.workers}"] if arguments.workers else []


def make_questions(stack: Stack) -> Questions:
    pairs = [
        (card.site, window)
        for card, window in zip(stack.card.series, stack.windows, strict=True)
        if card.metric == METRIC
    ]
    sites = [site for site, _ in pairs]
    truth = predict_here(stack, [(site, METRIC) for site in sites])
    medians = [[row["predicted_visits"] for row in truth[site, METRIC]] for site in sites]
    return Questions(sites, [window for _, window in pairs], np.array(medians, float))


def measure_cached(stack: Stack, questions: Questions, loader: Loader, arguments: argparse.Namespace) -> None:
    """With the default settings: forecasts that did not change come from memory."""
    with stack.serve(UNLIMITED, *workers_of(arguments)) as shim:
        gets = Plan(shim.port, [ask_shim(site, METRIC) for site in questions.sites], arguments.seconds, NUM_CLIENTS)
        posts = replace(gets, requests=[post_shim(site, METRIC) for site in questions.sites])
        cases = [
            Case(f"GET /predict/page-visits, {NUM_CLIENTS} clients", "shim, cached", gets, questions.check_answer),
            Case(f"POST /predict, {NUM_CLIENTS} clients", "shim, cached", posts, questions.check_answer),
        ]
        loads = take_turns(cases, loader, repetitions=arguments.repetitions)
        print(f"\n{render(tabulate(cases, loads))}\n\n{render(tabulate_memory(find_parts(stack, shim)))}", flush=True)
        if arguments.minutes:
            soak(stack, shim, half_of(cases[0], loads[0], arguments.minutes), loader)


def measure_computed(stack: Stack, questions: Questions, loader: Loader, arguments: argparse.Namespace) -> None:
    """The model computes each forecast; the days that it reads stay in memory."""
    program = stack.config.model_dir / stack.card.version / PROGRAM
    with (
        stack.serve(UNLIMITED, *workers_of(arguments), "serving.cache_mb=0") as shim,
        stack.place.start("bench/plain_server.py", str(program)) as plain,
    ):
        plans = plan_single(questions, shim, plain, arguments.seconds)
        begin = Case("one series, 1 client, days read too", "shim", plan_first(plans["shim"]), questions.check_answer)
        print(f"\n{render(tabulate([begin], [[loader.run(begin.plan)]]))}", flush=True)
        cases = [
            *single_cases(plans, questions, NUM_CLIENTS),
            *single_cases(plans, questions, 1),
            month_case(plans["shim"], questions),
            *list_cases(plans, questions, key=find_torchserve(shim).key),
        ]
        loads = take_turns(cases, loader, repetitions=arguments.repetitions)
        parts = {**find_parts(stack, shim), "plain FastAPI": [psutil.Process(plain.process.pid)]}
        print(f"\n{render(tabulate(cases, loads))}\n{describe_shares(cases, loads)}")
        print(f"\n{render(tabulate_cpu(cases[:3], parts, loader))}\n\n{render(tabulate_memory(parts))}", flush=True)
        if arguments.minutes:
            soak(stack, shim, half_of(cases[0], loads[0], arguments.minutes), loader)


def plan_single(questions: Questions, shim: Process, plain: Process, seconds: float) -> dict[str, Plan]:
    """Requests for one series each, by server."""
    torchserve = find_torchserve(shim)
    to_torchserve = [ask_torchserve([window], key=torchserve.key) for window in questions.windows]
    return {
        "shim": Plan(shim.port, [ask_shim(site, METRIC) for site in questions.sites], seconds),
        "TorchServe": Plan(torchserve.port, to_torchserve, seconds),
        "plain FastAPI": Plan(plain.port, [ask_plain([window]) for window in questions.windows], seconds),
    }


def plan_first(plan: Plan) -> Plan:
    """One client, and so few seconds that no site is asked for twice: each request's days have to be read."""
    return replace(plan, seconds=min(plan.seconds, len(plan.requests) / FIRST_PER_SECOND), clients=1)


def single_cases(plans: Mapping[str, Plan], questions: Questions, clients: int) -> Sequence[Case]:
    name = f"one series, {clients} client{'s' * (clients > 1)}"
    checks = {"shim": questions.check_answer}
    return [
        Case(name, server, replace(plan, clients=clients), checks.get(server, questions.check_quantiles))
        for server, plan in plans.items()
    ]


def month_case(plan: Plan, questions: Questions) -> Case:
    """30 days ahead: the handler rolls the forecast out, in one request to TorchServe."""
    requests = [ask_shim(site, METRIC, days_ahead=MONTH_DAYS) for site in questions.sites]
    name = f"one series, {MONTH_DAYS} days ahead, 1 client"
    return Case(name, "shim", replace(plan, requests=requests, clients=1), questions.check_month)


def list_cases(plans: Mapping[str, Plan], questions: Questions, *, key: str) -> Sequence[Case]:
    windows = [questions.windows[places] for places in questions.lists]
    requests = {
        "shim": [ask_shim_multiple(questions.sites[places]) for places in questions.lists],
        "TorchServe": [ask_torchserve(several, key=key) for several in windows],
        "plain FastAPI": [ask_plain(several) for several in windows],
    }
    checks = {"shim": questions.check_lists}
    return [
        Case(
            f"{LIST_LENGTH} series, {NUM_LISTS} clients", server,
            replace(plan, requests=requests[server], clients=NUM_LISTS),
            checks.get(server, questions.check_quantile_lists), LIST_LENGTH,
        )
        for server, plan in plans.items()
    ]  # fmt: skip


def take_turns(cases: Sequence[Case], loader: Loader, *, repetitions: int) -> list[list[Load]]:
    """The runs of each case, one case after another in each round, so that a busy machine slows all of them."""
    for case in cases:
        loader.run(replace(case.plan, seconds=min(2.0, case.plan.seconds)))
    rounds = [[loader.run(case.plan) for case in cases] for _ in range(repetitions)]
    return [list(runs) for runs in zip(*rounds, strict=True)]


def tabulate(cases: Sequence[Case], loads: Sequence[Sequence[Load]]) -> Table:
    table = Table("asked for", "of", box=None, header_style="")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for case, runs in zip(cases, loads, strict=True):
        faults = [fault for load in runs for fault in find_faults(case, load)]
        print_first_failures(case, runs, faults)
        table.add_row(case.name, case.server, *describe_runs(case, runs, num_wrong=len(faults)))
    return table


def describe_runs(case: Case, runs: Sequence[Load], *, num_wrong: int) -> list[str]:
    rate = median(load.rate for load in runs)
    return [
        f"{rate:,.0f}",
        f"{rate * case.num_series:,.0f}",
        *(f"{median(load.milliseconds(percentile) for load in runs):.1f}" for percentile in (50, 99)),
        f"{max(load.milliseconds(100) for load in runs):.0f}",
        f"{sum(len(load.took) for load in runs):,}",
        f"{sum(load.num_failed for load in runs):,}",
        f"{sum(len(load.answers) for load in runs):,}",
        f"{num_wrong:,}",
    ]


def find_faults(case: Case, load: Load) -> list[str]:
    """What is wrong with the forecasts that were kept."""
    faults = (case.check(int(load.question[place]), body) for place, body in load.answers if load.status[place] == 200)
    return [fault for fault in faults if fault is not None]


def print_first_failures(case: Case, runs: Sequence[Load], faults: Sequence[str]) -> None:
    """On stderr, the first failure and the first wrong forecast."""
    failures = [
        f"{load.status[place]} {body[:300]!r}"
        for load in runs
        for place, body in load.answers
        if load.status[place] != 200
    ]
    for what, texts in (("failed", failures), ("wrong", faults)):
        if texts:
            print(f"{case.name}, {case.server}: {what}: {texts[0][:500]}", file=sys.stderr)


def describe_shares(cases: Sequence[Case], loads: Sequence[Sequence[Load]]) -> str:
    """The shim beside TorchServe asked directly, wherever both were asked for the same."""
    rates = {
        (case.name, case.server): median(load.rate for load in runs) for case, runs in zip(cases, loads, strict=True)
    }
    both = [name for name, server in rates if server == "shim" and rates.get((name, "TorchServe"))]
    return "\n".join(
        f"{name}: the shim gives {rates[name, 'shim'] / rates[name, 'TorchServe']:.0%} of TorchServe's own rate"
        for name in both
    )


def tabulate_cpu(cases: Sequence[Case], parts: Mapping[str, Sequence[psutil.Process]], loader: Loader) -> Table:
    """In one more run of each case. A busy machine changes these figures less than it changes rates."""
    table = Table("CPU, us an answer", "of", *parts, "load generator", box=None, header_style="")
    for case in cases:
        before = {name: cpu_of(processes) for name, processes in parts.items()}
        load = loader.run(case.plan)
        spent = [cpu_of(processes) - before[name] for name, processes in parts.items()]
        table.add_row(
            case.name, case.server, *(f"{s / max(1, len(load.took)) * 1e6:,.0f}" for s in (*spent, load.cpu_seconds))
        )
    return table


def tabulate_memory(parts: Mapping[str, Sequence[psutil.Process]]) -> Table:
    table = Table("memory after it", "processes", "MiB", box=None, header_style="")
    for name, processes in parts.items():
        table.add_row(name, str(len(processes)), f"{memory_of(processes) / MIB:,.0f}")
    return table


def half_of(case: Case, runs: Sequence[Load], minutes: float) -> Case:
    """Half of the rate that it reached, each request at its time whatever the answers do."""
    rate = max(1.0, median(load.rate for load in runs) / 2)
    plan = replace(case.plan, seconds=60 * minutes, rate=rate, keep_every=1000 if minutes > 1 else 64)
    return replace(case, name=f"{minutes:g} min at {rate:,.0f}/s", plan=plan)


def soak(stack: Stack, shim: Process, case: Case, loader: Loader) -> None:
    """Prints what became of the requests, and the memory that the processes held meanwhile."""
    loader.start(case.plan)
    times, samples = watch_memory(stack, shim, loader, every=min(SAMPLE_SECONDS, case.plan.seconds / 20))
    print(f"\n{render(tabulate([case], [[loader.wait()]]))}\n\n{render(tabulate_growth(times, samples))}", flush=True)


def watch_memory(
    stack: Stack, shim: Process, loader: Loader, *, every: float
) -> tuple[list[float], list[dict[str, int]]]:
    """Seconds, and bytes of each process. PostgreSQL's count together, since they come and go."""
    began, times, samples = time.monotonic(), [], []
    while not loader.is_done:
        parts = find_parts(stack, shim)
        times.append(time.monotonic() - began)
        samples.append({"PostgreSQL": memory_of(parts.pop("PostgreSQL"))})
        for part, processes in parts.items():
            for process in sorted(processes, key=lambda process: process.pid):
                samples[-1][f"{part} (process {process.pid})"] = memory_of([process])
        time.sleep(max(0.0, every * len(times) - (time.monotonic() - began)))
    return times, samples


def tabulate_growth(times: Sequence[float], samples: Sequence[Mapping[str, int]]) -> Table:
    table = Table("memory", "first minute, MiB", "last minute, MiB", "growth, MiB/hour", box=None, header_style="")
    minute = min(60.0, times[-1] / 3)
    for name in dict.fromkeys(name for sample in samples for name in sample):
        points = [(at, sample[name] / MIB) for at, sample in zip(times, samples, strict=True) if name in sample]
        at, held = np.array(points).T
        first, last = held[at <= at[0] + minute], held[at >= at[-1] - minute]
        steady = at >= at[0] + minute  # caches fill in the first one
        growth = "too short to tell"
        if at[-1] - at[0] - minute >= MIN_GROWTH_SECONDS:
            growth = f"{np.polyfit(at[steady], held[steady], 1)[0] * 3600:+.1f}"
        table.add_row(name, f"{np.median(first):.1f}", f"{np.median(last):.1f}", growth)
    return table


if __name__ == "__main__":
    run(main)
