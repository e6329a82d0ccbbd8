"""Every failure as `{"detail": "..."}`: what was wrong, what was found, what to do."""

import logging
import math
from functools import partial
from typing import Any, NoReturn

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope, Send

from forecasting.errors import (
    ArtifactError,
    BadAnswer,
    BrokenArtifact,
    CannotPromote,
    DataError,
    ForecastingError,
    InvalidVersion,
    TimedOut,
    UnknownAnomaly,
    UnknownMetric,
    UnknownPromotion,
    UnknownSite,
    UnknownVersion,
    WarehouseError,
)
from forecasting.serving.http.headers import RETRY_AFTER, Header
from forecasting.serving.http.middleware import send_json

logger = logging.getLogger("forecasting.requests")

STATUS = {  # any other ForecastingError: 503
    UnknownMetric: 400, UnknownSite: 400, UnknownVersion: 400, InvalidVersion: 400, UnknownPromotion: 404,
    UnknownAnomaly: 404,
    BrokenArtifact: 409, CannotPromote: 409, BadAnswer: 502, TimedOut: 504,
}  # fmt: skip
MAX_MISTAKES = 20  # that are named, of one request
# These errors are about the request or the data, and their texts are for every caller. Those of all others may name our
# files, hosts, users and statements.
FOR_EVERYBODY = (DataError, InvalidVersion, UnknownAnomaly, UnknownPromotion, CannotPromote, TimedOut)
IN_BRIEF: tuple[tuple[type[ForecastingError], str], ...] = (
    (WarehouseError, "PostgreSQL does not answer as it should."),
    (BadAnswer, "TorchServe's answer is not a forecast."),
    (ArtifactError, "The version cannot be used."),
    (ForecastingError, "A part of the service does not answer as it should."),
)
IN_THE_LOG = "The server's log says why."
INTERNAL_ERROR = "Internal error. The server's log has the details."

# ---- who reads what


def hide_details(scope: Scope) -> None:
    """This caller reads nothing of how the server is set up."""
    scope.setdefault("state", {})["hides_details"] = True


def shows_details(scope: Scope) -> bool:
    """To callers with the right admin, and to all where there are no API keys, since these are on this machine."""
    return not scope["state"].get("hides_details")


def describe_error(error: ForecastingError, *, in_full: bool) -> str:
    if in_full or isinstance(error, FOR_EVERYBODY):
        return str(error)
    return f"{next(text for kind, text in IN_BRIEF if isinstance(error, kind))} {IN_THE_LOG}"


# ---- in front of the routes, where there is no FastAPI yet


async def send_error(send: Send, status: int, detail: str, *headers: Header, more: bool = False) -> None:
    await send_json(send, orjson.dumps({"detail": detail}), status, headers, more=more)


async def send_unavailable(send: Send, detail: str, *headers: Header) -> None:
    """503 with Retry-After."""
    retry = [(name.encode(), value.encode()) for name, value in RETRY_AFTER.items()]
    await send_error(send, 503, detail, *retry, *headers)


async def send_too_many_requests(send: Send, seconds: float, detail: str) -> None:
    """429, to be tried again after `seconds`."""
    whole = math.ceil(seconds)
    await send_error(send, 429, f"{detail} Try again in {whole} s.", (b"retry-after", b"%d" % whole))


def quote_input(text: bytes) -> str:
    """What a client sent, for a message: in quotes and at most 80 characters long."""
    decoded = text.decode("latin-1")
    return repr(decoded if len(decoded) <= 80 else f"{decoded[:77]}...")


# ---- in the routes


def add_error_handlers(app: FastAPI, root_path: str = "") -> None:
    app.exception_handler(RequestValidationError)(_answer_invalid_request)
    app.exception_handler(ForecastingError)(_answer_forecasting_error)
    app.exception_handler(HTTPException)(partial(_answer_http_exception, index=f"GET {root_path}/"))
    app.exception_handler(Exception)(_pass_on)


async def _answer_invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
    """One sentence for each mistake: where it is, what is wrong, and what was found."""
    if isinstance(error.body, bytes) and error.body:  # FastAPI parses the body of JSON alone
        kind = request.headers.get("content-type")
        header = f"the header Content-Type: {quote_input(kind.encode('latin-1'))}" if kind else "no Content-Type header"
        detail = f"The body was sent with {header}. Send JSON, with the header Content-Type: application/json."
        return JSONResponse({"detail": detail}, 422)
    mistakes = error.errors()
    sentences = dict.fromkeys(map(_describe_mistake, mistakes[:MAX_MISTAKES]))
    more = f"; and {len(mistakes) - MAX_MISTAKES:,} more" if len(mistakes) > MAX_MISTAKES else ""
    return JSONResponse({"detail": "; ".join(sentences) + more}, 422)


async def _answer_forecasting_error(request: Request, error: ForecastingError) -> JSONResponse:
    return make_error_response(error, in_full=shows_details(request.scope))


def make_error_response(error: ForecastingError, *, in_full: bool) -> JSONResponse:
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 503)
    detail = describe_error(error, in_full=in_full)
    if status >= 500 or detail != str(error):
        logger.warning("%s: %s", type(error).__name__, error, exc_info=logger.isEnabledFor(logging.DEBUG))
    return JSONResponse({"detail": detail}, status, RETRY_AFTER if status == 503 else None)


async def _pass_on(request: Request, error: Exception) -> NoReturn:
    """Starlette would answer 500 at once. Our layers have an answer for some errors, such as TooMuchInFlight, and
    Exchange for all others, which are bugs.
    """
    raise error


async def _answer_http_exception(request: Request, error: HTTPException, *, index: str) -> JSONResponse:
    if error.status_code == 400 and isinstance(error.__cause__, (ValueError, RecursionError)):
        return JSONResponse({"detail": _describe_unreadable_body(error.__cause__)}, 422)
    details = {
        404: f"There is no route {request.url.path!r}. {index} lists all routes.",
        405: f"{request.url.path} does not support {request.method}. {index} lists all routes.",
    }
    detail = details.get(error.status_code, error.detail)
    return JSONResponse({"detail": detail}, error.status_code, error.headers)


def _describe_unreadable_body(error: BaseException) -> str:
    """For what json raises besides JSONDecodeError. FastAPI only says "There was an error parsing the body"."""
    if isinstance(error, RecursionError):
        return "The body cannot be parsed: its lists or objects are nested too deeply."
    if isinstance(error, UnicodeDecodeError):
        return f"The body is not valid {error.encoding.upper()}: {error.reason} at position {error.start}."
    return f"The body cannot be parsed: {str(error).partition(';')[0]}."  # the rest is advice for Python programmers


def _describe_mistake(mistake: dict[str, Any]) -> str:
    skipped = ("body", "query", "path", "object", "list")
    place = ".".join(str(part) for part in mistake["loc"] if part not in skipped) or "body"
    if mistake["type"] == "json_invalid":
        return f"The body is not valid JSON: {mistake['ctx']['error']}"
    value = _show(mistake["input"]) if "input" in mistake else ""
    if mistake["type"] == "missing" and mistake["input"] is None:
        value = ""  # there is no body at all
    return f"{place}: {mistake['msg']}" + (f" (found {value})" if 0 < len(value) <= 80 else "")


def _show(value: object) -> str:
    """As JSON writes it where Python has other words."""
    return orjson.dumps(value).decode() if value is None or isinstance(value, bool) else repr(value)
