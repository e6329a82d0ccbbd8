"""The routes that forecast."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from forecasting.card import Card
from forecasting.errors import ForecastingError
from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.forecast_service import DEFAULT_METRIC
from forecasting.serving.http import examples, response_schema
from forecasting.serving.http.backend import Backend
from forecasting.serving.http.multiple_forecasts import MultipleForecasts
from forecasting.serving.http.openapi import BODY_FAILURES, FORECAST_FAILURES, describe_responses
from forecasting.serving.http.request_schema import DaysAhead, MultipleBody, MultipleRequest, PredictRequest, Site

PAGE_VISITS_PATH, PREDICT_PATH = "/predict/page-visits", "/predict"
JSON = "application/json"

LogState = dict[str, Any]  # Any: what the log has of a request


def add_forecast_routes(app: FastAPI, backend: Backend, *, num_pages: int) -> None:
    """`num_pages` of large answers are made at a time."""
    multiple = MultipleForecasts(num_pages=num_pages)

    @app.get(
        PAGE_VISITS_PATH,
        summary="Page visits of the next days",
        tags=["forecasts"],
        responses=describe_responses(response_schema.Forecast, examples.PAGE_VISITS, *FORECAST_FAILURES),
        response_model=None,
    )
    async def predict_page_visits(http: Request, days_ahead: DaysAhead = 7, site: Site = None) -> Response:
        """Exactly `days_ahead` days, from the day after the last complete day of the data."""
        request = PredictRequest(metric=DEFAULT_METRIC, days_ahead=days_ahead, site=site)
        return Response(await forecast_one(backend.forecast_cache, request, http.scope["state"]), media_type=JSON)

    @app.post(
        PREDICT_PATH,
        summary="Any metric of the next days",
        tags=["forecasts"],
        responses=describe_responses(response_schema.Forecast, examples.FORECASTS, *BODY_FAILURES, *FORECAST_FAILURES),
        response_model=None,
    )
    async def predict(http: Request, request: PredictRequest) -> Response:
        """Exactly `days_ahead` days of `metric`, from the day after the last complete day of the data."""
        return Response(await forecast_one(backend.forecast_cache, request, http.scope["state"]), media_type=JSON)

    @app.post(
        "/predict/multiple",
        summary="Many metrics and many sites at once",
        tags=["forecasts"],
        responses=describe_responses(
            response_schema.ByMetric | response_schema.BySite, examples.MULTIPLE, *BODY_FAILURES, *FORECAST_FAILURES
        ),
        response_model=None,
    )
    async def predict_multiple(http: Request, request: MultipleBody, days_ahead: DaysAhead = 7) -> Response:
        """An object has its own `days_ahead`; for a bare list of metrics, which older clients send, it comes from the
        query. A metric that cannot be forecast has an `error` in place of its forecast.
        """
        if isinstance(request, list):
            request = MultipleRequest.model_validate({"metrics": request, "days_ahead": days_ahead})
        elif "days_ahead" in http.query_params:
            request = _merge_days(request, days_ahead)
        return await multiple.answer(http, backend.forecast_cache, request)


def _merge_days(request: MultipleRequest, days_ahead: int) -> MultipleRequest:
    """With the query's `days_ahead`. Raises RequestValidationError if the body has another."""
    if "days_ahead" in request.model_fields_set and request.days_ahead != days_ahead:
        text = f"The query has {days_ahead} and the body {request.days_ahead}. Give it once"
        raise RequestValidationError([{"type": "twice", "loc": ("days_ahead",), "msg": text}])
    return request.model_copy(update={"days_ahead": days_ahead})


async def forecast_one(cache: ForecastCache, request: PredictRequest, state: LogState) -> bytes:
    """JSON. Raises the ForecastingError of the series."""
    _note_for_log(state, cache.card, request.metric, request.site, request.days_ahead)
    series = cache.sites.find_series(metric=request.metric, site=request.site)
    state["site"] = series.site
    [result] = await cache.get([series], request.days_ahead)
    if isinstance(result, ForecastingError):
        raise result
    state["answered"], state["tag"] = result.status.value, result.tag
    return result.body


def _note_for_log(state: LogState, card: Card, metric: str, site: str | None, days_ahead: int) -> None:
    state |= {"metric": metric, "site": site, "days_ahead": days_ahead, "version": card.version}
