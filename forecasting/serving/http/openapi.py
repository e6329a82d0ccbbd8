"""What OpenAPI says of the routes beside their models: examples of answers, and every failure with its text."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from forecasting.domain import MAX_DAYS_AHEAD
from forecasting.serving.http.schema import Failure, Json, NotReady

Responses = dict[int | str, Json]  # as FastAPI takes them

JSON = "application/json"

DESCRIPTION = f"""
The next days' traffic of a website, with bands.

- Counts are whole numbers a day; rates are in the unit of the source, such as percent.
- A day is a day of the site's own time zone. Forecasts are of the days after `data_until`, 1 to {MAX_DAYS_AHEAD}.
- Every failure is answered as `{{"detail": "..."}}`: what was wrong, what was found, what to do.
- Fields may be added to answers; those described here stay.
"""
TAGS = [
    {"name": "forecasts", "description": "The days ahead, with bands."},
    {"name": "model", "description": "The version that answers, and what it was trained on."},
    {"name": "status", "description": "Whether the parts are well."},
]
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer KEY`."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key, without `Bearer`."},
}
# Either, or none: a server that listens on loopback alone may have been given no keys.
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}, {}]

PAGE_VISITS_EXAMPLE: Json = {
    "predictions": [
        {"date": "2020-08-20", "predicted_visits": 3008, "lower": 1841, "upper": 3484},
        {"date": "2020-08-21", "predicted_visits": 2759, "lower": 1562, "upper": 3207},
    ],
    "site": "siteanalytics",
    "metric": "page_visits",
    "additive": True,
    "model_version": "v1.0.0",
    "answered_by": "forecaster",
    "prediction_date": "2026-11-23T20:39:31+00:00",
    "data_until": "2020-08-19",
    "days_ahead": 2,
    "total_predicted_visits": 5767,
    "total": {"value": 5767, "lower": 3662, "upper": 6590},
    "band": 0.8,
    "stale": False,
}
VISITORS_EXAMPLE: Json = {
    **PAGE_VISITS_EXAMPLE,
    "predictions": [
        {"date": "2020-08-20", "predicted_value": 2295, "predicted_visits": 2295, "lower": 1417, "upper": 2635}
    ],
    "metric": "unique_visitors",
    "additive": False,
    "days_ahead": 1,
    "total_predicted_visits": 2295,
    "total": None,
}
RATE_EXAMPLE: Json = {
    **VISITORS_EXAMPLE,
    "predictions": [{"date": "2020-08-20", "predicted_value": 41.2, "lower": 33.5, "upper": 48.9}],
    "metric": "bounce_rate",
    "total_predicted_visits": None,
}
UNKNOWN = "There is no metric 'nope' in version v1.0.0. It was trained on: page_visits, unique_visitors."
PAGE_VISITS = {"page_visits": PAGE_VISITS_EXAMPLE}
PREDICTIONS = {"page_visits": PAGE_VISITS_EXAMPLE, "a count": VISITORS_EXAMPLE, "a rate": RATE_EXAMPLE}
BY_METRIC_EXAMPLE: Json = {"page_visits": PAGE_VISITS_EXAMPLE, "nope": {"error": UNKNOWN}}
MULTIPLE = {"by metric": BY_METRIC_EXAMPLE, "by site": {"siteanalytics": BY_METRIC_EXAMPLE}}
HEALTH: Json = {"service": "ml-prediction-api", "model_loaded": True, "problems": []}
NO_TORCHSERVE = "Nobody listens at http://127.0.0.1:8080/predictions/forecaster/v1.0.0: TorchServe is not running."
HEALTHS = {
    "healthy": {"status": "healthy", **HEALTH},
    "degraded": {"status": "degraded", **HEALTH, "model_loaded": False, "problems": [NO_TORCHSERVE]},
}
MODEL_INFO = {
    "model": {
        "model_version": "v1.0.0",
        "sequence_length": 7,
        "prediction_horizon": 7,
        "is_trained": True,
        "total_parameters": 53_767,
        "created_at": "2026-11-23T20:30:02+00:00",
        "data_until": "2020-08-19",
        "series": [
            {"site": "siteanalytics", "metric": "page_visits", "metrics": {"mae": 412.0, "mase": 0.81}},
        ],
    }
}
SITES = {
    "sites": {
        "model_version": "v1.0.0",
        "sites": [
            {
                "site": "siteanalytics",
                "timezone": "UTC",
                "metrics": [
                    {"metric": "page_visits", "kind": "count", "additive": True, "answered_by": "forecaster"},
                ],
            }
        ],
        "untrained": ["new"],
    }
}
INDEX = {
    "routes": {
        "service": "ml-prediction-api",
        "routes": ["GET /health", "GET /predict/page-visits", "POST /predict"],
        "documentation": "/openapi.json",
    }
}
PROMOTION = {
    "id": "9f2c51d0a7e3b846",
    "version": "v1.1.0",
    "status": "queued",
    "reason": None,
    "follow": "/model/promote/9f2c51d0a7e3b846",
}
PROMOTIONS = {
    "queued": PROMOTION,
    "promoted": {**PROMOTION, "status": "promoted"},
    "failed": {
        **PROMOTION,
        "status": "failed",
        "reason": "TorchServe could not start with version v1.1.0. The server's log says why.",
    },
}
READY = {"ready": {"ready": True}}
METRICS = "Counts and times in Prometheus' text format: the shim's, then TorchServe's. README has their names."
METRICS_EXAMPLE = 'forecaster_requests_total{method="GET",route="/health",status="200"} 1.0\n'

# What a status means, and texts as they are answered.
FAILURES: dict[int, tuple[str, dict[str, str]]] = {
    400: (
        "No such metric, site or version.",
        {
            "metric": UNKNOWN,
            "site": "There is no site 'x' in version v1.0.0. It was trained on: siteanalytics.",
            "version": "There is no version v2 in model_store (there: v1.0.0). Train it: "
            "traffic-forecast train --model-version v2",
        },
    ),
    401: (
        "No API key, or one that is not known; where API_KEYS is set.",
        {
            "none": "An API key is required. Send it as Authorization: Bearer KEY or as X-API-Key: KEY.",
            "unknown": "This API key is unknown. API_KEYS lists the valid ones.",
        },
    ),
    403: (
        "The key has not the right; or, without keys, a web page or a name that is not known.",
        {
            "right": "The API key 'ci' may only read. This route needs a key with the right admin.",
            "host": "The host name 'example.com' is not allowed. Add it to guard.hosts, or set API_KEYS.",
        },
    ),
    404: (
        "No such promotion.",
        {
            "id": "There is no promotion 'x'. Only the last 50 since serving started are remembered; "
            "GET /model/info says which version is served."
        },
    ),
    408: (
        "The body did not come in time.",
        {"body": "The request body did not arrive within 30 s (guard.request_seconds)."},
    ),
    409: (
        "Another version cannot be promoted as things are.",
        {
            "fixed": "MODEL_VERSION (or --model-version) fixes the version to v1.0.0. "
            "Unset it and restart the server to promote versions.",
            "busy": "Version v1.1.0 is being promoted right now. Follow it at /model/promote/9f2c51d0a7e3b846, "
            "and try again when it has finished.",
            "broken": "model_store/v2/model.pt2 is missing. Train the version again.",
        },
    ),
    413: (
        "The body is too large.",
        {"body": "The request body is larger than 1,048,576 bytes. Request fewer series at once."},
    ),
    422: (
        "The request is malformed: where, what is wrong, and what was found.",
        {
            "range": "days_ahead: Input should be less than or equal to 30 (found 31)",
            "json": "The body is not valid JSON: Expecting property name enclosed in double quotes",
        },
    ),
    429: (
        "Too many requests.",
        {"rate": "The API key 'ci' may send 200 requests per second (guard.requests_per_second). Try again in 1 s."},
    ),
    501: (
        "Retraining by request is not there yet; the command to run instead.",
        {
            "command": "Retraining by request is not there yet. Run: traffic-forecast train --model-version v1.0.0, "
            "then POST /model/promote."
        },
    ),
    502: ("TorchServe answered what a forecast cannot be.", {"answer": "TorchServe answered with version v2, not v1."}),
    503: (
        "A part is down, or the data is insufficient: what it is, and what to do.",
        {
            "TorchServe": NO_TORCHSERVE,
            "connections": "Too many open connections (guard.max_connections). Try again later.",
            "data": "page_visits of siteanalytics has 20 known days among the last 56; a forecast needs 28. Load the "
            "missing days, or train with data.missing=zero if they had no traffic.",
        },
    ),
    504: (
        "A part did not answer in time.",
        {
            "part": "TorchServe gave no answer within 10 s (serving.deadline_seconds).",
            "request": "The request took longer than 30 s (guard.request_seconds). Request less at once, or try again "
            "later.",
        },
    ),
}
RETRY_AFTER = {
    "Retry-After": {
        "description": "After how many seconds to ask again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "examples": [3]},
    }
}
ALL = (403, 503, 504)  # of what stands before every route
KEYED = (401, *ALL, 429)  # before those that need a key, where there are keys
BODY = (408, 413, 422)
PARTS = (400, 502)


def responses_of(model: Any, examples: dict[str, Any], *statuses: int) -> Responses:  # Any: what FastAPI takes
    """A route's `responses`: what 200 has, and each failure that it, or what stands before it, may answer."""
    return _responses(model, examples, *KEYED, *statuses)


