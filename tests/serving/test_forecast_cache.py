"""Which forecasts are cached and for how long: with the model in this process, and data that the test changes."""

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
from forecasting.domain import YEAR_OF_DAYS
from forecasting.errors import CannotConnect, DataError, ForecastingError, TooFewDays
from forecasting.predictor import Window
from forecasting.serving.forecast_cache import CachedForecast, ForecastCache
from forecasting.serving.forecast_service import ForecastService
from forecasting.serving.http.app import create_app
from forecasting.settings.schema import Config, GuardConfig, ServingConfig
from forecasting.warehouse.pages import Revision
from tests.serving.backend import CacheBackend, load_model

TODAY = dt.date(2024, 5, 1)


@dataclass
class Days:
    """Windows and a revision that the test sets; counts how often they are read."""

    level: float = 100.0
    revision: Revision | None = Revision(1, TODAY)
    is_cacheable: bool = True
    is_current: bool = True
    is_down: bool = False
    reads: list[list[str]] = field(default_factory=list)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def read(self, series: Sequence[SeriesCard]) -> list[Window | DataError]:
        self.reads.append([card.metric for card in series])
        self.was_asked.set()
        await asyncio.sleep(0.01)
        await self.may_answer.wait()
        if self.is_down:
            raise CannotConnect("PostgreSQL is gone.")
        ones = np.ones(30, np.float32)
        history = np.full(YEAR_OF_DAYS, self.level, np.float32)
        return [Window(history, 19_056 - YEAR_OF_DAYS, card.kind, ones) for card in series]


@pytest.fixture
def days() -> Days:
    return Days()


@pytest.fixture
def cache(sample_artifact: Artifact, days: Days) -> ForecastCache:
    forecasts = ForecastService(sample_artifact.card, load_model(sample_artifact.folder), days.read)
    return ForecastCache(forecasts, days, megabytes=1.0, stale_seconds=60.0)


def find(cache: ForecastCache, *, days_ahead: int = 7, num: int = 1) -> list[CachedForecast]:
    """`num` equal requests at the same time."""

    async def run() -> list[list[CachedForecast | ForecastingError]]:
        series = cache.card.series[:1]
        return await asyncio.gather(*(cache.get(series, days_ahead) for _ in range(num)))

    forecasts = []
    for [result] in asyncio.run(run()):
        if not isinstance(result, CachedForecast):
            raise result
        forecasts.append(result)
    return forecasts


def test_hundred_equal_questions_are_one_computation(cache: ForecastCache, days: Days) -> None:
    forecasts = find(cache, num=100)
    assert len(days.reads) == 1
    assert {forecast.body for forecast in forecasts} == {forecasts[0].body}
    assert {forecast.status for forecast in forecasts} == {"computed"}


def test_answer_is_kept_until_the_revision_or_the_day_changes(cache: ForecastCache, days: Days) -> None:
    [first] = find(cache)
    days.level = 900.0
    [second] = find(cache)
    assert (second.status, second.body) == ("cached", first.body)
    for revision in (Revision(2, TODAY), Revision(2, TODAY + dt.timedelta(1))):
        days.revision = revision
        [changed] = find(cache)
        assert changed.status == "computed"
        assert json.loads(changed.body)["predictions"] != json.loads(first.body)["predictions"]
    assert len(days.reads) == 3


def test_other_horizon_is_another_answer(cache: ForecastCache) -> None:
    [week], [month] = find(cache), find(cache, days_ahead=30)
    assert [json.loads(forecast.body)["days_ahead"] for forecast in (week, month)] == [7, 30]


def test_days_whose_changes_nobody_counts_are_read_each_time(cache: ForecastCache, days: Days) -> None:
    days.is_cacheable = False
    assert [find(cache)[0].status for _ in range(3)] == ["computed"] * 3


def test_change_while_an_answer_is_made_is_not_missed(cache: ForecastCache, days: Days) -> None:
    async def run() -> str:
        series = cache.card.series[:1]
        asking = asyncio.create_task(cache.get(series, 7))
        await asyncio.sleep(0.001)
        days.revision = Revision(2, TODAY)
        await asking
        [again] = await cache.get(series, 7)
        assert isinstance(again, CachedForecast)
        return again.status

    assert asyncio.run(run()) == "computed"


def test_last_answer_stands_in_and_says_so(cache: ForecastCache, days: Days) -> None:
    [fresh] = find(cache)
    days.revision, days.is_down = Revision(2, TODAY), True
    [stale] = find(cache)
    assert stale.status == "stale"
    assert json.loads(stale.body) == json.loads(fresh.body) | {"stale": True}
    with pytest.raises(CannotConnect, match="PostgreSQL is gone."):
        find(cache, days_ahead=8)
    days.is_down = False
    assert find(cache)[0].status == "computed"


