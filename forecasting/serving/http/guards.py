"""Who may ask, how often and how much: plain ASGI middlewares in front of the routes.

From the outside in: SecurityHeaders, Cors, LastWord, then Keys (or Hosts, while there are no keys), then Limits. What
one of them refuses reaches none further in. Whatever a client has sent is shown in no answer, but for a name, shortened
and quoted.
"""

import ipaddress
import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from hmac import compare_digest

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forecasting.domain import Right
from forecasting.errors import SettingError
from forecasting.serving.http.error_responses import SECURITY_HEADERS, Header, refuse, refuse_for, show
from forecasting.serving.http.limits import SAFE_METHODS, LastWord, Limits
from forecasting.settings.schema import ApiKey, Config

OPEN_PATHS = ("/health", "/ready")  # which a load balancer asks without a key
READ_PATH = "/predict"  # what is posted here, or below, changes nothing
FAILED_PER_SECOND = 10.0  # wrong keys from one address
MAX_NAMES = 10_000  # that a RateLimit remembers
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def add_guards(app: Starlette, config: Config) -> None:
    """In the right order; what is added to `app` before stands within them, what is added after stands around them."""
    guard = config.guard
    app.add_middleware(Limits, max_body_bytes=guard.max_body_bytes, request_seconds=guard.request_seconds)
    if config.api_keys:
        app.add_middleware(Keys, keys=config.api_keys, per_second=guard.requests_per_second)
    else:
        app.add_middleware(Hosts, names=[config.serving.host, *guard.hosts], origins=guard.cors_origins)
    app.add_middleware(LastWord)
    if guard.cors_origins:
        app.add_middleware(
            Cors,
            allow_origins=guard.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type", "X-API-Key"),
            expose_headers=("Retry-After",),
        )
    app.add_middleware(SecurityHeaders)


