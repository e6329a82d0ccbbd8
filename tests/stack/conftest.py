"""The scripts as people run them: a version trained on the sample site, and the whole of serving as a process."""

import csv
import gzip
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import psutil
import pytest
from filelock import FileLock

from scripts.bench.harness import PATIENCE_SECONDS, SCRIPTS, Place, Process, clean_environment
from tests.waiting import CERTIFICATES, becomes

if TYPE_CHECKING:
    from forecasting.settings.schema import DatabaseConfig

QUICK = ["training.epochs=3", "model.hidden_size=8", "training.accelerator=cpu"]
PATIENT = (  # a small server with deadlines that a busy machine keeps
    "serving.workers=1", "serving.startup_timeout_seconds=300", "serving.deadline_seconds=120",
    "guard.request_seconds=300",
)  # fmt: skip


def variables_of(database: "DatabaseConfig") -> dict[str, str]:
    """The environment of scripts that reach it as a server of the user's own."""
    return {"DB_HOST": database.host, "DB_NAME": database.name, "DB_PASSWORD": ""}


def make_place(folder: Path, database: "DatabaseConfig") -> Place:
    """One whose embedded PostgreSQL is the tests' own."""
    return Place(folder, clean_environment(MODEL_DIR=str(folder / "store"), TRAFFIC_PGDATA=str(database.pgdata)))


@pytest.fixture(scope="session")
def place(embedded: "DatabaseConfig", shared_folder: Path, java_classes: None) -> Iterator[Place]:
    """One with a trained version v1.10. Tests leave it as it is; all workers share it."""
    trained = make_place(shared_folder / "stack", embedded)
    with FileLock(shared_folder / "stack.lock"):
        if not trained.folder.exists():
            trained.folder.mkdir()
            result = trained.run("train.py", "--model-version", "v1.10", "--days-back", "120", *QUICK)
            assert result.returncode == 0, result.stderr
    yield trained
    trained.stop_all()


@pytest.fixture
def own_database() -> Iterator[Path]:
    """A folder for an embedded PostgreSQL that a test may kill. Its path is short, as a socket's must be."""
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    yield folder / "pg"
    shutil.rmtree(folder)


@pytest.fixture
def empty_place(embedded: "DatabaseConfig", tmp_path: Path, java_classes: None) -> Iterator[Place]:
    empty = make_place(tmp_path, embedded)
    yield empty
    empty.stop_all()


@pytest.fixture(scope="session")
def served(place: Place, short_folder: Path) -> Iterator[Process]:
    """scripts/serve.py on the trained version. Tests leave it running. A kill ends it and every process that it has
    started; its temporary folders stay until the next start, which removes them.
    """
    from forecasting.serving.torchserve.run_folder import remove_abandoned

    folder = short_folder / "tmp"
    folder.mkdir()
    process = place.serve(*PATIENT, TMPDIR=str(folder))
    assert process.url
    yield process
    children = process.children()
    assert len(children) >= 2
    process.end(signal.SIGKILL)
    assert becomes(lambda: not left_of(children))
    assert list(folder.iterdir()) != []
    remove_abandoned(folder)
    assert list(folder.iterdir()) == []


def left_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="session")
def http(served: Process) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=PATIENCE_SECONDS, verify=CERTIFICATES) as client:
        yield client


@pytest.fixture(scope="session")
def sample() -> "dict[str, np.ndarray]":
    """The shipped file's columns, oldest day first, read by other means than the product's."""
    with gzip.open(SCRIPTS.parent / "forecasting" / "warehouse" / "sample" / "daily_metrics.csv.gz", "rt") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["date"])
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "date"}
