"""What a user may see of a source's tables, beyond the right to read them: some columns, some rows."""

from collections.abc import Sequence

import asyncpg

from forecasting.errors import MissingTable
from forecasting.warehouse.connection import first_line
from forecasting.warehouse.queries import Connection, fetch

POLICY = "website_traffic_forecasting"


async def refuse_hidden_tables(connection: Connection, tables: Sequence[str]) -> None:
    """Raises MissingTable if row level security hides every row of one of the tables, with the SQL that its owner must
    run. Of no tables: of any that the user may read.
    """
    for row in await fetch(connection, "find_row_security", list(tables)):
        is_empty = not await connection.fetchval(f"select exists (select from {row['place']})")  # noqa: S608 - quoted
        if is_empty and row["may_have_rows"]:
            raise MissingTable(
                f"Row level security hides every row of {row['place']} in the database {row['database']} from the "
                f"user {row['reader']}. Ask its owner to run: CREATE POLICY {POLICY} ON {row['place']} FOR SELECT TO "
                f'"{row["reader"]}" USING (true);'
            )


async def list_row_security(connection: Connection, tables: Sequence[str]) -> list[str]:
    """A sentence about each table of which row level security may hide rows."""
    return [
        f"row level security applies to {row['place']}: rows that it hides from {row['reader']} are not counted"
        for row in await fetch(connection, "find_row_security", list(tables))
    ]


async def explain_denied(
    connection: Connection, source: str, tables: Sequence[str], error: asyncpg.InsufficientPrivilegeError
) -> MissingTable:
    """Of tables of which the user may read some columns at least."""
    rows = [row for row in await fetch(connection, "find_tables", list(tables)) if not row["wholly_readable"]]
    if not rows:
        return MissingTable(
            f"{source} reads what this user may not read: {first_line(error)}. Ask its owner for the right."
        )
    places = ", ".join(str(row["place"]) for row in rows)
    grants = " ".join(f'GRANT SELECT ON {row["place"]} TO "{row["reader"]}";' for row in rows)
    reader, database = rows[0]["reader"], rows[0]["database"]
    return MissingTable(
        f"The user {reader} may read only some columns of {places} in the database {database}, and {source} needs "
        f"others too. Ask its owner to run: {grants}"
    )
