"""One request and its response, with ASGI's `receive` and `send`."""

import asyncio
import logging
from functools import cache
from http import HTTPStatus
from typing import Protocol, runtime_checkable

import orjson
from starlette.types import ASGIApp, Message, Scope

from forecasting.serving.http.error_responses import INTERNAL_ERROR
from forecasting.serving.http.headers import CLOSE, SECURITY_HEADERS, Header

logger = logging.getLogger("forecasting.serving")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
WITHOUT_BODY = (204, 304)


@runtime_checkable
class Client(Protocol):
    """What an exchange needs of its connection."""

    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None:
        """Waits until the client has read enough of what was written, or has gone."""

    def await_body(self) -> None:
        """The application waits for more of the body."""

    def end_exchange(self) -> None:
        """The response is complete."""

    def abort(self) -> None: ...
    @property
    def date(self) -> bytes: ...


class Exchange:
    __slots__ = (
        "_arrived", "_client", "_expects_continue", "_head", "_is_chunked", "_is_given", "_length",
        "body", "has_begun", "is_answered", "is_awaiting_body", "is_body_complete", "is_gone", "keep_alive", "scope",
    )  # fmt: skip

    def __init__(self, client: Client, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> None:
        self._client = client
        self.scope = scope
        self.keep_alive = keep_alive
        self._expects_continue = expects_continue
        self._arrived: asyncio.Event | None = None  # more of the body, or that the client has gone; while awaited
        self.body = bytearray()  # what the application has not received yet
        self.is_body_complete = self.is_awaiting_body = False
        self._is_given = False  # the whole body, to the application
        self._head = b""  # goes out with the first part of the body
        self.has_begun = self.is_answered = self.is_gone = False
        self._is_chunked = False
        self._length: int | None = None  # that is left of the response's body; None: its end is not known before

    # ---- the request

    def add_body(self, part: bytes) -> None:
        self.body += part
        self._wake()

    def complete_body(self) -> None:
        self.is_body_complete = True
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()

    def leave(self) -> None:
        """The client has gone, or has got its answer from elsewhere."""
        self.is_gone = True
        self._wake()

    async def receive(self) -> Message:
        if self._expects_continue and not self.has_begun:
            self._expects_continue = False
            self._client.write(CONTINUE)
        while not (self.is_gone or self.is_answered):
            if self.body or (self.is_body_complete and not self._is_given):
                return self._give_body()
            self._arrived = self._arrived or asyncio.Event()
            self._arrived.clear()
            self.is_awaiting_body = not self.is_body_complete
            if self.is_awaiting_body:
                self._client.await_body()
            await self._arrived.wait()
            self.is_awaiting_body = False
        return {"type": "http.disconnect"}

    def _give_body(self) -> Message:
        body, self.body = bytes(self.body), bytearray()
        self._is_given = self.is_body_complete
        return {"type": "http.request", "body": body, "more_body": not self.is_body_complete}

    # ---- the response

    async def send(self, message: Message) -> None:
        """Returns when the client has read so much that more may follow. Does nothing once the client has gone."""
        await self._client.drain()
        if self.is_gone:
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], message.get("headers", ()))
        elif not self.has_begun or self.is_answered:
            raise RuntimeError(f"the application sent {message['type']} at the wrong time")
        else:
            self._add(message.get("body", b""), more=message.get("more_body", False))

    def _begin(self, status: int, headers: "list[Header]") -> None:
        if self.has_begun:
            raise RuntimeError("the application began two responses")
        self.has_begun = True
        has_body = self.scope["method"] != "HEAD" and status not in WITHOUT_BODY
        self._length = None if has_body else 0
        is_closing = False
        for name, value in headers:
            if name == b"content-length" and has_body:
                self._length = int(value)
            elif name == b"connection":
                is_closing = value == b"close"
        self.keep_alive &= not is_closing
        extra: list[Header] = [(b"date", self._client.date)]
        if self._length is None and self.scope["http_version"] == "1.0":
            self.keep_alive = False  # the end of the connection is the end of the body
        elif self._length is None:
            self._is_chunked = True
            extra.append((b"transfer-encoding", b"chunked"))
        if not self.keep_alive and not is_closing:
            extra.append(CLOSE)
        self._head = write_response_head(status, [*headers, *extra])

    def _add(self, part: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            part = b""
        if self._length is not None:
            self._length -= len(part)
            if self._length < 0 or (self._length and not more):
                raise RuntimeError("the application sent a body that is longer or shorter than its Content-Length")
        elif self._is_chunked:
            part = (b"%x\r\n%b\r\n" % (len(part), part) if part else b"") + (b"" if more else b"0\r\n\r\n")
        if data := self._head + part:
            self._head = b""
            self._client.write(data)
        if not more:
            self.is_answered = True
            self._wake()
            self._client.end_exchange()

    # ---- the application

    async def run(self, app: ASGIApp) -> None:
        """Lets the application answer, and sees to it that there is an answer."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            logger.exception("a bug in the program itself")
        if not self.is_answered and not self.is_gone:
            await self._fail()

    async def _fail(self) -> None:
        """A client must not take half a response for a whole one."""
        if self.has_begun:
            self._client.abort()
            return
        body = orjson.dumps({"detail": INTERNAL_ERROR})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), CLOSE]
        await self.send({"type": "http.response.start", "status": 500, "headers": [*headers, *SECURITY_HEADERS]})
        await self.send({"type": "http.response.body", "body": body})


def write_response_head(status: int, headers: "list[Header]") -> bytes:
    """Raises RuntimeError if a header would add further ones."""
    lines = [_write_status_line(status), *(b"%s: %s" % header for header in headers)]
    head = b"\r\n".join([*lines, b"", b""])
    if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1:
        raise RuntimeError("a response header contains a line break")
    return head


@cache
def _write_status_line(status: int) -> bytes:
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    return b"HTTP/1.1 %d %s" % (status, phrase.encode())
