"""PredictionService and the windows behind it, on the real PostgreSQL: what they leave behind, and the site's name."""

import asyncio
import gc
import multiprocessing
import os
import pickle
import threading
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest

from forecasting import PredictionService
from forecasting.artifact import PROGRAM, Artifact, staged_version, write_card
from forecasting.errors import BrokenArtifact, DataError, ServiceClosed, SettingError, UnknownSite
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


def test_site_column_with_the_versions_site_is_honoured(
    config: Config, sample_artifact: Artifact, embedded: DatabaseConfig
) -> None:
    execute(config.database, "alter table daily_metrics add column site text not null default 'siteanalytics'")
    original = read(replace(config, database=embedded), sample_artifact)
    np.testing.assert_array_equal(read(config, sample_artifact).history, original.history)


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


CLOSED = "This PredictionService is closed. Make a new one."


def test_closed_service_says_so(config: Config) -> None:
    with PredictionService(config) as service:
        pass
    for ask in (service.predict_page_visits, service.predict, lambda: service.predict_multiple(["page_visits"])):
        with pytest.raises(ServiceClosed) as refusal:
            ask()
        assert str(refusal.value) == CLOSED


def test_request_under_way_learns_that_another_thread_closes(config: Config) -> None:
    """It would wait for ever."""
    service = PredictionService(config)
    started, refusals = threading.Event(), []

    async def never_answer() -> None:
        started.set()
        await asyncio.Event().wait()

    def ask() -> None:
        try:
            service._run(never_answer())
        except ServiceClosed as refusal:
            refusals.append(str(refusal))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    assert started.wait(60)
    service.close()
    asking.join(60)
    assert refusals == [CLOSED]


def ask_in_child(service: PredictionService, answers: Connection) -> None:
    try:
        service.predict_page_visits()
    except ServiceClosed as refusal:
        answers.send(str(refusal))
    service.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_of_a_fork_is_told_at_once_and_leaves_the_parent_alone(config: Config) -> None:
    """As with gunicorn's preload, and with a ProcessPoolExecutor."""
    context = multiprocessing.get_context("fork")
    with PredictionService(config) as service:
        before = service.predict_page_visits()
        answers, sender = context.Pipe(duplex=False)
        child = context.Process(target=ask_in_child, args=(service, sender))
        child.start()
        assert answers.poll(60)
        assert answers.recv() == (
            f"This PredictionService belongs to process {os.getpid()}, from which this one was forked. Make one in "
            "each process, after the fork."
        )
        child.join(60)
        assert child.exitcode == 0
        assert service.predict_page_visits()["predictions"] == before["predictions"]


def test_service_is_not_sent_to_another_process(config: Config) -> None:
    with PredictionService(config) as service, pytest.raises(ServiceClosed) as refusal:
        pickle.dumps(service)
    assert str(refusal.value) == "A PredictionService cannot be sent to another process. Make one in each process."


@pytest.mark.parametrize("days_ahead", [7, 7.0, "7"])
def test_days_ahead_may_be_written_in_several_ways(config: Config, days_ahead: Any) -> None:
    with PredictionService(config) as service:
        assert service.predict(days_ahead=days_ahead)["days_ahead"] == 7
        assert service.predict_page_visits(days_ahead)["days_ahead"] == 7
        assert service.predict_multiple(["page_visits"], days_ahead)["page_visits"]["days_ahead"] == 7


def test_refusals_say_what_is_meant(config: Config) -> None:
    with PredictionService(config) as service:
        for ask, text in (
            (lambda: service.predict(days_ahead="1_0"), "days_ahead is '1_0'; it must be a whole number, 1 to 30."),
            (lambda: service.predict(days_ahead=31), "days_ahead is 31; it must be 1 to 30."),
            (
                lambda: service.predict_multiple("page_visits"),
                "metrics is 'page_visits', which is no list. Write ['page_visits'].",
            ),
        ):
            with pytest.raises(SettingError) as refusal:
                ask()
            assert str(refusal.value) == text
