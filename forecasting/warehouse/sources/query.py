"""A query of the user's own: the file data.query, one SELECT of the columns site, metric, day and value.

Further columns are ignored. It has no parameter, or two, so that it need not read everything: $1::date, the first day,
and $2::date, the day before which to stop. It is all that is known of the data: days are as it says, so that moments
are cast there, in the site's time zone. It runs in a read-only transaction, whole for the metrics and the sites.
"""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from forecasting.domain import Kind
from forecasting.errors import InvalidQuery, MissingTable, SettingError, SourceTooSlow
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.connection import LOST, first_line, translate_errors
from forecasting.warehouse.copy_format import HEADER, TRAILER
from forecasting.warehouse.queries import Connection, Write, load_query
from forecasting.warehouse.sources.source import Definition, KnownEvent, Site, Span, site_of_days

COLUMNS = ("site", "metric", "day", "value")
COUNTS = ("int2", "int4", "int8")
MEASURES = ("numeric", "float4", "float8")
KNOWN = {  # what the other sources name so: its kind, and whether days add up
    "page_visits": (Kind.count, True),
    "unique_visitors": (Kind.count, False),
    "visits": (Kind.count, True),
    "bounce_rate": (Kind.rate, False),
    "visit_duration": (Kind.other, False),
}
CASTS = {  # how a day is made of what the column is
    "timestamptz": "(moment at time zone 'Europe/Paris')::date",
    "timestamp": "(moment at time zone 'UTC' at time zone 'Europe/Paris')::date if it holds UTC, or moment::date",
}
BEGINNING = dt.date(1970, 1, 1)  # older than any traffic; finite, as a query may count its days
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Checked:
    """The user's query as PostgreSQL understands it."""

    text: str  # fit to stand in brackets, on lines of its own
    value_type: str
    takes_days: bool  # as $1 and $2

    def follow(self, name: str) -> str:
        """sql/sources/<name>.sql of its rows."""
        return f"with given as (\n{self.text}\n)\n{load_query(f'sources/{name}')}"


