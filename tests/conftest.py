"""The real PostgreSQL, in a temporary folder: one server a run, a database of its own for each test that asks; and a
version of untrained weights.
"""

import asyncio
import gc
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from filelock import FileLock

from tests.compiled_files import keep_compiled_files
from tests.java_classes import share_java_classes
from tests.selection import begin_with_longest, is_fast, is_worker, mark_fast

if TYPE_CHECKING:  # what tests import of the package goes through jaxtyping, which is not ready yet
    from forecasting.artifact import Artifact
    from forecasting.model.forecaster import Forecaster
    from forecasting.settings.schema import DatabaseConfig

VERSION = "v1.10"
NUMBERS = itertools.count()

keep_compiled_files()
gc.disable()  # until all modules are imported: see pytest_collection_finish

os.environ["TRAFFIC_FORECASTER_HOME"] = str(Path(__file__).parent)  # without the checkout's .env
# TorchServe's Java is ready in 40% less CPU time without its optimising compiler, which pays off after minutes.
os.environ["JDK_JAVA_OPTIONS"] = "-XX:TieredStopAtLevel=1"
# Tracing a program for export takes a quarter less without this cache, which costs more than it saves.
os.environ["TORCH_FAKE_TENSOR_DISPATCH_CACHE"] = "0"
if is_worker():  # torch would start a thread for each core in each worker, and in what it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell ignores some for what it runs in the background, and so would the programs that tests start and end.
USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL, signal.SIGQUIT: signal.SIG_DFL}
for number, usual in USUAL.items():
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, usual)

# A busy machine is no failure: an example may take as long as it takes.
hypothesis.settings.register_profile(
    "any speed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any speed")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m fast`, other modules are not even imported: that takes longer than the fast tests of most modules."""
    is_left_out = config.option.markexpr == "fast" and collection_path.suffix == ".py" and not is_fast(collection_path)
    return True if is_left_out else None  # None: pytest's own rules decide


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_fast(items)
    if is_worker():
        begin_with_longest(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from tests.scheduling import ByServer

    return ByServer(config, log) if config.option.dist == "loadfile" else None  # None: xdist's own


def pytest_collection_finish() -> None:
    """What was imported stays: no test has to search it for garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That all workers of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if is_worker() else own


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A temporary folder of a short path, as a socket's must be; in memory where there is room: disks may be slow."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    folder = Path(tempfile.mkdtemp(prefix="pg", dir=memory if roomy else "/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def embedded(short_folder: Path) -> "Iterator[DatabaseConfig]":
    """The embedded server with the sample site, which stays as it is."""
    from forecasting.settings.schema import DatabaseConfig
    from forecasting.warehouse.embedded import find_server

    folder = short_folder / "embedded"
    find_server(folder).join("siteanalytics")
    host = str(find_server(folder).socket_folder)
    for statement in (
        "alter system set fsync = off",  # nothing here cuts the power
        "alter system set autovacuum = off",  # it would come at any moment, to hundreds of databases
        "select pg_reload_conf()",
        "create database untouched template siteanalytics",  # to copy from, while others use the sample
    ):
        asyncio.run(_execute(host, statement))
    yield DatabaseConfig(embedded=True, pgdata=folder)
    find_server(folder).leave()


@pytest.fixture
def database(embedded: "DatabaseConfig") -> "Iterator[DatabaseConfig]":
    """A copy of the sample's database to change, reached as a server of the user's own would be."""
    from forecasting.settings.schema import DatabaseConfig
    from forecasting.warehouse.embedded import find_server

    name = f"copy_{next(NUMBERS)}"
    host = str(find_server(embedded.pgdata).socket_folder)
    # Copied as files, which takes half of the time that it takes by way of the log.
    asyncio.run(_execute(host, f"create database {name} template untouched strategy file_copy"))
    yield DatabaseConfig(embedded=False, host=host, name=name)
    asyncio.run(_execute(host, f"drop database {name} with (force)"))


async def _execute(host: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(host=host, user="postgres", password="", database="postgres", ssl=False)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def untrained() -> "Forecaster":
    import torch

    from forecasting.model.forecaster import Forecaster
    from forecasting.settings.schema import ModelConfig

    torch.manual_seed(11)
    return Forecaster(ModelConfig(hidden_size=16)).eval()


@pytest.fixture(scope="session")
def untrained_artifact(
    untrained: "Forecaster", shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> "Artifact":
    """Its program is exported by the first worker that needs it."""
    from forecasting.artifact import export_program
    from scripts.bench.versions import write_version

    program = shared_folder / "untrained.pt2"
    with FileLock(shared_folder / "untrained.lock"):
        if not program.exists():
            export_program(untrained, program)
    return write_version(untrained, tmp_path_factory.mktemp("store"), VERSION, program=program)


@pytest.fixture(scope="session")
def java_classes(request: pytest.FixtureRequest, shared_folder: Path) -> None:
    """In parallel, every TorchServe that is started from here on finds its classes in an archive."""
    if is_worker():
        share_java_classes(shared_folder, lambda: request.getfixturevalue("untrained_artifact"))


@pytest.fixture(scope="session")
def write_untrained(untrained: "Forecaster", untrained_artifact: "Artifact") -> "Callable[..., Artifact]":
    """`write_version` of the untrained forecaster, which is exported once."""
    from forecasting.artifact import PROGRAM
    from scripts.bench.versions import write_version

    return partial(write_version, untrained, program=untrained_artifact.folder / PROGRAM)


@pytest.fixture(scope="session")
def sample_artifact(write_untrained: "Callable[..., Artifact]", tmp_path_factory: pytest.TempPathFactory) -> "Artifact":
    """As if trained on two metrics of the sample site, whose table has no `site` column."""
    from forecasting.card import SeriesCard
    from forecasting.domain import Kind
    from forecasting.predictor import usual_bands

    series = tuple(
        SeriesCard(
            site="siteanalytics", metric=metric, kind=Kind.count, additive=True, unit_scale=1.0,
            band_scale=usual_bands(7).scale, day_correlation=0.5,
        )
        for metric in ("page_visits", "unique_visitors")
    )  # fmt: skip
    data = {"missing": "zero", "timezone": "UTC", "last_day": "2020-08-19"}
    return write_untrained(tmp_path_factory.mktemp("sample"), VERSION, series=series, data=data)
