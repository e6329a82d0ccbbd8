"""The shim on the real TorchServe and PostgreSQL, without a process of its own: what a lost connection costs, and its
socket.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import asyncpg
import httpx
import psutil
import pytest
import uvloop

from forecasting.artifact import Artifact
from forecasting.config import Config, DatabaseConfig, ServingConfig
from forecasting.errors import CannotStart, TimedOut
from forecasting.serving.api import create_app
from forecasting.serving.server import Shim, new_loop, take_port
from forecasting.serving.service import History
from forecasting.serving.torchserve import TorchServe
from forecasting.warehouse.connect import Connection

PREDICT = "/predict/page-visits"
TERMINATE = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()"


@pytest.fixture
def config(database: DatabaseConfig) -> Config:
    return Config(database=database, serving=ServingConfig(deadline_seconds=10.0))


@asynccontextmanager
async def asked(config: Config, artifact: Artifact, torchserve: TorchServe) -> AsyncIterator[httpx.AsyncClient]:
    shim = Shim(config, artifact, torchserve)
    transport = httpx.ASGITransport(create_app(shim), raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client
    finally:
        await shim.close()


async def terminate(database: DatabaseConfig) -> int:
    """Ends every backend of the database, and says how many there were."""
    admin = await asyncpg.connect(host=database.host, user="postgres", password="", database="postgres", ssl=False)
    ended = await admin.fetch(TERMINATE, database.name)
    await admin.close()
    return len(ended)


def terminate_unnoticed(database: DatabaseConfig) -> None:
    """While the loop here stands still, so that nothing here has seen the connection's end."""
    with ThreadPoolExecutor() as other:
        assert other.submit(asyncio.run, terminate(database)).result() == 1
    time.sleep(0.1)


@pytest.mark.parametrize("path", [PREDICT, "/health"])
def test_connection_that_was_cut_while_idle_costs_nothing(
    config: Config, sample_artifact: Artifact, torchserve: TorchServe, path: str
) -> None:
    async def run() -> list[httpx.Response]:
        async with asked(config, sample_artifact, torchserve) as client:
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
        history = History(config, sample_artifact.card)
        answers = [await history._ask(ask), await history._ask(ask)]
        await history.check()
        await history.close()
        return answers

    assert asyncio.run(run()) == [7, 7]


def test_connections_cut_at_any_moment_are_never_a_mistake_of_ours(
    config: Config, sample_artifact: Artifact, torchserve: TorchServe
) -> None:
    async def run() -> tuple[list[int], list[int], int, int]:
        async with asked(config, sample_artifact, torchserve) as client:

            async def ask_often(path: str) -> list[int]:
                return [(await client.get(path)).status_code for _ in range(30)]

            asking = [asyncio.create_task(ask_often(path)) for path in (PREDICT, PREDICT, "/health")]
            ended = 0
            while not all(task.done() for task in asking):
                ended += await terminate(config.database)
            predicted, again, health = [await task for task in asking]
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
        history = History(Config(database=database, serving=ServingConfig(deadline_seconds=0.5)), sample_artifact.card)
        holder = await asyncpg.connect(
            host=database.host, user="postgres", password="", database=database.name, ssl=False
        )
        async with holder.transaction():
            await holder.execute("lock table daily_metrics in access exclusive mode")
            began = time.monotonic()
            with pytest.raises(TimedOut) as error:
                await history.read(sample_artifact.card.series[:1])
            assert time.monotonic() - began < 2
        assert str(error.value) == "PostgreSQL did not answer within 0.5 s. Try again later."
        await history.read(sample_artifact.card.series[:1])
        await history.close()
        await holder.close()

    asyncio.run(run())


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with take_port(ServingConfig(port=0)) as listener:
        yield listener


def test_taken_port_refuses_whoever_comes_before_the_shim_listens(taken: socket.socket) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(taken.getsockname(), timeout=5)


def test_port_that_another_listens_on_is_refused(taken: socket.socket) -> None:
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(CannotStart) as error:
        take_port(ServingConfig(port=port))
    owner = psutil.Process()
    assert str(error.value) == (
        f"Port {port} on 127.0.0.1 cannot be taken: Address already in use, held by {owner.name()} "
        f"(process {owner.pid}). Stop what holds it, or choose another port with PORT or --port."
    )


def test_shim_runs_on_uvloop() -> None:
    loop = new_loop()
    assert isinstance(loop, uvloop.Loop)
    loop.close()
