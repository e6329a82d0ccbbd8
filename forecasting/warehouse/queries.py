"""Runs the statements in sql/*.sql."""

import logging
import time
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


@cache
def load_query(name: str) -> str:
    return (files("forecasting.warehouse") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


async def fetch(connection: Connection, name: str, *values: Any) -> list[Any]:  # Any: PostgreSQL's types both ways
    """The rows of sql/<name>.sql; how long it took goes to the log where that is at DEBUG."""
    began = time.perf_counter()
    rows = await connection.fetch(load_query(name), *values)
    logger.debug("%s.sql: %d rows in %.1f ms", name, len(rows), 1000 * (time.perf_counter() - began))
    return rows


async def copy_out(connection: Connection, name: str, *values: Any) -> bytes:  # Any: PostgreSQL's types
    """The rows of sql/<name>.sql in PostgreSQL's binary COPY format, however the network cuts them."""
    chunks: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        chunks.append(chunk)

    await connection.copy_from_query(_without_comments(load_query(name)), *values, output=keep, format="binary")
    return b"".join(chunks)


def _without_comments(query: str) -> str:
    """COPY takes no values, so asyncpg writes them into the text: a line break in one would end a comment."""
    return "\n".join(line for line in query.splitlines() if not line.startswith("--"))
