"""What is kept of answers, for how long, and what stands in: with the model in this process, and a history by hand."""

import asyncio
import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest

from forecasting.artifact import Artifact
from forecasting.card import SeriesCard
from forecasting.errors import CannotConnect, DataError, ForecastingError, TooFewDays
from forecasting.predictor import Window
from forecasting.serving.forecast_cache import CachedForecast, ForecastCache
from forecasting.serving.forecast_service import ForecastService
from forecasting.serving.http.routes import create_app
from forecasting.settings.schema import Config, GuardConfig, ServingConfig
from forecasting.warehouse.pages import Revision
from tests.serving.asking import CacheBackend, model_in

TODAY = dt.date(2024, 5, 1)


@dataclass
class Days:
    """A history that can be changed, and counts how often it is read."""

    level: float = 100.0
    revision: Revision | None = Revision(1, TODAY)
    keeps: bool = True
    is_current: bool = True
    is_down: bool = False
    reads: list[list[str]] = field(default_factory=list)

    async def read(self, series: Sequence[SeriesCard]) -> list[Window | DataError]:
        self.reads.append([one.metric for one in series])
        await asyncio.sleep(0.01)
        if self.is_down:
            raise CannotConnect("PostgreSQL is gone.")
        ones = np.ones(30, np.float32)
        history = np.full(56, self.level, np.float32)
        return [Window(history, 19000, one.kind, ones) for one in series]


@pytest.fixture
def days() -> Days:
    return Days()


@pytest.fixture
def answers(sample_artifact: Artifact, days: Days) -> ForecastCache:
    forecasts = ForecastService(sample_artifact.card, model_in(sample_artifact.folder), days.read)
    return ForecastCache(forecasts, days, megabytes=1.0, stale_seconds=60.0)


def find(answers: ForecastCache, *, days_ahead: int = 7, num: int = 1) -> list[CachedForecast]:
    """The same question so often at the same time."""

    async def run() -> list[list[CachedForecast | ForecastingError]]:
        series = answers.card.series[:1]
        return await asyncio.gather(*(answers.find(series, days_ahead) for _ in range(num)))

    found = []
    for [one] in asyncio.run(run()):
        if not isinstance(one, CachedForecast):
            raise one
        found.append(one)
    return found


def test_hundred_equal_questions_are_one_computation(answers: ForecastCache, days: Days) -> None:
    told = find(answers, num=100)
    assert len(days.reads) == 1
    assert {one.body for one in told} == {told[0].body}
    assert {one.answered for one in told} == {"computed"}


def test_answer_is_kept_until_the_revision_or_the_day_changes(answers: ForecastCache, days: Days) -> None:
    [first] = find(answers)
    days.level = 900.0
    [second] = find(answers)
    assert (second.answered, second.body) == ("cached", first.body)
    for revision in (Revision(2, TODAY), Revision(2, TODAY + dt.timedelta(1))):
        days.revision = revision
        [changed] = find(answers)
        assert changed.answered == "computed"
        assert json.loads(changed.body)["predictions"] != json.loads(first.body)["predictions"]
    assert len(days.reads) == 3


def test_other_horizon_is_another_answer(answers: ForecastCache) -> None:
    [week], [month] = find(answers), find(answers, days_ahead=30)
    assert [json.loads(one.body)["days_ahead"] for one in (week, month)] == [7, 30]


def test_days_whose_changes_nobody_counts_are_read_each_time(answers: ForecastCache, days: Days) -> None:
    days.keeps = False
    assert [find(answers)[0].answered for _ in range(3)] == ["computed"] * 3


def test_change_while_an_answer_is_made_is_not_missed(answers: ForecastCache, days: Days) -> None:
    async def run() -> str:
        series = answers.card.series[:1]
        asking = asyncio.create_task(answers.find(series, 7))
        await asyncio.sleep(0.001)
        days.revision = Revision(2, TODAY)
        await asking
        [again] = await answers.find(series, 7)
        assert isinstance(again, CachedForecast)
        return again.answered

    assert asyncio.run(run()) == "computed"


