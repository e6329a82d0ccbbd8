"""Routes about the server itself: health, readiness, metrics and the list of routes."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from forecasting.serving.http import examples, response_schema
from forecasting.serving.http.backend import Backend
from forecasting.serving.http.error_responses import shows_details
from forecasting.serving.http.headers import RETRY_AFTER
from forecasting.serving.http.metrics import CONTENT_TYPE, ServingMetrics
from forecasting.serving.http.openapi import (
    describe_failure,
    describe_open_responses,
    describe_responses,
    describe_text,
)
from forecasting.serving.http.page_routes import send_page, wants_page

SERVICE_NAME = "ml-prediction-api"  # documented


def add_health_routes(app: FastAPI, backend: Backend, *, with_keys: bool) -> None:
    def is_known(http: Request) -> bool:
        return not with_keys or "client" in http.scope["state"]

    @app.get(
        "/health",
        summary="Health of all parts",
        tags=["status"],
        responses=describe_open_responses(response_schema.Health, examples.HEALTH),
        response_model=None,
    )
    async def health(http: Request) -> dict[str, Any]:
        """Always 200, so that the problems can be read. Callers without a key with the right admin see them without
        details.
        """
        problems = await backend.find_problems()
        sentences = problems.describe(in_full=shows_details(http.scope))
        data = backend.data.describe(in_full=shows_details(http.scope))
        changes = backend.forecast_cache.changes if is_known(http) else []
        return {
            "status": "degraded" if sentences else "healthy",
            "service": SERVICE_NAME,
            "model_loaded": problems.model is None,
            "problems": sentences,
            "changes": changes,
            **data,
            "daily_job": backend.daily_job.describe(),
        }

    @app.get(
        "/ready",
        summary="Whether requests are answered",
        tags=["status"],
        responses=describe_open_responses(response_schema.Ready, examples.READY)
        | {503: describe_failure(503, response_schema.NotReady)},
        response_model=None,
    )
    async def ready(http: Request) -> JSONResponse:
        """For load balancers: 200 while TorchServe and PostgreSQL answer, else 503. A source of new days that is down
        does not matter, since forecasts are made from the days already read; it is named in `problems`. If new days are
        so late that not even a forecast of 30 days reaches today, it is 503, too.
        """
        problems = await backend.find_problems()
        sentences = problems.describe(in_full=shows_details(http.scope))
        if problems.is_ready:
            return JSONResponse({"ready": True, "problems": sentences} if sentences else {"ready": True})
        detail = " ".join(sentences)
        return JSONResponse({"detail": detail, "ready": False}, 503, RETRY_AFTER)


def add_index_route(app: FastAPI, root_path: str = "") -> None:
    @app.get(
        "/",
        summary="List of routes",
        tags=["status"],
        responses=describe_responses(response_schema.Index, examples.INDEX),
        response_model=None,
    )
    async def index(http: Request) -> Response:
        """All routes, and where they are described. Browsers, which ask for HTML, get the page for people."""
        if wants_page(http):
            return send_page(http, root_path)
        paths = app.openapi()["paths"].items()
        routes = [f"{method.upper()} {root_path}{path}" for path, methods in paths for method in methods]
        content = {"service": SERVICE_NAME, "routes": routes, "documentation": f"{root_path}{app.openapi_url}"}
        return JSONResponse(content, headers={"vary": "accept"})


def add_metrics_route(app: FastAPI, serving_metrics: ServingMetrics) -> None:
    @app.get(
        "/metrics",
        summary="Metrics for Prometheus",
        tags=["status"],
        responses=describe_text(examples.METRICS_TEXT, examples.METRICS),
    )
    async def metrics() -> Response:
        """The server's and TorchServe's metrics in Prometheus' text format."""
        return Response(await serving_metrics.write(), media_type=CONTENT_TYPE)
