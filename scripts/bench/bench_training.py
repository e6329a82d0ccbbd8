"""Measures training beside what one could write instead: a plain torch loop, plain Lightning, the machine's limit.

Each method runs in a process of its own, so that none profits from another's settings, and they take turns. By default
on 50 series of 800 days; `--series 2000 --batch-size 8192` is a size for a GPU. `--keras PYTHON`, an interpreter with
tensorflow, adds Keras. `--job` times the documented job instead, as whole processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from harness import SCRIPTS, Place
from rich.console import Console
from rich.progress import track
from rich.table import Table
from training_methods import METHODS

from forecasting.runtime.machine import describe_processor

KERAS = "Keras, its defaults, on the bare LSTM"
KERAS_JOB = "Keras: imports, 100 epochs, saving"
LSTM_JOB = "--sequence-length 7 --prediction-horizon 7 --days-back 60 --epochs 100 --batch-size 32"
JOBS = {
    "from the base (default)": [],
    "all 100 epochs from scratch": ["model.init=scratch", "training.patience=0"],
}
SIZES = {"series": 50, "days": 800, "batch-size": 256, "hidden-size": 64}
T = TypeVar("T")


def main() -> None:
    arguments = parse_arguments()
    console = Console()
    console.print(describe_machine())
    if arguments.job:
        console.print(compare_jobs(arguments.repetitions, keras=arguments.keras))
        return
    console.print(
        f"{arguments.series} series x {arguments.days} days, batch {arguments.batch_size}, two layers of "
        f"{arguments.hidden_size}; median of {arguments.repetitions}"
    )
    console.print(compare_methods(arguments))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="(%(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="runs of which the median is shown (%(default)s)")
    parser.add_argument("--keras", metavar="PYTHON", help="an interpreter with tensorflow")
    parser.add_argument("--job", action="store_true", help="the documented job as whole processes")
    parser.add_argument("--quick", action="store_true", help="each method once, on 10 series")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.repetitions, arguments.series = 1, 10
    return arguments


def describe_machine() -> str:
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else describe_processor()
    return f"{machine}, torch {torch.__version__}"


def compare_methods(arguments: argparse.Namespace) -> Table:
    methods = {**METHODS, **({"keras": KERAS} if arguments.keras else {})}
    runs = take_turns(list(methods), arguments.repetitions, lambda method: run_method(method, arguments))
    speeds = {
        method: statistics.median(run["windows_a_second"] for run in runs_of_it) for method, runs_of_it in runs.items()
    }
    table = Table("", "windows/s", "of the loop's", "what", box=None, header_style="")
    for method, speed in speeds.items():
        table.add_row(method, f"{speed:,.0f}", f"{speed / speeds['loop']:.2f}", methods[method])
    if "kernels" in runs["ours"][0]:
        share = statistics.median(run["kernels"] for run in runs["ours"])
        table.add_row("", f"{share:.0%}", "", "of our time the GPU is in kernels")
    return table


def take_turns(names: Sequence[str], repetitions: int, measure: Callable[[str], T]) -> dict[str, list[T]]:
    """What each measured, one after another in each round, so that a busy machine slows all of them."""
    turns = [name for _ in range(repetitions) for name in names]
    results: dict[str, list[T]] = {name: [] for name in names}
    for name in track(turns, "measuring", console=Console(stderr=True), transient=True):
        results[name].append(measure(name))
    return results


def run_method(method: str, arguments: argparse.Namespace) -> Mapping[str, float]:
    sizes = [f"--{name}={getattr(arguments, name.replace('-', '_'))}" for name in SIZES]
    folder = Path(__file__).parent
    if method == "keras":
        command = [arguments.keras, folder / "keras_training.py", *sizes]
    else:
        command = [sys.executable, folder / "training_methods.py", method, *sizes]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{method} failed:\n{result.stderr[-2000:]}")
    measured: Mapping[str, float] = json.loads(result.stdout.splitlines()[-1])
    return measured


def compare_jobs(repetitions: int, *, keras: str | None) -> Table:
    """The documented training as people start it, from PostgreSQL to the .mar, and Keras fitting the same."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), {**os.environ, "MODEL_DIR": f"{folder}/store"})
        names = [*JOBS, *([KERAS_JOB] if keras else [])]
        runs = take_turns(names, repetitions, lambda name: run_job(name, place, keras))
    table = Table("the documented job", "whole process, s", "parts", box=None, header_style="")
    for name, runs_of_it in runs.items():
        table.add_row(name, f"{statistics.median(seconds for seconds, _ in runs_of_it):.1f}", runs_of_it[-1][1])
    return table


def run_job(name: str, place: Place, keras: str | None) -> tuple[float, str]:
    """Seconds, and what its parts took."""
    began = time.perf_counter()
    if name in JOBS:
        result = place.run("train.py", *LSTM_JOB.split(), *JOBS[name])
    else:
        result = place.run_command(str(keras), SCRIPTS / "bench" / "keras_training.py", "--job")
    seconds = time.perf_counter() - began
    if result.returncode:
        sys.exit(f"{name} failed:\n{result.stderr[-2000:]}")
    lines = result.stdout.splitlines()
    parts = next((line for line in lines if " s in all: " in line), lines[-1])
    return seconds, parts.partition(": ")[2]


if __name__ == "__main__":
    main()