def test_answer_that_lacks_days_is_stale_until_they_can_be_read(sample_artifact: Artifact, days: Days) -> None:
    forecasts = ForecastService(sample_artifact.card, load_model(sample_artifact.folder), days.read)
    missed: list[dt.date] = []

    def misses_days(data_until: dt.date) -> bool:
        return bool(missed) and data_until < missed[0]

    cache = ForecastCache(forecasts, days, megabytes=1.0, stale_seconds=60.0, misses_days=misses_days)
    [fresh] = find(cache)
    data_until = dt.date.fromisoformat(json.loads(fresh.body)["data_until"])
    missed.append(data_until)  # other series may lack days, this one does not: but whole responses are not kept
    assert (find(cache)[0].status, cache.tag) == ("cached", None)
    missed[0] = data_until + dt.timedelta(days=1)
    [stale], [also_stale] = find(cache), find(cache, days_ahead=8)
    assert (stale.status, stale.tag, also_stale.status) == ("stale", None, "stale")
    assert json.loads(stale.body) == json.loads(fresh.body) | {"stale": True}
    missed.clear()
    assert [find(cache)[0].body, find(cache, days_ahead=8)[0].status] == [fresh.body, "cached"]
    assert len(days.reads) == 2


def test_answer_that_nobody_can_vouch_for_is_stale(cache: ForecastCache, days: Days) -> None:
    find(cache)
    days.is_current = False
    assert find(cache)[0].status == "stale"
    days.is_current = True
    assert find(cache)[0].status == "cached"


def test_answer_does_not_stand_in_for_ever(sample_artifact: Artifact, days: Days) -> None:
    forecasts = ForecastService(sample_artifact.card, load_model(sample_artifact.folder), days.read)
    cache = ForecastCache(forecasts, days, megabytes=1.0, stale_seconds=0.0)
    find(cache)
    days.revision, days.is_down = Revision(2, TODAY), True
    with pytest.raises(CannotConnect):
        find(cache)


def test_who_asked_first_may_leave(cache: ForecastCache, days: Days) -> None:
    async def run() -> list[CachedForecast | ForecastingError]:
        series = cache.card.series[:1]
        first, second = (asyncio.create_task(cache.get(series, 7)) for _ in range(2))
        await asyncio.sleep(0.001)
        first.cancel()
        return await second

    [forecast] = asyncio.run(run())
    assert isinstance(forecast, CachedForecast)
    assert len(days.reads) == 1


def test_memory_is_bounded(sample_artifact: Artifact, days: Days) -> None:
    forecasts = ForecastService(sample_artifact.card, load_model(sample_artifact.folder), days.read)
    cache = ForecastCache(forecasts, days, megabytes=5000 / 2**20, stale_seconds=60.0)
    for days_ahead in range(1, 9):
        find(cache, days_ahead=days_ahead)
    assert 1 <= len(cache.entries) <= 5
    assert cache.entries.currsize <= 5000
    nothing = ForecastCache(forecasts, days, megabytes=0.0, stale_seconds=60.0)
    assert [find(nothing)[0].status for _ in range(2)] == ["computed"] * 2


def send(
    cache: ForecastCache, *requests: tuple[str, str, bytes, str], config: Config | None = None
) -> list[httpx.Response]:
    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(CacheBackend(cache), config), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [
                await client.request(method, path, content=body, headers={"Content-Type": kind})
                for method, path, body, kind in requests
            ]

    return asyncio.run(run())


def test_equal_request_gets_the_same_bytes_without_being_read(
    cache: ForecastCache, days: Days, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"metrics": ["page_visits", "unique_visitors"]}'
    request = ("POST", "/predict/multiple", body, "application/json")
    with caplog.at_level("INFO", logger="forecasting.requests"):
        first, second = send(cache, request, request)
    assert first.content == second.content
    assert (first.status_code, dict(first.headers)) == (200, dict(second.headers))
    assert len(days.reads) == 1
    assert ["answered=computed" in caplog.messages[0], "answered=cached" in caplog.messages[1]] == [True, True]
    assert "route=/predict/multiple status=200" in caplog.messages[1]


