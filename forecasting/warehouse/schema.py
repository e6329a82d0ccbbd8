"""`forecasting`, our own schema: made where it is missing, by whoever needs it first."""

import asyncpg

from forecasting.errors import SchemaNotWritable
from forecasting.warehouse.queries import Connection, fetch, load_query


async def create_schema(connection: Connection) -> None:
    """Makes our own schema where it is missing. Raises SchemaNotWritable naming what its owner must run."""
    await fetch(connection, "lock_forecasting")
    (found,) = await fetch(connection, "find_forecasting")
    database, user = found["database"], found["reader"]
    if not found["has_tables"]:
        try:
            async with connection.transaction():
                await connection.execute(load_query("create_forecasting"))
        except asyncpg.InsufficientPrivilegeError as error:
            schema = f' GRANT USAGE, CREATE ON SCHEMA forecasting TO "{user}";' if found["has_schema"] else ""
            raise SchemaNotWritable(
                f"There is no schema forecasting with its tables in the database {database}, and the user {user} may "
                f'not make it. Let its owner run: GRANT CREATE ON DATABASE "{database}" TO "{user}";{schema}'
            ) from error
    elif not found["writable"]:
        raise SchemaNotWritable(
            f"The user {user} may not write to the schema forecasting of the database {database}. Let its owner run: "
            f'GRANT USAGE ON SCHEMA forecasting TO "{user}"; '
            f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA forecasting TO "{user}";'
        )
