"""A load generator for HTTP/1.1 on this machine, which costs some 20 microseconds a request beside what it measures.

It reads an answer's status and Content-Length alone, and runs in a process of its own.
"""

import asyncio
import gc
import signal
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection as PipeConnection

import numpy as np
import uvloop

NO_ANSWER, CUT, HALF = -1, -2, -3  # in place of a status: none in time, connection ended before or within the answer
LAST_CHUNK = b"\r\n0\r\n\r\n"
IDLE_SECONDS = 30.0  # after which a client, or a proxy, closes a connection before the server does
RECONNECT_SECONDS = 0.05  # after a connection was refused
TICK_SECONDS = 0.001  # how exactly an open loop keeps its times
TRIVIAL = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Plan:
    """Which whole requests, as they go over the wire, are sent where, and when.

    Without `rate` each of `clients` sends its next one on the answer to its last (closed loop). With it that many a
    second are due, whatever the answers do (open loop), over as many connections as it takes.
    """

    port: int
    requests: Sequence[bytes]
    seconds: float
    clients: int = 64
    rate: float | None = None
    deadline_seconds: float = 30.0
    keep_every: int = 64  # of so many answers one is kept to be looked at


@dataclass(frozen=True)
class Load:
    """What came of each request, in the order of answers; `due` and `took` in seconds, took since it was due."""

    due: np.ndarray
    took: np.ndarray
    status: np.ndarray
    question: np.ndarray  # places in the plan's requests
    answers: Sequence[tuple[int, bytes]]  # place in the arrays, body
    seconds: float
    cpu_seconds: float  # that the load generator itself used
    begun: float  # by time.perf_counter, which all processes of a machine share

    @property
    def rate(self) -> float:
        """Good answers a second, of those that came while requests were sent."""
        return float(((self.status == 200) & (self.due + self.took <= self.seconds)).sum()) / self.seconds

    @property
    def num_failed(self) -> int:
        return int((self.status != 200).sum())

    def milliseconds(self, percentile: float) -> float:
        return float(np.percentile(self.took, percentile)) * 1e3 if len(self.took) else float("nan")


