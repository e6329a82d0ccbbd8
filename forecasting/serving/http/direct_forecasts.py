"""Answers well-formed requests for one forecast before FastAPI, which alone needs longer than everything else we do."""

from collections.abc import Callable
from functools import lru_cache
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from forecasting.errors import ForecastingError
from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.http.error_responses import make_error_response, shows_details
from forecasting.serving.http.forecast_routes import PAGE_VISITS_PATH, PREDICT_PATH, forecast_one
from forecasting.serving.http.headers import JSON
from forecasting.serving.http.limits import replay_body
from forecasting.serving.http.middleware import HttpMiddleware, find_header, send_json
from forecasting.serving.http.request_schema import PredictRequest

MAX_QUERY_BYTES = 2500  # the longest name of a site fits, however it is written
MAX_QUERIES = 4096  # that are kept, with what they mean: 10 MiB at most


class DirectForecasts(HttpMiddleware):
    """The innermost layer. Whatever it does not take for a plain, valid request goes on to FastAPI, which answers valid
    requests in the same way, and says what is wrong with the others.
    """

    def __init__(self, app: ASGIApp, find_forecast_cache: Callable[[], ForecastCache]) -> None:
        """`find_forecast_cache` returns the one of the version that is served now."""
        super().__init__(app)
        self._find_forecast_cache = find_forecast_cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = scope["method"], scope["path"]
        request = None
        if route == ("GET", PAGE_VISITS_PATH) and len(scope["query_string"]) <= MAX_QUERY_BYTES:
            request = read_query(scope["query_string"])
        elif route == ("POST", PREDICT_PATH) and is_plain(scope):
            body = (await receive()).get("body", b"")  # all of it: RequestLimits has read it
            receive = replay_body(body, receive)
            request = read_body(body)
        if request is None:
            await self.app(scope, receive, send)
            return
        try:
            answer = await forecast_one(self._find_forecast_cache(), request, scope["state"])
        except ForecastingError as error:
            await make_error_response(error, in_full=shows_details(scope))(scope, receive, send)
        else:
            await send_json(send, answer)


def is_plain(scope: Scope) -> bool:
    return not scope["query_string"] and find_header(scope, b"content-type") == JSON[1]


@lru_cache(MAX_QUERIES)
def read_query(query: bytes) -> PredictRequest | None:
    """None if FastAPI has to judge it."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    values = dict(pairs)
    if len(values) < len(pairs) or "metric" in values:
        return None
    try:
        return PredictRequest.model_validate(values)
    except ValidationError:
        return None


def read_body(body: bytes) -> PredictRequest | None:
    """None if FastAPI has to judge it."""
    try:
        return PredictRequest.model_validate_json(body)
    except ValidationError:
        return None
