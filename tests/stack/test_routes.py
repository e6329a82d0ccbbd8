"""The documented routes over HTTP, on the running stack, held against CONTRACT and against the other ways to ask."""

import datetime as dt
import json
import re
import subprocess
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from forecasting import PredictionService
from forecasting.artifact import WEIGHTS, load_artifact
from forecasting.model.forecaster import MEDIAN, Forecaster
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config, ModelConfig
from scripts.bench.harness import Place, Process
from tests import PROJECT
from tests.waiting import becomes

SERVING_README = (PROJECT / "forecasting" / "serving" / "README.md").read_text()
UNKNOWN = (
    "There is no metric 'nope' in version v1.10. "
    "It was trained on: first_time_visitors, page_visits, returning_visitors, unique_visitors."
)


@pytest.fixture(scope="module")
def config(place: Place) -> Config:
    return load_config(environ=place.environment)


@pytest.fixture(scope="module")
def service(config: Config) -> Iterator[PredictionService]:
    with PredictionService(config) as service:
        yield service


def without_time(answer: dict) -> dict:
    return {key: value for key, value in answer.items() if key != "prediction_date"}


def test_health_and_model_info(http: httpx.Client) -> None:
    assert becomes(lambda: http.get("/health").json()["data_age_days"] is not None)  # by the first update
    health = http.get("/health")
    assert health.status_code == 200
    state = health.json()
    assert dt.datetime.fromisoformat(state.pop("source_read_at")) <= dt.datetime.now(dt.UTC)
    assert state.pop("data_age_days") == (dt.datetime.now(dt.UTC).date() - dt.date(2020, 8, 19)).days
    never = {"succeeded_at": None, "age_hours": None, "outcome": None, "next_at": None}
    assert state.pop("daily_job") == never  # the stack's is off
    assert state == {
        "status": "healthy", "service": "ml-prediction-api", "model_loaded": True, "problems": [], "changes": [],
        "data_until": "2020-08-19", "notes": [],
    }  # fmt: skip
    info = http.get("/model/info").json()
    assert (info["model_version"], info["sequence_length"], info["prediction_horizon"]) == ("v1.10", 7, 7)
    assert info["is_trained"] is True
    assert info["total_parameters"] == Forecaster(ModelConfig(hidden_size=8)).num_parameters()


@pytest.mark.parametrize("days_ahead", [1, 7, 8, 30])
def test_exactly_the_asked_days_come_back(http: httpx.Client, days_ahead: int) -> None:
    answer = http.get("/predict/page-visits", params={"days_ahead": days_ahead}).json()
    dates = [dt.date.fromisoformat(row["date"]) for row in answer["predictions"]]
    assert dates == [dt.date(2020, 8, 20) + dt.timedelta(day) for day in range(days_ahead)]
    visits = [row["predicted_visits"] for row in answer["predictions"]]
    assert all(isinstance(number, int) and number >= 0 for number in visits)
    assert (answer["days_ahead"], answer["total_predicted_visits"]) == (days_ahead, sum(visits))
    assert (answer["model_version"], answer["data_until"]) == ("v1.10", "2020-08-19")
    assert dt.datetime.fromisoformat(answer["prediction_date"]).tzinfo is not None
    assert all(row["lower"] <= row["predicted_visits"] <= row["upper"] for row in answer["predictions"])


def test_fewer_days_are_the_first_rows_of_more(http: httpx.Client) -> None:
    few, many = (http.get("/predict/page-visits", params={"days_ahead": days}).json() for days in (3, 30))
    assert many["predictions"][:3] == few["predictions"]


def test_bands_widen_week_by_week(http: httpx.Client) -> None:
    rows = http.get("/predict/page-visits", params={"days_ahead": 28}).json()["predictions"]
    widths = [
        np.mean([(row["upper"] - row["lower"]) / row["predicted_visits"] for row in rows[week : week + 7]])
        for week in range(0, 28, 7)
    ]
    assert widths[0] < widths[3]


