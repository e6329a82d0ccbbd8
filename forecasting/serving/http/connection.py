"""One TCP connection: its requests, one after another, and how long each side may take.

What is refused here, the layers in guards.py never see.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
from starlette.types import ASGIApp, Scope

from forecasting.serving.http.admission import Admission
from forecasting.serving.http.api_keys import OPEN_PATHS
from forecasting.serving.http.client_address import TrustedProxies, group_address
from forecasting.serving.http.exchange import Exchange, write_response_head
from forecasting.serving.http.headers import CLOSE, RETRY_AFTER, SECURITY_HEADERS
from forecasting.serving.http.limits import PART_BYTES
from forecasting.serving.http.request_head import BadRequest
from forecasting.serving.http.request_parser import RequestParser

HEADER_SECONDS = 10.0  # honest clients send their headers at once; or `guard.request_seconds`, if that is less
# Longer than proxies keep an idle connection (60 s): otherwise we might close one just as a request arrives on it.
KEEP_ALIVE_SECONDS = 75.0
# How long, and how much, is still read after the last answer: if a connection is closed while its client sends, the
# client may never see the answer.
LINGER_SECONDS = 2.0
LINGER_BYTES = 2**20
MAX_UNREAD_BODY = 2**16  # bytes that wait for the application
EVICTED = "This connection was closed to make room for others: too many are open (guard.max_connections). Try again."


@dataclass
class Shared:
    """What all connections of a server share."""

    app: ASGIApp
    admission: Admission
    proxies: TrustedProxies
    request_seconds: float
    count_refusal: Callable[[int], None]
    root_path: str
    date: bytes = b""  # now, as in the header Date
    is_ending: bool = False
    connections: "set[Connection]" = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Connection(asyncio.Protocol):
    """Waits either for its client, until `deadline`, or for the application, which has deadlines of its own."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser(self)
        self._pending = bytearray()  # received, and for a later request or not wanted yet
        self._exchange: Exchange | None = None  # until it is answered and its body has arrived
        self._writable: asyncio.Event | None = None  # while the client does not read
        self._is_idle = False  # kept open after an answer, and nothing has come yet
        self._is_ended = False  # no further request is read
        self._is_half_closed = False  # by the client
        self._is_reading = True
        self._ended_at = 0.0
        self._num_discarded = 0
        self._reader_deadline = math.inf  # until which the client must have read some of what was written
        self.deadline = math.inf
        self.address: str | None = None
        self.has_key = False

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # of TCP
        self._transport = transport
        transport.set_write_buffer_limits(high=PART_BYTES)
        peer = transport.get_extra_info("peername")
        self._peer: tuple[str, int] = (str(peer[0]), int(peer[1])) if peer else ("", 0)  # gone already
        self._here = tuple(transport.get_extra_info("sockname") or ("", 0))[:2]
        self._is_proxy = self._peer[0] in self._shared.proxies
        self.address = None if self._is_proxy else group_address(self._peer[0])
        self._shared.connections.add(self)
        self._cause = self._shared.admission.enter(self)
        self._await_client(self._header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_ended, self.deadline = True, math.inf
        self._shared.connections.discard(self)
        self._shared.admission.leave(self)
        if self._exchange is not None:
            self._exchange.leave()
        if self._writable is not None:
            self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._is_ended:
            self._num_discarded += len(data)
            if self._num_discarded > LINGER_BYTES:
                self._transport.abort()
            return
        self._pending += data
        if self._is_idle:
            self._is_idle = False
            self.deadline = self._loop.time() + self._header_seconds
        self._read_on()

    def eof_received(self) -> bool:
        """Clients may close their side and still read the answer."""
        self._is_half_closed = True
        exchange = self._exchange
        if exchange is not None and exchange.is_body_complete:
            exchange.keep_alive = False
            return True
        if exchange is not None:
            exchange.leave()  # most likely the client has gone
            self._refuse(400, "The connection ended before the request's body was complete.", is_noted=False)
        elif self._parser.num_unused:
            self._refuse(400, "The connection ended before the request's headers were complete.")
        return False

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()
        self._reader_deadline = self._loop.time() + self._shared.request_seconds
        self._note_key()
        self._await_client(math.inf)

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable, self._reader_deadline = None, math.inf
        if self._is_ended:
            self._await_client(LINGER_SECONDS)
        elif self._exchange is None:
            self._await_request()
            self._read_on()
        elif not self._exchange.is_answered:
            self._await_application()

    # ---- requests, as the parser finds them

    def begin_request(self, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> None:
        self._await_application()
        scope["client"], scope["server"] = self._peer, self._here
        if self._is_proxy:
            forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
            client = self._shared.proxies.find_client(self._peer[0], forwarded)
            scope["client"] = (client, 0 if forwarded else self._peer[1])
        if self._cause is not None:
            keep_alive = False
            path = scope["path"].removeprefix(self._shared.root_path)
            if path not in OPEN_PATHS or scope["method"] not in ("GET", "HEAD"):
                raise BadRequest(503, self._cause.value)
        keep_alive &= not (self._shared.is_ending or self._is_half_closed)
        self._exchange = Exchange(self, scope, keep_alive=keep_alive, expects_continue=expects_continue)
        task = self._loop.create_task(self._exchange.run(self._shared.app))
        self._shared.tasks.add(task)
        task.add_done_callback(self._shared.tasks.discard)

    def add_body(self, part: bytes) -> None:
        exchange = self._exchange
        if exchange is None or exchange.is_answered:
            return
        if exchange.is_awaiting_body:
            self._await_application()
        exchange.add_body(part)

    def end_request(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.is_awaiting_body:
            self._await_application()
        exchange.complete_body()
        if exchange.is_answered:
            self._await_request()

    def _read_on(self) -> None:
        """Parses as much as is wanted now. The rest waits, and so does the client."""
        try:
            while self._pending and self._wants_bytes():
                self._parser.feed(self._pending)
        except BadRequest as error:
            self._refuse(error.status, str(error))
        self._set_reading(wanted=not self._pending or self._is_ended)

    def _wants_bytes(self) -> bool:
        exchange = self._exchange
        if self._is_ended or self._writable is not None:
            return False
        if exchange is None or exchange.is_answered:
            return True
        return not exchange.is_body_complete and len(exchange.body) < MAX_UNREAD_BODY

    def _set_reading(self, *, wanted: bool) -> None:
        if wanted != self._is_reading and not self._transport.is_closing():
            self._is_reading = wanted
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    # ---- the exchange's client

    @property
    def date(self) -> bytes:
        return self._shared.date

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def drain(self) -> None:
        if self._writable is not None:
            await self._writable.wait()

    def abort(self) -> None:
        self._transport.abort()

    def await_body(self) -> None:
        self._note_key()
        self._await_client(math.inf)  # a layer of the application ends it
        self._read_on()

    def end_exchange(self) -> None:
        exchange = self._exchange
        if exchange is None or self._is_ended:
            return
        self._note_key()
        if not exchange.keep_alive or self._shared.is_ending:
            self._end()
        elif exchange.is_body_complete:
            self._await_request()
            self._read_on()
        else:  # the rest of the body is still read, for a while
            self._await_client(LINGER_SECONDS)
            self._read_on()

    # ---- whose turn it is

    @property
    def _header_seconds(self) -> float:
        return min(HEADER_SECONDS, self._shared.request_seconds)

    def _await_request(self) -> None:
        self._exchange, self._is_idle = None, not self._pending
        self._await_client(KEEP_ALIVE_SECONDS if self._is_idle else self._header_seconds)

    def _await_client(self, seconds: float) -> None:
        self.deadline = min(self._loop.time() + seconds, self._reader_deadline)
        self._shared.admission.note_waiting(self, within_request=self._exchange is not None)

    def _await_application(self) -> None:
        self.deadline = math.inf
        self._shared.admission.note_working(self)

    def _note_key(self) -> None:
        if not self.has_key and self._exchange is not None and "client" in self._exchange.scope["state"]:
            self._shared.admission.note_key(self)

    # ---- the end

    def expire(self) -> None:
        """The client has let its deadline pass."""
        now = self._loop.time()
        if self._is_ended:
            if self._transport.get_write_buffer_size() and now < self._ended_at + self._shared.request_seconds:
                self.deadline = now + LINGER_SECONDS
            else:
                self._transport.abort()
        elif self._writable is not None:
            self._transport.abort()
        elif self._exchange is not None:
            self._end()
        elif self._is_idle:
            self._transport.close()
        else:
            self._refuse(408, f"No request headers arrived within {self._header_seconds:g} s.")

    def evict(self) -> None:
        if self._writable is not None:
            self._transport.abort()
            return
        if self._exchange is not None or self._parser.num_unused:
            self._refuse(503, EVICTED)
        self._is_ended, self._ended_at = True, -math.inf
        self.deadline = self._loop.time() + LINGER_SECONDS
        self._transport.close()

    def finish(self) -> None:
        """Closes the connection as soon as the request in progress, if there is one, is answered."""
        if self._exchange is None:
            self._transport.close()
        else:
            self._exchange.keep_alive = False

    def _refuse(self, status: int, detail: str, *, is_noted: bool = True) -> None:
        """Ends the connection, with an error unless a response is already on its way."""
        exchange, self._exchange = self._exchange, None
        if self._is_ended:
            return
        if exchange is not None:
            if exchange.has_begun and not exchange.is_answered:
                self._transport.abort()
                return
            if is_noted:
                exchange.scope["state"]["status"] = status  # for the log
            exchange.leave()
        else:
            self._shared.count_refusal(status)
        if exchange is None or not exchange.is_answered:
            self._transport.write(self._write_error(status, detail))
        self._end()

    def _write_error(self, status: int, detail: str) -> bytes:
        body = orjson.dumps({"detail": detail})
        retry = [(name.encode(), value.encode()) for name, value in RETRY_AFTER.items()] if status == 503 else []
        fixed = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), CLOSE]
        return write_response_head(status, [*fixed, *retry, (b"date", self.date), *SECURITY_HEADERS]) + body

    def _end(self) -> None:
        """Half closes the connection, and reads what the client still sends for a while."""
        self._exchange, self._is_ended, self._ended_at = None, True, self._loop.time()
        self._pending.clear()
        if self._is_half_closed:
            self._transport.close()
            return
        self._transport.write_eof()
        self._set_reading(wanted=True)
        self._await_client(LINGER_SECONDS)