def test_last_answer_stands_in_and_says_so(answers: ForecastCache, days: Days) -> None:
    [fresh] = find(answers)
    days.revision, days.is_down = Revision(2, TODAY), True
    [stale] = find(answers)
    assert stale.answered == "stale"
    assert json.loads(stale.body) == json.loads(fresh.body) | {"stale": True}
    with pytest.raises(CannotConnect, match="PostgreSQL is gone."):
        find(answers, days_ahead=8)
    days.is_down = False
    assert find(answers)[0].answered == "computed"


def test_answer_that_nobody_can_vouch_for_is_stale(answers: ForecastCache, days: Days) -> None:
    find(answers)
    days.is_current = False
    assert find(answers)[0].answered == "stale"
    days.is_current = True
    assert find(answers)[0].answered == "cached"


def test_answer_does_not_stand_in_for_ever(sample_artifact: Artifact, days: Days) -> None:
    forecasts = ForecastService(sample_artifact.card, model_in(sample_artifact.folder), days.read)
    answers = ForecastCache(forecasts, days, megabytes=1.0, stale_seconds=0.0)
    find(answers)
    days.revision, days.is_down = Revision(2, TODAY), True
    with pytest.raises(CannotConnect):
        find(answers)


def test_who_asked_first_may_leave(answers: ForecastCache, days: Days) -> None:
    async def run() -> list[CachedForecast | ForecastingError]:
        series = answers.card.series[:1]
        first, second = (asyncio.create_task(answers.find(series, 7)) for _ in range(2))
        await asyncio.sleep(0.001)
        first.cancel()
        return await second

    [told] = asyncio.run(run())
    assert isinstance(told, CachedForecast)
    assert len(days.reads) == 1


def test_memory_is_bounded(sample_artifact: Artifact, days: Days) -> None:
    forecasts = ForecastService(sample_artifact.card, model_in(sample_artifact.folder), days.read)
    answers = ForecastCache(forecasts, days, megabytes=5000 / 2**20, stale_seconds=60.0)
    for days_ahead in range(1, 9):
        find(answers, days_ahead=days_ahead)
    assert 1 <= len(answers.kept) <= 5
    assert answers.kept.currsize <= 5000
    nothing = ForecastCache(forecasts, days, megabytes=0.0, stale_seconds=60.0)
    assert [find(nothing)[0].answered for _ in range(2)] == ["computed"] * 2


def send(
    answers: ForecastCache, *requests: tuple[str, str, bytes, str], config: Config | None = None
) -> list[httpx.Response]:
    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(CacheBackend(answers), config), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [
                await client.request(method, path, content=body, headers={"Content-Type": kind})
                for method, path, body, kind in requests
            ]

    return asyncio.run(run())


def test_equal_request_gets_the_same_bytes_without_being_read(
    answers: ForecastCache, days: Days, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"metrics": ["page_visits", "unique_visitors"]}'
    request = ("POST", "/predict/multiple", body, "application/json")
    with caplog.at_level("INFO", logger="forecasting.requests"):
        first, second = send(answers, request, request)
    assert first.content == second.content
    assert (first.status_code, dict(first.headers)) == (200, dict(second.headers))
    assert len(days.reads) == 1
    assert ["answered=computed" in caplog.messages[0], "answered=cached" in caplog.messages[1]] == [True, True]
    assert "route=/predict/multiple status=200" in caplog.messages[1]


def test_answer_of_before_a_change_is_not_kept_as_one_of_after_it(answers: ForecastCache, days: Days) -> None:
    """Who asks after the change, while the question from before it is being answered, gets that answer too."""

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(CacheBackend(answers)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            first = asyncio.create_task(client.get("/predict/page-visits"))
            await asyncio.sleep(0.005)  # its days are being read
            assert len(days.reads) == 1
            days.revision = Revision(2, TODAY)
            joined = await client.get("/predict/page-visits")
            days.level = 900.0
            return [await first, joined, await client.get("/predict/page-visits")]

    first, joined, later = (answer.json()["predictions"] for answer in asyncio.run(run()))
    assert first == joined
    assert later[0]["predicted_visits"] > 2 * joined[0]["predicted_visits"]


def test_kept_answer_goes_out_with_the_same_headers_each_time(answers: ForecastCache) -> None:
    config = Config(guard=GuardConfig(cors_origins=["https://a.example", "https://b.example"]))

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(CacheBackend(answers), config))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            origins = ["https://a.example", "https://b.example", "https://evil.example"] * 2
            return [await client.get("/predict/page-visits", headers={"Origin": origin}) for origin in origins]

    told = [(one.headers.get("access-control-allow-origin"), one.headers["vary"]) for one in asyncio.run(run())]
    assert told == [("https://a.example", "Origin"), ("https://b.example", "Origin"), (None, "Origin")] * 2


