"""The documented routes. What they answer is made in forecasts.py and answers.py; here is HTTP alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.routing import Route

from forecasting import __version__
from forecasting.card import Card, SeriesCard
from forecasting.errors import (
    DataError,
    ForecastingError,
    Unavailable,
)
from forecasting.invocation import show_command
from forecasting.serving.forecast_cache import CachedForecast, CacheStatus, CacheTag, ForecastCache
from forecasting.serving.forecast_service import DEFAULT_METRIC, find_each
from forecasting.serving.http import openapi as description
from forecasting.serving.http import schema
from forecasting.serving.http.access_log import AccessLog
from forecasting.serving.http.error_responses import add_error_handlers
from forecasting.serving.http.guards import add_guards
from forecasting.serving.http.headers import RETRY_AFTER
from forecasting.serving.http.metrics import CONTENT_TYPE, ServingMetrics
from forecasting.serving.http.openapi import (
    BODY,
    PARTS,
    accepted_responses,
    failure,
    failures_of,
    open_responses_of,
    responses_of,
    text_responses,
)
from forecasting.serving.http.response_cache import ResponseCache
from forecasting.serving.http.schema import (
    DaysAhead,
    MultipleBody,
    MultipleRequest,
    PredictRequest,
    PromoteRequest,
    PromotionId,
    Site,
    Wait,
)
from forecasting.serving.promotions import Promotion
from forecasting.serving.served_model import Troubles
from forecasting.settings.schema import Config

SERVICE_NAME = "ml-prediction-api"  # documented
PROMOTE_PATH = "/model/promote"
WAIT_SHARE = 0.8  # of guard.request_seconds: the rest is left to start the promotion and to answer


@runtime_checkable
class Backend(Protocol):
    """What the routes ask: one version's answers, and how the parts behind them are."""

    @property
    def answers(self) -> ForecastCache: ...

    async def find_troubles(self) -> Troubles: ...

    async def list_sites(self) -> dict[str, str]:
        """The sites that the source has by now, and their time zones."""
        ...

    async def promote(self, version: str) -> Promotion:
        """Starts to serve another version; raises what can be refused at once."""
        ...

    def find_promotion(self, promotion_id: str) -> Promotion:
        """Raises UnknownPromotion."""
        ...


def create_app(
    backend: Backend, config: Config | None = None, serving_metrics: ServingMetrics | None = None
) -> FastAPI:
    config, serving_metrics = config or Config(), serving_metrics or ServingMetrics()
    app = FastAPI(
        title="Website traffic forecasts",
        version=__version__,
        description=description.DESCRIPTION,
        openapi_tags=description.TAGS,
        generate_unique_id_function=lambda route: route.name,
        docs_url=None,  # FastAPI's pages load their scripts from elsewhere: blank offline, and told to third parties
        redoc_url=None,
        redirect_slashes=False,  # to whatever host the client says that we are
    )
    _add_status_routes(app, backend, with_keys=bool(config.api_keys))
    _add_metrics_route(app, serving_metrics)
    _add_model_routes(app, backend)
    _add_promotion_routes(app, backend, max_wait_seconds=WAIT_SHARE * config.guard.request_seconds)
    _add_forecast_routes(app, backend)
    add_error_handlers(app)
    description.complete(app)
    _add_layers(app, backend, config, serving_metrics)
    return app


def _add_layers(app: FastAPI, backend: Backend, config: Config, serving_metrics: ServingMetrics) -> None:
    """In front of the routes, from the outside in: AccessLog, guards, ResponseCache. The last one added is outside."""
    if config.serving.cache_mb:
        app.add_middleware(
            ResponseCache, find_forecast_cache=lambda: backend.answers, megabytes=config.serving.cache_mb / 2
        )
    add_guards(app, config)
    app.add_middleware(AccessLog, serving_metrics, {route.path for route in app.routes if isinstance(route, Route)})


def _add_status_routes(app: FastAPI, backend: Backend, *, with_keys: bool) -> None:
    def is_known(http: Request) -> bool:
        return not with_keys or "client" in http.scope["state"]

    @app.get(
        "/health",
        summary="How the parts are",
        tags=["status"],
        responses=open_responses_of(schema.Health, description.HEALTHS),
        response_model=None,
    )
    async def health(http: Request) -> dict[str, Any]:
        """Always 200, so that what is wrong can be read: in full with a key, where there are keys."""
        troubles = await backend.find_troubles()
        problems = troubles.tell(in_full=is_known(http))
        status, model_loaded = "degraded" if problems else "healthy", troubles.model is None
        return {"status": status, "service": SERVICE_NAME, "model_loaded": model_loaded, "problems": problems}

    @app.get(
        "/ready",
        summary="Whether requests are answered",
        tags=["status"],
        responses=open_responses_of(schema.Ready, description.READY) | {503: failure(503, schema.NotReady)},
        response_model=None,
    )
    async def ready(http: Request) -> JSONResponse:
        """For balancers: 200 while TorchServe and PostgreSQL answer, else 503. A source that does not is no reason:
        forecasts are made from the days that were read.
        """
        troubles = await backend.find_troubles()
        if troubles.is_ready:
            return JSONResponse({"ready": True})
        detail = " ".join(troubles.tell(in_full=is_known(http)))
        return JSONResponse({"detail": detail, "ready": False}, 503, RETRY_AFTER)

    @app.get(
        "/",
        summary="The list of routes",
        tags=["status"],
        responses=responses_of(schema.Index, description.INDEX),
        response_model=None,
    )
    async def index() -> dict[str, Any]:
        """And where their description is."""
        paths = app.openapi()["paths"].items()
        routes = [f"{method.upper()} {path}" for path, methods in paths for method in methods]
        return {"service": SERVICE_NAME, "routes": routes, "documentation": app.openapi_url}


