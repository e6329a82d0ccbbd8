"""JSON bodies that are written and packed outside the event loop, and kept while many clients ask for the same one."""

import asyncio
import gzip
import re
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import orjson
from fastapi import Request, Response

Source = TypeVar("Source")
MIN_PACKED_BYTES = 4096  # less fits into a few packets anyway
VARY = {"vary": "accept-encoding"}


class JsonBody(NamedTuple):
    plain: bytes
    packed: bytes | None  # by gzip; None if it is too small to be worth it


def write_body(content: Any) -> JsonBody:  # Any: json's own types
    plain = orjson.dumps(content)
    return JsonBody(plain, gzip.compress(plain, mtime=0) if len(plain) >= MIN_PACKED_BYTES else None)


def make_response(http: Request, body: JsonBody) -> Response:
    """Packed, if that is worth it and the client takes it so."""
    if body.packed is None:
        return Response(body.plain, media_type="application/json")
    if not takes_gzip(http):
        return Response(body.plain, media_type="application/json", headers=VARY)
    return Response(body.packed, media_type="application/json", headers={**VARY, "content-encoding": "gzip"})


def takes_gzip(http: Request) -> bool:
    return accepts_gzip(",".join(http.headers.getlist("accept-encoding")))


def accepts_gzip(accept_encoding: str) -> bool:
    """By the header's rules (RFC 9110, 12.5.3): a coding with q=0 is refused, and * is any that is not named."""
    is_accepted = {}
    for part in accept_encoding.lower().split(","):
        coding, _, weight = part.partition(";")
        is_accepted[coding.strip()] = re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight) is None
    return next((is_accepted[coding] for coding in ("gzip", "x-gzip", "*") if coding in is_accepted), False)


class KeptBody(Generic[Source]):
    """The body that describes a source, kept until there is another source. Callers who ask while it is being made wait
    for the same one.
    """

    def __init__(self, describe: Callable[[Source], Any]) -> None:  # Any: json's own types
        self._describe = describe
        self._making = asyncio.Lock()
        self._source: Source | None = None
        self._body: JsonBody | None = None

    async def get(self, source: Source) -> JsonBody:
        async with self._making:
            if self._body is None or self._source is not source:
                self._body = await asyncio.to_thread(lambda: write_body(self._describe(source)))
                self._source = source
            return self._body
