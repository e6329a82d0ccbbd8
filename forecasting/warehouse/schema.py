"""Our own schema, `forecasting`: where it is kept, and how it is created."""

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import asyncpg

from forecasting.errors import MissingTable, SchemaNotWritable, WarehouseError
from forecasting.invocation import show_command
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.connection import OwnConnection, connected, translate_errors
from forecasting.warehouse.queries import Connection, fetch, load_query

logger = logging.getLogger("forecasting.warehouse")

OWN_TIMEOUT_SECONDS = 3600.0  # of a statement on our own schema
MIGRATIONS = files("forecasting.warehouse") / "sql" / "schema"


@dataclass(frozen=True)
class OwnSchema:
    """A connection to the database that holds our own schema."""

    connection: OwnConnection
    database: DatabaseConfig
    refusal: SchemaNotWritable | None = None  # why it is not in the configured database


@asynccontextmanager
async def open_own_schema(config: Config) -> AsyncIterator[OwnSchema]:
    """Connects to our own schema and creates it if it is missing.

    If the configured user may not create it, it is kept in the embedded PostgreSQL, unless CACHE_URL names another
    place: reading a site's analytics needs no right to write to their database.
    """
    database, refusal = config.kept_in, None
    try:
        async with _open_schema(database) as connection:
            yield OwnSchema(connection, database)
            return
    except SchemaNotWritable as error:
        if config.cache_database or config.database.embedded or config.database.pgdata == Path():
            raise
        refusal = error
    database = DatabaseConfig(embedded=True, pgdata=database.pgdata, name=config.read_from.cache_name)
    _log_once(f"the schema forecasting is kept in the embedded PostgreSQL in {database.pgdata}. {refusal}")
    async with _open_schema(database) as connection:
        yield OwnSchema(connection, database, refusal)


@asynccontextmanager
async def _open_schema(database: DatabaseConfig) -> AsyncIterator[OwnConnection]:
    async with connected(database, writable=True, timeout_seconds=OWN_TIMEOUT_SECONDS) as connection:
        with translate_errors("creating the schema forecasting"):
            async with connection.transaction():
                await create_schema(connection)
        yield connection


async def create_schema(connection: Connection) -> None:
    """Creates our own schema if it is missing, and brings an older one up to date.

    Raises SchemaNotWritable with what the owner must run, and WarehouseError if a newer program has made it.
    """
    await fetch(connection, "lock_forecasting")
    (schema,) = await fetch(connection, "find_forecasting")
    database, user = schema["database"], schema["reader"]
    if cause := describe_read_only(schema):
        raise SchemaNotWritable(
            f"The database {database} {cause}, so the schema forecasting cannot be kept there. Set CACHE_URL to a "
            "database that can be written, such as the primary's."
        )
    if schema["has_tables"] and not schema["writable"]:
        raise SchemaNotWritable(
            f"The user {user} may not write to the schema forecasting of the database {database}. Ask its owner to "
            f"run: {_write_grants(user)}"
        )
    version, names = await _read_version(connection, schema), list_migrations()
    if version > len(names):
        raise WarehouseError(
            f"The schema forecasting of the database {database} has version {version}, and this program knows version "
            f"{len(names)}. Update the program, or keep the schema elsewhere with CACHE_URL."
        )
    try:
        async with connection.transaction():
            for name in names[version:]:
                await connection.execute(load_query(name))
    except asyncpg.InsufficientPrivilegeError as error:
        raise _refuse_migrations(schema, names[version:]) from error


async def has_current_schema(connection: Connection) -> bool:
    """Whether our own schema exists and is not of an earlier version."""
    (schema,) = await fetch(connection, "find_forecasting")
    return schema["has_tables"] and await _read_version(connection, schema) >= len(list_migrations())


async def _read_version(connection: Connection, schema: Any) -> int:  # Any: PostgreSQL's row
    """0 if it is not known."""
    if not schema["has_version"]:
        return 0
    (row,) = await fetch(connection, "read_schema_version")
    return int(row["number"])


def describe_read_only(schema: Any) -> str:  # Any: PostgreSQL's row
    """Why nobody may write to this database; empty if that is a matter of rights."""
    if schema["is_replica"]:
        return "is a replica, which can only be read"
    return "is read-only (default_transaction_read_only is on)" if schema["is_read_only"] else ""


def list_migrations() -> list[str]:
    """The files of sql/schema in their order: the n-th makes version n of our own schema."""
    return sorted(f"schema/{file.name.removesuffix('.sql')}" for file in MIGRATIONS.iterdir())


def load_schema() -> str:
    """Everything that creates our own schema."""
    return "\n".join(load_query(name) for name in list_migrations())


def _refuse_migrations(schema: Any, names: Sequence[str]) -> SchemaNotWritable:  # Any: PostgreSQL's row
    database, user = schema["database"], schema["reader"]
    if schema["has_tables"]:
        scripts = ", ".join(f"{name.rpartition('/')[2]}.sql" for name in names)
        return SchemaNotWritable(
            f"The schema forecasting of the database {database} was made by an earlier version of this program, and "
            f"the user {user} may not change it. Ask its owner to run {scripts} in {MIGRATIONS}, and then: "
            f"{_write_grants(user)}"
        )
    grant = f' GRANT USAGE, CREATE ON SCHEMA forecasting TO "{user}";' if schema["has_schema"] else ""
    return SchemaNotWritable(
        f"The database {database} has no schema forecasting with its tables, and the user {user} may not "
        f'create it. Ask its owner to run: GRANT CREATE ON DATABASE "{database}" TO "{user}";{grant}'
    )


def _write_grants(user: str) -> str:
    return (
        f'GRANT USAGE ON SCHEMA forecasting TO "{user}"; '
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA forecasting TO "{user}";'
    )


@contextmanager
def translate_missing_schema(data: DataConfig) -> Iterator[None]:
    """PostgreSQL's error about the missing or older schema as MissingTable, with the command to run."""
    try:
        yield
    except asyncpg.UndefinedColumnError as error:
        raise MissingTable(
            "The schema forecasting of this database was made by an earlier version of this program. "
            f"Run: {show_command('sources', '--update')}"
        ) from error
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise MissingTable(
            f"This database has no schema forecasting with its tables yet: nothing was read from {data.source}. "
            f"Run: {show_command('sources', '--update')}"
        ) from error


@cache
def _log_once(text: str) -> None:
    logger.info("%s", text)
