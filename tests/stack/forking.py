"""Scripts in forks of a process that has imported what they import, which takes longer than what most of them do.

That scripts also start from nothing is seen where `Place.run` and `Place.start` start them.
"""

import atexit
import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from scripts.bench.harness import PATIENCE_SECONDS, SCRIPTS, Place, Process

PRELOADED = [
    "forecasting.commands.backtest",
    "forecasting.commands.forecast",
    "forecasting.commands.train",
    "forecasting.jobs.forecast_all",
    "forecasting.serving.torchserve.archive",
    "forecasting.training.pipeline",
    "matplotlib.pyplot",
]


@dataclass
class Fork:
    """What `Process` needs of a subprocess.Popen."""

    process: BaseProcess

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout or 0.0)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def start_forked(place: Place, script: str, *arguments: str, **variables: str) -> Process:
    """As `place.start` does."""
    log = place.folder / f"{script}.{time.monotonic_ns()}.log"
    fork = _fork(place, script, *arguments, out=log, err=log, variables=variables)
    place.started.append(Process(fork, log))  # type: ignore[arg-type]
    return place.started[-1]


def run_forked(
    place: Place, script: str, *arguments: str, max_file_bytes: int | None = None, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """As `place.run` does, with a limit on the size of files if that is given."""
    with tempfile.TemporaryDirectory() as outputs:
        out, err = Path(outputs, "out"), Path(outputs, "err")
        fork = _fork(place, script, *arguments, out=out, err=err, variables=variables, max_file_bytes=max_file_bytes)
        try:
            code = fork.wait(2 * PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            fork.send_signal(signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(script, code, out.read_text(), err.read_text())


def _fork(
    place: Place,
    script: str,
    *arguments: str,
    out: Path,
    err: Path,
    variables: Mapping[str, str],
    max_file_bytes: int | None = None,
) -> Fork:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    argv, environment = [str(SCRIPTS / script), *arguments], {**place.environment, **variables}
    process = context.Process(
        target=_run, args=(argv, environment, place.folder, out, err, max_file_bytes), name=script
    )
    out.touch()
    process.start()
    return Fork(process)


def _run(
    argv: list[str], environment: dict[str, str], folder: Path, out: Path, err: Path, max_file_bytes: int | None
) -> None:
    """In the fork: becomes the script, and ends as it does."""
    os.setsid()
    for descriptor, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    sys.argv = argv
    sys.path.insert(0, str(SCRIPTS))
    try:
        runpy.run_path(argv[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends its processes without
