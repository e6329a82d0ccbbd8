"""TCP connections: uvicorn's, which alone would wait for headers for ever and accept any number of connections.

These limits apply before there is a request: the layers in guards.py never see what is refused here.
"""

import asyncio
import resource
from typing import Any, ClassVar

import httptools
import orjson
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from forecasting.serving.http.error_responses import send_unavailable
from forecasting.serving.http.headers import CLOSE, SECURITY_HEADERS
from forecasting.settings.schema import GuardConfig

# For a request's line and headers together; each header counts 32 bytes more than it has, as in RFC 9113, 6.5.2. The
# parser itself has no limit, and takes quadratic time for a header that arrives in many pieces.
MAX_HEAD_BYTES = 32 * 1024
TOO_LARGE = f"The request line and headers are larger than {MAX_HEAD_BYTES:,} bytes."
HEADER_SECONDS = 10.0  # honest clients send their headers at once; or `guard.request_seconds`, if that is less
OTHER_FILES = 256  # open besides the connections: PostgreSQL's, TorchServe's, the log, libraries
REASONS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


def guard_connections(guard: GuardConfig) -> type[asyncio.Protocol]:
    """The class of connections for uvicorn. Also raises the limit of open files as far as possible."""
    raise_file_limit(2 * guard.max_connections + OTHER_FILES)
    return type("GuardedConnection", (Connection,), {"guard": guard})


def raise_file_limit(num_files: int) -> None:
    """Allows this process so many open files, or as many as the system permits. Many start with 1,024, or 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = num_files if hard == resource.RLIM_INFINITY else min(num_files, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


class Connection(HttpToolsProtocol):
    guard: ClassVar[GuardConfig] = GuardConfig()

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: uvicorn's own
        super().__init__(*args, **kwargs)
        self._is_replaying = False  # the new parser reads headers that the old one has already handled
        self._in_head = True  # a request's line and headers are arriving, or come next
        self._head_bytes = 0
        self._idle_bytes = 0  # received since a request began or its body went on
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > 2 * self.guard.max_connections:
            transport.abort()
        elif len(self.connections) > self.guard.max_connections:
            self.app = _refuse_connection
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # resumes writing
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._idle_bytes += len(data)  # the parser resets it when it finds a request or a part of a body
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._idle_bytes > MAX_HEAD_BYTES:
            self._refuse(431, TOO_LARGE)
            return
        if self._in_head or self.cycle is None or self.cycle.response_complete:
            self._await_head()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade()
            if rest := data[upgrade.args[0] :]:
                self._parse(rest)

    def _ignore_upgrade(self) -> None:
        """Reads on with the request's body. A server may ignore an Upgrade (RFC 9110, 7.8), and Java's HttpClient sends
        one each time. The old parser takes what follows for another protocol; uvicorn would take it for a new request.
        """
        framing = [header for header in self.headers if header[0] in (b"content-length", b"transfer-encoding")]
        head = b"".join(b"%s: %s\r\n" % header for header in framing)
        self._is_replaying = self.cycle.more_body = True
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % head)
        self._is_replaying = False

    def on_message_begin(self) -> None:
        if self._is_replaying:
            return
        super().on_message_begin()
        self._in_head, self._head_bytes, self._idle_bytes = True, 0, 0

    def on_url(self, url: bytes) -> None:
        if self._is_replaying:
            return
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head and not self._is_replaying:  # after a body these are trailers, which nobody reads
            self._count(len(name) + len(value) + 32)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_replaying:
            return
        self._in_head = False
        self._head_arrived()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._idle_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._await_reader()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._await_reader()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None and not self.transport.is_closing():
            self._write_timer.cancel()
            self._write_timer = None

    def _await_reader(self) -> None:
        """Aborts the connection if the client reads no further: closing it would wait for ever."""
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.guard.request_seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, TOO_LARGE)
        else:
            self._refuse(400, "This is not an HTTP request.")

    def _count(self, num_bytes: int) -> None:
        self._head_bytes += num_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError("head too large")  # stops the parser, which calls send_400_response

    @property
    def _header_seconds(self) -> float:
        return min(HEADER_SECONDS, self.guard.request_seconds)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._header_seconds, self._refuse_late)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_late(self) -> None:
        self._head_timer = None
        self._refuse(408, f"No request headers arrived within {self._header_seconds:g} s.")

    def _refuse(self, status: int, detail: str) -> None:
        """Closes the connection; sends the error first unless a response is already on its way."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            body = orjson.dumps({"detail": detail})
            length = (b"content-length", b"%d" % len(body))
            headers = [(b"content-type", b"application/json"), length, CLOSE, *SECURITY_HEADERS]
            lines = [b"HTTP/1.1 %d %s" % (status, REASONS[status]), *(b"%s: %s" % header for header in headers)]
            self.transport.write(b"\r\n".join([*lines, b"", body]))
        self.transport.close()
        self._await_reader()


async def _refuse_connection(scope: Scope, receive: Receive, send: Send) -> None:
    detail = "Too many open connections (guard.max_connections). Try again later."
    await send_unavailable(send, detail, CLOSE, *SECURITY_HEADERS)
