"""What is answered to a request that comes no further, and the headers that every answer has."""

import math

import orjson
from starlette.types import Send

Header = tuple[bytes, bytes]

# For answers that are data and never a page. HSTS is for the proxy to say, which alone knows TLS.
SECURITY_HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
CLOSE: Header = (b"connection", b"close")
RETRY_AFTER = {"retry-after": "3"}  # seconds, with a 503: TorchServe brings a killed worker back in 2 to 3


async def refuse(send: Send, status: int, detail: str, *headers: Header, more: bool = False) -> None:
    """An error as all are; with `more` its end is left to send."""
    body = orjson.dumps({"detail": detail})
    length = (b"content-length", b"%d" % len(body))
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": [(b"content-type", b"application/json"), length, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def refuse_for_now(send: Send, detail: str, *headers: Header) -> None:
    """503, for some seconds."""
    retry = [(name.encode(), value.encode()) for name, value in RETRY_AFTER.items()]
    await refuse(send, 503, detail, *retry, *headers)


async def refuse_for(send: Send, seconds: float, detail: str) -> None:
    """429, until these seconds are over."""
    whole = math.ceil(seconds)
    await refuse(send, 429, f"{detail} Ask again in {whole} s.", (b"retry-after", b"%d" % whole))


def show(sent: bytes) -> str:
    """What a client has sent, for a message: quoted, and no longer than a name."""
    text = sent.decode("latin-1")
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
