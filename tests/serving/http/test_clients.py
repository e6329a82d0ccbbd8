"""What real clients send: HEAD, forms, gzip, parameters that nobody has, and requests below a proxy's prefix."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from forecasting.artifact import Artifact, load_artifact
from forecasting.card import SeriesCard
from forecasting.errors import DataError, SettingError
from forecasting.predictor import Window
from forecasting.serving.http.app import create_app
from forecasting.serving.http.limits import MAX_BODY_BYTES
from forecasting.settings.schema import Config, ServingConfig

from .test_routes import in_process, never

JSON = {"Content-Type": "application/json"}


async def fail(series: Sequence[SeriesCard]) -> list[Window | DataError]:
    """A request that gets as far as the data is answered with 503."""
    return [DataError("the request was understood") for _ in series]


@cache
def make_app(folder: Path) -> ASGIApp:
    """With the default settings, once for all tests: making it takes longer than answering. `fail` leaves it nothing to
    remember.
    """
    return create_app(in_process(load_artifact(folder.parent, folder.name), fail))


def request(
    artifact: Artifact,
    method: str,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    config: Config | None = None,
) -> httpx.Response:
    app = create_app(in_process(artifact, fail), config) if config else make_app(artifact.folder)

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, content=body, headers=headers)

    return asyncio.run(run())


def detail(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    return str(response.json()["detail"])


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "/predict/page-visits?days=3", "days: GET /predict/page-visits has no such parameter. "
         "Did you mean days_ahead?"),
        ("GET", "/predict/page-visits?Site=blog", "Site: GET /predict/page-visits has no such parameter. "
         "Did you mean site?"),
        ("GET", "/predict/page-visits?metric=visits", "metric: GET /predict/page-visits forecasts page_visits alone. "
         "For another metric, use POST /predict"),
        ("GET", "/predict/page-visits?zzz=1&days=2", "zzz: GET /predict/page-visits has no such parameter. It has "
         "days_ahead, site; days: GET /predict/page-visits has no such parameter. Did you mean days_ahead?"),
        ("GET", "/predict/page-visits?days_ahead=3&days_ahead=9", "days_ahead: Given 2 times; give it once"),
        ("POST", "/predict?days_ahead=3", "days_ahead: POST /predict has no such parameter in its query. Put it into "
         "the body"),
        ("POST", "/predict/multiple?days=3", "days: POST /predict/multiple has no such parameter. "
         "Did you mean days_ahead?"),
        ("POST", "/model/promote?wate=3", "wate: POST /model/promote has no such parameter. Did you mean wait?"),
        ("POST", "/model/retrain?epochs=3", "epochs: POST /model/retrain has no such parameter. It has none"),
        ("GET", "/?metric=x", "metric: GET / has no such parameter. It has none"),
        *(("GET", f"{path}?page=2", f"page: GET {path} has no such parameter. It has site, metric, limit, offset")
          for path in ("/sites", "/model/info")),
    ],
)  # fmt: skip
def test_parameter_that_a_route_does_not_have_is_refused(
    sample_artifact: Artifact, method: str, path: str, text: str
) -> None:
    body = b"" if method == "GET" else b'{"version": "x", "metrics": ["page_visits"]}'
    assert detail(request(sample_artifact, method, path, body, JSON), 422) == text


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
def test_monitors_may_add_a_parameter_against_caches(sample_artifact: Artifact, path: str) -> None:
    for method in ("GET", "HEAD"):
        for query in ("?_=1764410914", "?t=1&t=2", "?"):
            assert request(sample_artifact, method, path + query).status_code == 200


@pytest.mark.parametrize("value", ["true", "false", '"1_0"', '"_7"', "1.5", '"7.5"', '"x"', "null", "[7]", '""'])
def test_number_of_days_is_a_number(sample_artifact: Artifact, value: str) -> None:
    for path, body in (
        ("/predict", f'{{"days_ahead": {value}}}'),
        ("/predict/multiple", f'{{"metrics": ["page_visits"], "days_ahead": {value}}}'),
    ):
        answer = request(sample_artifact, "POST", path, body.encode(), JSON)
        assert detail(answer, 422).startswith("days_ahead: Input should be a")


def test_odd_numbers_are_named(sample_artifact: Artifact) -> None:
    text = "Input should be a number, written in digits"
    answer = request(sample_artifact, "POST", "/predict", b'{"days_ahead": true}', JSON)
    assert detail(answer, 422) == f"days_ahead: {text} (found true)"
    for method, path, name in (
        ("GET", "/predict/page-visits?days_ahead=1_0", "days_ahead"),
        ("GET", "/model/promote/x?wait=1_0", "wait"),
    ):
        assert detail(request(sample_artifact, method, path), 422) == f"{name}: {text} (found '1_0')"


@pytest.mark.parametrize("value", ["7", "7.0", '"7"'])
def test_whole_numbers_are_taken_however_written(sample_artifact: Artifact, value: str) -> None:
    body = f'{{"days_ahead": {value}}}'.encode()
    assert detail(request(sample_artifact, "POST", "/predict", body, JSON), 503) == "the request was understood"


def test_days_of_an_object_may_come_from_the_query(sample_artifact: Artifact) -> None:
    def ask(query: str, body: dict[str, Any]) -> httpx.Response:
        return request(sample_artifact, "POST", f"/predict/multiple{query}", json.dumps(body).encode(), JSON)

    text = "days_ahead: The query has 3 and the body 7. Give it once"
    assert detail(ask("?days_ahead=3", {"metrics": ["page_visits"], "days_ahead": 7}), 422) == text
    for query, body in (("?days_ahead=3", {}), ("?days_ahead=3", {"days_ahead": 3}), ("", {"days_ahead": 3})):
        answer = ask(query, {"metrics": ["page_visits"], **body})
        assert answer.json() == {"page_visits": {"error": "the request was understood"}}


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/metrics", "/sites", "/model/info", "/openapi.json"])
def test_head_is_answered_as_get_is(sample_artifact: Artifact, path: str) -> None:
    get, head = (request(sample_artifact, method, path) for method in ("GET", "HEAD"))
    assert (head.status_code, head.headers["content-type"]) == (200, get.headers["content-type"])
    if path != "/metrics":  # which change with each request
        assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(("path", "status"), [("/predict/page-visits", 503), ("/sites?x=1", 422), ("/predict", 405)])
def test_head_has_the_status_of_get(sample_artifact: Artifact, path: str, status: int) -> None:
    assert [request(sample_artifact, method, path).status_code for method in ("GET", "HEAD")] == [status, status]


def test_head_is_not_listed_as_a_route_of_its_own(sample_artifact: Artifact) -> None:
    routes = request(sample_artifact, "GET", "/").json()["routes"]
    assert "GET /health" in routes
    assert not [route for route in routes if route.startswith("HEAD")]
    paths = request(sample_artifact, "GET", "/openapi.json").json()["paths"]
    assert not [path for path, methods in paths.items() if "head" in methods]


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded"},
         "the header Content-Type: 'application/x-www-form-urlencoded'"),
        ({"Content-Type": "text/plain"}, "the header Content-Type: 'text/plain'"),
        ({}, "no Content-Type header"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/predict", "/predict/multiple", "/model/promote"])
def test_body_that_is_not_sent_as_json_is_told_the_header(
    sample_artifact: Artifact, path: str, headers: dict[str, str], sent: str
) -> None:
    """As `curl -d` does."""
    answer = request(sample_artifact, "POST", path, b'{"days_ahead": 7}', headers)
    advice = "Send JSON, with the header Content-Type: application/json."
    assert detail(answer, 422) == f"The body was sent with {sent}. {advice}"


BODY = b'{"days_ahead": 7}'
TOO_LARGE = "The request body is larger than 1,048,576 bytes. Request fewer series at once."
TORN = "The body is not one whole gzip stream: it ends too early, or more follows it."


def pack(body: bytes) -> bytes:
    """Without the time, which would give the tests other names in each worker."""
    return gzip.compress(body, mtime=0)


@pytest.mark.parametrize(
    ("encoding", "body", "status", "text"),
    [
        ("gzip", pack(BODY), 503, "the request was understood"),
        ("x-gzip", pack(BODY), 503, "the request was understood"),
        ("GZIP", pack(BODY), 503, "the request was understood"),
        ("identity", BODY, 503, "the request was understood"),
        ("gzip", BODY, 422, "The body is not valid gzip, though its Content-Encoding is gzip."),
        ("gzip", zlib.compress(BODY), 422, "The body is not valid gzip, though its Content-Encoding is gzip."),
        ("gzip", pack(BODY)[:-4], 422, TORN),
        ("gzip", pack(BODY) + pack(b""), 422, TORN),
        ("gzip", pack(b" " * (MAX_BODY_BYTES + 1)), 413, TOO_LARGE),
        ("gzip, gzip", pack(pack(BODY)), 415,
         "The body's Content-Encoding is 'gzip, gzip'. Only gzip is supported: use it, or none."),
        ("br", b"x", 415, "The body's Content-Encoding is 'br'. Only gzip is supported: use it, or none."),
    ],
)  # fmt: skip
def test_gzip_is_unpacked_within_the_limits(
    sample_artifact: Artifact, encoding: str, body: bytes, status: int, text: str
) -> None:
    answer = request(sample_artifact, "POST", "/predict", body, {**JSON, "Content-Encoding": encoding})
    assert detail(answer, status) == text


def test_gzip_that_unpacks_to_half_a_gigabyte_is_refused(sample_artifact: Artifact) -> None:
    body = pack(bytes(2**29))
    assert len(body) < MAX_BODY_BYTES
    answer = request(sample_artifact, "POST", "/predict", body, {**JSON, "Content-Encoding": "gzip"})
    assert detail(answer, 413) == TOO_LARGE


def test_largest_body_may_be_packed_too(sample_artifact: Artifact) -> None:
    body = BODY + b" " * (MAX_BODY_BYTES - len(BODY))
    answer = request(sample_artifact, "POST", "/predict", pack(body), {**JSON, "Content-Encoding": "gzip"})
    assert detail(answer, 503) == "the request was understood"


BEHIND_PROXY = Config(serving=ServingConfig(root_path="/stats/traffic"))


@pytest.mark.parametrize("prefix", ["", "/stats/traffic"])
def test_routes_answer_with_and_without_the_proxys_prefix(sample_artifact: Artifact, prefix: str) -> None:
    """Some proxies remove it, some pass it on."""

    def get(path: str) -> Any:
        return request(sample_artifact, "GET", prefix + path, config=BEHIND_PROXY).json()

    index = get("/")
    assert index["documentation"] == "/stats/traffic/openapi.json"
    assert {"GET /stats/traffic/health", "POST /stats/traffic/predict"} <= set(index["routes"])
    assert get("/openapi.json")["servers"] == [{"url": "/stats/traffic"}]
    assert get("/health")["status"] == "healthy"
    assert get("/predict/page-visits") == {"detail": "the request was understood"}
    assert get("/stats/trafficking") == {
        "detail": "There is no route '/stats/trafficking'. GET /stats/traffic/ lists all routes."
    }
    retrain = request(sample_artifact, "POST", f"{prefix}/model/retrain", b"", JSON, config=BEHIND_PROXY)
    assert retrain.json()["detail"].endswith(", then POST /stats/traffic/model/promote.")


def test_without_a_prefix_no_server_is_named(sample_artifact: Artifact) -> None:
    assert "servers" not in request(sample_artifact, "GET", "/openapi.json").json()
    assert request(sample_artifact, "GET", "/").json()["documentation"] == "/openapi.json"


@pytest.mark.parametrize("root_path", ["traffic", "/traffic/", "/", "/a b", "/a?b", "//x"])
def test_prefix_that_is_no_path_is_refused(root_path: str) -> None:
    with pytest.raises(SettingError) as refusal:
        ServingConfig(root_path=root_path)
    assert str(refusal.value) == (
        f"serving.root_path is {root_path!r}. Write it with a slash before and none after, such as /traffic."
    )


@pytest.mark.parametrize("root_path", ["/predict", "/model", "/health"])
def test_prefix_that_routes_have_already_is_refused(sample_artifact: Artifact, root_path: str) -> None:
    with pytest.raises(SettingError) as refusal:
        create_app(in_process(sample_artifact, never), Config(serving=ServingConfig(root_path=root_path)))
    assert str(refusal.value) == (
        f"serving.root_path is {root_path!r}, where routes are already. Choose another prefix."
    )
