"""The OpenAPI description besides the schemas: introduction, security, and the responses of each route."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from forecasting.domain import MAX_DAYS_AHEAD
from forecasting.serving.http.failures import FAILURES
from forecasting.serving.http.response_schema import Failure, Json, NotReady

Responses = dict[int | str, Json]  # as FastAPI takes them

JSON = "application/json"

DESCRIPTION = f"""
Forecasts of a website's traffic, with prediction bands.

- Counts are whole numbers per day; rates are in the unit of the source, such as percent.
- A day is a day in the site's own time zone. Forecasts are for the 1 to {MAX_DAYS_AHEAD} days after `data_until`.
- Every failure is answered as `{{"detail": "..."}}`: what was wrong, what was found, what to do.
- Responses may get new fields; the ones described here stay.
"""
TAGS = [
    {"name": "forecasts", "description": "The days ahead, with prediction bands."},
    {"name": "unusual days", "description": "Days that differ from what was expected of them."},
    {"name": "model", "description": "The version that is served, and what it was trained on."},
    {"name": "status", "description": "Health, readiness and metrics."},
]
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer KEY`."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key, without `Bearer`."},
}
# Either one, or none: a server that only listens on loopback may have no keys.
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}, {}]
RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait before the next try.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "examples": [3]},
    }
}
# Instead of the model itself, of which FastAPI would make the schema anew for each status of each route.
FAILURE = {"schema": {"$ref": f"#/components/schemas/{Failure.__name__}"}}

ALL_FAILURES = (403, 422, 503, 504)  # from the layers in front of every route
KEY_FAILURES = (401, *ALL_FAILURES, 429)  # from those in front of routes that need a key, if there are keys
BODY_FAILURES = (408, 413, 415)
FORECAST_FAILURES = (400, 502)


def describe_responses(model: Any, examples: dict[str, Any], *statuses: int) -> Responses:  # Any: what FastAPI takes
    """The `responses` of a route: 200, and each failure of the route or of the layers in front of it."""
    return _describe(200, model, examples, *KEY_FAILURES, *statuses)


def describe_accepted_responses(
    model: Any,  # what FastAPI takes
    examples: dict[str, Any],
    *statuses: int,
) -> Responses:
    """For a route that answers 202 and does its work afterwards."""
    return _describe(202, model, examples, *KEY_FAILURES, *statuses)


def describe_open_responses(model: Any, examples: dict[str, Any]) -> Responses:  # Any: what FastAPI takes
    """For a route that needs no key."""
    return _describe(200, model, examples, *ALL_FAILURES)


def describe_text(description: str, example: str) -> Responses:
    """For a route that answers plain text."""
    content = {"schema": {"type": "string", "description": description}, "examples": {"text": {"value": example}}}
    return {200: {"description": "Success.", "content": {"text/plain": content}}, **describe_failures()}


def describe_failures(*statuses: int) -> Responses:
    return {status: describe_failure(status) for status in sorted({*KEY_FAILURES, *statuses})}


def describe_failure(status: int, model: Any = Failure) -> Json:  # Any: what FastAPI takes
    description, texts = FAILURES[status]
    other_fields = {"ready": False} if model is NotReady else {}
    examples = {name: {"detail": text, **other_fields} for name, text in texts.items()}
    headers = {"headers": RETRY_AFTER} if status in {429, 503} else {}
    if model is Failure:
        return {"description": description, **headers, **_show(examples, FAILURE)}
    return {"model": model, "description": description, **headers, **_show(examples)}


def complete_openapi(app: FastAPI) -> None:
    """Makes the description once, and adds what FastAPI leaves out: security, failures, and examples with nulls."""
    description = app.openapi()
    components = description["components"]
    components["schemas"][Failure.__name__] = TypeAdapter(Failure).json_schema()
    components["schemas"] = dict(sorted(components["schemas"].items()))
    components["securitySchemes"] = SECURITY_SCHEMES
    description["security"] = SECURITY
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                responses = description["paths"][route.path][method.lower()]["responses"]
                for status, response in route.responses.items():
                    generated, ours = responses[str(status)]["content"], response["content"]
                    merged = {media_type: generated.get(media_type, {}) | ours[media_type] for media_type in ours}
                    responses[str(status)]["content"] = merged


def _describe(success: int, model: Any, examples: dict[str, Any], *statuses: int) -> Responses:
    failures: Responses = {status: describe_failure(status) for status in sorted(set(statuses))}
    return {success: {"model": model, "description": "Success.", **_show(examples)}, **failures}


def _show(examples: dict[str, Any], schema: Json | None = None) -> Json:
    return {
        "content": {JSON: {"examples": {name: {"value": value} for name, value in examples.items()}} | (schema or {})}
    }
