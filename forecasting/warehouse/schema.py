"""Our own schema, `forecasting`: where it is kept, and how it is created."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import asyncpg

from forecasting.errors import MissingTable, SchemaNotWritable
from forecasting.invocation import show_command
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.connection import OwnConnection, connected, translate_errors
from forecasting.warehouse.queries import Connection, fetch, load_query

logger = logging.getLogger("forecasting.warehouse")

OWN_TIMEOUT_SECONDS = 3600.0  # of a statement on our own schema


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
    """Creates our own schema if it is missing. Raises SchemaNotWritable with the SQL that the owner must run."""
    await fetch(connection, "lock_forecasting")
    (schema,) = await fetch(connection, "find_forecasting")
    database, user = schema["database"], schema["reader"]
    if not schema["has_tables"]:
        try:
            async with connection.transaction():
                await connection.execute(load_query("create_forecasting"))
        except asyncpg.InsufficientPrivilegeError as error:
            grant = f' GRANT USAGE, CREATE ON SCHEMA forecasting TO "{user}";' if schema["has_schema"] else ""
            raise SchemaNotWritable(
                f"The database {database} has no schema forecasting with its tables, and the user {user} may not "
                f'create it. Ask its owner to run: GRANT CREATE ON DATABASE "{database}" TO "{user}";{grant}'
            ) from error
    elif not schema["writable"]:
        raise SchemaNotWritable(
            f"The user {user} may not write to the schema forecasting of the database {database}. Ask its owner to "
            f'run: GRANT USAGE ON SCHEMA forecasting TO "{user}"; '
            f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA forecasting TO "{user}";'
        )


@contextmanager
def translate_missing_schema(data: DataConfig) -> Iterator[None]:
    """PostgreSQL's error about the missing schema as MissingTable, with the command to run."""
    try:
        yield
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise MissingTable(
            f"This database has no schema forecasting with its tables yet: nothing was read from {data.source}. "
            f"Run: {show_command('sources', '--update')}"
        ) from error


@cache
def _log_once(text: str) -> None:
    logger.info("%s", text)
