"""Pooled connections to the database that has `forecasting.daily`; every use of one has a deadline."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from forecasting.errors import CannotConnect, TimedOut, WarehouseError
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import CONNECTION_ERRORS, Connection, Pool, connected, open_pool, translate_errors

Result = TypeVar("Result")
POOL_SIZE = 8  # connections; a forecast needs one for some milliseconds
RELEASE_SECONDS = 1.0  # for the server to end a cancelled query; after it the connection is closed
CLOSE_SECONDS = 2.0  # to close connections politely
RENEW_SECONDS = 60.0  # after which connections are opened anew: their address may lead to another server by then


class DatabaseClient:
    """Used in one event loop."""

    def __init__(self, database: DatabaseConfig, *, deadline_seconds: float) -> None:
        self.database = database
        self._deadline_seconds = deadline_seconds
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()
        self._renew_at = time.monotonic() + RENEW_SECONDS

    async def run(self, query: Callable[[Connection], Awaitable[Result]], *, max_seconds: float = math.inf) -> Result:
        """What `query` returns. Runs it again on a new connection if the first one was cut while it was idle: firewalls
        and restarts of the server do that.

        Raises TimedOut after the deadline or `max_seconds`, and WarehouseError.
        """
        async with self._deadline(max_seconds):
            async with self._opening:
                pool = self._pool = self._pool or await open_pool(self.database, max_size=POOL_SIZE)
            if time.monotonic() >= self._renew_at:
                await self.renew()
            async with _borrow(pool) as connection:
                with suppress(CannotConnect):
                    return await query(connection)
            await pool.expire_connections()  # what cut this one has cut the others, too
            async with _borrow(pool) as connection:
                return await query(connection)

    async def run_anew(
        self, query: Callable[[Connection], Awaitable[Result]], *, max_seconds: float = math.inf
    ) -> Result:
        """As `run`, on a connection that is opened for it."""
        async with self._deadline(max_seconds), connected(self.database) as connection:
            return await query(connection)

    async def renew(self) -> None:
        """Closes the connections so far, each after its present use."""
        self._renew_at = time.monotonic() + RENEW_SECONDS
        if self._pool is not None:
            await self._pool.expire_connections()

    async def switch_to(self, database: DatabaseConfig) -> Pool | None:
        """Opens new connections there. Returns the connections so far, to be closed with `close_pool`."""
        async with self._opening:
            previous, self._pool, self.database = self._pool, None, database
        return previous

    async def close(self) -> None:
        await close_pool(self._pool)

    @asynccontextmanager
    async def _deadline(self, max_seconds: float) -> AsyncIterator[None]:
        deadline = min(self._deadline_seconds, max_seconds)
        try:
            async with asyncio.timeout(deadline):
                yield
        except TimeoutError as error:
            raise TimedOut(f"PostgreSQL did not answer within {deadline:g} s. Try again later.") from error


async def close_pool(pool: Pool | None) -> None:
    if pool is None:
        return
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()
    except (TimeoutError, *CONNECTION_ERRORS):
        pool.terminate()


@asynccontextmanager
async def _borrow(pool: Pool) -> AsyncIterator[Connection]:
    with translate_errors("connecting"):
        connection = await pool.acquire()
    try:
        yield connection
    finally:
        # A deadline ends the wait, not the release: the pool would go on by itself, and nobody would hear how it ends.
        await asyncio.shield(_give_back(pool.release(connection, timeout=RELEASE_SECONDS)))


async def _give_back(release: Awaitable[None]) -> None:
    """The pool closes a connection that cannot be reset. What was read over it is valid all the same."""
    with suppress(WarehouseError, TimeoutError), translate_errors("giving a connection back"):
        await release
