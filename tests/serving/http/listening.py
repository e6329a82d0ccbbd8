"""The routes on a real socket, in this process, and what goes over it as raw bytes."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from starlette.types import ASGIApp

from forecasting.serving.http.listener import Listener
from forecasting.serving.http.metrics import ServingMetrics
from forecasting.settings.schema import Config
from scripts.bench.harness import PATIENCE_SECONDS

Answer = tuple[int, dict[str, str], dict[str, str]]  # status, headers, JSON


@contextmanager
def listen(app: ASGIApp, config: Config, metrics: ServingMetrics) -> Iterator[int]:
    """The port on all addresses of 127.0.0.0/8, while an event loop in a thread serves the app."""
    ready = threading.Event()

    async def serve() -> None:
        nonlocal ended, loop
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        listener = Listener(app, config, metrics.count_refusal)
        await listener.start(listening)
        ready.set()
        await ended.wait()
        await listener.close(0.1)

    loop, ended = asyncio.new_event_loop(), asyncio.Event()
    loop.close()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        ready.wait()
        yield int(listening.getsockname()[1])
        loop.call_soon_threadsafe(ended.set)
        thread.join()


def connect(port: int, address: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS, source_address=(address, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection: socket.socket, path: str = "/health", *, key: str | None = None, method: str = "GET") -> Answer:
    """On a connection that stays open."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *([f"X-API-Key: {key}"] if key else [])]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return read_answer(connection.makefile("rb"), has_body=method != "HEAD")


def exchange(port: int, parts: Sequence[bytes], *, num_answers: int = 1) -> list[tuple[int, dict[str, str]]]:
    """Status and JSON of each response, to parts that are sent separately."""
    with connect(port) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.02)
        received = connection.makefile("rb")
        return [(status, body) for status, _, body in (read_answer(received) for _ in range(num_answers))]


def read_answer(received: BinaryIO, *, has_body: bool = True) -> Answer:
    status = int(received.readline().split()[1])
    headers: dict[str, str] = {}
    while (line := received.readline().decode().strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if not has_body:
        body = b"{}"
    elif headers.get("transfer-encoding") == "chunked":
        body = read_chunks(received)
    else:
        body = received.read(int(headers["content-length"]))
    return status, headers, json.loads(body)


def read_chunks(received: BinaryIO) -> bytes:
    """A large answer, whose length nobody knows before."""
    parts = []
    while length := int(received.readline(), 16):
        parts.append(received.read(length))
        received.readline()
    received.readline()
    return b"".join(parts)


def read_to_end(connection: socket.socket) -> list[Answer]:
    """All answers, until the server closes its side."""
    received, answers = connection.makefile("rb"), []
    while received.peek(1):
        answers.append(read_answer(received))
    return answers
