"""How many rows of a source's table PostgreSQL has seen inserted, updated and deleted."""

from dataclasses import dataclass

from forecasting.warehouse.queries import Connection, fetch


@dataclass(frozen=True)
class ChangeCounts:
    """Of a table and its partitions, as in pg_stat_all_tables: transactions that were rolled back count, too, and what
    was committed in the last minute may be missing.
    """

    identity: str  # of the server's counts and the table's definition: only counts with the same one can be compared
    num_inserted: int
    num_updated: int
    num_deleted: int


@dataclass(frozen=True)
class CountedTable:
    name: str
    size: int  # bytes, without indexes
    counts: ChangeCounts
    gap: str | None  # why PostgreSQL may not count every change that a reader sees; None: it does


async def read_change_counts(connection: Connection, name: str) -> CountedTable:
    (row,) = await fetch(connection, "count_changes", name)
    counts = ChangeCounts(row["identity"], row["num_inserted"], row["num_updated"], row["num_deleted"])
    gap = None
    if not row["is_table"]:
        gap = f"{name} is not a table, so PostgreSQL does not count its changes"
    elif row["is_replica"]:
        gap = "a replica does not count changes"
    elif row["is_hidden"]:
        gap = f"row level security decides which rows of {name} are visible"
    elif not row["is_counting"]:
        gap = "track_counts is off"
    return CountedTable(name, row["size"], counts, gap)
