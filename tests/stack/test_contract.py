"""Answers of the running stack, held against what OpenAPI says of them, and not one key more."""

import httpx
import pytest

from tests.serving.http.describing import Json, content, find_faults

METRICS = ["page_visits", "unique_visitors", "nope"]


@pytest.fixture(scope="module")
def description(http: httpx.Client) -> Json:
    return http.get("/openapi.json").json()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", None, 200),
        ("GET", "/health", None, 200),
        ("GET", "/ready", None, 200),
        ("GET", "/model/info", None, 200),
        ("GET", "/sites", None, 200),
        ("POST", "/model/retrain", None, 501),
        ("GET", "/overview", None, 200),
        ("GET", "/overview?limit=0", None, 422),
        ("GET", "/history?metric=unique_visitors&days=30", None, 200),
        ("GET", "/history?metric=nope", None, 400),
        ("GET", "/history?days=1831", None, 422),
        ("GET", "/anomalies?since=2014-09-14&sensitivity=high&site=siteanalytics", None, 200),
        ("GET", "/anomalies?site=x", None, 400),
        ("GET", "/anomalies?sensitivity=nope", None, 422),
        ("GET", "/anomalies?until=0", None, 422),  # pydantic would take it as 1970-01-01
        ("POST", "/anomalies/999999/acknowledge", {"note": "sale"}, 404),
        ("POST", "/anomalies/999999/acknowledge", {"notes": "sale"}, 422),
        ("GET", "/predict/page-visits", None, 200),
        ("GET", "/predict/page-visits?days_ahead=30&site=siteanalytics", None, 200),
        ("GET", "/predict/page-visits?site=x", None, 400),
        ("GET", "/predict/page-visits?days_ahead=31", None, 422),
        ("POST", "/predict", {"metric": "unique_visitors", "days_ahead": 1}, 200),
        ("POST", "/predict", {"metric": "nope"}, 400),
        ("POST", "/predict", {"metric": 1}, 422),
        ("POST", "/predict/multiple", {"metrics": METRICS}, 200),
        ("POST", "/predict/multiple", {"metrics": METRICS, "sites": ["siteanalytics", "x"]}, 200),
        ("POST", "/predict/multiple?days_ahead=2", METRICS, 200),
        ("POST", "/predict/multiple", [], 422),
    ],
)
def test_answer_is_as_described(
    http: httpx.Client, description: Json, method: str, path: str, body: object, status: int
) -> None:
    response = http.request(method, path, json=body)
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    named = path.partition("?")[0].replace("999999", "{anomaly_id}")
    described = description["paths"][named][method.lower()]["responses"][str(status)]
    assert find_faults(description, content(described)["schema"], response.json()) == []


def test_answers_made_now_are_not_stale(http: httpx.Client) -> None:
    assert http.get("/predict/page-visits").json()["stale"] is False
