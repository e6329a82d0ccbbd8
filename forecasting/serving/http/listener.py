"""Accepts connections, ends those that take too long, and ends them all when serving ends."""

import asyncio
import socket
from collections.abc import Callable
from email.utils import formatdate

from starlette.types import ASGIApp

from forecasting.runtime.open_files import raise_file_limit
from forecasting.serving.http.admission import RESERVE, Admission
from forecasting.serving.http.client_address import TrustedProxies
from forecasting.serving.http.connection import Connection, Shared
from forecasting.settings.schema import Config, GuardConfig

BACKLOG = 2048  # connections that wait to be accepted
SWEEP_SECONDS = 0.25  # between two looks for connections past their deadline
POLL_SECONDS = 0.05  # between two looks whether all connections are closed
OTHER_FILES = 256  # open besides the connections: PostgreSQL's, TorchServe's, the log, libraries


class Listener:
    def __init__(self, app: ASGIApp, config: Config, count_refusal: Callable[[int], None]) -> None:
        guard = config.guard
        raise_file_limit(count_files(guard))
        self.admission = Admission(guard.max_connections, guard.max_connections_per_address)
        self._shared = Shared(
            app,
            self.admission,
            TrustedProxies(config.serving.trusted_proxies),
            guard.request_seconds,
            count_refusal,
            config.serving.root_path,
        )

    async def start(self, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(
            lambda: Connection(self._shared), sock=listening, backlog=BACKLOG
        )  # fmt: skip
        self._sweep()

    async def drain(self, seconds: float) -> None:
        """Accepts no further connections, closes idle ones, and waits until the requests in flight are answered."""
        self._shared.is_ending = True
        self._server.close()
        for connection in list(self._shared.connections):
            connection.finish()
        await self._wait_for_end(seconds)

    async def close(self, seconds: float) -> None:
        """Cancels the requests that are left, gives them so long to answer, and closes all connections."""
        self._shared.is_ending = True
        self._server.close()
        if tasks := self._shared.tasks:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=seconds)
        await self._wait_for_end(seconds)
        self._timer.cancel()
        for connection in list(self._shared.connections):
            connection.abort()

    async def _wait_for_end(self, seconds: float) -> None:
        end = self._loop.time() + seconds
        while self._shared.connections and self._loop.time() < end:  # noqa: ASYNC110 - once
            await asyncio.sleep(POLL_SECONDS)

    def _sweep(self) -> None:
        """Also keeps the time for the header Date."""
        self._timer = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        self._shared.date = formatdate(usegmt=True).encode()
        now = self._loop.time()
        for connection in [each for each in self._shared.connections if each.deadline <= now]:
            connection.expire()


def count_files(guard: GuardConfig) -> int:
    """How many files are open at most."""
    return guard.max_connections + RESERVE + OTHER_FILES
