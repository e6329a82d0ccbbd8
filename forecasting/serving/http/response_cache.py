"""Requests that are equal to the byte are answered from memory, before anything is read out of them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cachetools import LRUCache
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forecasting.serving.forecast_cache import CacheStatus, CacheTag, ForecastCache
from forecasting.serving.http.limits import give_again

PATH = "/predict"
MAX_BYTES = 2**18  # of an answer that is kept, and of a request
OVERHEAD_BYTES = 1200  # of one, beside its answer and its request
KEPT_STATE = ("site", "metric", "days_ahead", "version")  # for the request's line in the log

Request = tuple[str, str, bytes, bytes, bytes]  # method, path, query, type, body


class _Entry(NamedTuple):
    start: Message
    body: Message
    tag: CacheTag
    state: Mapping[str, Any]  # Any: what routes leave for the log
    num_bytes: int


class ResponseCache:
    """Keeps whole responses, keyed by the bytes of their request, while `ForecastCache.tag` equals the tag that the
    route left in the request's state. Plain ASGI, directly in front of the routes.
    """

    def __init__(self, app: ASGIApp, find_answers: Callable[[], ForecastCache], *, megabytes: float) -> None:
        """`find_answers` finds those of the version that is served by now."""
        self.app = app
        self._find_answers = find_answers
        self._kept: LRUCache[Request, _Entry] = LRUCache(megabytes * 2**20, getsizeof=lambda one: one.num_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PATH):
            await self.app(scope, receive, send)
            return
        # Limits, which stands before, has read the body and gives it as one message.
        body = b"" if scope["method"] == "GET" else (await receive()).get("body", b"")
        request = scope["method"], scope["path"], scope["query_string"], _content_type(scope), body
        tag = self._find_answers().tag
        kept = self._kept.get(request)
        if kept is None or tag is None or kept.tag != tag:
            await self._ask(request, scope, receive, send)
            return
        scope["state"].update(kept.state)
        await send(_copy(kept.start))
        await send(kept.body)

    async def _ask(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(_copy(message))
            await send(message)

        is_read = scope["method"] != "GET"
        await self.app(scope, give_again(request[-1], receive) if is_read else receive, keep)
        state = scope["state"]
        tag = state.get("tag")
        if tag is not None and len(messages) == 2 and messages[0]["status"] == 200:
            start, body = messages
            num_bytes = len(body["body"]) + sum(map(len, request)) + OVERHEAD_BYTES
            if num_bytes <= min(MAX_BYTES, self._kept.maxsize):
                known = {name: state[name] for name in KEPT_STATE if name in state}
                known |= {"route": scope["path"], "answered": CacheStatus.cached.value}
                self._kept[request] = _Entry(start, body, tag, known, num_bytes)


def _copy(message: Message) -> Message:
    """Layers before this one write into the headers of what they are sent."""
    return {**message, "headers": [*message["headers"]]} if "headers" in message else message


def _content_type(scope: Scope) -> bytes:
    """What the body is taken for; a request of the same bytes with another is another."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            return bytes(value)
    return b""
