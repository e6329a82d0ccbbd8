"""Answers a request that is byte for byte equal to an earlier one from memory, before any of it is parsed."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cachetools import LRUCache
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forecasting.serving.forecast_cache import CacheStatus, CacheTag, ForecastCache
from forecasting.serving.http.limits import replay_body
from forecasting.serving.http.middleware import HttpMiddleware, find_header

PATH = "/predict"
BODILESS = ("GET", "HEAD")
MAX_BYTES = 2**18  # of a response and its request; larger ones are not kept
OVERHEAD_BYTES = 1200  # of memory for each entry besides its response and its request
LOGGED_STATE = ("site", "metric", "days_ahead", "version")

# Method, path, query, content type, body: the same bytes of another type are another request.
Key = tuple[str, str, bytes, bytes, bytes]


class _Entry(NamedTuple):
    start: Message
    body: Message
    tag: CacheTag
    state: Mapping[str, Any]  # Any: what the routes leave for the log
    num_bytes: int


class ResponseCache(HttpMiddleware):
    """Keeps whole responses while `ForecastCache.tag` equals the tag that the route left in the request's state.

    The innermost layer: RequestLimits has already read the body and passes it on as one message.
    """

    def __init__(self, app: ASGIApp, find_forecast_cache: Callable[[], ForecastCache], *, megabytes: float) -> None:
        """`find_forecast_cache` returns the one of the version that is served now."""
        super().__init__(app)
        self._find_forecast_cache = find_forecast_cache
        self._entries: LRUCache[Key, _Entry] = LRUCache(megabytes * 2**20, getsizeof=lambda entry: entry.num_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith(PATH):
            await self.app(scope, receive, send)
            return
        body = b"" if scope["method"] in BODILESS else (await receive()).get("body", b"")
        key = scope["method"], scope["path"], scope["query_string"], find_header(scope, b"content-type"), body
        tag, entry = self._find_forecast_cache().tag, self._entries.get(key)
        if entry is None or tag is None or entry.tag != tag:
            await self._ask_routes(key, scope, receive, send)
            return
        scope["state"].update(entry.state, is_counted=True)
        await send(_copy(entry.start))
        await send(entry.body)

    async def _ask_routes(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []
        is_whole = True

        async def record(message: Message) -> None:
            nonlocal is_whole
            is_whole = is_whole and not message.get("more_body", False)
            if is_whole:
                messages.append(_copy(message))
            await send(message)

        has_read = scope["method"] not in BODILESS
        await self.app(scope, replay_body(key[-1], receive) if has_read else receive, record)
        state = scope["state"]
        tag = state.get("tag")
        if tag is not None and is_whole and len(messages) == 2 and messages[0]["status"] == 200:
            start, body = messages
            num_bytes = len(body["body"]) + sum(map(len, key)) + OVERHEAD_BYTES
            if num_bytes <= min(MAX_BYTES, self._entries.maxsize):
                logged = {name: state[name] for name in LOGGED_STATE if name in state}
                logged |= {"route": scope["path"], "answered": CacheStatus.cached.value}
                self._entries[key] = _Entry(start, body, tag, logged, num_bytes)


def _copy(message: Message) -> Message:
    """Outer layers change the list of headers."""
    return {**message, "headers": [*message["headers"]]} if "headers" in message else message
