"""Scripts in forks of a process that has imported what they import, which takes longer than what most of them do.

That scripts also start from nothing is seen where `Place.run` and `Place.start` start them.
"""

import atexit
import multiprocessing
import os
import resource
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.bench.harness import PATIENCE_SECONDS, SCRIPTS, Place

PRELOADED = [
    "forecasting.commands.backtest",
    "forecasting.commands.forecast",
    "forecasting.commands.train",
    "forecasting.jobs.forecast_all",
    "forecasting.serving.torchserve.archive",
    "forecasting.training.pipeline",
    "matplotlib.pyplot",
]


def run_forked(
    place: Place, script: str, *arguments: str, max_file_bytes: int | None = None, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """As `place.run` does, with a limit on the size of files if that is given."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as outputs:
        out, err = Path(outputs, "out"), Path(outputs, "err")
        environment = {**place.environment, **variables}
        process = context.Process(
            target=_run, args=([str(SCRIPTS / script), *arguments], environment, place.folder, out, err, max_file_bytes)
        )
        process.start()
        process.join(2 * PATIENCE_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(script, 2 * PATIENCE_SECONDS)
        return subprocess.CompletedProcess(script, process.exitcode, out.read_text(), err.read_text())


def _run(
    argv: list[str], environment: dict[str, str], folder: Path, out: Path, err: Path, max_file_bytes: int | None
) -> None:
    """In the fork: becomes the script, and ends as it does."""
    os.setsid()
    for descriptor, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
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