def test_seven_days_unless_said(http: httpx.Client) -> None:
    answers = [
        http.get("/predict/page-visits"),
        http.post("/predict", json={}),
        http.post("/predict", json={"days_ahead": 7, "metric": "page_visits"}),
    ]
    first, *others = (without_time(answer.json()) for answer in answers)
    assert first["days_ahead"] == 7
    assert all(other == first for other in others)


def test_other_metrics_have_a_value_besides_visits(http: httpx.Client) -> None:
    answer = http.post("/predict", json={"days_ahead": 2, "metric": "unique_visitors"}).json()
    assert all(row["predicted_value"] == row["predicted_visits"] for row in answer["predictions"])
    assert answer["total"] is None


def test_many_metrics_at_once_are_the_single_answers(http: httpx.Client) -> None:
    answers = http.post("/predict/multiple", json={"metrics": ["page_visits", "nope", "unique_visitors"]}).json()
    assert list(answers) == ["page_visits", "nope", "unique_visitors"]
    assert answers["nope"] == {"error": UNKNOWN}
    for metric in ("page_visits", "unique_visitors"):
        alone = http.post("/predict", json={"metric": metric}).json()
        assert without_time(answers[metric]) == without_time(alone)


def test_several_sites_are_answered_by_site(http: httpx.Client) -> None:
    request = {"metrics": ["page_visits"], "sites": ["siteanalytics", "other"], "days_ahead": 1}
    answers = http.post("/predict/multiple", json=request).json()
    assert answers["siteanalytics"]["page_visits"]["site"] == "siteanalytics"
    assert answers["other"]["page_visits"] == {
        "error": "There is no site 'other' in version v1.10. It was trained on: siteanalytics."
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "detail"),
    [
        ("POST", "/predict", {"metric": "nope"}, 400, UNKNOWN),
        (
            "POST", "/predict", {"site": "x"}, 400,
            "There is no site 'x' in version v1.10. It was trained on: siteanalytics.",
        ),
        (
            "GET", "/predict/page-visits?days_ahead=0", None, 422,
            "days_ahead: Input should be greater than or equal to 1 (found '0')",
        ),
        (
            "GET", "/predict/page-visits?days_ahead=31", None, 422,
            "days_ahead: Input should be less than or equal to 30 (found '31')",
        ),
        (
            "GET", "/predict/page-visits?days_ahead=x", None, 422,
            "days_ahead: Input should be a valid integer, unable to parse string as an integer (found 'x')",
        ),
        (
            "POST", "/predict", {"days_ahead": 31}, 422,
            "days_ahead: Input should be less than or equal to 30 (found 31)",
        ),
        ("POST", "/predict", {"days": 7}, 422, "days: Extra inputs are not permitted (found 7)"),
        (
            "POST", "/predict", b'{"days_ahead": 7,', 422,
            "The body is not valid JSON: Expecting property name enclosed in double quotes",
        ),
        ("POST", "/predict", None, 422, "body: Field required"),
        (
            "POST", "/predict/multiple", {"metrics": []}, 422,
            "metrics: List should have at least 1 item after validation, not 0 (found [])",
        ),
        (
            "POST", "/predict/multiple?days_ahead=31", ["page_visits"], 422,
            "days_ahead: Input should be less than or equal to 30 (found '31')",
        ),
        (
            "POST", "/predict/multiple", [1], 422,
            "0: Input should be a valid string (found 1)",
        ),
        (
            "POST", "/predict", b'{"metric": "\xff"}', 422,
            "The body is not valid UTF-8: invalid start byte at position 12.",
        ),
        (
            "POST", "/predict", b"[" * 100_000, 422,
            "The body cannot be parsed: its lists or objects are nested too deeply.",
        ),
        (
            "POST", "/predict", {"metric": "\ud800"}, 422,
            "metric: Input should be a valid string, unable to parse raw data as a unicode string "
            "(found '\\ud800')",
        ),
        (
            "POST", "/predict/multiple", {"metrics": ["a"], "site": "b", "sites": ["c"]}, 422,
            "body: Give either `site` or `sites`, not both "
            "(found {'metrics': ['a'], 'site': 'b', 'sites': ['c']})",
        ),
        (
            "POST", "/model/retrain", None, 501,
            "Retraining by request is not available yet. Run: python scripts/train.py --model-version v1.10, "
            "then POST /model/promote.",
        ),
        ("GET", "/nope", None, 404, "There is no route '/nope'. GET / lists all routes."),
        ("GET", "/predict", None, 405, "/predict does not support GET. GET / lists all routes."),
    ],
)  # fmt: skip
def test_refusals_say_what_was_found(
    http: httpx.Client, method: str, path: str, body: object, status: int, detail: str
) -> None:
    content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    response = http.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()) == (status, {"detail": detail})


