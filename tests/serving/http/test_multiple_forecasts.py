"""Large answers of POST /predict/multiple: made page by page as the client reads, and bounded in memory."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from starlette.types import Message, Scope

from forecasting.artifact import Artifact
from forecasting.card import SeriesCard
from forecasting.domain import YEAR_OF_DAYS
from forecasting.errors import CannotConnect, DataError
from forecasting.predictor import Window
from forecasting.serving.http.app import create_app
from forecasting.serving.http.limits import PART_BYTES
from forecasting.serving.http.multiple_forecasts import PAGES_AHEAD, estimate_bytes, page_series
from forecasting.serving.http.request_schema import MultipleRequest
from forecasting.serving.http.work_in_flight import FREE_BYTES, MIB, RequestMemory, TooMuchInFlight, WorkInFlight
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config, GuardConfig

from .test_routes import in_process

SITES = [f"site-{number:03}" for number in range(250)]
METRICS = ["page_visits", "unique_visitors"]
LARGE = {"metrics": METRICS, "sites": SITES, "days_ahead": 30}
PAGE = page_series(30)
FIRST_KEY, SECOND_KEY = "key-of-sixteen-or-more", "another-key-of-sixteen"
KEYS = {"API_KEYS": f"ci:read:{FIRST_KEY},dash:read:{SECOND_KEY}"}

Send = Callable[[Message], Awaitable[None]]


@pytest.fixture(scope="module")
def large(sample_artifact: Artifact) -> Artifact:
    [series, _] = sample_artifact.card.series
    cards = tuple(replace(series, site=site, metric=metric) for site in SITES for metric in METRICS)
    return replace(sample_artifact, card=replace(sample_artifact.card, series=cards))


@dataclass
class Days:
    """Another level for each series. Everything after `num_up` series cannot be read."""

    num_up: int = 10**6
    num_read: int = 0
    batches: list[int] = field(default_factory=list)

    async def read(self, cards: Sequence[SeriesCard]) -> list[Window | DataError]:
        self.num_read += len(cards)
        self.batches.append(len(cards))
        if self.num_read > self.num_up:
            raise CannotConnect("PostgreSQL is gone.")
        ones = np.ones(30, np.float32)
        levels = [100.0 * (1 + SITES.index(card.site)) + len(card.metric) for card in cards]
        return [
            Window(np.full(YEAR_OF_DAYS, level, np.float32), 19_056 - YEAR_OF_DAYS, card.kind, ones)
            for card, level in zip(cards, levels, strict=True)
        ]


def post(
    app: Any,  # Any: an ASGI app
    content: object,
    send: Send,
    *,
    path: str = "/predict/multiple",
    **headers: str,
) -> Awaitable[None]:
    body = json.dumps(content).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.sleep(3600)  # the client stays
        raise AssertionError

    return app(scope_of(path, content_length=str(len(body)), **headers), receive, send)


def scope_of(path: str, **headers: str) -> Scope:
    """`headers` with _ for -."""
    named = {"host": "localhost", "content-type": "application/json", **headers}
    return {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()],
        "client": ("192.0.2.1", 1), "root_path": "", "http_version": "1.1", "scheme": "http",
        "server": ("127.0.0.1", 1), "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip


@dataclass
class Answer:
    """What a client gets that reads everything."""

    messages: list[Message] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def parts(self) -> list[bytes]:
        return [message.get("body", b"") for message in self.messages[1:]]

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def is_complete(self) -> bool:
        return not self.messages[-1].get("more_body", False)


def ask(artifact: Artifact, content: object, days: Days | None = None, **headers: str) -> Answer:
    answer = Answer()

    async def run() -> None:
        await post(create_app(in_process(artifact, (days or Days()).read)), content, answer.send, **headers)

    asyncio.run(run())
    return answer


def without_time(forecast: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in forecast.items() if key != "prediction_date"}


def test_large_answer_has_what_single_forecasts_have_in_the_order_of_the_request(large: Artifact) -> None:
    answer = ask(large, LARGE)
    assert (answer.status, answer.is_complete, "content-length" in answer.headers) == (200, True, False)
    by_site = json.loads(answer.body)
    assert [(site, metric) for site, by_metric in by_site.items() for metric in by_metric] == [
        (site, metric) for site in SITES for metric in METRICS
    ]
    for site in (SITES[0], SITES[31], SITES[32], SITES[249]):  # around the ends of pages, too
        single = ask(large, {"metric": "unique_visitors", "site": site, "days_ahead": 30}, path="/predict")
        assert without_time(by_site[site]["unique_visitors"]) == without_time(json.loads(single.body))


def test_large_answer_of_one_site_is_by_metric(sample_artifact: Artifact) -> None:
    metrics = [f"metric_{number}" for number in range(700)]
    [series, _] = sample_artifact.card.series
    cards = tuple(replace(series, site=SITES[0], metric=metric) for metric in metrics)
    artifact = replace(sample_artifact, card=replace(sample_artifact.card, series=cards))
    answer = ask(artifact, {"metrics": [*metrics, "nope", metrics[0]], "days_ahead": 7})
    by_metric = json.loads(answer.body)
    assert (list(by_metric), "content-length" in answer.headers) == ([*metrics, "nope"], False)
    assert [forecast["metric"] for forecast in by_metric.values() if "metric" in forecast] == metrics
    assert by_metric["nope"]["error"].startswith("There is no metric 'nope' in version v1.10. It was trained on: ")


def test_small_answer_is_whole(large: Artifact) -> None:
    answer = ask(large, {"metrics": METRICS, "sites": SITES[:2]})
    assert answer.headers["content-length"] == str(len(answer.body))
    assert list(json.loads(answer.body)) == SITES[:2]


def test_large_answer_is_packed_for_those_who_can_unpack_it(large: Artifact) -> None:
    plain, packed = ask(large, LARGE), ask(large, LARGE, accept_encoding="gzip")
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "accept-encoding")
    assert ("content-encoding" in plain.headers, plain.headers["vary"]) == (False, "accept-encoding")
    assert len(packed.body) * 5 < len(plain.body)
    before, after = json.loads(plain.body), json.loads(gzip.decompress(packed.body))
    for site in SITES:
        assert without_time(after[site]["page_visits"]) == without_time(before[site]["page_visits"])


def test_no_part_is_larger_than_a_connection_takes_at_once(large: Artifact) -> None:
    for content in (LARGE, {**LARGE, "sites": SITES[:100]}):
        parts = ask(large, content).parts
        assert len(parts) > 5
        assert max(map(len, parts)) <= PART_BYTES


def test_an_answer_that_is_not_read_is_not_made(large: Artifact) -> None:
    days, answer, is_stuck, may_go_on = Days(), Answer(), asyncio.Event(), asyncio.Event()

    async def send(message: Message) -> None:
        await answer.send(message)
        if len(answer.messages) == 2:
            is_stuck.set()
            await may_go_on.wait()

    async def run() -> int:
        app = create_app(in_process(large, days.read))
        task = asyncio.ensure_future(post(app, LARGE, send))
        await is_stuck.wait()
        for _ in range(50):  # more turns of the event loop than any page takes
            await asyncio.sleep(0.001)
        num_read = days.num_read
        may_go_on.set()
        await task
        return num_read

    assert asyncio.run(run()) <= (PAGES_AHEAD + 2) * PAGE < days.num_read == len(SITES) * len(METRICS)
    assert len(json.loads(answer.body)) == len(SITES)


def test_a_client_that_leaves_ends_the_making(large: Artifact) -> None:
    days = Days()

    async def run() -> list[asyncio.Task[Any]]:
        backend = in_process(large, days.read)
        app, has_begun = create_app(backend), asyncio.Event()

        async def send(message: Message) -> None:
            if message.get("body"):
                has_begun.set()
                await asyncio.sleep(3600)

        task = asyncio.ensure_future(post(app, LARGE, send))
        await has_begun.wait()
        task.cancel()
        await asyncio.wait([task])
        await backend.forecast_cache.finish()  # would wait for an answer that is still being made
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert asyncio.run(run()) == []
    assert days.num_read < len(SITES) * len(METRICS)


def test_version_that_answers_is_not_closed_meanwhile(large: Artifact) -> None:
    async def run() -> tuple[bool, bool]:
        backend, may_go_on, has_begun = in_process(large, Days().read), asyncio.Event(), asyncio.Event()

        async def send(message: Message) -> None:
            if message.get("body"):
                has_begun.set()
                await may_go_on.wait()

        answering = asyncio.ensure_future(post(create_app(backend), LARGE, send))
        await has_begun.wait()
        finishing = asyncio.ensure_future(backend.forecast_cache.finish())
        await asyncio.sleep(0.05)
        is_waiting = not finishing.done()
        may_go_on.set()
        await answering
        await finishing
        return is_waiting, finishing.done()

    assert asyncio.run(run()) == (True, True)


def test_outage_before_anything_could_be_forecast_is_a_503(large: Artifact) -> None:
    answer = ask(large, LARGE, Days(num_up=0))
    assert (answer.status, json.loads(answer.body)) == (503, {"detail": "PostgreSQL is gone."})


def test_outage_amid_an_answer_is_told_in_place_of_the_forecasts(large: Artifact) -> None:
    answer = ask(large, LARGE, Days(num_up=2 * PAGE))
    forecasts = [forecast for by_metric in json.loads(answer.body).values() for forecast in by_metric.values()]
    assert (answer.status, len(forecasts)) == (200, 500)
    assert all("predictions" in forecast for forecast in forecasts[: 2 * PAGE])
    assert forecasts[2 * PAGE :] == [{"error": "PostgreSQL is gone."}] * (500 - 2 * PAGE)


def test_estimates_are_near_and_never_below_what_comes(large: Artifact) -> None:
    """Up to the length of names, which the made series have short."""
    for days_ahead in (1, 30):
        content = {**LARGE, "sites": SITES[:40], "days_ahead": days_ahead}
        num_bytes = len(ask(large, content).body)
        assert num_bytes <= estimate_bytes(MultipleRequest.model_validate(content)) < 1.6 * num_bytes


def test_callers_share_of_memory_is_half_and_given_back() -> None:
    def open_memory(name: str) -> RequestMemory:
        return work.open({"state": {"client": name}})

    work = WorkInFlight(16.0)
    with open_memory("a") as first:
        first.hold(8 * MIB - 2 * FREE_BYTES)
        with open_memory("a") as small:
            small.hold(FREE_BYTES)  # is not counted
        with open_memory("a") as second:
            second.hold(FREE_BYTES + 1)
            with pytest.raises(TooMuchInFlight) as refusal:
                second.hold(FREE_BYTES)
        assert str(refusal.value) == (
            "The API key 'a' has large requests in flight that take 8.0 MiB of memory; they may take 8 MiB, half of "
            "guard.in_flight_mb. Read their answers first, or request less at once."
        )
        assert refusal.value.is_callers
        with open_memory("b") as other, open_memory("c") as third:
            other.hold(8 * MIB)
            with pytest.raises(TooMuchInFlight) as refusal:
                third.hold(3 * FREE_BYTES)
            assert str(refusal.value) == (
                "Large requests in flight take all of the 16 MiB of memory that they may (guard.in_flight_mb). Try "
                "again later, or request less at once."
            )
            assert not refusal.value.is_callers
    assert work.num_bytes == 0
    with open_memory("a") as again:
        again.hold(8 * MIB)


def test_large_requests_of_a_key_stop_at_its_share_and_leave_all_others_alone(large: Artifact) -> None:
    """Four bodies, each of which is said to be a mebibyte and never comes, take all that the key may hold."""
    config = replace(load_config(environ=KEYS), guard=GuardConfig(in_flight_mb=16.0))
    small = {"metrics": METRICS, "sites": SITES[:2]}

    async def run() -> list[Answer]:
        app = create_app(in_process(large, Days().read), config)
        asked = [(LARGE, FIRST_KEY), (small, FIRST_KEY), (LARGE, SECOND_KEY)]
        answers, waiting = [Answer() for _ in range(len(asked) + 1)], Answer()
        stuck = [asyncio.ensure_future(post_never(app, waiting.send, FIRST_KEY)) for _ in range(4)]
        await asyncio.sleep(0)
        for answer, (content, key) in zip(answers, asked, strict=False):
            await post(app, content, answer.send, x_api_key=key)
        for task in stuck:
            task.cancel()
        await asyncio.wait(stuck)
        await post(app, LARGE, answers[-1].send, x_api_key=FIRST_KEY)
        return answers

    refused, *others = asyncio.run(run())
    assert (refused.status, refused.headers.get("retry-after"), json.loads(refused.body)) == (
        429, "1",
        {"detail": "The API key 'ci' has large requests in flight that take 8.0 MiB of memory; they may take 8 MiB, "
                   "half of guard.in_flight_mb. Read their answers first, or request less at once. Try again in 1 s."},
    )  # fmt: skip
    assert [(answer.status, len(json.loads(answer.body))) for answer in others] == [(200, 2), (200, 250), (200, 250)]


def test_bodies_that_do_not_come_stop_at_a_limit(large: Artifact) -> None:
    """Each is said to be a mebibyte, and is counted twice."""
    config = replace(load_config(environ=KEYS), guard=GuardConfig(in_flight_mb=16.0))

    async def run() -> list[int]:
        app = create_app(in_process(large, Days().read), config)
        answers = [Answer() for _ in range(6)]
        tasks = [asyncio.ensure_future(post_never(app, answer.send, FIRST_KEY)) for answer in answers]
        for _ in range(20):  # turns of the event loop
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return [answer.status for answer in answers]

    assert asyncio.run(run()) == [503] * 4 + [429] * 2  # those that were cancelled are told that the server ends


def post_never(app: Any, send: Send, key: str) -> Awaitable[None]:  # Any: an ASGI app
    async def receive() -> Message:
        await asyncio.sleep(3600)
        raise AssertionError

    return app(scope_of("/predict", content_length=str(MIB), x_api_key=key), receive, send)


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time a test can advance."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def test_slow_reader_is_cut_off(large: Artifact) -> None:
    """Each part is read in time, but all of them together are not."""
    answer = Answer()

    async def run() -> None:
        clock = asyncio.get_running_loop()
        assert isinstance(clock, Clock)

        async def send(message: Message) -> None:
            await answer.send(message)
            clock.ahead += 1000.0 if message.get("body") else 0.0
            await asyncio.sleep(0)

        config = Config(guard=GuardConfig(request_seconds=3500.0))
        await post(create_app(in_process(large, Days().read), config), LARGE, send)

    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(run())
    assert (answer.status, answer.is_complete) == (200, False)
    assert 1 + 3 <= len(answer.messages) <= 1 + 6  # the timer ends it within two turns of the event loop
