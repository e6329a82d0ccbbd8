"""The query of a request: only parameters that the route has, each at most once. None is ignored, except where
monitors ask: they add parameters that change with every request, so that no cache answers in our place.
"""

import difflib
from collections.abc import Collection

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from forecasting.serving.forecast_service import DEFAULT_METRIC

FOR_MONITORS = ("/health", "/ready", "/metrics")  # have no parameters


async def check_query(request: Request) -> None:
    """Raises RequestValidationError, which names the nearest parameter, or all that the route has."""
    if not request.scope["query_string"]:
        return
    route: APIRoute = request.scope["route"]
    if route.path in FOR_MONITORS:
        return
    known = [parameter.alias for parameter in route.dependant.query_params]
    given = [name for name, _ in request.query_params.multi_items()]
    mistakes = []
    for name in dict.fromkeys(given):
        if name not in known:
            mistakes.append(_mistake(name, _describe_unknown(request, name, known)))
        elif given.count(name) > 1:
            mistakes.append(_mistake(name, f"Given {given.count(name)} times; give it once"))
    if mistakes:
        raise RequestValidationError(mistakes)


def _mistake(name: str, text: str) -> dict[str, object]:
    return {"type": "query_parameter", "loc": ("query", name[:80]), "msg": text}


def _describe_unknown(request: Request, name: str, known: Collection[str]) -> str:
    path = request.url.path
    route = f"{request.method} {path}"
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    if near:
        return f"{route} has no such parameter. Did you mean {near[0]}?"
    if request.method == "POST" and path.startswith("/predict"):
        return f"{route} has no such parameter in its query. Put it into the body"
    if name == "metric" and path == "/predict/page-visits":
        return f"{route} forecasts {DEFAULT_METRIC} alone. For another metric, use POST /predict"
    has = f"It has {', '.join(known)}" if known else "It has none"
    return f"{route} has no such parameter. {has}"