def write_request(method: str, path: str, *, body: bytes = b"", key: str | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Loader:
    """The load generator in a process of its own, one plan at a time; its context ends it, whatever it is doing."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run_plans, args=(theirs,), daemon=True)

    def start(self, plan: Plan) -> None:
        self._pipe.send(plan)

    @property
    def is_done(self) -> bool:
        return self._pipe.poll()

    def wait(self) -> Load:
        load: Load = self._pipe.recv()
        return load

    def run(self, plan: Plan) -> Load:
        self.start(plan)
        return self.wait()

    def __enter__(self) -> "Loader":
        with without_script():
            self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()


@contextmanager
def without_script() -> Iterator[None]:
    """A process that is spawned meanwhile does not import the script that runs, nor torch with it."""
    file = vars(sys.modules["__main__"]).pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            sys.modules["__main__"].__file__ = file


def measure_ceiling(seconds: float) -> Load:
    """Of the load generator itself: against a server that answers every request with `{}`."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve_trivially, args=(theirs,), daemon=True)
    with without_script():
        server.start()
    try:
        with Loader() as loader:
            return loader.run(Plan(ours.recv(), [write_request("GET", "/")], seconds))
    finally:
        server.terminate()
        server.join()


def _run_plans(pipe: PipeConnection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the Loader's context ends this
    while True:
        plan = pipe.recv()
        gc.collect()
        gc.freeze()
        pipe.send(uvloop.run(_Generator(plan).run()))


class _Generator:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.due, self.took = array("d"), array("d")
        self.status, self.question = array("h"), array("i")
        self.answers: list[tuple[int, bytes]] = []
        self.waiting: deque[tuple[float, int, int]] = deque()  # due, but without a connection yet
        self.idle: list[_Connection] = []
        self.all: set[_Connection] = set()
        self.num_opening = 0
        self.closing = False

    async def run(self) -> Load:
        cpu_seconds = time.process_time()
        self.loop = asyncio.get_running_loop()
        self.begun = time.perf_counter()
        watch = asyncio.create_task(self._give_up())
        await (self._send_on_answers() if self.plan.rate is None else self._send_when_due(self.plan.rate))
        end = time.perf_counter() + self.plan.deadline_seconds + 1
        while self._is_busy() and time.perf_counter() < end:  # noqa: ASYNC110 - once
            await asyncio.sleep(0.005)
        self.closing = True
        watch.cancel()
        for connection in list(self.all):
            connection.transport.abort()
        arrays = (np.array(part) for part in (self.due, self.took, self.status, self.question))
        cpu_seconds = time.process_time() - cpu_seconds
        return Load(*arrays, self.answers, self.plan.seconds, cpu_seconds, self.begun)

    def _is_busy(self) -> bool:
        """Whether a request waits for a connection or for its answer."""
        return bool(self.waiting) or any(connection.asked for connection in self.all)

    async def _send_on_answers(self) -> None:
        number = len(self.plan.requests)
        self.next_of = [place * number // self.plan.clients for place in range(self.plan.clients)]
        for client in range(self.plan.clients):
            self._ask_next(client)
        await asyncio.sleep(self.plan.seconds)

    async def _send_when_due(self, rate: float) -> None:
        total, number = int(self.plan.seconds * rate), len(self.plan.requests)
        sent = 0
        while sent < total:
            until = min(total, int((time.perf_counter() - self.begun) * rate) + 1)
            for place in range(sent, until):
                self._ask(place / rate, place % number, client=-1)
            sent = until
            await asyncio.sleep(TICK_SECONDS)

    def _ask_next(self, client: int) -> None:
        now = time.perf_counter() - self.begun
        if now < self.plan.seconds:
            question = self.next_of[client] % len(self.plan.requests)
            self.next_of[client] += 1
            self._ask(now, question, client=client)

    def _ask(self, due: float, question: int, *, client: int) -> None:
        if self.idle and not self.waiting:
            self.idle.pop().ask(due, question, client, self.plan.requests[question])
            return
        self.waiting.append((due, question, client))
        if self.num_opening < len(self.waiting):
            self.num_opening += 1
            self.loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            while not self.closing and self.waiting:
                try:
                    await self.loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.plan.port)
                except OSError:
                    self._refuse()
                    await asyncio.sleep(RECONNECT_SECONDS)
                else:
                    return
        finally:
            self.num_opening -= 1

    def _refuse(self) -> None:
        """Nobody listens: what waits has failed."""
        for _ in range(len(self.waiting)):
            self.note(*self.waiting.popleft(), CUT, b"")

    def take_work(self, connection: "_Connection") -> None:
        if self.waiting:
            due, question, client = self.waiting.popleft()
            connection.ask(due, question, client, self.plan.requests[question])
        else:
            connection.idle_since = time.perf_counter()
            self.idle.append(connection)

    def note(self, due: float, question: int, client: int, status: int, body: bytes) -> None:
        place = len(self.due)
        self.due.append(due)
        self.took.append(time.perf_counter() - self.begun - due)
        self.status.append(status)
        self.question.append(question)
        if place % self.plan.keep_every == 0 or (status != 200 and len(self.answers) < 10_000):
            self.answers.append((place, bytes(body)))
        if client >= 0:
            if status > 0:
                self._ask_next(client)
            else:
                self.loop.call_later(RECONNECT_SECONDS, self._ask_next, client)

    async def _give_up(self) -> None:
        """On what was not answered in time."""
        while True:
            await asyncio.sleep(0.1)
            oldest = time.perf_counter() - self.begun - self.plan.deadline_seconds
            while self.idle and self.idle[0].idle_since < time.perf_counter() - IDLE_SECONDS:
                self.idle.pop(0).transport.abort()
            for connection in list(self.all):
                if connection.asked and connection.asked[0] < oldest:
                    connection.end(NO_ANSWER)
            while self.waiting and self.waiting[0][0] < oldest:
                self.note(*self.waiting.popleft(), NO_ANSWER, b"")


def join_chunks(body: bytes) -> bytes:
    parts = []
    while body != b"0\r\n\r\n":
        size, _, rest = body.partition(b"\r\n")
        parts.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return b"".join(parts)


class _Connection(asyncio.Protocol):
    """One that stays open; one request at a time."""

    def __init__(self, generator: _Generator) -> None:
        self.generator = generator
        self.asked: tuple[float, int, int] | None = None
        self.idle_since = 0.0
        self.received = b""
        self.begin = self.length = 0  # of the body, once the head is there
        self.closes = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.generator.all.add(self)
        self.generator.take_work(self)

    def ask(self, due: float, question: int, client: int, request: bytes) -> None:
        self.asked = (due, question, client)
        self.received, self.begin = b"", 0
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self.received = self.received + data if self.received else data
        if not self.begin:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            self.begin = end + 4
            head = received[:end].lower()
            place = head.find(b"\r\ncontent-length:")
            self.length = int(head[place + 17 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            self.closes = b"\r\nconnection: close" in head
            self.in_chunks = b"\r\ntransfer-encoding: chunked" in head
        is_whole = received.endswith(LAST_CHUNK) if self.in_chunks else len(received) >= self.begin + self.length
        if not is_whole or self.asked is None:
            return
        body = join_chunks(received[self.begin :]) if self.in_chunks else received[self.begin :]
        asked, self.asked = self.asked, None
        if not self.closes:
            self.generator.take_work(self)
        self.generator.note(*asked, int(received[9:12]), body)

    def end(self, status: int) -> None:
        asked, self.asked = self.asked, None
        self.transport.abort()
        if asked is not None:
            self.generator.note(*asked, status, self.received)

    def connection_lost(self, error: Exception | None) -> None:
        generator = self.generator
        generator.all.discard(self)
        if self in generator.idle:
            generator.idle.remove(self)
        if not generator.closing:
            self.end(HALF if self.received else CUT)


class _Trivial(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(TRIVIAL)


def _serve_trivially(pipe: PipeConnection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Trivial, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())
