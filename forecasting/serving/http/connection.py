"""The shim's side of a TCP connection: uvicorn's, which by itself waits for headers for ever and takes any number.

Its limits hold before there is a request, so that the middlewares (guards.py) never see what is refused here.
"""

import asyncio
import resource
from typing import Any, ClassVar

import httptools
import orjson
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from forecasting.serving.http.error_responses import CLOSE, SECURITY_HEADERS, refuse_for_now
from forecasting.settings.schema import GuardConfig

# Of a request's line and headers together, each header counted 32 more than it has (as RFC 9113, 6.5.2). The parser
# itself has no limit, and takes quadratic time for a header that comes in many pieces.
MAX_HEAD_BYTES = 32 * 1024
TOO_LARGE = f"A request's line and headers may have {MAX_HEAD_BYTES:,} bytes."
OTHER_FILES = 256  # that the process has open besides the connections: PostgreSQL's, TorchServe's, the log, libraries
REASONS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


def guard_connections(guard: GuardConfig) -> type[asyncio.Protocol]:
    """The class that uvicorn makes one of for each connection; and files for them, as far as this process may."""
    allow_files(2 * guard.max_connections + OTHER_FILES)
    return type("GuardedConnection", (Connection,), {"guard": guard})


def allow_files(num_files: int) -> None:
    """As many open ones, as far as the system lets this process: many start with 1,024, or 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = num_files if hard == resource.RLIM_INFINITY else min(num_files, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Connection(HttpToolsProtocol):
    guard: ClassVar[GuardConfig] = GuardConfig()

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: uvicorn's own
        super().__init__(*args, **kwargs)
        self._parser_catches_up = False  # with what it has been told before
        self._in_head = True  # what comes next, or is coming, is a request's line and headers
        self._head_bytes = 0
        self._idle_bytes = 0  # that have come since a request began or went on with its body
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > 2 * self.guard.max_connections:
            transport.abort()
        elif len(self.connections) > self.guard.max_connections:
            self.app = _refuse_one_more
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # which resumes writing
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._idle_bytes += len(data)  # until the parser finds a request, or a part of a body, in it
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
        """Goes on with the request's body: nobody has to do as an Upgrade asks (RFC 9110, 7.8), and Java's HttpClient
        asks each time. The parser takes what follows for another protocol, where uvicorn would take it for a request.
        """
        framing = [header for header in self.headers if header[0] in (b"content-length", b"transfer-encoding")]
        head = b"".join(b"%s: %s\r\n" % header for header in framing)
        self._parser_catches_up = self.cycle.more_body = True
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % head)
        self._parser_catches_up = False

    def on_message_begin(self) -> None:
        if self._parser_catches_up:
            return
        super().on_message_begin()
        self._in_head, self._head_bytes, self._idle_bytes = True, 0, 0

    def on_url(self, url: bytes) -> None:
        if self._parser_catches_up:
            return
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head and not self._parser_catches_up:  # after a body they are trailers, which nobody reads
            self._count(len(name) + len(value) + 32)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._parser_catches_up:
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
        """Of an answer that nobody reads on, or an end that waits for it: closing alone would wait for ever."""
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.guard.request_seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, TOO_LARGE)
        else:
            self._refuse(400, "This is no HTTP request.")

    def _count(self, num_bytes: int) -> None:
        self._head_bytes += num_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError("too large a head")  # the parser ends, and send_400_response is asked

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.guard.header_seconds, self._refuse_late)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_late(self) -> None:
        self._head_timer = None
        self._refuse(408, f"No request's headers came within {self.guard.header_seconds:g} s (guard.header_seconds).")

    def _refuse(self, status: int, detail: str) -> None:
        """Closes the connection, with an answer unless another is on its way."""
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


async def _refuse_one_more(scope: Scope, receive: Receive, send: Send) -> None:
    detail = "As many connections are open as may be (guard.max_connections). Try again."
    await refuse_for_now(send, detail, CLOSE, *SECURITY_HEADERS)
