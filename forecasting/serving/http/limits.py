"""How large a request may be, how long it may take, and how it ends when the server shuts down."""

import asyncio
import re
import zlib
from collections.abc import Iterable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forecasting.serving.http.error_responses import quote_input, send_error, send_unavailable
from forecasting.serving.http.headers import CLOSE, RETRY_AFTER, Header
from forecasting.serving.http.middleware import HttpMiddleware
from forecasting.serving.http.work_in_flight import RETRY_SECONDS, RequestMemory, TooMuchInFlight, WorkInFlight

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MAX_BODY_BYTES = 2**20  # the 10,000 sites that a request may name fit
LINGER_SECONDS = 5.0  # how long the rest of a too large body is still read, so that its sender can read the error
MAX_SHAPE = 200  # keys, lists and objects of a body; the largest request has four keys and two lists
SHAPE = (b"]", b"}", b":")
JSON_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
PART_BYTES = 32 * 1024  # of a response, to be written at once
CLIENT_CLOSED_REQUEST = 499  # nginx's status, for the log only


class RequestLimits(HttpMiddleware):
    """Limits the size of a body, the time of a whole request, and the memory of all that are being answered.

    The complete body is read before the routes are called, so that a late body (408) can be told from a late response
    (504). A response that has begun is cut off, and its connection closed, if its next part is not made in time, or if
    the client takes too long to read it.
    """

    def __init__(self, app: ASGIApp, *, request_seconds: float, work: WorkInFlight) -> None:
        super().__init__(app)
        self._seconds = request_seconds
        self._work = work
        self._too_large = f"The request body is larger than {MAX_BODY_BYTES:,} bytes. Request fewer series at once."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_body = has_begun = False
        state = scope.setdefault("state", {})

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            if not has_begun and not state.get("is_counted"):
                memory.hold(find_length(message["headers"]))
            has_begun = True
            if message.get("more_body") or len(message.get("body", b"")) > PART_BYTES:
                await writer.send(message)
            else:
                await send(message)

        try:
            with self._work.open(scope) as memory:
                async with asyncio.timeout(self._seconds) as deadline:
                    state["memory"] = memory
                    writer = _PartWriter(send, deadline, self._seconds)
                    if _may_have_body(scope):
                        receive = replay_body(await self._read_body(scope, receive, memory), receive)
                    has_body = True
                    await self.app(scope, receive, send_on)
        except TimeoutError:
            if not deadline.expired():
                raise
            if not has_begun:
                await self._refuse_late(send, has_body=has_body)
        except TooMuchInFlight as error:
            await _refuse_more(receive, send, error, more=not has_body)
        except _TooLargeError as error:
            await _refuse(receive, send, 413, self._too_large, more=error.more)
        except _UnreadableError as error:
            await send_error(send, error.status, str(error))
        except _ClientGoneError:
            state.setdefault("status", CLIENT_CLOSED_REQUEST)

    async def _read_body(self, scope: Scope, receive: Receive, memory: RequestMemory) -> bytes:
        """Without gzip. Counted twice, since the routes hold it and what they have read from it."""
        counted = find_length(scope["headers"])
        if counted > MAX_BODY_BYTES:
            raise _TooLargeError(more=True)
        memory.hold(2 * counted)
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
            if size > counted:
                memory.hold(2 * (size - counted))
                counted = size
            parts.append(part)
        body = b"".join(parts)
        if not body:
            return body
        unpacked = unpack(body, scope["headers"])
        memory.hold(2 * max(0, len(unpacked) - counted))
        check_shape(unpacked)
        return unpacked

    async def _refuse_late(self, send: Send, *, has_body: bool) -> None:
        limit = f"{self._seconds:g} s (guard.request_seconds)"
        if has_body:
            detail = f"The request took longer than {limit}. Request less at once, or try again later."
            await send_error(send, 504, detail, CLOSE)
        else:
            await send_error(send, 408, f"The request body did not arrive within {limit}.", CLOSE)


class _PartWriter:
    """Sends parts that a connection's buffer can take, so that the rest of a response waits until they are read."""

    def __init__(self, send: Send, deadline: asyncio.Timeout, seconds: float) -> None:
        self._send = send
        self._deadline = deadline
        self._seconds = seconds  # for each part to be made
        self._reading_seconds = seconds  # that are left to the client, for all of them

    async def send(self, message: Message) -> None:
        """Raises TimeoutError once the client has taken too long."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._move_deadline(started + self._reading_seconds)
        body = message.get("body", b"")
        for start in range(0, len(body), PART_BYTES):
            end = start + PART_BYTES
            more = end < len(body) or message.get("more_body", False)
            await self._send({"type": message["type"], "body": body[start:end], "more_body": more})
        self._reading_seconds -= loop.time() - started
        self._move_deadline(loop.time() + self._seconds)

    def _move_deadline(self, when: float) -> None:
        if self._deadline.expired():  # another task is being told just now
            raise TimeoutError
        self._deadline.reschedule(when)


class ShutdownResponse(HttpMiddleware):
    """Answers 503 to requests that the server's end cuts off."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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


def check_shape(body: bytes) -> None:
    """Raises _UnreadableError for more keys, lists and objects than any request has: to read hundreds of thousands of
    them takes seconds, in which nobody else is answered. Closing brackets count, since what only opens is refused soon.
    """
    if sum(map(body.count, SHAPE)) > MAX_SHAPE:
        num_parts = sum(map(JSON_TEXT.sub(b"", body).count, SHAPE))
        if num_parts > MAX_SHAPE:
            detail = f"The body has {num_parts:,} keys, lists and objects. A request may have {MAX_SHAPE}."
            raise _UnreadableError(422, detail)


async def _refuse_more(receive: Receive, send: Send, error: TooMuchInFlight, *, more: bool) -> None:
    """429 if other callers could go on, else 503."""
    retry_after = str(RETRY_SECONDS) if error.is_callers else RETRY_AFTER["retry-after"]
    status, again = (429, f" Try again in {retry_after} s.") if error.is_callers else (503, "")
    await _refuse(receive, send, status, f"{error}{again}", (b"retry-after", retry_after.encode()), more=more)


async def _refuse(receive: Receive, send: Send, status: int, detail: str, *headers: Header, more: bool) -> None:
    """Answers first and then reads the rest of the body: a client that is cut off while it sends may never read the
    answer.
    """
    await send_error(send, status, detail, *headers, *([CLOSE] if more else []), more=more)
    rest = more
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while rest:
                message = await receive()
                rest = message.get("more_body", False)  # missing once the client has gone
    if more:
        await send({"type": "http.response.body"})


def find_length(headers: Iterable[Header]) -> int:
    """Content-Length; 0 if there is none, and larger than any body if it is no number."""
    for name, value in headers:
        if name == b"content-length":
            return int(value[:20]) if value.isdigit() else MAX_BODY_BYTES + 1
    return 0


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