def check_host(config: Config) -> None:
    """Raises SettingError where others could reach the routes and nobody needs a key."""
    host = config.serving.host
    if not config.api_keys and not is_loopback(host):
        raise SettingError(
            f"serving.host (--host) is {host!r}, where others can reach the routes, and API_KEYS is not set, so anyone "
            "could ask. Set API_KEYS=name:read:KEY (a key: python -c 'import secrets; "
            "print(secrets.token_urlsafe(32))'), or leave serving.host at 127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere
        return False


class SecurityHeaders:
    """On every answer; what an answer says itself stands."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                said = {name for name, _ in headers}
                # a new list: an answer that is kept for others has the old one
                message = {**message, "headers": [*headers, *(one for one in SECURITY_HEADERS if one[0] not in said)]}
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class Cors(CORSMiddleware):
    """Starlette's, whose refusals look like ours."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        text = bytes(response.body).decode()
        detail = f"{text}. guard.cors_origins names whose pages may ask; they may GET and POST."
        return JSONResponse({"detail": detail}, response.status_code)


class Keys:
    """Lets in who has a key and the right to what is asked, so and so often; leaves its name in the request's state.

    A right key is let in whatever others did from the same address, which may be a proxy's: else anybody could shut
    out everybody. Keys of this length cannot be guessed at any speed.
    """

    def __init__(
        self, app: ASGIApp, *, keys: Sequence[ApiKey], per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.app = app
        self._keys = keys
        self._per_second = per_second
        self._asked = RateLimit(per_second, clock) if per_second else None
        self._failed = RateLimit(FAILED_PER_SECOND, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        key = self._find(_find_secret(scope["headers"]))
        if key is None and scope["path"] in OPEN_PATHS and scope["method"] == "GET":
            await self.app(scope, receive, send)
        elif key is None:
            await self._refuse_stranger(scope, send)
        elif key.right is not Right.admin and needs_admin(scope):
            detail = f"The key {key.name!r} has the right to read; this route needs a key with the right admin."
            await refuse(send, 403, detail)
        elif self._asked is not None and (seconds := self._asked.wait(key.name)):
            detail = f"The key {key.name!r} may ask {self._per_second:g} times a second (guard.requests_per_second)."
            await refuse_for(send, seconds, detail)
        else:
            scope.setdefault("state", {})["client"] = key.name
            await self.app(scope, receive, send)

    def _find(self, secret: bytes | None) -> ApiKey | None:
        """Compares with every key, each in constant time, so that an answer's time tells nothing of them."""
        if secret is None:
            return None
        digest, found = sha256(secret).digest(), None
        for key in self._keys:
            if compare_digest(key.digest, digest):
                found = key
        return found

    async def _refuse_stranger(self, scope: Scope, send: Send) -> None:
        if _find_secret(scope["headers"]) is None:
            detail = "An API key is needed. Send it as Authorization: Bearer KEY, or as X-API-Key: KEY."
            await refuse(send, 401, detail, (b"www-authenticate", b"Bearer"))
            return
        address = scope["client"][0] if scope.get("client") else ""
        if seconds := self._failed.wait(address):
            await refuse_for(send, seconds, "Too many wrong API keys have come from this address.")
            return
        detail = "No such API key. API_KEYS has those that there are."
        await refuse(send, 401, detail, (b"www-authenticate", b'Bearer error="invalid_token"'))


def needs_admin(scope: Scope) -> bool:
    """Whatever may change something: a new route does, until it is known not to."""
    path = scope["path"]
    return scope["method"] not in SAFE_METHODS and path != READ_PATH and not path.startswith(f"{READ_PATH}/")


def _find_secret(headers: Iterable[Header]) -> bytes | None:
    for name, value in headers:
        if name == b"authorization":
            scheme, _, secret = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return secret.strip()
        elif name == b"x-api-key":
            return value
    return None


class RateLimit:
    """At most `per_second` requests a second of each name, which may come all at once.

    The generic cell rate algorithm, as virtual scheduling (ITU-T I.371, annex A): one time a name is all that it keeps.
    Of more than MAX_NAMES names those are forgotten that have not asked for the longest.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / per_second
        self._burst = max(1.0, self._interval) + 1e-9  # seconds that a name may be ahead of its rate
        self._clock = clock
        self._due: dict[str, float] = {}  # when the next request would come at the rate; the last to ask stands last

    def wait(self, name: str) -> float:
        """Seconds until this name may ask again; 0: it may now, and has."""
        now = self._clock()
        due = max(self._due.pop(name, now), now)
        ahead = due + self._interval - now - self._burst
        self._due[name] = due if ahead > 0 else due + self._interval
        if len(self._due) > MAX_NAMES:
            del self._due[next(iter(self._due))]
        return max(ahead, 0.0)


class Hosts:
    """Who reaches loopback may ask, while there are no keys: but no web page from elsewhere in a browser here.

    Such a page can have its own name lead to 127.0.0.1 (DNS rebinding), which the Host header tells, or send a form,
    which Origin and Sec-Fetch-Site tell: a browser lets no page change these.
    """

    def __init__(self, app: ASGIApp, *, names: Iterable[str], origins: Iterable[str]) -> None:
        self.app = app
        self._names = frozenset(name.lower().encode() for name in (*LOOPBACK_NAMES, *names))
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = origin = site = None
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.lower()
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
        if host is not None and _without_port(host) not in self._names:  # no browser leaves it out
            detail = f"The routes are not known as {show(host)}. Add the name to guard.hosts, or set API_KEYS."
            await refuse(send, 403, detail)
        elif scope["method"] not in SAFE_METHODS and self._is_foreign(host, origin, site):
            whose = show(origin) if origin else "another site"
            detail = f"A web page of {whose} may not send this. Add its origin to guard.cors_origins, or set API_KEYS."
            await refuse(send, 403, detail)
        else:
            await self.app(scope, receive, send)

    def _is_foreign(self, host: bytes | None, origin: bytes | None, site: bytes | None) -> bool:
        if origin is None:
            return site is not None and site not in (b"same-origin", b"none")
        return origin not in self._origins and origin.partition(b"://")[2] != host


def _without_port(host: bytes) -> bytes:
    return host.rpartition(b":")[0] if b":" in host and not host.endswith(b"]") else host
