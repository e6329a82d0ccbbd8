"""Bytes as requests, one at a time. httptools parses them; what it does not limit is limited here."""

from typing import Protocol, runtime_checkable

import httptools
from starlette.types import Scope

from forecasting.serving.http.headers import Header
from forecasting.serving.http.request_head import BadRequest, read_head

# For a request's line and headers together; each header counts 32 bytes more than it has, as in RFC 9113, 6.5.2. The
# parser itself has no limit, and takes quadratic time for a header that arrives in many pieces.
MAX_HEAD_BYTES = 32 * 1024
MAX_URL_BYTES = 16 * 1024
END = b"\r\n\r\n"  # of a head, and of a body in chunks


@runtime_checkable
class Receiver(Protocol):
    def begin_request(self, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> None:
        """The head is complete. May raise BadRequest."""

    def add_body(self, part: bytes) -> None: ...
    def end_request(self) -> None:
        """The body is complete, or there is none."""


class RequestParser:
    """Feeds a parser never more than to the end of a request, so that the next one waits until this one is answered."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._parser = httptools.HttpRequestParser(self)
        self._refusal: BadRequest | None = None  # exceptions in callbacks would become the parser's own
        self._is_replaying = False  # a new parser reads headers that the old one has already handled
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: list[Header] = []
        self.in_head = True
        self.num_unused = 0  # bytes since the head began or the body went on
        self._head_size = 0
        self._length: int | None = 0  # of the body that is still to come; None: in chunks
        self._tail = b""  # the last bytes that were fed: END may arrive in two pieces

    def feed(self, pending: bytearray) -> None:
        """Takes at most one request, or the next part of one, from `pending`. Raises BadRequest."""
        piece = self._take(pending)
        self.num_unused += len(piece)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._ignore_upgrade()
        except httptools.HttpParserError as error:
            raise self._refusal or self._explain(error) from error
        if self._refusal is not None:
            raise self._refusal
        self._check_size()

    def _take(self, pending: bytearray) -> bytes:
        size = self._length or self._find_end(pending)
        piece = bytes(pending[:size])
        del pending[:size]
        if self._length:
            self._length -= len(piece)
        self._tail = (self._tail + piece)[-3:]
        return piece

    def _find_end(self, pending: bytearray) -> int:
        """How many bytes there are up to the next END, or at all."""
        start = (self._tail + pending[:3]).find(END)
        if start >= 0:
            return start + len(END) - len(self._tail)
        end = pending.find(END)
        return len(pending) if end < 0 else end + len(END)

    def _check_size(self) -> None:
        if len(self._url) > MAX_URL_BYTES:
            raise BadRequest(414, f"The request's URL is longer than {MAX_URL_BYTES:,} bytes.")
        if max(self.num_unused, self._head_size) <= MAX_HEAD_BYTES:
            return
        if self.in_head:
            raise BadRequest(431, f"The request line and headers are larger than {MAX_HEAD_BYTES:,} bytes.")
        raise BadRequest(400, f"What comes between the chunks of the body is larger than {MAX_HEAD_BYTES:,} bytes.")

    def _explain(self, error: httptools.HttpParserError) -> BadRequest:
        if not self.in_head:
            return BadRequest(400, f"The request body's chunks are malformed: {error}.")
        if self._url == b"*" and not self._headers:
            return BadRequest(505, "HTTP/2 is not supported. Use HTTP/1.1.")  # it begins with PRI * HTTP/2.0
        return BadRequest(400, f"This is not a valid HTTP request: {error}.")

    def _ignore_upgrade(self) -> None:
        """Reads on with the request's body. A server may ignore an Upgrade (RFC 9110, 7.8), and Java's HttpClient sends
        one each time. The old parser takes what follows for another protocol.
        """
        framing = [header for header in self._headers if header[0] in (b"content-length", b"transfer-encoding")]
        head = b"".join(b"%s: %s\r\n" % header for header in framing)
        self._parser = httptools.HttpRequestParser(self)
        self._is_replaying = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % head)
        self._is_replaying = False

    # ---- called by httptools

    def on_url(self, url: bytes) -> None:
        if not self._is_replaying:
            self._url += url
            self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head and not self._is_replaying:  # after a body these are trailers, which nobody reads
            self._head_size += len(name) + len(value) + 32
            if self._head_size <= MAX_HEAD_BYTES:
                self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._is_replaying:
            return
        try:
            self._check_size()
            self.in_head = False
            version = self._parser.get_http_version()
            scope, framing = read_head(self._parser.get_method().decode(), version, self._url, self._headers)
            keep_alive = version != "1.0" and self._parser.should_keep_alive()
            self._receiver.begin_request(scope, keep_alive=keep_alive, expects_continue=framing.expects_continue)
            self._length = framing.length
        except BadRequest as refusal:
            self._refusal = refusal

    def on_body(self, body: bytes) -> None:
        self.num_unused = 0
        if self._refusal is None:
            self._receiver.add_body(body)

    def on_message_complete(self) -> None:
        if self._refusal is None and not self._parser.should_upgrade():
            self._begin()
            self._receiver.end_request()
