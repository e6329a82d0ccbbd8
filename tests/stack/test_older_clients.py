"""Requests as the older program took them, and what its clients read of the answers: keys, types and status."""

import datetime as dt
from typing import Any

import httpx
import pytest

JSON = {"Content-Type": "application/json"}


def ask(http: httpx.Client, method: str, path: str, body: str | None = None, *, status: int = 200) -> Any:
    """`body` is text, as it went over the wire."""
    response = http.request(method, path, content=body, headers=JSON if body else {})
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/json"), response.text
    return response.json()


def check_forecast(answer: Any, *, days_ahead: int, value: str = "predicted_visits") -> None:
    assert (answer["model_version"], answer["days_ahead"]) == ("v1.10", days_ahead)
    assert dt.datetime.fromisoformat(answer["prediction_date"])
    rows = answer["predictions"]
    first = dt.date.fromisoformat(rows[0]["date"])
    assert [row["date"] for row in rows] == [str(first + dt.timedelta(days)) for days in range(days_ahead)]
    for row in rows:
        assert type(row["predicted_visits"]) is int
        assert row["predicted_visits"] >= 0
        assert row[value] == row["predicted_visits"]
    assert answer["total_predicted_visits"] == sum(row["predicted_visits"] for row in rows)
    assert type(answer["total_predicted_visits"]) is int


def test_health(http: httpx.Client) -> None:
    answer = ask(http, "GET", "/health")
    assert {key: answer[key] for key in ("status", "service", "model_loaded")} == {
        "status": "healthy", "service": "ml-prediction-api", "model_loaded": True,
    }  # fmt: skip


def test_model_info(http: httpx.Client) -> None:
    answer = ask(http, "GET", "/model/info")
    documented = ("model_version", "sequence_length", "prediction_horizon", "is_trained")
    assert [answer[key] for key in documented] == ["v1.10", 7, 7, True]
    assert type(answer["total_parameters"]) is int


@pytest.mark.parametrize(("query", "days_ahead"), [("", 7), ("?days_ahead=7", 7), ("?days_ahead=30", 30)])
def test_page_visits(http: httpx.Client, query: str, days_ahead: int) -> None:
    check_forecast(ask(http, "GET", f"/predict/page-visits{query}"), days_ahead=days_ahead)


@pytest.mark.parametrize(
    ("body", "days_ahead", "value"),
    [
        ('{"days_ahead": 7, "metric": "page_visits"}', 7, "predicted_visits"),
        ('{"days_ahead": 3}', 3, "predicted_visits"),
        ("{}", 7, "predicted_visits"),
        ('{"days_ahead": 7, "metric": "unique_visitors"}', 7, "predicted_value"),
    ],
)
def test_predict(http: httpx.Client, body: str, days_ahead: int, value: str) -> None:
    check_forecast(ask(http, "POST", "/predict", body), days_ahead=days_ahead, value=value)


@pytest.mark.parametrize(
    ("path", "body", "days_ahead"),
    [
        ("/predict/multiple", '{"metrics": ["page_visits"], "days_ahead": 7}', 7),
        ("/predict/multiple", '{"metrics": ["page_visits"]}', 7),
        ("/predict/multiple?days_ahead=3", '["page_visits"]', 3),
        ("/predict/multiple", '["page_visits"]', 7),
    ],
)
def test_predict_multiple(http: httpx.Client, path: str, body: str, days_ahead: int) -> None:
    answer = ask(http, "POST", path, body)
    assert list(answer) == ["page_visits"]
    check_forecast(answer["page_visits"], days_ahead=days_ahead)


def test_bare_list_is_answered_as_an_object_is(http: httpx.Client) -> None:
    bare = ask(http, "POST", "/predict/multiple?days_ahead=3", '["page_visits"]')
    whole = ask(http, "POST", "/predict/multiple", '{"metrics": ["page_visits"], "days_ahead": 3}')
    assert bare["page_visits"]["predictions"] == whole["page_visits"]["predictions"]


def test_unknown_metric_has_an_error_in_its_place(http: httpx.Client) -> None:
    answer = ask(http, "POST", "/predict/multiple", '{"metrics": ["nope", "page_visits"], "days_ahead": 7}')
    assert list(answer) == ["nope", "page_visits"]
    assert answer["nope"]["error"].startswith("There is no metric 'nope'")
    check_forecast(answer["page_visits"], days_ahead=7)


def test_retraining_is_answered_with_the_command(http: httpx.Client) -> None:
    assert "python scripts/train.py" in ask(http, "POST", "/model/retrain", status=501)["detail"]


def test_index_lists_the_routes(http: httpx.Client) -> None:
    assert set(ask(http, "GET", "/")["routes"]) >= {
        "GET /health", "GET /model/info", "GET /predict/page-visits", "POST /predict", "POST /predict/multiple",
        "POST /model/retrain", "GET /",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status"),
    [('{"metric": "nope"}', 400), ('{"days_ahead": 0}', 422), ('{"days_ahead": 31}', 422), ("{", 422)],
)
def test_failures_have_a_detail(http: httpx.Client, body: str, status: int) -> None:
    """An unknown metric was a 500."""
    answer = ask(http, "POST", "/predict", body, status=status)
    assert list(answer) == ["detail"]
