"""A quick look at a source: whether it answers, and which of its tables can be read and have rows."""

import os

from forecasting.domain import SourceName
from forecasting.errors import WarehouseError
from forecasting.settings.schema import Config
from forecasting.warehouse.connection import connected, translate_errors
from forecasting.warehouse.queries import Connection
from forecasting.warehouse.sources import open_source
from forecasting.warehouse.sources.source import find_table

LOOK_SECONDS = 5.0  # for a statement

SourceState = tuple[tuple[str, bool, bool], ...]  # of each table: its place, whether it is wholly readable, has rows


async def read_source_state(config: Config) -> SourceState:
    """Of a file or a query, only whether it can be reached. Raises WarehouseError."""
    data = config.data
    if data.source.is_file:
        if data.csv is None or not os.access(data.csv, os.R_OK):
            raise WarehouseError(f"data.csv is {data.csv}, which cannot be read. Check the path.")
        return ()
    async with connected(config.read_from, timeout_seconds=LOOK_SECONDS) as connection:
        with translate_errors(f"looking at {data.source}"):
            async with connection.transaction(readonly=True):
                if data.source is SourceName.query:
                    return ()
                source = await open_source(data, connection)
                return tuple([await _read_table_state(connection, name) for name in source.tables])


async def _read_table_state(connection: Connection, name: str) -> tuple[str, bool, bool]:
    table = await find_table(connection, name)
    has_rows = table.readable and await connection.fetchval(f"select exists (select from {table.place})")  # noqa: S608 - quoted
    return table.place or name, table.wholly_readable, bool(has_rows)
