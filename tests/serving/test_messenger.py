"""Messages while a version is served: sent in the background, and finished when the server ends."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from forecasting.serving.messenger import Messenger, Place
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.schema import load_schema
from tests.alerts.outbox import ask, configure, make_message, write
from tests.alerts.receivers import HttpReceiver, Post, http_receiver
from tests.waiting import becomes_meanwhile
from tests.warehouse.sources.asking import prepare

STATUSES = "select status, is_unsure from forecasting.deliveries order by message_id"


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with http_receiver() as started:
        yield started


@pytest.fixture
def own(database: DatabaseConfig) -> DatabaseConfig:
    prepare(database, load_schema())
    return database


async def wait_for(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 120)


def test_messages_go_out_once_the_place_is_known_and_at_each_news(own: DatabaseConfig, receiver: HttpReceiver) -> None:
    config = configure(own, ALERT_URLS=f"json://{receiver.place}")
    places: list[Place] = []
    first, second = threading.Event(), threading.Event()

    def answer(posts: list[Post]) -> int:
        (first, second)[len(posts) - 1].set()
        return 200

    receiver.answer = answer

    async def serve() -> None:
        messenger = Messenger(lambda: places[0] if places else None)
        running = asyncio.create_task(messenger.run())
        await asyncio.to_thread(write, own, make_message())
        places.append(Place(config, own))
        messenger.note_news()
        await wait_for(first)
        await asyncio.to_thread(write, own, make_message("blog"))
        messenger.note_news()
        await wait_for(second)
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(serve())
    assert [post.content["title"] for post in receiver.posts] == ["shop: low", "blog: low"]
    assert ask(own, STATUSES) == [("sent", False)] * 2


def test_the_end_of_the_server_waits_for_the_message_under_way(own: DatabaseConfig, receiver: HttpReceiver) -> None:
    has_come, may_answer = threading.Event(), threading.Event()

    def answer(_: list[Post]) -> int:
        has_come.set()
        assert may_answer.wait(120)
        return 200

    receiver.answer = answer
    write(own, make_message())
    config = configure(own, ALERT_URLS=f"json://{receiver.place}")

    async def serve() -> None:
        running = asyncio.create_task(Messenger(lambda: Place(config, own)).run())
        await wait_for(has_come)
        running.cancel()
        await asyncio.sleep(0)  # the cancellation arrives
        may_answer.set()
        await asyncio.wait({running})
        assert running.cancelled()

    asyncio.run(serve())
    assert ask(own, STATUSES) == [("sent", False)]


def test_a_database_that_does_not_answer_ends_nothing(
    own: DatabaseConfig, receiver: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and messages go out when the database is back."""
    config, has_come = configure(own, ALERT_URLS=f"json://{receiver.place}"), threading.Event()
    places = [Place(config, DatabaseConfig(embedded=False, host="/nowhere", name="nothing"))]

    def answer(_: list[Post]) -> int:
        has_come.set()
        return 200

    receiver.answer = answer
    write(own, make_message())

    async def serve() -> None:
        messenger = Messenger(lambda: places[-1])
        running = asyncio.create_task(messenger.run())
        assert await becomes_meanwhile(lambda: caplog.records)
        messenger.note_news()
        await asyncio.sleep(0)
        places.append(Place(config, own))
        messenger.note_news()
        await wait_for(has_come)
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(serve())
    [line] = [record.getMessage() for record in caplog.records if record.name == "forecasting.alerts"]
    assert line.startswith("messages wait: ")


def test_a_source_that_cannot_be_read_is_told(own: DatabaseConfig, receiver: HttpReceiver) -> None:
    """Once, without what may name hosts, and again when it can be read."""
    config, problems = configure(own, ALERT_URLS=f"json://{receiver.place}"), ["no answer of host x"]

    async def serve() -> None:
        messenger = Messenger(lambda: Place(config, own, problems[0] if problems else None), source_seconds=0.0)
        running = asyncio.create_task(messenger.run())
        assert await becomes_meanwhile(lambda: len(receiver.posts) == 1)
        problems.clear()
        messenger.note_news()
        assert await becomes_meanwhile(lambda: len(receiver.posts) == 2)
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(serve())
    assert [(post.content["title"], post.content["message"]) for post in receiver.posts] == [
        (
            "New days of siteanalytics cannot be read",
            "Forecasts go on from the days that were read before. GET /health and the log of the server say what is "
            "wrong.",
        ),
        ("New days of siteanalytics can be read again", "It works again."),
    ]
