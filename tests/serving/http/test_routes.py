"""HTTP alone: malformed bodies, several sites, and parts that are down. What the routes forecast: tests/stack."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

import httpx
import pytest

from forecasting.artifact import Artifact
from forecasting.card import SeriesCard
from forecasting.errors import (
    BadAnswer,
    BrokenArtifact,
    CannotConnect,
    CannotStart,
    DataError,
    ForecastingError,
    SettingError,
    TimedOut,
    Unavailable,
    WarehouseError,
)
from forecasting.predictor import Window
from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.forecast_service import ForecastService, ReadWindows
from forecasting.serving.health import Problems
from forecasting.serving.http.app import create_app
from forecasting.serving.http.headers import SECURITY_HEADERS
from forecasting.serving.http.metrics import ServingMetrics
from forecasting.serving.recent_windows import RecentWindows
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config, DatabaseConfig
from scripts.bench.harness import PATIENCE_SECONDS
from tests.serving.backend import CacheBackend, load_model
from tests.serving.http.listening import listen
from tests.waiting import CERTIFICATES

TEXT = "Input should be a valid string, unable to parse raw data as a unicode string"


def in_process(artifact: Artifact, read: ReadWindows) -> CacheBackend:
    """A backend whose model runs here."""
    forecasts = ForecastService(artifact.card, load_model(artifact.folder), read)
    return CacheBackend(
        ForecastCache(forecasts, RecentWindows(Config(), artifact.card).revisions, megabytes=1.0, stale_seconds=60.0)
    )


async def send(artifact: Artifact, read: ReadWindows, path: str, body: bytes | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(in_process(artifact, read)), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        headers = {"Content-Type": "application/json"}
        return await client.request("GET" if body is None else "POST", path, content=body, headers=headers)


async def never(series: Sequence[SeriesCard]) -> list[Window | DataError]:
    raise AssertionError("refused before anything is read")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"metric": "\xff"}', "The body is not valid UTF-8: invalid start byte at position 12."),
        (b"[" * 100_000, "The body cannot be parsed: its lists or objects are nested too deeply."),
        (
            b'{"days_ahead": ' + b"9" * 5000 + b"}",
            "The body cannot be parsed: Exceeds the limit (4300 digits) for integer string conversion: "
            "value has 5000 digits.",
        ),
        (b'{"metric": "\\ud800"}', f"metric: {TEXT} (found '\\ud800')"),
        (b'{"metric": "\xed\xa0\x80"}', f"metric: {TEXT} (found '\\ud800')"),
        (b'{"\\ud800": 1}', f"body: {TEXT} (found '\\ud800')"),
        (b'{"site": "' + b"x" * 201 + b'"}', "site: String should have at most 200 characters"),
        (
            b'{"days_ahead": NaN}',
            "days_ahead: Input should be a finite number (found nan)",
        ),
    ],
)
def test_malformed_body_is_told_what_is_wrong(sample_artifact: Artifact, body: bytes, detail: str) -> None:
    response = asyncio.run(send(sample_artifact, never, "/predict", body))
    assert (response.status_code, response.json()) == (422, {"detail": detail})


@pytest.mark.parametrize("depth", [500, 900, 940, 960, 2000])
def test_lists_in_lists_are_refused_however_deep(sample_artifact: Artifact, depth: int) -> None:
    body = b'{"metric": ' + b"[" * depth + b"]" * depth + b"}"
    assert asyncio.run(send(sample_artifact, never, "/predict", body)).status_code == 422


@pytest.mark.parametrize(
    ("request_body", "detail"),
    [
        ({"metrics": ["x" * 201]}, "metrics.0: String should have at most 200 characters"),
        (["x" * 201], "0: String should have at most 200 characters"),
        ({"metrics": ["a"], "sites": ["x" * 201]}, "sites.0: String should have at most 200 characters"),
        ({"metrics": ["\ud800"]}, f"metrics.0: {TEXT} (found '\\ud800')"),
        ({"metrics": ["a"], "sites": ["\ud800"]}, f"sites.0: {TEXT} (found '\\ud800')"),
        (
            {"metrics": ["a"], "site": "b", "sites": ["c"]},
            "body: Give either `site` or `sites`, not both (found {'metrics': ['a'], 'site': 'b', 'sites': ['c']})",
        ),
    ],
)
def test_malformed_request_for_many_is_told_what_is_wrong(
    sample_artifact: Artifact, request_body: object, detail: str
) -> None:
    response = asyncio.run(send(sample_artifact, never, "/predict/multiple", json.dumps(request_body).encode()))
    assert (response.status_code, response.json()) == (422, {"detail": detail})


@pytest.mark.parametrize(
    ("request_body", "detail"),
    [
        ('{"version": ""}', "version: {nameless} (found '')"),
        ('{"version": " "}', "version: {nameless} (found ' ')"),
        ('{"version": null}', "version: {nameless} (found null)"),
        ('{"version": true}', "version: {nameless} (found true)"),
        ('{"version": 1.1}', "version: {nameless} (found 1.1)"),
        ('{"version": ["v1"]}', "version: {nameless} (found ['v1'])"),
        ("{}", "version: Field required (found {})"),
        ("null", "body: Input should be a valid dictionary or object to extract fields from (found null)"),
        ('{"version": "v2", "force": 1}', "force: Input should be a valid boolean (found 1)"),
        ('{"version": "v2", "force": "yes"}', "force: Input should be a valid boolean (found 'yes')"),
        ('{"version": "v2", "forse": true}', "forse: Extra inputs are not permitted (found true)"),
    ],
)
def test_version_to_promote_has_a_name(sample_artifact: Artifact, request_body: str, detail: str) -> None:
    nameless = 'Name a version of MODEL_DIR as text, such as "v1.1.0"'
    response = asyncio.run(send(sample_artifact, never, "/model/promote", request_body.encode()))
    assert response.status_code == 422
    assert response.json() == {"detail": detail.replace("{nameless}", nameless)}


def test_many_mistakes_are_counted(sample_artifact: Artifact) -> None:
    request_body = {"metrics": ["a"], "sites": [1] * 5000}
    response = asyncio.run(send(sample_artifact, never, "/predict/multiple", json.dumps(request_body).encode()))
    named = "; ".join(f"sites.{number}: Input should be a valid string (found 1)" for number in range(20))
    assert (response.status_code, response.json()) == (422, {"detail": f"{named}; and 4,980 more"})


def test_site_of_a_query_has_a_length_too(sample_artifact: Artifact) -> None:
    response = asyncio.run(send(sample_artifact, never, f"/predict/page-visits?site={'x' * 201}"))
    assert (response.status_code, response.json()["detail"]) == (422, "site: String should have at most 200 characters")


def test_documentation_loads_nothing_from_elsewhere(sample_artifact: Artifact) -> None:
    index, description, *pages = (
        asyncio.run(send(sample_artifact, never, path)) for path in ("/", "/openapi.json", "/docs", "/redoc")
    )
    assert index.json()["documentation"] == "/openapi.json"
    assert "/predict" in description.json()["paths"]
    assert [page.status_code for page in pages] == [404, 404]


@pytest.fixture
def two_sites(sample_artifact: Artifact) -> Artifact:
    card = sample_artifact.card
    series = tuple(replace(card.series[0], site=site) for site in ("blog", "shop"))
    return replace(sample_artifact, card=replace(card, series=series))


def test_site_asked_for_twice_is_read_once(sample_artifact: Artifact, embedded: DatabaseConfig) -> None:
    """In the order of the request."""
    reads = 0

    async def run() -> httpx.Response:
        windows = RecentWindows(Config(database=embedded), sample_artifact.card)

        async def read(series: Sequence[SeriesCard]) -> list[Window | DataError]:
            nonlocal reads
            reads += 1
            return await windows.read(series)

        request_body = {"metrics": ["page_visits"], "sites": ["siteanalytics", "b", "siteanalytics", "a", "b"]}
        response = await send(sample_artifact, read, "/predict/multiple", json.dumps(request_body).encode())
        await windows.close()
        return response

    response = asyncio.run(run())
    assert list(response.json()) == ["siteanalytics", "b", "a"]
    assert response.json()["siteanalytics"]["page_visits"]["days_ahead"] == 7
    assert reads == 1


def test_database_that_is_down_is_said_for_several_sites_too(two_sites: Artifact) -> None:
    nowhere = DatabaseConfig(embedded=False, host="127.0.0.1", port=1)

    async def run() -> httpx.Response:
        windows = RecentWindows(Config(database=nowhere), two_sites.card)
        request_body = {"metrics": ["page_visits"], "sites": ["blog", "shop"]}
        return await send(two_sites, windows.read, "/predict/multiple", json.dumps(request_body).encode())

    response = asyncio.run(run())
    assert response.status_code == 503
    assert "port 1" in response.json()["detail"]


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8"], ids=["layer", "route"]
)
def test_a_mistake_of_ours_is_said_as_one_and_no_more(
    sample_artifact: Artifact, caplog: pytest.LogCaptureFixture, content_type: str
) -> None:
    """Wherever it is made: in one of our layers, or in a route of FastAPI."""

    async def fail(series: Sequence[SeriesCard]) -> list[Window | DataError]:
        raise ZeroDivisionError("secret")

    metrics = ServingMetrics()
    with listen(create_app(in_process(sample_artifact, fail), serving_metrics=metrics), Config(), metrics) as port:
        answer = httpx.post(
            f"http://127.0.0.1:{port}/predict",
            content=b"{}",
            headers={"Content-Type": content_type},
            timeout=PATIENCE_SECONDS,
            verify=CERTIFICATES,
        )
    assert (answer.status_code, answer.json()) == (
        500, {"detail": "Internal error. The server's log has the details."},
    )  # fmt: skip
    for name, value in SECURITY_HEADERS:
        assert answer.headers[name.decode()] == value.decode()
    labels = {"route": "/predict", "method": "POST", "status": "500"}
    assert metrics.registry.get_sample_value("forecaster_requests_total", labels) == 1
    assert "ZeroDivisionError: secret" in caplog.text


class Down(CacheBackend):
    """A backend whose parts are down."""

    problems = Problems()

    async def find_problems(self) -> Problems:
        return self.problems


READ, ADMIN = "key-of-sixteen-or-more", "key-of-an-administrator"
KEYS = {"API_KEYS": f"ci:read:{READ},ops:admin:{ADMIN}"}
MODEL, DAYS = "Nothing listens at http://10.0.0.1.", "The user forecaster may not connect to db.internal."


@pytest.mark.parametrize(
    ("problems", "ready", "brief"),
    [
        (Problems(), True, []),
        (Problems(model=MODEL), False, ["TorchServe does not answer."]),
        (Problems(days=DAYS), False, ["PostgreSQL does not answer."]),
        (Problems(days=DAYS, source=DAYS), False, ["PostgreSQL", "The source of new days"]),
        (Problems(source=DAYS), True, ["The source of new days does not answer."]),
    ],
)
def test_what_is_down_is_said_in_full_to_those_with_the_right_admin(
    sample_artifact: Artifact, problems: Problems, ready: bool, brief: list[str]
) -> None:
    backend = Down(in_process(sample_artifact, never).forecast_cache)
    backend.problems = problems
    app = create_app(backend, load_config(environ=KEYS))

    async def ask(path: str, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            return await client.get(path)

    known = asyncio.run(ask("/health", **{"X-API-Key": ADMIN}))
    assert known.json()["problems"] == problems.describe()
    for headers in ({}, {"X-API-Key": READ}):
        stranger = asyncio.run(ask("/health", **headers))
        sentences = stranger.json()["problems"]
        assert len(sentences) == len(brief)
        assert all(sentence.startswith(begin) for sentence, begin in zip(sentences, brief, strict=True))
        assert "forecaster" not in stranger.text
        assert "db.internal" not in asyncio.run(ask("/ready", **headers)).text
    answer = asyncio.run(ask("/ready"))
    assert (answer.status_code, answer.json()["ready"]) == ((200, True) if ready else (503, False))
    assert ("retry-after" in answer.headers) is not ready


LOG = "The server's log says why."
PART = f"A part of the service does not answer as it should. {LOG}"
DATABASE = f"PostgreSQL does not answer as it should. {LOG}"
OUTAGES = [
    (
        Unavailable("TorchServe's keys cannot be read from /tmp/forecaster.7.x/key_file.json (FileNotFoundError())."),
        PART,
    ),
    (CannotConnect("Cannot connect to PostgreSQL at host db.internal, as user forecaster: no server answers."),
     DATABASE),
    (WarehouseError('PostgreSQL failed while reading forecasting.daily: relation "daily" does not exist.'),
     DATABASE),
    (BadAnswer("The handler refused the request (400): /tmp/forecaster.7.x/tmp/models/ab/model.pt2"),
     f"TorchServe's answer is not a forecast. {LOG}"),
    (BrokenArtifact("/srv/store/v1/model.pt2 is missing."), f"The version cannot be used. {LOG}"),
    (CannotStart("/opt/java/bin/java cannot be started."), PART),
    (SettingError("/srv/.env, line 2, is not NAME=value."), PART),
    (TimedOut("TorchServe did not answer within 10 s."), "TorchServe did not answer within 10 s."),
    (DataError("page_visits of blog has 20 known days."), "page_visits of blog has 20 known days."),
]  # fmt: skip


@pytest.mark.parametrize(("error", "brief"), OUTAGES, ids=lambda value: type(value).__name__)
def test_files_hosts_and_statements_are_named_to_admins_alone(
    sample_artifact: Artifact, error: ForecastingError, brief: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(series: Sequence[SeriesCard]) -> list[Window | DataError]:
        raise error

    app = create_app(in_process(sample_artifact, fail), load_config(environ=KEYS))

    async def ask(key: str, method: str, path: str, body: bytes | None) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            headers = {"X-API-Key": key, "Content-Type": "application/json"}
            return await client.request(method, path, content=body, headers=headers)

    for method, path, body in (
        ("GET", "/predict/page-visits", None),
        ("POST", "/predict", b'{"metric": "page_visits"}'),
        ("POST", "/predict/multiple", b'{"metrics": ["page_visits"]}'),
    ):
        told = [asyncio.run(ask(key, method, path, body)).json() for key in (ADMIN, READ)]
        errors = [answer["page_visits"]["error"] if "page_visits" in answer else answer["detail"] for answer in told]
        assert errors == [str(error), brief]
    if brief.endswith(LOG):
        assert str(error) in caplog.text