@pytest.mark.parametrize("megabytes", [0.0, 0.0001])
def test_without_room_nothing_is_kept_and_all_is_answered(answers: ForecastCache, days: Days, megabytes: float) -> None:
    config = Config(serving=ServingConfig(cache_mb=megabytes))
    request = ("POST", "/predict", b'{"days_ahead": 3}', "application/json")
    answers = ForecastCache(answers._forecasts, days, megabytes=megabytes / 2, stale_seconds=60.0)
    first, second = send(answers, request, request, config=config)
    assert (first.status_code, second.status_code, len(days.reads)) == (200, 200, 2)
    assert first.json()["predictions"] == second.json()["predictions"]


def test_request_that_differs_at_all_is_read(answers: ForecastCache) -> None:
    """The same body is no JSON where its type says so; what was refused is refused each time."""
    body, json_type = b'{"days_ahead": 3}', "application/json"
    good, text, other, nothing, again = send(
        answers,
        ("POST", "/predict", body, json_type),
        ("POST", "/predict", body, "text/plain"),
        ("POST", "/predict", b'{"days_ahead": 4}', json_type),
        ("POST", "/predict", b"", json_type),
        ("POST", "/predict", b"", json_type),
    )
    assert [one.status_code for one in (good, text, other, nothing, again)] == [200, 422, 200, 422, 422]
    assert [one.json()["days_ahead"] for one in (good, other)] == [3, 4]


def test_what_could_be_answered_is_though_a_part_is_down(answers: ForecastCache, days: Days) -> None:
    """One metric's last answer stands in; nothing is known of the other."""
    ask_both = ("POST", "/predict/multiple", b'{"metrics": ["page_visits", "unique_visitors"]}', "application/json")
    find(answers)
    days.revision, days.is_down = Revision(2, TODAY), True
    [both] = send(answers, ask_both)
    assert both.status_code == 200
    assert both.json()["page_visits"]["stale"] is True
    assert both.json()["unique_visitors"] == {"error": "PostgreSQL is gone."}
    [none] = send(answers, ("POST", "/predict/multiple", b'{"metrics": ["unique_visitors"]}', "application/json"))
    assert (none.status_code, none.json()) == (503, {"detail": "PostgreSQL is gone."})
    assert none.headers["Retry-After"] == "3"


def test_more_series_than_one_request_may_ask_for_are_refused(answers: ForecastCache) -> None:
    asked = {"metrics": [f"m{number}" for number in range(101)], "sites": [f"s{number}" for number in range(100)]}
    [refused] = send(answers, ("POST", "/predict/multiple", json.dumps(asked).encode(), "application/json"))
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith(
        "body: 101 metrics of 100 sites are 10100 forecasts; a request may have 10000"
    )


def test_series_that_cannot_be_forecast_says_why(sample_artifact: Artifact, days: Days) -> None:
    async def read(series: Sequence[SeriesCard]) -> list[Window | DataError]:
        return [TooFewDays(f"{one.metric} is too young.") for one in series]

    forecasts = ForecastService(sample_artifact.card, model_in(sample_artifact.folder), read)
    answers = ForecastCache(forecasts, days, megabytes=1.0, stale_seconds=60.0)
    [refused] = send(answers, ("GET", "/predict/page-visits", b"", ""))
    assert (refused.status_code, refused.json()) == (503, {"detail": "page_visits is too young."})
