"""Runs the statements in sql/*.sql."""

import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:  # only the stubs are generic; at run time a pool's connection passes as a Connection too
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.Connection

logger = logging.getLogger("forecasting.warehouse")

Write = Callable[[bytes], Coroutine[Any, Any, None]]


@cache
def load_query(name: str) -> str:
    return (files("forecasting.warehouse") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


@asynccontextmanager
async def in_transaction(connection: Connection) -> AsyncIterator[None]:
    """The transaction that the connection is in, or one for this block: the limits hold in transactions alone."""
    if connection.is_in_transaction():
        yield
        return
    async with connection.transaction():
        yield


async def fetch(connection: Connection, name: str, *values: Any) -> list[Any]:  # Any: PostgreSQL's types both ways
    """The rows of sql/<name>.sql. At DEBUG the time taken is logged."""
    began = time.perf_counter()
    async with in_transaction(connection):
        rows = await connection.fetch(load_query(name), *values)
    logger.debug("%s.sql: %d rows in %.1f ms", name, len(rows), 1000 * (time.perf_counter() - began))
    return rows


async def copy_out(
    connection: Connection,
    name: str,
    *values: Any,  # Any: PostgreSQL's types
    write: Write,
    replacing: tuple[str, str] = ("", ""),
) -> None:
    """Writes the rows of sql/<name>.sql in PostgreSQL's binary COPY format, in chunks as they arrive.

    `replacing`: a part of the query, and what stands in its place.
    """
    began = time.perf_counter()
    query = as_subquery(load_query(name)).replace(*replacing)
    async with in_transaction(connection):
        await connection.copy_from_query(query, *values, output=write, format="binary")
    logger.debug("%s.sql: copied in %.1f ms", name, 1000 * (time.perf_counter() - began))


async def read_out(connection: Connection, name: str, *values: Any) -> bytes:  # Any: PostgreSQL's types
    """All rows of sql/<name>.sql in PostgreSQL's binary COPY format."""
    chunks: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        chunks.append(chunk)

    await copy_out(connection, name, *values, write=keep)
    return b"".join(chunks)


def as_subquery(query: str) -> str:
    """The query without comments and semicolon, to stand in brackets.

    asyncpg writes the values of a COPY into its text, where a line break in a value would end a comment.
    """
    lines = (line for line in query.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(lines).rstrip().removesuffix(";")