@dataclass(frozen=True)
class OwnQuery:
    file: Path
    text: str
    data: DataConfig
    name: str = "query"
    quiet_is_zero: bool = False
    tables: Sequence[str] = ()

    async def list_metrics(self, connection: Connection) -> Sequence[Definition]:
        """Raises InvalidQuery for what the query does not return, MissingTable for what may not be read."""
        async with self._reading(connection):
            checked = await self._check(connection)
            rows = await connection.fetch(checked.follow("query_metrics"), *self._all_days(checked))
        otherwise = (Kind.count, True) if checked.value_type in COUNTS else (Kind.other, False)
        return [
            Definition(row["metric"], f"as {self.file.name} has it", kind=kind, additive=additive)
            for row in rows
            for kind, additive in (KNOWN.get(row["metric"], otherwise),)
        ]

    async def list_sites(self, connection: Connection) -> Sequence[Site]:
        async with self._reading(connection):
            checked = await self._check(connection)
            rows = await connection.fetch(checked.follow("query_sites"), *self._all_days(checked))
        return [site_of_days(row["key"], row["first_day"], row["last_day"], self.data) for row in rows]

    async def list_events(self, connection: Connection, *, timezone: str) -> Sequence[KnownEvent]:
        return []

    async def find_oddities(self, connection: Connection) -> Sequence[str]:
        async with self._reading(connection):
            checked = await self._check(connection)
            (row,) = await connection.fetch(checked.follow("query_oddities"), *self._all_days(checked))
        return [
            f"{self.file.name} returns {'1 row' if num_rows == 1 else f'{num_rows} rows'} without a {column}: left out"
            for column, num_rows in row.items()
            if num_rows
        ]

    async def copy_days(self, connection: Connection, span: Span, *, write: Write) -> None:
        async with self._reading(connection):
            checked = await self._check(connection)
            values = (span.first, span.until, list(span.keys))
            cursor = await connection.cursor(checked.follow("query"), *values)
            await write(HEADER)
            while rows := await cursor.fetch(ROWS_AT_ONCE):
                await write(b"".join(row["fields"] for row in rows))
            await write(TRAILER)

    def _all_days(self, checked: Checked) -> tuple[dt.date, ...]:
        """The values of $1 and $2, if it takes any. Until the day after tomorrow: somewhere it is tomorrow already."""
        return (BEGINNING, self.data.today() + dt.timedelta(days=2)) if checked.takes_days else ()

    @asynccontextmanager
    async def _reading(self, connection: Connection) -> AsyncIterator[None]:
        """A transaction that is read-only, whatever the one around it is; errors name the file."""
        with translate_errors(f"running {self.file}"):
            try:
                async with connection.transaction():
                    await connection.execute("set transaction read only")
                    yield
            except (asyncpg.QueryCanceledError, TimeoutError) as error:
                raise SourceTooSlow(
                    f"{self.file} did not give all of its rows within data.statement_timeout_seconds "
                    f"({self.data.statement_timeout_seconds:g}). Say a longer time, or make the query faster."
                ) from error
            except asyncpg.ReadOnlySQLTransactionError as error:
                raise InvalidQuery(f"{self.file} writes, but may only read: {first_line(error)}.") from error
            except asyncpg.InsufficientPrivilegeError as error:
                raise MissingTable(
                    f"{self.file} reads what this user may not: {first_line(error)}. Let its owner grant SELECT on it."
                ) from error

    async def _check(self, connection: Connection) -> Checked:
        """Nothing is executed."""
        try:
            statement = await connection.prepare(self.text)
        except (*LOST, asyncpg.InsufficientPrivilegeError):
            raise
        except asyncpg.PostgresError as error:
            raise self._explain(error) from error
        attributes = statement.get_attributes()
        text = await self._end(connection) if attributes else None
        if text is None:
            raise InvalidQuery(
                f"{self.file} is no SELECT. It must hold one, which returns site, metric, day and value; nothing else "
                "is run."
            )
        types = self._check_columns([(one.name, one.type.name) for one in attributes])
        parameters = [one.name for one in statement.get_parameters()]
        self._check_parameters(parameters)
        return Checked(text, value_type=types["value"], takes_days=bool(parameters))

    async def _end(self, connection: Connection) -> str | None:
        """The query without the semicolon that ends it and what follows; None: it is no SELECT.

        PostgreSQL says which semicolon ends it: others are part of texts, or of comments.
        """
        text = self.text
        while True:
            try:
                async with connection.transaction():
                    await connection.prepare(f"select from (\n{text}\n) as given")
            except LOST:
                raise
            except asyncpg.PostgresError:
                if ";" not in text:
                    return None
                text = text.rpartition(";")[0]
            else:
                return text

    def _check_columns(self, columns: Sequence[tuple[str, str]]) -> dict[str, str]:
        """The types of those that are needed."""
        names = [name for name, _ in columns]
        for needed in COLUMNS:
            if names.count(needed) != 1:
                amount = f"{names.count(needed)} columns" if needed in names else "no column"
                raise InvalidQuery(
                    f"{self.file} returns {amount} `{needed}`. It returns {', '.join(names)}; it must return "
                    "site, metric, day and value, named so with `as`."
                )
        types = dict(columns)
        if types["day"] != "date":
            cast = CASTS.get(types["day"], "moment::date")
            raise InvalidQuery(
                f"The column `day` of {self.file} is of type {types['day']}, but must be date: nobody else knows in "
                f"which time zone a day begins. Write {cast} as day."
            )
        if types["value"] not in COUNTS + MEASURES:
            raise InvalidQuery(
                f"The column `value` of {self.file} is of type {types['value']}, which is no number. "
                "Write such as value::double precision as value."
            )
        return types

    def _check_parameters(self, types: Sequence[str]) -> None:
        if types and list(types) != ["date", "date"]:
            found = " and ".join(f"${number} {of}" for number, of in enumerate(types, 1))
            raise InvalidQuery(
                f"{self.file} has the parameters {found}. It may have none, or two: $1::date, the first day, and "
                "$2::date, the day before which to stop."
            )

    def _explain(self, error: asyncpg.PostgresError) -> InvalidQuery:
        if isinstance(error, asyncpg.PostgresSyntaxError) and not error.position:
            # Of all errors of syntax, this one alone has no place in the text.
            return InvalidQuery(f"{self.file} holds more than one statement. Leave one SELECT.")
        before = self.text[: int(error.position) - 1] if error.position else ""
        place = f"{self.file}, line {before.count(chr(10)) + 1}" if error.position else str(self.file)
        hint = f" {error.hint}" if error.hint else ""
        return InvalidQuery(f"{place}: {first_line(error)}.{hint}")


def open_source(data: DataConfig) -> OwnQuery:
    """Raises SettingError where there is no query."""
    file = data.query
    if file is None:
        raise SettingError(
            "data.source=query reads a query of your own: say where it is with data.query=traffic.sql, a file of one "
            "SELECT that returns site, metric, day and value."
        )
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingError(f"data.query is {file}, which cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"data.query is {file}, which is not UTF-8. Save it as UTF-8.") from error
    return OwnQuery(file, text, data)