def accepted_responses(model: Any, examples: dict[str, Any], *statuses: int) -> Responses:  # Any: what FastAPI takes
    """The same for a route that answers 202 and does its work afterwards."""
    return _responses(model, examples, *KEYED, *statuses, success=202)


def open_responses_of(model: Any, examples: dict[str, Any]) -> Responses:  # Any: what FastAPI takes
    """The same of a route that needs no key."""
    return _responses(model, examples, *ALL)


def text_responses(text: str, example: str) -> Responses:
    """The same of a route whose answer is no JSON."""
    shown = {"schema": {"type": "string", "description": text}, "examples": {"text": {"value": example}}}
    return {200: {"description": "The answer.", "content": {"text/plain": shown}}, **failures_of()}


def failures_of(*statuses: int) -> Responses:
    return {status: failure(status) for status in sorted({*KEYED, *statuses})}


def failure(status: int, model: Any = Failure) -> Json:  # Any: what FastAPI takes
    description, texts = FAILURES[status]
    rest = {"ready": False} if model is NotReady else {}
    described = {"model": model, "description": description}
    headers = {"headers": RETRY_AFTER} if status in {429, 503} else {}
    return {**described, **headers, **_shown({name: {"detail": text, **rest} for name, text in texts.items()})}


def complete(app: FastAPI) -> None:
    """Makes the description, once: FastAPI's, with how a caller says who he is, and with the nulls of examples, all of
    which FastAPI leaves out.
    """
    described = app.openapi()
    described["components"]["securitySchemes"] = SECURITY_SCHEMES
    described["security"] = SECURITY
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                answers = described["paths"][route.path][method.lower()]["responses"]
                for status, answer in route.responses.items():
                    made = answers[str(status)]["content"]
                    said = answer["content"].items()
                    answers[str(status)]["content"] = {kind: made.get(kind, {}) | one for kind, one in said}


def _responses(
    model: Any,  # what FastAPI takes
    examples: dict[str, Any],
    *statuses: int,
    success: int = 200,
) -> Responses:
    failures: Responses = {status: failure(status) for status in sorted(set(statuses))}
    return {success: {"model": model, "description": "The answer.", **_shown(examples)}, **failures}


def _shown(examples: dict[str, Any]) -> Json:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"content": {JSON: {"examples": shown}}}
