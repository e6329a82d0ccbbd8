"""Regressors, from the table or file that `data.regressors` names to our own copy of them, and from there."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import orjson

from forecasting.card import SeriesCard
from forecasting.domain import to_date, to_day
from forecasting.errors import DataError, MissingTable
from forecasting.known_days.regressors import ALL_SITES, DailyValues, RegressorRows, Regressors
from forecasting.settings.schema import Config, DataConfig
from forecasting.warehouse.connection import connected, translate_errors
from forecasting.warehouse.csv.regressor_file import DATE, SITE, read_regressor_file
from forecasting.warehouse.queries import Connection, fetch, in_transaction
from forecasting.warehouse.session import quote_name
from forecasting.warehouse.sources.source import check_tables

NUMBERS = ("int2", "int4", "int8", "numeric", "float4", "float8")
NO_REGRESSORS_THERE = ("id", "created_at", "updated_at")  # columns that many tables have


def load_regressors(config: Config) -> Regressors:
    """From the table or file itself. Blocks: not for a running event loop. Raises DataError and WarehouseError."""

    async def load(table: str) -> Regressors:
        async with connected(config.read_from, timeout_seconds=config.data.statement_timeout_seconds) as source:
            return await _read_table(source, table)

    table = config.data.regressor_table
    return asyncio.run(load(table)) if table else _read_file(config.data)


async def copy_regressors(data: DataConfig, source: Connection, own: Connection) -> None:
    """Brings our own copy up to date with the table or file. Raises DataError and WarehouseError; the copy stays then.

    The copy has all days, so that no forecast waits for the source.
    """
    if data.regressors is None:
        return
    regressors = await _read_table(source, data.regressor_table) if data.regressor_table else _read_file(data)
    content = [
        {"site": site, "name": name, "first_day": str(to_date(column.first_day)), "numbers": column.values.tolist()}
        for site, columns in regressors.by_site.items()
        for name, column in columns.items()
    ]
    with translate_errors("writing forecasting.regressors"):
        async with own.transaction():
            await fetch(own, "lock_forecasting")
            await fetch(own, "write_regressors", data.regressor_origin, orjson.dumps(content).decode())


def _read_file(data: DataConfig) -> Regressors:
    """Nothing without a file."""
    rows = read_regressor_file(data.regressor_file, decimal=data.decimal_mark) if data.regressor_file else []
    return Regressors({row.site: row.lay_out(str(data.regressor_file)) for row in rows})


async def read_regressors(
    connection: Connection, data: DataConfig, *, sites: Collection[str] | None = None
) -> Regressors:
    """Of all sites, or of some and what holds for all sites."""
    if data.regressors is None:
        return Regressors()
    names = None if sites is None else [*sites, ALL_SITES]
    by_site: dict[str, dict[str, DailyValues]] = {}
    for row in await fetch(connection, "read_regressors", data.regressor_origin, names):
        numbers = np.array(row["numbers"], np.float64)  # NaN for NULL
        by_site.setdefault(row["site"], {})[row["name"]] = DailyValues(to_day(row["first_day"]), numbers)
    return Regressors(by_site)


async def read_regressors_of(
    connection: Connection, data: DataConfig, cards: Sequence[SeriesCard], *, sites: Sequence[str]
) -> Regressors:
    """Those that any of the series uses, by the names of the sites on the cards. `sites` are their present names."""
    names = {card.site: site for card, site in zip(cards, sites, strict=True) if card.uses_regressors}
    if not names:
        return Regressors()
    regressors = await read_regressors(connection, data, sites={*names, *names.values()})
    return regressors.also_as(names)


async def _read_table(connection: Connection, table: str) -> Regressors:
    with translate_errors(f"reading {table}"):
        async with in_transaction(connection):
            place = await _find_table(connection, table)
            columns = await _find_columns(connection, table, place)
            names = [name for name in columns if name not in (SITE, DATE)]
            site = f"coalesce({SITE}::text, '')" if SITE in columns else "''"
            values = ", ".join(
                f"array_agg({quote_name(name)}{'::integer' if columns[name] == 'bool' else ''}::double precision)"
                for name in names
            )
            records = await connection.fetch(
                f"select {site}, array_agg({DATE} - date '1970-01-01'), {values} from {place} "  # noqa: S608 - quoted
                f"where {DATE} is not null and isfinite({DATE}) group by 1 order by 1"
            )
    if not records:
        raise DataError(f"data.regressors is {table}, which has no row. Fill it, or leave data.regressors out.")
    rows = [_make_rows(names, *record) for record in records]
    return Regressors({row.site: row.lay_out(table) for row in rows})


def _make_rows(names: Sequence[str], site: str, days: Sequence[int], *columns: Sequence[float | None]) -> RegressorRows:
    rows = RegressorRows(site, tuple(names))
    for day, *values in zip(days, *columns, strict=True):
        rows.add(day, [float("nan") if value is None else value for value in values])
    return rows


async def _find_table(connection: Connection, table: str) -> str:
    """Its name for SQL. Raises MissingTable with what to do."""

    def missing(names: Sequence[str], database: str) -> MissingTable:
        return MissingTable(
            f"data.regressors is {table}, but the database {database} has no such table or view. Check the name, or "
            "name a file that ends with .csv."
        )

    schema, dot, name = table.rpartition(".")
    if not dot:
        await check_tables(connection, [name], missing_error=missing)
        return quote_name(name)
    place = f"{quote_name(schema)}.{quote_name(name)}"
    (row,) = await fetch(connection, "find_place", place)
    if not row["exists"]:
        raise missing([table], row["database"])
    if not row["readable"]:
        raise MissingTable(
            f"data.regressors is {table}, which the user {row['reader']} may not read. Ask its owner to run: GRANT "
            f'SELECT ON {place} TO "{row["reader"]}";'
        )
    return place


async def _find_columns(connection: Connection, table: str, place: str) -> Mapping[str, str]:
    """The types of date, site and the regressors, by name. Raises DataError if they are not as needed."""
    statement = await connection.prepare(f"select * from {place}")  # noqa: S608 - quoted
    types = {column.name: column.type.name for column in statement.get_attributes()}
    types = {name: type_ for name, type_ in types.items() if name not in NO_REGRESSORS_THERE}
    if DATE not in types:
        raise DataError(
            f"data.regressors is {table}, which has no column date: its columns are {', '.join(types)}. It must have "
            "date, site (if values differ by site), and a column of numbers for each regressor."
        )
    if types[DATE] != "date":
        raise DataError(
            f"The column date of {table} has the type {types[DATE]}, but must be a date: only you know in which time "
            f"zone a day begins. Make a view with {DATE}::date as date, and name it in data.regressors."
        )
    for name, type_ in types.items():
        if name not in (DATE, SITE) and type_ not in (*NUMBERS, "bool"):
            raise DataError(
                f"The column {name} of {table} has the type {type_}, which is not a number. Make a view without it, or "
                "with a number in its place, and name it in data.regressors."
            )
    if not types.keys() - {DATE, SITE}:
        raise DataError(f"{table} has no column of numbers beside date and site. Add one for each regressor.")
    return types
