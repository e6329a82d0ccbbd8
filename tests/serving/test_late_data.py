"""A source that is gone, and a feed that stopped: what the routes, the log and the metrics say, on real servers."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from forecasting import PredictionService
from forecasting.artifact import Artifact
from forecasting.invocation import show_command
from forecasting.serving import source_watch
from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.forecast_service import ForecastService
from forecasting.serving.health import DataState, Problems
from forecasting.serving.http.app import create_app
from forecasting.serving.http.metrics import ServingMetrics
from forecasting.serving.recent_windows import RecentWindows
from forecasting.serving.server import watch_data
from forecasting.settings.schema import Config, DatabaseConfig, ServingConfig
from forecasting.warehouse.cluster import PORT
from forecasting.warehouse.ingest import update
from forecasting.warehouse.source_report import describe_update
from tests.serving.backend import CacheBackend, load_model
from tests.warehouse.ingesting import ask_own
from tests.warehouse.sources.asking import prepare

PREDICT = "/predict/page-visits"
SOCKET = f".s.PGSQL.{PORT}"
PATIENCE = 3000  # checks


class Backend(CacheBackend):
    """The routes' backend on the real PostgreSQL, with the model in this process."""

    def __init__(self, config: Config, artifact: Artifact) -> None:
        self.windows = windows = RecentWindows(config, artifact.card)
        service = ForecastService(
            artifact.card, load_model(artifact.folder), windows.read,
            find_sites=windows.sites.find, find_age=windows.find_age,
        )  # fmt: skip
        cache = ForecastCache(
            service, windows.revisions, megabytes=1.0, stale_seconds=60.0, misses_days=windows.misses_days
        )
        super().__init__(cache)

    @property
    def data(self) -> DataState:  # type: ignore[override]  # a constant where nothing is behind the routes
        return self.windows.state

    async def find_problems(self) -> Problems:
        await self.windows.check()
        return self.windows.problems


@dataclass
class Watched:
    client: httpx.AsyncClient
    backend: Backend

    async def get(self, path: str) -> dict[str, Any]:
        response = await self.client.get(path)
        return {"code": response.status_code, **response.json()}

    async def wait_for(self, status: str, *, text: str = "") -> dict[str, Any]:
        for _ in range(PATIENCE):
            health = await self.get("/health")
            if health["status"] == status and text in " ".join(health["problems"]):
                return health
            await asyncio.sleep(0.01)
        raise AssertionError(f"never {status}: {health}")

    async def read_metrics(self) -> dict[str, float]:
        text = (await self.client.get("/metrics")).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        assert all(sample.labels == {"source": "siteanalytics"} for sample in samples if "_series" in sample.name)
        return {sample.name.removeprefix("forecaster_"): sample.value for sample in samples if len(sample.labels) < 2}


@asynccontextmanager
async def watch(config: Config, artifact: Artifact) -> AsyncIterator[Watched]:
    backend, metrics = Backend(config, artifact), ServingMetrics()
    watch_data(metrics, lambda: backend.data)
    transport = httpx.ASGITransport(create_app(backend, config, metrics))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield Watched(client, backend)
    finally:
        await backend.forecast_cache.finish()
        await backend.windows.close()


@pytest.fixture
def config(database: DatabaseConfig, tmp_path: Path) -> Iterator[Config]:
    """The source is read over an address of its own, by a user of its own."""
    (tmp_path / SOCKET).symlink_to(Path(database.host) / SOCKET)
    role = f"reader_{database.name}"
    prepare(database, f"create role {role} login", f"grant select on daily_metrics to {role}")
    source = replace(database, host=str(tmp_path), user=role)
    serving = ServingConfig(refresh_seconds=0.001, check_seconds=0.001, deadline_seconds=60.0)
    yield Config(database=database, source_database=source, serving=serving)
    prepare(database, f"drop owned by {role}", f"drop role {role}")


