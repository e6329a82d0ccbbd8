"""API keys: who may send requests, what they may change, and how often."""

import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from hmac import compare_digest

from starlette.types import ASGIApp, Receive, Scope, Send

from forecasting.domain import Right
from forecasting.serving.http.error_responses import hide_details, send_error, send_too_many_requests
from forecasting.serving.http.headers import Header
from forecasting.serving.http.limits import SAFE_METHODS
from forecasting.serving.http.middleware import HttpMiddleware, find_header
from forecasting.serving.http.page_routes import INDEX_PATH, STATIC_PATH
from forecasting.serving.http.rate_limit import RateLimit
from forecasting.settings.schema import ApiKey

OPEN_PATHS = ("/health", "/ready")  # load balancers read them without a key
READ_PATH = "/predict"  # a POST here or below changes nothing
WRONG_KEYS_PER_SECOND = 10.0  # from one address


class ApiKeyGuard(HttpMiddleware):
    """Lets requests with a valid key, the necessary right and an allowed rate pass. Leaves the key's name in the
    request's state.

    A valid key passes whatever others do from the same address, which may be a proxy's: otherwise anybody could lock
    out everybody. Keys of this length cannot be guessed at any speed.
    """

    def __init__(
        self, app: ASGIApp, *, keys: Sequence[ApiKey], per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(app)
        self._keys = keys
        self._per_second = per_second
        self._requests = RateLimit(per_second, clock) if per_second else None
        self._wrong_keys = RateLimit(WRONG_KEYS_PER_SECOND, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = self._find_key(_find_secret(scope["headers"]))
        if key is None and scope["path"] in OPEN_PATHS and scope["method"] in ("GET", "HEAD"):
            hide_details(scope)
            await self.app(scope, receive, send)
        elif key is None and _is_page(scope):
            await self.app(scope, receive, send)
        elif key is None:
            await self._refuse(scope, send)
        elif key.right is not Right.admin and needs_admin(scope):
            detail = f"The API key {key.name!r} may only read. This route needs a key with the right admin."
            await send_error(send, 403, detail)
        elif self._requests is not None and (seconds := self._requests.wait(key.name)):
            rate = f"{self._per_second:g} requests per second (guard.requests_per_second)"
            await send_too_many_requests(send, seconds, f"The API key {key.name!r} may send {rate}.")
        else:
            scope.setdefault("state", {})["client"] = key.name
            if key.right is not Right.admin:
                hide_details(scope)
            await self.app(scope, receive, send)

    def _find_key(self, secret: bytes | None) -> ApiKey | None:
        """Compares with every key, each time in constant time, so that the duration tells nothing about the keys."""
        if secret is None:
            return None
        digest, match = sha256(secret).digest(), None
        for key in self._keys:
            if compare_digest(key.digest, digest):
                match = key
        return match

    async def _refuse(self, scope: Scope, send: Send) -> None:
        if _find_secret(scope["headers"]) is None:
            detail = "An API key is required. Send it as Authorization: Bearer KEY or as X-API-Key: KEY."
            await send_error(send, 401, detail, (b"www-authenticate", b"Bearer"))
            return
        address = scope["client"][0] if scope.get("client") else ""
        if seconds := self._wrong_keys.wait(address):
            await send_too_many_requests(send, seconds, "Too many wrong API keys came from this address.")
            return
        detail = "This API key is unknown. API_KEYS lists the valid ones."
        await send_error(send, 401, detail, (b"www-authenticate", b'Bearer error="invalid_token"'))


def needs_admin(scope: Scope) -> bool:
    """Whether the request may change something. A new route counts as one that does, until it is listed here."""
    path = scope["path"]
    return scope["method"] not in SAFE_METHODS and path != READ_PATH and not path.startswith(f"{READ_PATH}/")


def _is_page(scope: Scope) -> bool:
    """Whether it asks for the page or its files, which hold no data: the page asks people for a key."""
    if scope["method"] not in ("GET", "HEAD"):
        return False
    if scope["path"].startswith(STATIC_PATH):
        return True
    return scope["path"] == INDEX_PATH and b"text/html" in (find_header(scope, b"accept") or b"")


def _find_secret(headers: Iterable[Header]) -> bytes | None:
    for name, value in headers:
        if name == b"authorization":
            scheme, _, secret = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return secret.strip()
        elif name == b"x-api-key":
            return value
    return None
