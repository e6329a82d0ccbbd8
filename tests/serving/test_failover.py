"""Two real servers behind one address: after a switch from one to the other nothing old is given as current."""

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest

from forecasting.artifact import Artifact
from forecasting.predictor import Window
from forecasting.serving import revision_watch
from forecasting.serving.forecast_cache import CachedForecast, ForecastCache
from forecasting.serving.forecast_service import ForecastService
from forecasting.serving.recent_windows import RecentWindows
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.cluster import PORT
from forecasting.warehouse.connection import Connection
from forecasting.warehouse.embedded import EmbeddedServer, find_server
from forecasting.warehouse.ingest import update
from forecasting.warehouse.origin import read_revision
from forecasting.warehouse.pages import Revision
from tests.serving.backend import load_model
from tests.warehouse.ingesting import ask_own
from tests.warehouse.sources.asking import prepare

SOCKET = f".s.PGSQL.{PORT}"
WITHOUT_SOURCE = "drop table daily_metrics; delete from forecasting.sites"  # nothing but the test changes the days
RAISE = "update forecasting.daily set value = value + {by} where metric = 'page_visits'"


@dataclass
class Address:
    """A folder whose socket leads to one of two servers."""

    folder: Path
    servers: tuple[EmbeddedServer, EmbeddedServer]

    @property
    def database(self) -> DatabaseConfig:
        return DatabaseConfig(embedded=False, host=str(self.folder), name="siteanalytics")

    def databases(self) -> list[DatabaseConfig]:
        return [replace(self.database, host=str(server.socket_folder)) for server in self.servers]

    def lead_to(self, number: int) -> None:
        """Connections that are open already stay where they are."""
        link = self.folder / SOCKET
        link.unlink(missing_ok=True)
        link.symlink_to(self.servers[number].socket_folder / SOCKET)


@pytest.fixture(scope="module")
def address(short_folder: Path) -> Iterator[Address]:
    """The second server is a copy of the first, as a replica that is promoted would be."""
    folder = Path(tempfile.mkdtemp(dir=short_folder))
    first, second = find_server(folder / "a"), find_server(folder / "b")
    first.join("siteanalytics")
    address = Address(folder, (first, second))
    address.lead_to(0)
    asyncio.run(update(Config(database=address.database)))
    prepare(address.database, WITHOUT_SOURCE)
    first.leave()
    subprocess.run(["cp", "-a", folder / "a", folder / "b"], check=True)
    for server in address.servers:
        server.join("siteanalytics")
    yield address
    for server in address.servers:
        server.leave()
    shutil.rmtree(folder)


@dataclass
class Serving:
    windows: RecentWindows
    cache: ForecastCache

    async def forecast(self) -> tuple[str, list[int]]:
        await self.windows.check()
        [result] = await self.cache.get(self.cache.card.series[:1], 7)
        assert isinstance(result, CachedForecast)
        return result.status.value, [row["predicted_visits"] for row in json.loads(result.body)["predictions"]]


def serve(database: DatabaseConfig, artifact: Artifact, step: Callable[[Serving], Awaitable[None]]) -> None:
    async def run() -> None:
        windows = RecentWindows(Config(database=database), artifact.card)
        service = ForecastService(artifact.card, load_model(artifact.folder), windows.read)
        cache = ForecastCache(service, windows.revisions, megabytes=1.0, stale_seconds=60.0)
        try:
            await step(Serving(windows, cache))
        finally:
            await cache.finish()
            await windows.close()

    asyncio.run(run())


def test_answer_of_one_server_is_not_given_as_the_other_servers(
    address: Address, sample_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Although both are copies, have the same number of changes, and the first one still answers on its connections."""
    monkeypatch.setattr(revision_watch, "RECONNECT_SECONDS", 0.0)
    for database, by in zip(address.databases(), (1000, 5000), strict=True):
        prepare(database, RAISE.format(by=by))
    numbers = [
        ask_own(database, "select number, database_id from forecasting.revision") for database in address.databases()
    ]
    assert numbers[0] == numbers[1]

    async def step(serving: Serving) -> None:
        address.lead_to(0)
        computed, first = await serving.forecast()
        assert (computed, await serving.forecast()) == ("computed", ("cached", first))
        address.lead_to(1)
        computed, second = await serving.forecast()
        assert computed == "computed"
        assert min(second) > max(first) + 2000
        assert await serving.forecast() == ("cached", second)
        address.lead_to(0)
        assert await serving.forecast() == ("computed", first)

    serve(address.database, sample_artifact, step)
    moved = [record.getMessage() for record in caplog.records if "another database" in record.getMessage()]
    assert (
        moved
        == [
            "PostgreSQL was restarted, or its address leads to another database: no forecast that was made before is "
            "current any more"
        ]
        * 2
    )


def test_days_are_read_from_the_server_that_was_seen_last(address: Address, sample_artifact: Artifact) -> None:
    """Connections of the pool that are open since before the switch lead elsewhere."""
    latest = """
        select value from forecasting.daily where site = 'siteanalytics' and metric = 'page_visits'
        order by day desc limit 1 offset 1
    """
    first, second = (ask_own(database, latest)[0]["value"] for database in address.databases())

    async def step(serving: Serving) -> None:
        async def read_value() -> float:
            [window] = await serving.windows.read(sample_artifact.card.series[:1])
            assert isinstance(window, Window)
            return float(window.history[-2])

        address.lead_to(0)
        await serving.windows.check()
        assert await read_value() == first
        address.lead_to(1)
        serving.windows.revisions.forget()  # as a check would that happens to get a new connection
        serving.windows.revisions.revision = await serving.windows.client.run_anew(ask_revision)
        assert await read_value() == second

    serve(address.database, sample_artifact, step)


async def ask_revision(connection: Connection) -> Revision:
    return await read_revision(connection, DataConfig())


def test_number_that_comes_again_is_another_state(address: Address, sample_artifact: Artifact) -> None:
    """A restored backup has an older number, and comes to the same one by other changes."""
    address.lead_to(0)

    async def step(serving: Serving) -> None:
        other = await asyncpg.connect(host=str(address.folder), user="postgres", database="siteanalytics")
        number = await other.fetchval("select number from forecasting.revision")
        _, before = await serving.forecast()
        await other.execute("update forecasting.revision set number = number - 1")
        await serving.windows.check()
        await other.execute(RAISE.format(by=700))
        assert await other.fetchval("select number from forecasting.revision") == number
        await other.close()
        computed, after = await serving.forecast()
        assert computed == "computed"
        assert after != before

    serve(address.database, sample_artifact, step)
