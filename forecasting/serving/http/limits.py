"""How much a request may bring and how long it may take, and what it hears when serving ends meanwhile."""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forecasting.serving.http.error_responses import CLOSE, refuse, refuse_for_now

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
LINGER_SECONDS = 5.0  # that a body which is too large is still read for, so that its sender sees why it was refused


class Limits:
    """Reads the body, no more of it than may be, and ends what takes too long.

    The body is there, whole, before the routes are asked: so a body that is late (408) is told from an answer that is
    (504). An answer that has begun and does not end is cut, and its connection closed.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, request_seconds: float) -> None:
        self.app = app
        self._max_bytes = max_body_bytes
        self._seconds = request_seconds
        self._too_large = (
            f"A body may have {max_body_bytes:,} bytes (guard.max_body_bytes), and this one has more. "
            "Ask for fewer series at once."
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_come = has_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds) as deadline:
                if _may_have_body(scope):
                    receive = give_again(await self._read(scope, receive), receive)
                has_come = True
                await self.app(scope, receive, send_and_note)
        except TimeoutError:
            if not deadline.expired():
                raise
            if not has_begun:
                await self._refuse_late(send, has_come=has_come)
        except _TooLargeError as error:
            await self._refuse_large(receive, send, more=error.more)
        except _GoneError:
            scope.setdefault("state", {})["status"] = 499  # as nginx calls it: nobody is there to be answered

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        for name, value in scope["headers"]:
            if name == b"content-length" and not (value.isdigit() and int(value[:20]) <= self._max_bytes):
                raise _TooLargeError(more=True)
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            part = message.get("body", b"")
            size += len(part)
            more = message.get("more_body", False)
            if size > self._max_bytes:
                raise _TooLargeError(more=more)
            parts.append(part)
        return b"".join(parts)

    async def _refuse_large(self, receive: Receive, send: Send, *, more: bool) -> None:
        """The answer first, then what still comes of the body: who is cut off while he sends may never read it."""
        await refuse(send, 413, self._too_large, CLOSE, more=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while more:
                    message = await receive()
                    more = message.get("more_body", False)  # there is none when the client has gone
        await send({"type": "http.response.body"})

    async def _refuse_late(self, send: Send, *, has_come: bool) -> None:
        within = f"within {self._seconds:g} s (guard.request_seconds)"
        if has_come:
            await refuse(send, 504, f"No answer was ready {within}. Ask for less at once, or later.", CLOSE)
        else:
            await refuse(send, 408, f"The request's body did not come {within}.", CLOSE)


class LastWord:
    """Answers 503 to a request that the end of serving cuts off, where uvicorn would say 500 and print a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answered = False

        async def note_answer(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, receive, note_answer)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            if not answered:  # else the connection tells, which uvicorn closes in the middle of the answer
                await refuse_for_now(send, "Serving is being stopped. Ask again when it is back.")


class _GoneError(Exception):
    """The client has, before its body had come."""


class _TooLargeError(Exception):
    def __init__(self, *, more: bool) -> None:
        super().__init__()
        self.more = more  # is still to come


def _may_have_body(scope: Scope) -> bool:
    if scope["method"] not in SAFE_METHODS:
        return True
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def give_again(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then what else comes: that the client has gone."""
    read = False

    async def give() -> Message:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give
