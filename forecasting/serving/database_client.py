"""Pooled connections to the database that has `forecasting.daily`; every use of one has a deadline."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from forecasting.errors import CannotConnect, TimedOut, WarehouseError
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import CONNECTION_ERRORS, Connection, Pool, open_pool, translate_errors

Result = TypeVar("Result")
POOL_SIZE = 8  # connections; a forecast needs one for some milliseconds
RELEASE_SECONDS = 1.0  # for the server to end a cancelled query; after it the connection is closed
CLOSE_SECONDS = 2.0  # to close connections politely


class DatabaseClient:
    """Used in one event loop."""

    def __init__(self, database: DatabaseConfig, *, deadline_seconds: float) -> None:
        self.database = database
        self._deadline_seconds = deadline_seconds
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()

    async def run(self, query: Callable[[Connection], Awaitable[Result]], *, max_seconds: float = math.inf) -> Result:
        """What `query` returns. Runs it again on a new connection if the first one was cut while it was idle: firewalls
        and restarts of the server do that.

        Raises TimedOut after the deadline or `max_seconds`, and WarehouseError.
        """
        deadline = min(self._deadline_seconds, max_seconds)
        try:
            async with asyncio.timeout(deadline):
                async with self._opening:
                    pool = self._pool = self._pool or await open_pool(self.database, max_size=POOL_SIZE)
                async with _borrow(pool) as connection:
                    with suppress(CannotConnect):
                        return await query(connection)
                await pool.expire_connections()  # what cut this one has cut the others, too
                async with _borrow(pool) as connection:
                    return await query(connection)
        except TimeoutError as error:
            raise TimedOut(f"PostgreSQL did not answer within {deadline:g} s. Try again later.") from error

    async def switch_to(self, database: DatabaseConfig) -> Pool | None:
        """Opens new connections there. Returns the connections so far, to be closed with `close_pool`."""
        async with self._opening:
            previous, self._pool, self.database = self._pool, None, database
        return previous

    async def close(self) -> None:
        await close_pool(self._pool)


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
        # The pool closes a connection that cannot be reset. What was read over it is valid all the same.
        with suppress(WarehouseError, TimeoutError), translate_errors("giving a connection back"):
            await pool.release(connection, timeout=RELEASE_SECONDS)