def test_index_says_where_the_description_is(http: httpx.Client) -> None:
    index = http.get("/").json()
    assert "/predict" in http.get(index["documentation"]).json()["paths"]


@pytest.mark.parametrize("days_ahead", [7, 30])
def test_python_answers_as_the_shim_does(http: httpx.Client, service: PredictionService, days_ahead: int) -> None:
    over_http = http.get("/predict/page-visits", params={"days_ahead": days_ahead}).json()
    assert without_time(service.predict_page_visits(days_ahead=days_ahead)) == without_time(over_http)
    many = http.post("/predict/multiple", json={"metrics": ["page_visits", "returning_visitors"]}).json()
    ours = service.predict_multiple(["page_visits", "returning_visitors"])
    assert {metric: without_time(answer) for metric, answer in ours.items()} == {
        metric: without_time(answer) for metric, answer in many.items()
    }


def test_answers_are_the_forecasters_own(http: httpx.Client, config: Config, sample: dict[str, np.ndarray]) -> None:
    """The trained weights in memory, on the shipped sample file's last days, against what the whole stack says. The
    last of them was counted in part: it is unknown, and forecasts begin after it.
    """
    artifact = load_artifact(config.model_dir)
    forecaster = Forecaster(ModelConfig(hidden_size=8)).eval()
    forecaster.load_state_dict(torch.load(artifact.folder / WEIGHTS, weights_only=True))
    context, days = artifact.card.context_length, artifact.card.output_days
    history = torch.from_numpy(sample["page_visits"][-context:].astype(np.float32))[None]
    history[0, -1] = torch.nan
    first_day = (dt.date(2020, 8, 19) - dt.date(1970, 1, 1)).days + 1 - context
    with torch.no_grad():
        bands = torch.tensor([artifact.card.find_series(metric="page_visits", site=None).band_scale[:days]])
        quantiles = forecaster(history, torch.tensor([first_day]), torch.tensor([0]), bands)[0, :7].numpy()
    rows = http.get("/predict/page-visits").json()["predictions"]
    assert [row["predicted_visits"] for row in rows] == [round(float(value)) for value in quantiles[:, MEDIAN]]
    assert [row["lower"] for row in rows] == [round(float(value)) for value in quantiles[:, 1]]


def test_one_line_a_request_that_nobody_can_forge(http: httpx.Client, served: Process) -> None:
    http.get("/predict/page-visits", params={"days_ahead": 2})
    assert served.wait_for(
        r"\nmethod=GET route=/predict/page-visits status=200 ms=[\d.]+ answered=\w+ "
        r"site=siteanalytics metric=page_visits days=2 version=v1\.10 client=-\n"
    )
    http.post("/predict", json={"metric": "x\nmethod=GET", "site": "a b"})
    assert served.wait_for(
        r"\nmethod=POST route=/predict status=400 ms=[\d.]+ answered=- "
        r'site="a b" metric="x\\nmethod=GET" days=7 version=v1\.10 client=-\n'
    )