CHECK = show_command("sources", "--check")
LOST = {
    "renamed": (
        "alter table daily_metrics rename to metrics_of_days",
        "alter table metrics_of_days rename to daily_metrics",
        "The database {name} has no table daily_metrics. Check DB_NAME, set data.source to the analytics tool whose "
        "tables to read, or create the table: one row per day, a `date` column, and a numeric column for each metric.",
    ),
    "emptied": (
        "create table saved as table daily_metrics; truncate daily_metrics",
        "insert into daily_metrics table saved",
        "siteanalytics has no days: there is no row with a day in daily_metrics. Days that were read earlier are kept. "
        f"Fill it again, or run: {CHECK}",
    ),
    "forbidden": (
        "revoke select on daily_metrics from reader_{name}",
        "grant select on daily_metrics to reader_{name}",
        "The user reader_{name} may not read public.daily_metrics in the database {name}. Ask its owner to run: GRANT "
        'SELECT ON public.daily_metrics TO "reader_{name}";',
    ),
    "unreachable": (
        None,
        None,
        "Cannot connect to PostgreSQL at host {host}, port 5432, database {name}, as user reader_{name}: no server "
        "answers. Check DB_HOST and DB_PORT, and that the server runs and listens there.",
    ),
}


@pytest.mark.parametrize("how", LOST)
def test_source_that_is_gone_is_noticed_long_before_the_next_update(
    config: Config, sample_artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(source_watch, "PAUSE_SECONDS", 0.0)
    rare = replace(config, serving=replace(config.serving, refresh_seconds=86400.0))
    name, link = config.database.name, tmp_path / SOCKET
    target, (lose, restore, text) = link.readlink(), LOST[how]

    async def run() -> None:
        async with watch(rare, sample_artifact) as server:
            await server.get(PREDICT)
            await server.wait_for("healthy")
            await server.backend.windows.look_at_source()
            if lose:
                await asyncio.to_thread(prepare, config.database, lose.format(name=name))
            else:
                link.unlink()
            await server.wait_for("degraded", text=text.format(name=name, host=tmp_path))
            if restore:
                await asyncio.to_thread(prepare, config.database, restore.format(name=name))
            else:
                link.symlink_to(target)
            await server.wait_for("healthy")

    asyncio.run(run())


@pytest.mark.parametrize("how", LOST)
def test_source_that_is_gone_is_told_everywhere_and_does_not_stop_forecasts(
    config: Config,
    sample_artifact: Artifact,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    name, link = config.database.name, tmp_path / SOCKET
    target = link.readlink()
    lose, restore, text = LOST[how]
    caplog.set_level(logging.INFO, "forecasting.warehouse")

    async def run() -> None:
        async with watch(config, sample_artifact) as server:
            fresh = await server.get(PREDICT)
            before = await server.wait_for("healthy")
            assert (fresh["stale"], before["data_until"], before["problems"]) == (False, "2020-08-19", [])
            if lose:
                await asyncio.to_thread(prepare, config.database, lose.format(name=name))
            else:
                link.unlink()
            expected = text.format(name=name, host=tmp_path)
            lost = await server.wait_for("degraded", text=expected)  # an update that was under way may fail otherwise
            metrics, ready, answer = await server.read_metrics(), await server.get("/ready"), await server.get(PREDICT)
            [problem] = lost["problems"]
            pattern = r"New days cannot be read since \d{4}-\d\d-\d\d \d\d:\d\d UTC: (.*)"
            assert re.fullmatch(pattern, problem)[1] == expected  # type: ignore[index]  # else it fails as well
            assert (lost["code"], ready) == (200, {"code": 200, "ready": True, "problems": [problem]})
            assert (answer["code"], answer["predictions"]) == (200, fresh["predictions"])
            assert problem in caplog.messages
            await server.wait_for("degraded")
            assert (await server.read_metrics())["source_read_timestamp_seconds"] == metrics[
                "source_read_timestamp_seconds"
            ]
            if restore:
                await asyncio.to_thread(prepare, config.database, restore.format(name=name))
            else:
                link.symlink_to(target)
            after = await server.wait_for("healthy")
            assert after["source_read_at"] >= before["source_read_at"]
            assert any(message.startswith("new days can be read again") for message in caplog.messages)

    asyncio.run(run())
    assert ask_own(config.database, "select count(distinct day) > 50 as kept from forecasting.daily")[0]["kept"]


def test_update_of_an_empty_source_does_not_call_itself_up_to_date(database: DatabaseConfig) -> None:
    config = Config(database=database)
    asyncio.run(update(config))
    prepare(database, "truncate daily_metrics")
    assert describe_update(asyncio.run(update(config)), config).splitlines()[0] == (
        "no new day was read. siteanalytics has no days: there is no row with a day in daily_metrics. Days that were "
        f"read earlier are kept. Fill it again, or run: {CHECK}"
    )


def end(database: DatabaseConfig, *, days_ago: int) -> None:
    """As if the source's days ended so many days ago."""
    prepare(
        database,
        f"""
        alter table daily_metrics drop constraint if exists daily_metrics_date_key;
        update daily_metrics set date = daily_metrics.date + (current_date - {days_ago} - newest.date)
        from (select max(date) as date from daily_metrics) as newest;
        """,  # noqa: S608 - ours
    )


def test_feed_that_stopped_is_told_everywhere(
    database: DatabaseConfig, sample_artifact: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    serving = ServingConfig(refresh_seconds=0.001, check_seconds=0.001, deadline_seconds=60.0)
    config = Config(database=database, serving=serving)
    end(database, days_ago=40)

    async def run() -> None:
        async with watch(config, sample_artifact) as server:

            async def after(days_ago: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, float]]:
                for _ in range(PATIENCE):
                    health = await server.get("/health")
                    if health["data_age_days"] == days_ago:
                        break
                    await asyncio.sleep(0.01)
                return health, await server.get("/ready"), await server.get(PREDICT), await server.read_metrics()

            health, ready, answer, metrics = await after(40)
            [problem] = health["problems"]
            assert problem.startswith("No new day of 2 of the 2 series (page_visits of siteanalytics, unique_visitors ")
            assert "40 days ago; usually one comes after 1 day." in problem
            assert (health["status"], ready) == ("degraded", {"code": 503, "ready": False, "detail": problem})
            assert (answer["stale"], answer["data_age_days"]) == (True, 40)
            assert answer["notes"][0].startswith("All of these days are over already: the newest day of the data is ")
            assert (metrics["data_age_days"], metrics["late_series"]) == (40, 2)
            assert problem in caplog.messages

            await asyncio.to_thread(end, database, days_ago=6)
            health, ready, answer, _ = await after(6)
            assert (health["status"], ready["code"], ready["problems"]) == ("degraded", 200, health["problems"])
            assert answer["notes"][0].startswith("5 of these 7 days are over already: ")

            await asyncio.to_thread(end, database, days_ago=1)
            health, ready, answer, metrics = await after(1)
            assert (health["problems"], ready, answer["stale"]) == ([], {"code": 200, "ready": True}, False)
            assert (answer["data_age_days"], [note for note in answer["notes"] if "over already" in note]) == (1, [])
            assert (metrics["data_age_days"], metrics["late_series"]) == (1, 0)

    asyncio.run(run())


def test_days_that_were_deleted_from_our_own_table_are_told(
    database: DatabaseConfig, sample_artifact: Artifact
) -> None:
    config = Config(database=database, serving=ServingConfig(check_seconds=0.001, deadline_seconds=60.0))

    async def run() -> None:
        async with watch(config, sample_artifact) as server:
            await server.get(PREDICT)
            await server.wait_for("healthy")
            await asyncio.to_thread(prepare, database, "delete from forecasting.daily")
            assert (await server.wait_for("degraded"))["problems"] == [
                "forecasting.daily has no day of any series of this version. Check what fills it, and who has emptied "
                "it; an update reads again what the source has."
            ]

    asyncio.run(run())


def test_half_counted_last_day_is_told_with_the_answer(database: DatabaseConfig, sample_artifact: Artifact) -> None:
    """The sample ends with one, and long ago."""
    with PredictionService(Config(database=database, model_dir=sample_artifact.folder.parent)) as service:
        answer = service.predict_page_visits(days_ahead=30)
    past, masked = answer["notes"]
    assert past.startswith("All of these days are over already: the newest day of the data is 2020-08-19, ")
    assert masked == ("The last day, 2020-08-19, looks half-counted, so its value is masked.")
    assert (answer["stale"], answer["data_age_days"] > 2000) == (False, True)
