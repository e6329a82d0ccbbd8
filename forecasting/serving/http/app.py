"""The application: the routes and the layers in front of them."""

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route
from starlette.types import ASGIApp

from forecasting import __version__
from forecasting.errors import SettingError
from forecasting.serving.http.access_log import AccessLog
from forecasting.serving.http.anomaly_routes import add_anomaly_routes
from forecasting.serving.http.backend import Backend
from forecasting.serving.http.direct_forecasts import DirectForecasts
from forecasting.serving.http.error_responses import add_error_handlers
from forecasting.serving.http.forecast_routes import add_forecast_routes
from forecasting.serving.http.guards import add_guards
from forecasting.serving.http.metrics import ServingMetrics
from forecasting.serving.http.model_routes import add_model_routes, add_promotion_routes
from forecasting.serving.http.openapi import DESCRIPTION, TAGS, complete_openapi
from forecasting.serving.http.page_routes import add_page_routes
from forecasting.serving.http.query_parameters import check_query
from forecasting.serving.http.response_cache import ResponseCache
from forecasting.serving.http.root_path import RootPath
from forecasting.serving.http.status_routes import add_health_routes, add_index_route, add_metrics_route
from forecasting.serving.torchserve.configuration import num_workers
from forecasting.settings.schema import Config

MIN_PAGES = 4  # of large answers that are made at a time, or two for each worker of TorchServe
WAIT_SHARE = 0.8  # of guard.request_seconds; the rest is for starting the promotion and for answering


def create_app(
    backend: Backend, config: Config | None = None, serving_metrics: ServingMetrics | None = None
) -> ASGIApp:
    config, serving_metrics = config or Config(), serving_metrics or ServingMetrics()
    return _add_layers(create_routes(backend, config, serving_metrics), backend, config, serving_metrics)


def create_routes(backend: Backend, config: Config, serving_metrics: ServingMetrics) -> FastAPI:
    """Without the layers in front of them."""
    root_path = config.serving.root_path
    app = FastAPI(
        title="Website traffic forecasts",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        generate_unique_id_function=lambda route: route.name,
        docs_url=None,  # FastAPI's pages load scripts from other servers: blank offline, and third parties learn of it
        redoc_url=None,
        dependencies=[Depends(check_query)],
        servers=[{"url": root_path}] if root_path else None,
        redirect_slashes=False,  # it would redirect to whatever host the client names
    )
    add_health_routes(app, backend, with_keys=bool(config.api_keys))
    add_index_route(app, root_path)
    add_metrics_route(app, serving_metrics)
    add_model_routes(app, backend, root_path=root_path)
    max_wait_seconds = WAIT_SHARE * config.guard.request_seconds
    add_promotion_routes(app, backend, max_wait_seconds=max_wait_seconds)
    add_anomaly_routes(app, backend)
    add_page_routes(app, backend)
    add_forecast_routes(app, backend, num_pages=max(MIN_PAGES, 2 * num_workers(config.serving)))
    add_error_handlers(app, root_path)
    complete_openapi(app)
    _allow_head(app)
    return app


def _allow_head(app: FastAPI) -> None:
    """HEAD wherever there is GET; the connection leaves the body out. After the description, which would repeat it."""
    for route in app.routes:
        if isinstance(route, APIRoute) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")


def _add_layers(routes: FastAPI, backend: Backend, config: Config, serving_metrics: ServingMetrics) -> ASGIApp:
    """From the outside in: RootPath, AccessLog, the guards, ResponseCache, DirectForecasts, FastAPI. The latter's own
    layers, which take as long as all of ours, are only passed by requests that need its routes.
    """
    app: ASGIApp = DirectForecasts(routes, lambda: backend.forecast_cache)
    if config.serving.cache_mb:
        app = ResponseCache(app, lambda: backend.forecast_cache, megabytes=config.serving.cache_mb / 2)
    paths = {route.path for route in routes.routes if isinstance(route, Route)}
    app = AccessLog(add_guards(app, config), serving_metrics, paths)
    if root_path := config.serving.root_path:
        if any(f"{path}/".startswith(f"{root_path}/") for path in paths):
            raise SettingError(f"serving.root_path is {root_path!r}, where routes are already. Choose another prefix.")
        app = RootPath(app, root_path=root_path)
    return app
