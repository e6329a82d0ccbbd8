"""Connections that may run through a pooler such as PgBouncer.

A pooler may give each transaction another server session. So nothing may be left behind in one: no setting, no
temporary table, and no prepared statement. Limits are set in each transaction, as it begins.
"""

from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:  # only the stubs are generic
    AnyConnection = asyncpg.Connection[asyncpg.Record]
    PreparedStatement = asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]
else:
    AnyConnection = asyncpg.Connection


class Session(AnyConnection):
    """Read-only unless `limits` say otherwise: SQL that ends with a semicolon, run as each transaction begins."""

    limits = "set transaction read only;"

    async def execute(self, query: str, *args: Any, **options: Any) -> str:  # Any: asyncpg's
        # asyncpg begins transactions by this method. The limits go along, so they cost no time.
        begins = query.startswith("BEGIN")
        return await super().execute(f"{query}{self.limits}" if begins else query, *args, **options)

    async def prepare(self, query: str, **options: Any) -> "PreparedStatement":  # type: ignore[override]  # Any: asyncpg's
        """Without a name. It can be described, but not executed: the next statement replaces it."""
        return await super().prepare(query, **{**options, "name": ""})

    async def is_direct(self) -> bool:
        """Whether no pooler is in between: that would have given this connection another process id."""
        status = await self.execute(f"select where pg_backend_pid() = {self.get_server_pid()}")
        return status == "SELECT 1"

    def get_reset_query(self) -> str:
        """Nothing is left behind to reset. It shows whether the connection has been cut, before its next use."""
        return "select"


def make_limits(*, writable: bool, timeout_seconds: float | None, schema: str | None) -> str:
    limits = ["set local timezone = 'UTC'"]
    if schema is not None:
        limits.append(f"set local search_path = {quote_name(schema)}")
    if timeout_seconds is not None:
        limits.append(f"set local statement_timeout = {timeout_seconds * 1000:.0f}")
    if not writable:
        limits.append("set transaction read only")
    return "".join(f" {limit};" for limit in limits)


def quote_name(name: str) -> str:
    """For SQL."""
    return '"' + name.replace('"', '""') + '"'