def test_answer_of_before_a_change_is_not_kept_as_one_of_after_it(cache: ForecastCache, days: Days) -> None:
    """Who asks after the change, while the question from before it is being answered, gets that answer too."""

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(CacheBackend(cache)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            days.may_answer.clear()
            first = asyncio.create_task(client.get("/predict/page-visits"))
            await days.was_asked.wait()
            days.revision = Revision(2, TODAY)
            joined = asyncio.create_task(client.get("/predict/page-visits"))
            for _ in range(100):  # turns of the loop, far more than a request needs to come to the cache
                await asyncio.sleep(0)
            days.may_answer.set()
            answers = [await first, await joined]
            assert len(days.reads) == 1
            days.level = 900.0
            return [*answers, await client.get("/predict/page-visits")]

    first, joined, later = (answer.json()["predictions"] for answer in asyncio.run(run()))
    assert first == joined
    assert later[0]["predicted_visits"] > 2 * joined[0]["predicted_visits"]


def test_kept_answer_goes_out_with_the_same_headers_each_time(cache: ForecastCache) -> None:
    config = Config(guard=GuardConfig(cors_origins=["https://a.example", "https://b.example"]))

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(CacheBackend(cache), config))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            origins = ["https://a.example", "https://b.example", "https://evil.example"] * 2
            return [await client.get("/predict/page-visits", headers={"Origin": origin}) for origin in origins]

    cors_headers = [
        (response.headers.get("access-control-allow-origin"), response.headers["vary"])
        for response in asyncio.run(run())
    ]
    assert cors_headers == [("https://a.example", "Origin"), ("https://b.example", "Origin"), (None, "Origin")] * 2


@pytest.mark.parametrize("megabytes", [0.0, 0.0001])
def test_without_room_nothing_is_kept_and_all_is_answered(cache: ForecastCache, days: Days, megabytes: float) -> None:
    config = Config(serving=ServingConfig(cache_mb=megabytes))
    request = ("POST", "/predict", b'{"days_ahead": 3}', "application/json")
    cache = ForecastCache(cache._service, days, megabytes=megabytes / 2, stale_seconds=60.0)
    first, second = send(cache, request, request, config=config)
    assert (first.status_code, second.status_code, len(days.reads)) == (200, 200, 2)
    assert first.json()["predictions"] == second.json()["predictions"]


def test_request_that_differs_at_all_is_read(cache: ForecastCache) -> None:
    """The same body is no JSON where its type says so; what was refused is refused each time."""
    body, json_type = b'{"days_ahead": 3}', "application/json"
    good, text, other, nothing, again = send(
        cache,
        ("POST", "/predict", body, json_type),
        ("POST", "/predict", body, "text/plain"),
        ("POST", "/predict", b'{"days_ahead": 4}', json_type),
        ("POST", "/predict", b"", json_type),
        ("POST", "/predict", b"", json_type),
    )
    assert [response.status_code for response in (good, text, other, nothing, again)] == [200, 422, 200, 422, 422]
    assert [response.json()["days_ahead"] for response in (good, other)] == [3, 4]


def test_what_could_be_answered_is_though_a_part_is_down(cache: ForecastCache, days: Days) -> None:
    """One metric's last answer stands in; nothing is known of the other."""
    ask_both = ("POST", "/predict/multiple", b'{"metrics": ["page_visits", "unique_visitors"]}', "application/json")
    find(cache)
    days.revision, days.is_down = Revision(2, TODAY), True
    [both] = send(cache, ask_both)
    assert both.status_code == 200
    assert both.json()["page_visits"]["stale"] is True
    assert both.json()["unique_visitors"] == {"error": "PostgreSQL is gone."}
    [none] = send(cache, ("POST", "/predict/multiple", b'{"metrics": ["unique_visitors"]}', "application/json"))
    assert (none.status_code, none.json()) == (503, {"detail": "PostgreSQL is gone."})
    assert none.headers["Retry-After"] == "3"


def test_more_series_than_one_request_may_ask_for_are_refused(cache: ForecastCache) -> None:
    request_body = {
        "metrics": [f"m{number}" for number in range(101)],
        "sites": [f"s{number}" for number in range(100)],
    }
    [refused] = send(cache, ("POST", "/predict/multiple", json.dumps(request_body).encode(), "application/json"))
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith(
        "body: 101 metrics of 100 sites are 10100 forecasts; a request may have 10000"
    )


def test_series_that_cannot_be_forecast_says_why(sample_artifact: Artifact, days: Days) -> None:
    async def read(series: Sequence[SeriesCard]) -> list[Window | DataError]:
        return [TooFewDays(f"{card.metric} is too young.") for card in series]

    forecasts = ForecastService(sample_artifact.card, load_model(sample_artifact.folder), read)
    cache = ForecastCache(forecasts, days, megabytes=1.0, stale_seconds=60.0)
    [refused] = send(cache, ("GET", "/predict/page-visits", b"", ""))
    assert (refused.status_code, refused.json()) == (503, {"detail": "page_visits is too young."})