def _add_metrics_route(app: FastAPI, serving_metrics: ServingMetrics) -> None:
    @app.get(
        "/metrics",
        summary="Numbers for Prometheus",
        tags=["status"],
        responses=text_responses(description.METRICS, description.METRICS_EXAMPLE),
    )
    async def metrics() -> Response:
        """The shim's counts and TorchServe's, as Prometheus reads them."""
        return Response(await serving_metrics.write(), media_type=CONTENT_TYPE)


def _add_model_routes(app: FastAPI, backend: Backend) -> None:
    @app.get(
        "/model/info",
        summary="The version that answers",
        tags=["model"],
        responses=responses_of(schema.ModelInfo, description.MODEL_INFO),
        response_model=None,
    )
    async def model_info() -> dict[str, Any]:
        """Sizes, when it was trained and on what, and how well it did on days that training never saw."""
        troubles = await backend.find_troubles()
        if troubles.model:
            raise Unavailable(" ".join(troubles.tell()))
        return describe_model(backend.answers.card)

    @app.get(
        "/sites",
        summary="Sites and their metrics",
        tags=["model"],
        responses=responses_of(schema.Sites, description.SITES),
        response_model=None,
    )
    async def sites() -> dict[str, Any]:
        """What can be asked for, and the sites that came after the version was trained."""
        return describe_sites(backend.answers.card, await backend.list_sites())

    @app.post(
        "/model/retrain",
        status_code=501,
        summary="Retraining: not there yet",
        tags=["model"],
        responses=failures_of(501, 408, 413),
        response_model=None,
    )
    async def retrain() -> dict[str, str]:
        """Says which command to run instead."""
        command = show_command("train", "--model-version", backend.answers.card.version)
        return {"detail": f"Retraining by request is not there yet. Run: {command}, then POST /model/promote."}


def _add_promotion_routes(app: FastAPI, backend: Backend, *, max_wait_seconds: float) -> None:
    async def wait_for(promotion: Promotion, seconds: float) -> dict[str, str | None]:
        if seconds:
            await promotion.wait(min(seconds, max_wait_seconds))
        return describe_promotion(promotion)

    @app.post(
        PROMOTE_PATH,
        status_code=202,
        summary="Serve another version",
        tags=["model"],
        responses=accepted_responses(schema.Promotion, description.PROMOTIONS, 400, 409, *BODY),
        response_model=None,
    )
    async def promote(request: PromoteRequest, wait: Wait = 0) -> dict[str, str | None]:
        """Starts the promotion and says where to follow it. It takes seconds; the current version answers meanwhile.
        The new version is served after a restart, too.
        """
        return await wait_for(await backend.promote(request.version), wait)

    @app.get(
        PROMOTE_PATH + "/{promotion_id}",
        summary="How a promotion went",
        tags=["model"],
        responses=responses_of(schema.Promotion, description.PROMOTIONS, 404, 422),
        response_model=None,
    )
    async def follow_promotion(promotion_id: PromotionId, wait: Wait = 0) -> dict[str, str | None]:
        """The last 50 promotions since serving started are remembered."""
        return await wait_for(backend.find_promotion(promotion_id), wait)


def _add_forecast_routes(app: FastAPI, backend: Backend) -> None:
    @app.get(
        "/predict/page-visits",
        summary="The next days' page visits",
        tags=["forecasts"],
        responses=responses_of(schema.Forecast, description.PAGE_VISITS, 422, *PARTS),
        response_model=None,
    )
    async def predict_page_visits(http: Request, days_ahead: DaysAhead = 7, site: Site = None) -> Response:
        """Exactly `days_ahead` days, from the day after the data's last complete one."""
        return await _answer(http, backend.answers, DEFAULT_METRIC, site, days_ahead)

    @app.post(
        "/predict",
        summary="The next days of any metric",
        tags=["forecasts"],
        responses=responses_of(schema.Forecast, description.PREDICTIONS, *BODY, *PARTS),
        response_model=None,
    )
    async def predict(http: Request, request: PredictRequest) -> Response:
        """Exactly `days_ahead` days of `metric`, from the day after the data's last complete one."""
        return await _answer(http, backend.answers, request.metric, request.site, request.days_ahead)

    @app.post(
        "/predict/multiple",
        summary="Many metrics, and many sites, at once",
        tags=["forecasts"],
        responses=responses_of(schema.ByMetric | schema.BySite, description.MULTIPLE, *BODY, *PARTS),
        response_model=None,
    )
    async def predict_multiple(http: Request, request: MultipleBody, days_ahead: DaysAhead = 7) -> Response:
        """A bare list of metrics, as older clients send it, takes its `days_ahead` from the query; an object from
        itself. What cannot be answered has an `error` in its place.
        """
        if isinstance(request, list):
            request = MultipleRequest.model_validate({"metrics": request, "days_ahead": days_ahead})
        return await _answer_many(http, backend.answers, request)


