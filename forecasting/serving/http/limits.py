"""How large a request may be, how long it may take, and how it ends when the server shuts down."""

import asyncio
import zlib
from collections.abc import Iterable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forecasting.serving.http.error_responses import quote_input, send_error, send_unavailable
from forecasting.serving.http.headers import CLOSE, Header
from forecasting.serving.http.middleware import HttpMiddleware

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MAX_BODY_BYTES = 2**20  # the 10,000 sites that a request may name fit
LINGER_SECONDS = 5.0  # how long the rest of a too large body is still read, so that its sender can read the error
CLIENT_CLOSED_REQUEST = 499  # nginx's status, for the log only


class RequestLimits(HttpMiddleware):
    """Limits the size of a body and the time of a whole request.

    The complete body is read before the routes are called, so that a late body (408) can be told from a late response
    (504). A response that has begun and does not end is cut off, and its connection closed.
    """

    def __init__(self, app: ASGIApp, *, request_seconds: float) -> None:
        super().__init__(app)
        self._seconds = request_seconds
        self._too_large = f"The request body is larger than {MAX_BODY_BYTES:,} bytes. Request fewer series at once."

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_body = has_begun = False

        async def note_begin(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds) as deadline:
                if _may_have_body(scope):
                    body = await self._read_body(scope, receive)
                    receive = replay_body(unpack(body, scope["headers"]) if body else body, receive)
                has_body = True
                await self.app(scope, receive, note_begin)
        except TimeoutError:
            if not deadline.expired():
                raise
            if not has_begun:
                await self._refuse_late(send, has_body=has_body)
        except _TooLargeError as error:
            await self._refuse_large(receive, send, more=error.more)
        except _UnreadableError as error:
            await send_error(send, error.status, str(error))
        except _ClientGoneError:
            scope.setdefault("state", {}).setdefault("status", CLIENT_CLOSED_REQUEST)

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        for name, value in scope["headers"]:
            if name == b"content-length" and not (value.isdigit() and int(value[:20]) <= MAX_BODY_BYTES):
                raise _TooLargeError(more=True)
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGoneError
            part = message.get("body", b"")
            size += len(part)
            more = message.get("more_body", False)
            if size > MAX_BODY_BYTES:
                raise _TooLargeError(more=more)
            parts.append(part)
        return b"".join(parts)

    async def _refuse_large(self, receive: Receive, send: Send, *, more: bool) -> None:
        """Answers first and then reads on: a client that is cut off while it sends may never read the answer."""
        await send_error(send, 413, self._too_large, CLOSE, more=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while more:
                    message = await receive()
                    more = message.get("more_body", False)  # missing once the client has gone
        await send({"type": "http.response.body"})

    async def _refuse_late(self, send: Send, *, has_body: bool) -> None:
        limit = f"{self._seconds:g} s (guard.request_seconds)"
        if has_body:
            detail = f"The request took longer than {limit}. Request less at once, or try again later."
            await send_error(send, 504, detail, CLOSE)
        else:
            await send_error(send, 408, f"The request body did not arrive within {limit}.", CLOSE)


class ShutdownResponse(HttpMiddleware):
    """Answers 503 to requests that the server's end cuts off."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def note_begin(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, note_begin)
        except asyncio.CancelledError:
            if not has_begun:  # otherwise the connection is closed amid the response, which the client notices
                await send_unavailable(send, "The server is shutting down. Try again when it is back.")


class _ClientGoneError(Exception):
    """The client closed the connection before its body was complete."""


class _UnreadableError(Exception):
    """The body is packed in a way that we do not know, or damaged."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _TooLargeError(Exception):
    def __init__(self, *, more: bool) -> None:
        super().__init__()
        self.more = more  # whether some of the body is still to come


def unpack(body: bytes, headers: Iterable[Header]) -> bytes:
    """Without gzip, if the client packed it so. Never holds more than MAX_BODY_BYTES of the unpacked body."""
    codings = b",".join(value for name, value in headers if name == b"content-encoding").lower()
    if codings.strip() in (b"", b"identity"):
        return body
    if codings.strip() not in (b"gzip", b"x-gzip"):
        detail = f"The body's Content-Encoding is {quote_input(codings)}. Only gzip is supported: use it, or none."
        raise _UnreadableError(415, detail)
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = stream.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise _UnreadableError(422, "The body is not valid gzip, though its Content-Encoding is gzip.") from error
    if len(unpacked) > MAX_BODY_BYTES:
        raise _TooLargeError(more=False)
    if not stream.eof or stream.unused_data:
        raise _UnreadableError(422, "The body is not one whole gzip stream: it ends too early, or more follows it.")
    return unpacked


def _may_have_body(scope: Scope) -> bool:
    if scope["method"] not in SAFE_METHODS:
        return True
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Gives the body as one message, and then what else arrives, such as the client's disconnect."""
    is_read = False

    async def receive_again() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
