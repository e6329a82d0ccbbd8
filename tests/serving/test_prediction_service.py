"""PredictionService and the windows behind it, on the real PostgreSQL: what they leave behind, and the site's name."""

import asyncio
import gc
import threading
from dataclasses import replace
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from forecasting import PredictionService
from forecasting.artifact import PROGRAM, Artifact, staged_version, write_card
from forecasting.errors import BrokenArtifact, DataError, UnknownSite
from forecasting.predictor import Window
from forecasting.serving.recent_windows import RecentWindows
from forecasting.settings.schema import Config, DatabaseConfig
from tests.waiting import becomes


def execute(database: DatabaseConfig, statement: str) -> list[asyncpg.Record]:
    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(
            host=database.host, user="postgres", password="", database=database.name, ssl=False
        )
        rows = await connection.fetch(statement)
        await connection.close()
        return list(rows)

    return asyncio.run(run())


def others(database: DatabaseConfig) -> int:
    """Connections to a database beside the one that asks."""
    counted = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    [row] = execute(database, counted)
    return int(row[0])


@pytest.fixture
def config(database: DatabaseConfig, sample_artifact: Artifact) -> Config:
    return Config(database=database, model_dir=sample_artifact.folder.parent)


def test_service_that_nobody_closes_leaves_nothing(config: Config) -> None:
    """The documented one-liner, three times."""
    threads = set(threading.enumerate())
    answers = [PredictionService(config).predict_page_visits(days_ahead=7) for _ in range(3)]
    gc.collect()
    assert all(answer["predictions"] == answers[0]["predictions"] for answer in answers)
    assert set(threading.enumerate()) == threads
    assert becomes(lambda: others(config.database) == 0)


def test_service_in_a_cycle_is_collected_from_its_own_thread_too(config: Config) -> None:
    """Garbage may be collected by any thread: one that waits for itself would wait for ever."""
    service = PredictionService(config)
    service.predict_page_visits()
    loop, [thread] = (
        service._loop,
        [running for running in threading.enumerate() if running.name == "PredictionService"],
    )
    service.itself = service  # type: ignore[attr-defined]
    del service
    loop.call_soon_threadsafe(gc.collect)
    thread.join(10)
    assert not thread.is_alive()
    assert becomes(lambda: others(config.database) == 0)


def test_closed_twice_is_closed(config: Config) -> None:
    with PredictionService(config) as service:
        service.predict_page_visits()
        service.close()
    assert becomes(lambda: others(config.database) == 0)


def test_model_that_cannot_be_loaded_leaves_no_thread(sample_artifact: Artifact, tmp_path: Path) -> None:
    with staged_version(tmp_path, "v1") as folder:
        (folder / PROGRAM).write_bytes(b"no program")
        write_card(folder, replace(sample_artifact.card, version="v1"))
    threads = set(threading.enumerate())
    with pytest.raises(BrokenArtifact, match="cannot be loaded"):
        PredictionService(Config(model_dir=tmp_path))
    assert set(threading.enumerate()) == threads


def read(config: Config, artifact: Artifact, times: int = 1) -> Window:
    async def run() -> Window:
        windows = RecentWindows(config, artifact.card)
        try:
            for _ in range(times):
                [window] = await windows.read(artifact.card.series[:1])
            if not isinstance(window, Window):
                raise window
            return window
        finally:
            await windows.close()

    return asyncio.run(run())


def test_copy_under_another_name_is_the_same_site(
    config: Config, sample_artifact: Artifact, embedded: DatabaseConfig
) -> None:
    original = read(replace(config, database=embedded), sample_artifact)
    copied = read(config, sample_artifact, times=2)
    np.testing.assert_array_equal(copied.history, original.history)
    assert copied.first_day == original.first_day
    with PredictionService(config) as service:
        assert service.predict(site="siteanalytics")["site"] == "siteanalytics"


def test_another_site_is_not_taken_for_the_versions(config: Config, sample_artifact: Artifact) -> None:
    execute(config.database, "alter table daily_metrics add column site text not null default 'shop'")
    with pytest.raises(UnknownSite) as error:
        read(config, sample_artifact)
    assert str(error.value) == "There is no site 'siteanalytics'. Sites: shop."


def test_site_column_with_the_versions_site_is_honoured(config: Config, sample_artifact: Artifact) -> None:
    execute(config.database, "alter table daily_metrics add column site text not null default 'siteanalytics'")
    assert np.isfinite(read(config, sample_artifact).history).all()


def test_history_follows_its_days_to_where_they_may_be_kept(
    config: Config, sample_artifact: Artifact, embedded: DatabaseConfig
) -> None:
    """Asked for its health first, as serving does: over connections to where the schema may not be made."""
    execute(config.database, "create role onlooker login")
    execute(config.database, "grant select on daily_metrics to onlooker")
    reader = replace(config, database=replace(config.database, user="onlooker", pgdata=embedded.pgdata))

    async def run() -> Window | DataError:
        windows = RecentWindows(reader, sample_artifact.card)
        try:
            await windows.check()
            sites = await windows.list_sites()
            assert (sites.timezones, windows.updates.problem) == ({"siteanalytics": "UTC"}, None)
            [window] = await windows.read(sample_artifact.card.series[:1])
            return window
        finally:
            await windows.close()

    try:
        window = asyncio.run(run())
        assert isinstance(window, Window)
        np.testing.assert_array_equal(window.history, read(config, sample_artifact).history)
    finally:
        execute(config.database, "drop owned by onlooker")
        execute(config.database, "drop role onlooker")
