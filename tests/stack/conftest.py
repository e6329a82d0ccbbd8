"""The scripts as people run them: a version trained on the sample site, and the whole of serving as a process."""

import csv
import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

if TYPE_CHECKING:
    from forecasting.settings.schema import DatabaseConfig

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PORTS = ("inference", "management", "metrics", "grpc_inference", "grpc_management")
FREE_PORTS = [f"serving.{name}_port=0" for name in PORTS]
QUICK = ["training.epochs=3", "model.hidden_size=8", "training.accelerator=cpu"]


@dataclass
class Place:
    """A model store and a database, for scripts to run in."""

    store: Path
    environment: dict[str, str]
    started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def run(self, script: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, SCRIPTS / script, *arguments],
            env={**self.environment, **environment},
            cwd=self.store.parent,  # without the .env of whoever runs the tests
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def start(self, script: str, *arguments: str, **environment: str) -> "Process":
        log = self.store.parent / f"{script}.{time.monotonic_ns()}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, SCRIPTS / script, *arguments],
                env={**self.environment, **environment},
                cwd=self.store.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, as a shell gives it: Ctrl-C goes to all of it
            )
        self.started.append(process)
        return Process(process, log)

    def end_all(self) -> None:
        """Whatever a failed test has left behind; a SIGTERM first, since a killed script takes seconds to be missed."""
        for process in self.started:
            if process.poll() is None:
                process.terminate()
                process.wait(30)


@dataclass
class Process:
    """A script that runs, and all it has said."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str, *, seconds: float = 90) -> "re.Match[str]":
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := re.search(pattern, self.text):
                return found
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.text}"
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} was not said within {seconds} s:\n{self.text}")

    @property
    def url(self) -> str:
        return self.wait_for(r"is served on (http://\S+)")[1]

    def children(self, name: str = "") -> list[psutil.Process]:
        """Descendants, PostgreSQL's aside: it belongs to all its users, and these tests' server outlives this one."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in found if name in command_of(one) and "bin/postgres" not in command_of(one)]

    def end(self, how: signal.Signals = signal.SIGTERM, *, seconds: float = 30) -> int:
        self.process.send_signal(how)
        return self.process.wait(seconds)


def command_of(process: psutil.Process) -> str:
    """Its command line; nothing of one that is dead or dying."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="session")
def environment(embedded: "DatabaseConfig") -> dict[str, str]:
    """What a shell would have, with the tests' own PostgreSQL as the embedded one."""
    unwanted = ("DB_", "MODEL_", "PORT", "DEBUG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "TRAFFIC_PGDATA": str(embedded.pgdata), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="session")
def place(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One with a trained version v1.10, not to be changed."""
    store = tmp_path_factory.mktemp("stack") / "store"
    trained = Place(store, {**environment, "MODEL_DIR": str(store)})
    result = trained.run("train.py", "--model-version", "v1.10", "--days-back", "120", *QUICK)
    assert result.returncode == 0, result.stderr
    yield trained
    trained.end_all()


@pytest.fixture
def own_database() -> Iterator[Path]:
    """A folder for an embedded PostgreSQL that a test may kill, of a short path, as a socket's must be."""
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    yield folder / "pg"
    shutil.rmtree(folder)


@pytest.fixture
def empty_place(environment: dict[str, str], tmp_path: Path) -> Iterator[Place]:
    empty = Place(tmp_path / "store", {**environment, "MODEL_DIR": str(tmp_path / "store")})
    yield empty
    empty.end_all()


@pytest.fixture(scope="session")
def served(place: Place) -> Iterator[Process]:
    """scripts/serve.py on the trained version, not to be hurt."""
    process = place.start("serve.py", "--port", "0", "serving.workers=1", *FREE_PORTS)
    assert process.url
    yield process
    children = process.children()
    assert process.end() == 0
    assert not [child for child in children if child.is_running()]


@pytest.fixture(scope="session")
def sample() -> "dict[str, np.ndarray]":
    """The shipped file's columns, oldest day first, read by other means than the product's."""
    with gzip.open(SCRIPTS.parent / "forecasting" / "warehouse" / "sample" / "daily_metrics.csv.gz", "rt") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["date"])
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "date"}
