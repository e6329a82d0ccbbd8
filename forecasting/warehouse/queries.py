"""Runs the statements in sql/*.sql."""

import logging
import time
from collections.abc import Callable, Coroutine
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:  # generic in the stubs alone; at run time a pool's connection passes as a Connection too
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.Connection

logger = logging.getLogger("forecasting.warehouse")

Write = Callable[[bytes], Coroutine[Any, Any, None]]


@cache
def load_query(name: str) -> str:
    return (files("forecasting.warehouse") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


async def fetch(connection: Connection, name: str, *values: Any) -> list[Any]:  # Any: PostgreSQL's types both ways
    """The rows of sql/<name>.sql; how long it took goes to the log where that is at DEBUG."""
    began = time.perf_counter()
    rows = await connection.fetch(load_query(name), *values)
    logger.debug("%s.sql: %d rows in %.1f ms", name, len(rows), 1000 * (time.perf_counter() - began))
    return rows


async def copy_out(
    connection: Connection,
    name: str,
    *values: Any,  # Any: PostgreSQL's types
    write: Write,
) -> None:
    """Writes the rows of sql/<name>.sql in PostgreSQL's binary COPY format, however the network cuts them."""
    began = time.perf_counter()
    await connection.copy_from_query(_bare(load_query(name)), *values, output=write, format="binary")
    logger.debug("%s.sql: copied in %.1f ms", name, 1000 * (time.perf_counter() - began))


async def read_out(connection: Connection, name: str, *values: Any) -> bytes:  # Any: PostgreSQL's types
    """All that copy_out writes."""
    chunks: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        chunks.append(chunk)

    await copy_out(connection, name, *values, write=keep)
    return b"".join(chunks)


def _bare(query: str) -> str:
    """For COPY, which takes a query in brackets, and no values: asyncpg writes them into the text, where a line break
    in one would end a comment.
    """
    lines = (line for line in query.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(lines).rstrip().removesuffix(";")
