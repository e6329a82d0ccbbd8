"""Every failure as `{"detail": "..."}`: what was wrong, what was found, what to do."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from forecasting.errors import (
    BadAnswer,
    BrokenArtifact,
    CannotPromote,
    ForecastingError,
    InvalidVersion,
    TimedOut,
    UnknownMetric,
    UnknownPromotion,
    UnknownSite,
    UnknownVersion,
)
from forecasting.serving.http.error_responses import RETRY_AFTER, SECURITY_HEADERS

logger = logging.getLogger("forecasting.requests")

STATUS = {  # any other error of ours: 503
    UnknownMetric: 400, UnknownSite: 400, UnknownVersion: 400, InvalidVersion: 400, UnknownPromotion: 404,
    BrokenArtifact: 409, CannotPromote: 409, BadAnswer: 502, TimedOut: 504,
}  # fmt: skip


def add_failures(app: FastAPI) -> None:
    """Every error as `{"detail": "..."}`."""

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        """A sentence a fault: where it is, what is wrong, what was found."""
        return JSONResponse({"detail": "; ".join(dict.fromkeys(map(_describe_fault, error.errors())))}, 422)

    @app.exception_handler(ForecastingError)
    async def explain(request: Request, error: ForecastingError) -> JSONResponse:
        status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 503)
        if status >= 500:
            logger.warning("%s: %s", type(error).__name__, error, exc_info=logger.isEnabledFor(logging.DEBUG))
        return JSONResponse({"detail": str(error)}, status, RETRY_AFTER if status == 503 else None)

    @app.exception_handler(Exception)
    async def admit(request: Request, error: Exception) -> JSONResponse:
        """A mistake of ours; starlette, which answers with this beyond all that stands before the routes, raises it
        again, so that it is in the log with its traceback.
        """
        headers = {name.decode(): value.decode() for name, value in SECURITY_HEADERS}
        return JSONResponse({"detail": "The server has made a mistake; its log says which."}, 500, headers)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400 and isinstance(error.__cause__, (ValueError, RecursionError)):
            return JSONResponse({"detail": _describe_body(error.__cause__)}, 422)
        details = {
            404: f"There is no route {request.url.path!r}. GET / lists them.",
            405: f"{request.url.path} does not answer {request.method}. GET / lists the routes.",
        }
        detail = details.get(error.status_code, error.detail)
        return JSONResponse({"detail": detail}, error.status_code, error.headers)


def _describe_body(error: BaseException) -> str:
    """Of what FastAPI calls "There was an error parsing the body": what json raises beside JSONDecodeError."""
    if isinstance(error, RecursionError):
        return "The body cannot be read: its lists or objects are nested too deeply."
    if isinstance(error, UnicodeDecodeError):
        return f"The body is no text in {error.encoding.upper()}: byte {error.start} cannot be there ({error.reason})."
    return f"The body cannot be read: {str(error).partition(';')[0]}."  # after it, what Python's own users could do


def _describe_fault(fault: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in fault["loc"] if part not in ("body", "query", "object", "list")) or "body"
    if fault["type"] == "json_invalid":
        return f"The body is no JSON: {fault['ctx']['error']}"
    found = repr(fault.get("input"))
    return f"{place}: {fault['msg']}" + (f" (found {found})" if len(found) <= 80 else "")
