"""The layers that protect the routes, from the outside in: SecurityHeaders, Cors, ShutdownResponse, ApiKeyGuard (or
OriginGuard if there are no keys), RequestLimits.

A refused request reaches none of the inner layers. Error messages repeat nothing that a client sent except for names,
which are quoted and shortened.
"""

import ipaddress
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forecasting.errors import SettingError
from forecasting.serving.http.api_keys import ApiKeyGuard
from forecasting.serving.http.error_responses import quote_input, send_error
from forecasting.serving.http.headers import SECURITY_HEADERS
from forecasting.serving.http.limits import SAFE_METHODS, RequestLimits, ShutdownResponse
from forecasting.serving.http.middleware import HttpMiddleware
from forecasting.serving.http.work_in_flight import WorkInFlight
from forecasting.settings.schema import Config

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def add_guards(app: ASGIApp, config: Config) -> ASGIApp:
    """`app` with all of them in front of it."""
    guard = config.guard
    app = RequestLimits(app, request_seconds=guard.request_seconds, work=WorkInFlight(guard.in_flight_mb))
    if config.api_keys:
        app = ApiKeyGuard(app, keys=config.api_keys, per_second=guard.requests_per_second)
    else:
        app = OriginGuard(app, names=[config.serving.host, *guard.hosts], origins=guard.cors_origins)
    app = ShutdownResponse(app)
    if guard.cors_origins:
        app = Cors(
            app,
            allow_origins=guard.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type", "X-API-Key"),
            expose_headers=("Retry-After",),
        )
    return SecurityHeaders(app)


def check_host(config: Config) -> None:
    """Raises SettingError if other machines can reach the routes and no API key is needed."""
    host = config.serving.host
    if not config.api_keys and not is_loopback(host):
        raise SettingError(
            f"serving.host (--host) is {host!r}, which other machines can reach, but API_KEYS is not set: anyone could "
            "send requests. Set API_KEYS=name:read:KEY (make a key with: python -c 'import secrets; "
            "print(secrets.token_urlsafe(32))'), or leave serving.host at 127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may resolve to any address
        return False


class SecurityHeaders(HttpMiddleware):
    """Adds SECURITY_HEADERS to every response, except those headers that it sets itself."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                present = {name for name, _ in headers}
                missing = [header for header in SECURITY_HEADERS if header[0] not in present]
                message = {**message, "headers": [*headers, *missing]}  # a new list: the cache keeps the old one
            await send(message)

        await self.app(scope, receive, send_with_headers)


class Cors(CORSMiddleware):
    """Starlette's, with refusals in our format."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        text = bytes(response.body).decode()
        detail = f"{text}. guard.cors_origins lists the allowed origins; their pages may GET and POST."
        return JSONResponse({"detail": detail}, response.status_code)


class OriginGuard(HttpMiddleware):
    """While there are no API keys, whoever reaches loopback may send requests, except for web pages of other sites.

    Such a page, in a browser on this machine, can let its own name resolve to 127.0.0.1 (DNS rebinding), which shows in
    the Host header, or send a form, which shows in Origin and Sec-Fetch-Site. No page can change them.
    """

    def __init__(self, app: ASGIApp, *, names: Iterable[str], origins: Iterable[str]) -> None:
        super().__init__(app)
        self._names = frozenset(name.lower().encode() for name in (*LOOPBACK_NAMES, *names))
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = origin = site = None
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.lower()
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
        if host is not None and _without_port(host) not in self._names:  # browsers always send it
            detail = f"The host name {quote_input(host)} is not allowed. Add it to guard.hosts, or set API_KEYS."
            await send_error(send, 403, detail)
        elif scope["method"] not in SAFE_METHODS and self._is_foreign(host, origin, site):
            source = quote_input(origin) if origin else "another site"
            detail = (
                f"Web pages from {source} may not send this request. Add their origin to guard.cors_origins, "
                "or set API_KEYS."
            )
            await send_error(send, 403, detail)
        else:
            await self.app(scope, receive, send)

    def _is_foreign(self, host: bytes | None, origin: bytes | None, site: bytes | None) -> bool:
        if origin is None:
            return site is not None and site not in (b"same-origin", b"none")
        return origin not in self._origins and origin.partition(b"://")[2] != host


def _without_port(host: bytes) -> bytes:
    return host.rpartition(b":")[0] if b":" in host and not host.endswith(b"]") else host
