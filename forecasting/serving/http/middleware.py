"""What our ASGI layers are made of. Plain ASGI costs a tenth of Starlette's BaseHTTPMiddleware."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from forecasting.serving.http.headers import JSON, Header


class HttpMiddleware(ABC):
    """A layer in front of `app`. It is given nothing but HTTP requests: our server has no other messages for it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    @abstractmethod
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


async def send_json(
    send: Send, body: bytes, status: int = 200, headers: Sequence[Header] = (), *, more: bool = False
) -> None:
    """With `more`, the caller still has to send the last, empty part of the body."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": more})


def find_header(scope: Scope, name: bytes) -> bytes:
    """The first one of this name; empty if there is none."""
    for header, value in scope["headers"]:
        if header == name:
            return bytes(value)
    return b""