async def _answer(http: Request, answers: ForecastCache, metric: str, site: str | None, days_ahead: int) -> Response:
    _note(http, answers.card, metric, site, days_ahead)
    series = answers.card.find_series(metric=metric, site=site)
    http.state.site = series.site
    [told] = await answers.find([series], days_ahead)
    if not isinstance(told, CachedForecast):
        raise told
    http.state.answered, http.state.tag = told.answered.value, told.tag
    return Response(told.body, media_type="application/json")


async def _answer_many(http: Request, answers: ForecastCache, request: MultipleRequest) -> Response:
    """By metric, or by site and metric; what cannot be answered has an `error` in its place."""
    _note(http, answers.card, f"{len(request.metrics)} metrics", request.site, request.days_ahead)
    sites: list[str | None] = [*request.sites] if request.sites else [request.site]
    asked = {site: find_each(answers.card, metrics=request.metrics, site=site) for site in dict.fromkeys(sites)}
    series = [one for found in asked.values() for one in found.values() if isinstance(one, SeriesCard)]
    told = await answers.find(series, request.days_ahead)
    _refuse_if_all_failed(told)
    following = iter(told)
    written = {
        site: {metric: _write(next(following) if isinstance(one, SeriesCard) else one) for metric, one in found.items()}
        for site, found in asked.items()
    }
    http.state.answered, http.state.tag = _worst(told), _find_common_tag(told)
    body = orjson.dumps(written if request.sites else written[request.site])
    return Response(body, media_type="application/json")


def _refuse_if_all_failed(told: Sequence[CachedForecast | ForecastingError]) -> None:
    """Raises what keeps a part from answering, where nothing could be answered without it."""
    down = [one for one in told if not isinstance(one, (CachedForecast, DataError))]
    if down and not any(isinstance(one, CachedForecast) for one in told):
        raise down[0]


def _write(told: CachedForecast | ForecastingError) -> orjson.Fragment | dict[str, str]:
    return orjson.Fragment(told.body) if isinstance(told, CachedForecast) else {"error": str(told)}


def _worst(told: Iterable[CachedForecast | ForecastingError]) -> str | None:
    """Of many answers, for the request's line in the log: stale before computed before cached."""
    statuses = {one.answered for one in told if isinstance(one, CachedForecast)}
    worst_first = CacheStatus.stale, CacheStatus.computed, CacheStatus.cached
    return next((status.value for status in worst_first if status in statuses), None)


def _find_common_tag(told: Sequence[CachedForecast | ForecastingError]) -> CacheTag | None:
    """What the whole answer holds for; None where a part of it may be another the next time."""
    tags = [one.tag if isinstance(one, CachedForecast) else None for one in told]
    return tags[0] if tags and all(one == tags[0] for one in tags) else None


def _note(http: Request, card: Card, metric: str, site: str | None, days_ahead: int) -> None:
    """For the request's line in the log."""
    http.state.metric, http.state.site, http.state.days_ahead = metric, site, days_ahead
    http.state.version = card.version


def describe_model(card: Card) -> dict[str, Any]:  # Any: json's own types
    """/model/info: the documented keys, and where the version comes from."""
    return {
        "model_version": card.version,
        "sequence_length": card.sequence_length,
        "prediction_horizon": card.horizon,
        "is_trained": True,
        "total_parameters": card.total_parameters,
        "created_at": card.created_at,
        "data_until": card.data["last_day"],
        "series": [{"site": one.site, "metric": one.metric, "metrics": one.metrics} for one in card.series],
    }


def describe_promotion(promotion: Promotion) -> dict[str, str | None]:
    return {
        "id": promotion.id,
        "version": promotion.version,
        "status": promotion.status.value,
        "reason": promotion.reason,
        "follow": f"{PROMOTE_PATH}/{promotion.id}",
    }


def describe_sites(card: Card, timezones: Mapping[str, str]) -> dict[str, Any]:  # Any: json's own types
    """/sites: what the version forecasts, and the sites that came after it was trained."""
    series: dict[str, list[dict[str, Any]]] = {}
    for one in card.series:
        described = {
            "metric": one.metric,
            "kind": one.kind.value,
            "additive": one.additive,
            "answered_by": one.answered_by,
        }
        series.setdefault(one.site, []).append(described)
    sites = [{"site": site, "timezone": timezones.get(site), "metrics": metrics} for site, metrics in series.items()]
    return {"model_version": card.version, "sites": sites, "untrained": sorted(set(timezones) - set(series))}