def test_metrics_count_what_is_asked(http: httpx.Client) -> None:
    def ask() -> tuple[float, float, float]:
        response = http.get("/metrics")
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        values = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for metric in text_string_to_metric_families(response.text)
            for sample in metric.samples
        }
        assert values["torchserve_up",] == 1
        of_route = ("route", "/sites")
        return (
            values.get(("forecaster_requests_total", ("method", "GET"), of_route, ("status", "200")), 0),
            values.get(("forecaster_request_seconds_count", of_route), 0),
            values.get(("forecaster_requests_total", ("method", "GET"), ("route", "other"), ("status", "404")), 0),
        )

    before = ask()
    for path in ("/sites", "/sites", "/a", "/b", "/c"):
        http.get(path)
    assert np.subtract(ask(), before).tolist() == [2, 2, 3]


def test_metrics_that_the_readme_names_are_there(http: httpx.Client) -> None:
    chapter = SERVING_README.partition("## Metrics for Prometheus\n")[2].partition("\n## ")[0]
    table, alerts = chapter.split("```promql")
    named = {name for row in re.findall(r"^\| (`[^|]+) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)}
    in_alerts = set(re.findall(r"(?:forecaster|torchserve|ts)_\w+", alerts))
    assert (len(named), len(in_alerts)) == (len(named | in_alerts) - 1, 7)  # a histogram's `_bucket` is its name's
    http.get("/predict/page-visits")
    described = {
        name
        for metric in text_string_to_metric_families(http.get("/metrics").text)
        for name in (metric.name, *(sample.name for sample in metric.samples))
    }
    assert (named | in_alerts) - described == set()
    ours = {name for name in described if name.startswith("forecaster_") and not name.endswith("_created")}
    in_readme = {name for name in ours if any(name.startswith(other) or other.startswith(name) for other in named)}
    assert ours - in_readme == set()


def test_embedded_database_is_said(served: Process) -> None:
    assert served.wait_for("none of DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD is set: using the embedded")


def test_readmes_requests_give_answers_of_the_shape_it_shows(served: Process) -> None:
    """Each curl of the routes, run as it stands on the stack's own port, beside the answer printed under it."""
    readmes = (PROJECT / "README.md").read_text() + SERVING_README
    shown = re.findall(r"```sh\n(curl -s (?:[^\n]*\\\n)?[^\n]*)\n```\n```json\n(.*?)```", readmes, re.DOTALL)
    assert len(shown) == 2
    for command, answer in shown:
        ours = command.replace("http://127.0.0.1:5000", served.url)
        said = json.loads(subprocess.run(["bash", "-c", ours], capture_output=True, check=True).stdout)
        expected = json.loads(answer)
        assert list(said) == list(expected)
        assert [list(row) for row in said["predictions"]] == [list(row) for row in expected["predictions"]]


def test_readmes_curl_reaches_torchserve_with_its_key(served: Process) -> None:
    keys = served.wait_for(r"its keys are in (\S+)")[1]
    inference = served.wait_for(r"TorchServe answers on (\S+) and")[1]
    [script] = re.findall(r"```sh\nKEYS=[^\n]*\n(key\(\).*?)```", SERVING_README, re.DOTALL)
    management = served.wait_for(r"is managed on (\S+),")[1]
    script = script.replace("http://127.0.0.1:8080", inference).replace("http://127.0.0.1:8081", management)
    request = {"instances": [{"history": [100.0] * 56, "first_day": "2024-01-01", "kind": "count"}]}
    run = subprocess.run(
        ["bash", "-c", f"KEYS={keys}\n{script.replace('v1.0.0', 'v1.10').replace('@request.json', '@-')}"],
        input=json.dumps(request), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '"modelName": "forecaster"' in run.stdout
    answer = json.loads(run.stdout[run.stdout.index('{"model_version"') :])
    assert np.shape(answer["quantiles"]) == (1, 7, 7)
