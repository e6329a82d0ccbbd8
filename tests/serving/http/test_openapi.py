"""The OpenAPI description, compared with the documented routes and keys, which are written down here."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from forecasting.artifact import Artifact
from forecasting.serving.http.app import create_routes
from forecasting.serving.http.metrics import ServingMetrics
from forecasting.settings.schema import Config
from tests import PROJECT
from tests.serving.http.test_routes import in_process, never, send

from .describing import Json, content, find_faults, operations, without_references

FORECAST = {
    "predictions": "array", "model_version": "string", "prediction_date": "string date-time",
    "days_ahead": "integer", "total_predicted_visits": "integer or null",
}  # fmt: skip
DOCUMENTED: dict[str, dict[str, str]] = {  # the keys of 200 that must be there
    "GET /health": {"status": "string", "service": "string", "model_loaded": "boolean"},
    "GET /model/info": {
        "model_version": "string", "sequence_length": "integer", "prediction_horizon": "integer",
        "is_trained": "boolean", "total_parameters": "integer",
    },
    "GET /predict/page-visits": FORECAST,
    "POST /predict": FORECAST,
}  # fmt: skip
KEYED = {401, 429}
BODY = {408, 413, 415}
FORECASTS = {200, 400, 422, 502, *KEYED}
STATUSES = {
    "GET /health": {200}, "GET /ready": {200},  # which a balancer asks without a key
    "GET /": {200, *KEYED}, "GET /metrics": {200, *KEYED},
    "GET /model/info": {200, 400, *KEYED}, "GET /sites": {200, 400, *KEYED},
    "GET /model/accuracy": {200, 400, 422, *KEYED},
    "POST /model/retrain": {501, *KEYED, *BODY},
    "POST /model/promote": {202, 400, 409, 422, *KEYED, *BODY},
    "GET /model/promote/{promotion_id}": {200, 404, 422, *KEYED},
    "GET /overview": {200, 400, 422, 502, *KEYED}, "GET /history": {200, 400, 422, *KEYED},
    "GET /anomalies": {200, 400, 422, *KEYED},
    "POST /anomalies/{anomaly_id}/acknowledge": {200, 404, 422, *KEYED, *BODY},
    "GET /predict/page-visits": FORECASTS,
    "POST /predict": {*FORECASTS, *BODY}, "POST /predict/multiple": {*FORECASTS, *BODY},
}  # fmt: skip
ANY = {403, 422, 503, 504}  # of what stands before every route


@pytest.fixture(scope="module")
def app(sample_artifact: Artifact) -> FastAPI:
    return create_routes(in_process(sample_artifact, never), Config(), ServingMetrics())


@pytest.fixture(scope="module")
def description(app: FastAPI) -> Json:
    return app.openapi()


def find(description: Json, name: str) -> Json:
    return without_references(description, dict(operations(description))[name])


def type_of(schema: Json) -> str:
    if "anyOf" in schema:
        return " or ".join(type_of(option) for option in schema["anyOf"])
    return " ".join([schema["type"], *([schema["format"]] if "format" in schema else [])])


def test_every_documented_route_is_there_and_no_other(description: Json) -> None:
    assert {name for name, _ in operations(description)} == set(STATUSES)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_keys_are_promised_with_their_types(description: Json, name: str) -> None:
    schema = content(find(description, name)["responses"]["200"])["schema"]
    assert {key: type_of(schema["properties"][key]) for key in DOCUMENTED[name]} == DOCUMENTED[name]
    assert set(DOCUMENTED[name]) <= set(schema["required"])


def test_a_predictions_row_has_its_day_and_whole_visits_of_0_or_more(description: Json) -> None:
    row = description["components"]["schemas"]["Row"]
    assert {"date", "lower", "upper"} == set(row["required"])
    assert type_of(row["properties"]["date"]) == "string date"
    assert (type_of(row["properties"]["predicted_visits"]), row["properties"]["predicted_visits"]["minimum"]) == (
        "integer", 0,
    )  # fmt: skip
    assert type_of(row["properties"]["predicted_value"]) == "number"


@pytest.mark.parametrize("name", ["GET /predict/page-visits", "POST /predict/multiple"])
def test_days_ahead_of_a_query_is_1_to_30_and_7_unless_said(description: Json, name: str) -> None:
    [days] = [parameter for parameter in find(description, name)["parameters"] if parameter["name"] == "days_ahead"]
    schema = days["schema"]
    assert (days["in"], days["required"]) == ("query", False)
    assert (schema["type"], schema["minimum"], schema["maximum"], schema["default"]) == ("integer", 1, 30, 7)


def test_bodies_are_as_documented(description: Json) -> None:
    schema = content(find(description, "POST /predict")["requestBody"])["schema"]
    assert {key: schema["properties"][key]["default"] for key in ("days_ahead", "metric")} == {
        "days_ahead": 7, "metric": "page_visits",
    }  # fmt: skip
    assert (schema["properties"]["days_ahead"]["minimum"], schema["properties"]["days_ahead"]["maximum"]) == (1, 30)
    assert "required" not in schema
    whole, bare = content(find(description, "POST /predict/multiple")["requestBody"])["schema"]["oneOf"]
    assert whole["required"] == ["metrics"]
    assert (whole["properties"]["days_ahead"]["default"], whole["properties"]["metrics"]["type"]) == (7, "array")
    assert (bare["type"], bare["items"]["type"]) == ("array", "string")


def test_many_metrics_are_forecasts_or_errors_by_name(description: Json) -> None:
    answer = content(find(description, "POST /predict/multiple")["responses"]["200"])["schema"]
    by_metric, by_site = answer["anyOf"]
    forecast, refused = by_metric["additionalProperties"]["anyOf"]
    assert set(FORECAST) <= set(forecast["required"])
    assert (refused["required"], type_of(refused["properties"]["error"])) == (["error"], "string")
    assert by_site["additionalProperties"] == by_metric


@pytest.mark.parametrize("name", STATUSES)
def test_every_failure_is_described_with_its_text(description: Json, name: str) -> None:
    responses = find(description, name)["responses"]
    assert {int(status) for status in responses} == STATUSES[name] | ANY
    for status, answer in responses.items():
        assert answer["description"]
        if int(status) >= 400:
            shown = content(answer)
            assert shown["schema"]["required"][0] == "detail"
            assert all(len(example["value"]["detail"]) > 20 for example in shown["examples"].values())
        assert ("Retry-After" in answer.get("headers", {})) == (status in {"429", "503"})


def test_examples_are_what_their_schemas_say(description: Json) -> None:
    """Examples of responses, of bodies and of each field."""
    held = 0
    for _, operation in operations(description):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for described in filter(None, map(content, (*operation["responses"].values(), *bodies))):
            for example in described.get("examples", {}).values():
                assert find_faults(description, described["schema"], example["value"]) == []
                held += 1
        for parameter in operation.get("parameters", []):
            for example in parameter["schema"]["examples"]:
                assert find_faults(description, parameter["schema"], example) == []
                held += 1
    for name, model in description["components"]["schemas"].items():
        for example in model.get("examples", []):
            assert find_faults(description, model, example) == [], name
        for field, schema in model.get("properties", {}).items():
            for example in schema.get("examples", []):
                assert find_faults(description, schema, example) == [], (name, field)
                held += 1
    assert held > 150


def test_every_operation_and_field_is_explained(description: Json) -> None:
    tags = {tag["name"] for tag in description["tags"]}
    identities = []
    for name, operation in operations(description):
        assert operation["summary"], name
        assert operation["description"], name
        assert set(operation["tags"]) <= tags, name
        identities.append(operation["operationId"])
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (name, parameter["name"])
        if "requestBody" in operation:
            body = content(operation["requestBody"])
            schema = without_references(description, body["schema"])
            assert body.get("examples") or schema["examples"]
    assert len(set(identities)) == len(identities)
    fields = [
        (name, field, schema)
        for name, model in description["components"]["schemas"].items()
        for field, schema in model.get("properties", {}).items()
    ]
    assert len(fields) > 40
    for name, field, schema in fields:
        assert schema.get("description"), (name, field)
    for name, model in description["components"]["schemas"].items():
        assert model["description"], name


def test_what_fastapi_makes_up_is_not_there(description: Json) -> None:
    """Its 422 has another shape than ours."""
    assert not {"HTTPValidationError", "ValidationError"} & set(description["components"]["schemas"])


def test_metrics_are_text(description: Json) -> None:
    answer = find(description, "GET /metrics")["responses"]["200"]["content"]
    assert {kind: content_type["schema"]["type"] for kind, content_type in answer.items()} == {"text/plain": "string"}


def test_who_asks_is_said_in_one_of_two_ways(description: Json) -> None:
    schemes = description["components"]["securitySchemes"]
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")
    assert (schemes["key"]["in"], schemes["key"]["name"]) == ("header", "X-API-Key")
    assert [list(scheme) for scheme in description["security"]] == [["bearer"], ["key"], []]


def test_no_answer_is_checked_or_made_anew_on_its_way_out(app: FastAPI) -> None:
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    assert len([route for route in routes if route.include_in_schema]) == len(STATUSES)
    assert [route.path for route in routes if route.response_field is not None] == []


def test_description_is_the_answer_of_its_route(sample_artifact: Artifact, description: Json) -> None:
    answer: Any = asyncio.run(send(sample_artifact, never, "/openapi.json"))
    assert answer.json() == description


def test_readme_names_every_route(description: Json) -> None:
    readme = (PROJECT / "forecasting" / "serving" / "README.md").read_text()
    for name, _ in operations(description):
        assert f"`{name}" in readme, name
