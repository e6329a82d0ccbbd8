"""The user's own query: the file `data.query`, one SELECT that returns the columns site, metric, day and value.

Other columns are ignored. The query has no parameters, or two, so that it can read less: $1::date, the first day, and
$2::date, the day to stop before. Its days are taken as they are, so it must cast timestamps to dates in the site's time
zone. It runs in a read-only transaction; to list metrics and sites it runs over all days.
"""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from forecasting.domain import EARLIEST_DATE, Kind
from forecasting.errors import InvalidQuery, MissingTable, SettingError, SourceTooSlow
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.connection import CONNECTION_ERRORS, first_line, translate_errors
from forecasting.warehouse.copy_format import HEADER, TRAILER
from forecasting.warehouse.metric_names import infer_stored
from forecasting.warehouse.queries import Connection, Write, load_query
from forecasting.warehouse.sources.source import (
    BlockHash,
    BlockKey,
    MetricDefinition,
    Site,
    Source,
    Span,
    count_rows,
    read_hashes,
    site_of_days,
)  # fmt: skip

COLUMNS = ("site", "metric", "day", "value")
COUNTS = ("int2", "int4", "int8")
MEASURES = ("numeric", "float4", "float8")
KNOWN_METRICS = {  # metrics of the other sources: their kind, and whether their days add up
    "page_visits": (Kind.count, True),
    "unique_visitors": (Kind.count, False),
    "visits": (Kind.count, True),
    "bounce_rate": (Kind.rate, False),
    "visit_duration": (Kind.other, False),
}
DAY_CASTS = {  # by the type of the column that should be a date
    "int4": "to_timestamp(moment)::date if it counts seconds, to_timestamp(moment / 1000.0)::date for milliseconds",
    "int8": "to_timestamp(moment)::date if it counts seconds, to_timestamp(moment / 1000.0)::date for milliseconds",
    "timestamptz": "(moment at time zone 'Europe/Paris')::date",
    "timestamp": "(moment at time zone 'UTC' at time zone 'Europe/Paris')::date if it holds UTC, or moment::date",
}
VALUE_CASTS = {"money": "value::numeric", "interval": "extract(epoch from value)", "bool": "value::integer"}
FETCH_SIZE = 10_000  # rows


@dataclass(frozen=True)
class CheckedQuery:
    """The user's query as PostgreSQL understands it."""

    text: str  # may stand in brackets, on lines of its own
    value_type: str
    takes_days: bool  # as $1 and $2

    def followed_by(self, name: str) -> str:
        """The statement sql/sources/<name>.sql over its rows."""
        return f"with given as (\n{self.text}\n)\n{load_query(f'sources/{name}')}"


@dataclass(frozen=True, kw_only=True)
class UserQuery(Source):
    name: str = "query"
    quiet_is_zero: bool = False
    file: Path
    text: str
    data: DataConfig

    async def list_metrics(self, connection: Connection) -> Sequence[MetricDefinition]:
        """Raises InvalidQuery if the columns are not as needed, MissingTable if a table may not be read."""
        async with self._reading(connection):
            query = await self._check(connection)
            rows = await connection.fetch(query.followed_by("query_metrics"), *self._all_days(query))
        whole = query.value_type in COUNTS
        return [
            MetricDefinition(row["metric"], f"the metric in {self.file.name}", kind=kind, additive=additive)
            for row in rows
            for kind, additive in (KNOWN_METRICS.get(row["metric"]) or infer_stored(row["metric"], whole=whole),)
        ]

    async def list_sites(self, connection: Connection) -> Sequence[Site]:
        async with self._reading(connection):
            query = await self._check(connection)
            rows = await connection.fetch(query.followed_by("query_sites"), *self._all_days(query))
        return [site_of_days(row, self.data) for row in rows]

    async def find_warnings(self, connection: Connection) -> Sequence[str]:
        async with self._reading(connection):
            query = await self._check(connection)
            (row,) = await connection.fetch(query.followed_by("query_incomplete_rows"), *self._all_days(query))
        return [
            f"{self.file.name} returns {count_rows(num_rows)} without a {column}, left out"
            for column, num_rows in row.items()
            if num_rows
        ]

    async def copy_days(self, connection: Connection, span: Span, *, write: Write) -> None:
        async with self._reading(connection):
            query = await self._check(connection)
            values = (span.first, span.until, list(span.keys))
            # In SQL, since asyncpg's own cursors leave a prepared statement in the server session.
            await connection.execute(f"declare days no scroll cursor for {query.followed_by('query')}", *values)
            await write(HEADER)
            while rows := await connection.fetch(f"fetch {FETCH_SIZE} from days"):
                await write(b"".join(row["fields"] for row in rows))
            await connection.execute("close days")
            await write(TRAILER)

    async def hash_days(self, connection: Connection, span: Span, *, known_until: dt.date) -> dict[BlockKey, BlockHash]:
        async with self._reading(connection):
            query = await self._check(connection)
            values = (span.first, span.until, list(span.keys), known_until)
            return read_hashes(await connection.fetch(query.followed_by("query_hashes"), *values))

    def _all_days(self, query: CheckedQuery) -> tuple[dt.date, ...]:
        """The values of $1 and $2, if the query has them. Tomorrow is included: it has begun in some time zone."""
        return (EARLIEST_DATE, self.data.today() + dt.timedelta(days=2)) if query.takes_days else ()

    @asynccontextmanager
    async def _reading(self, connection: Connection) -> AsyncIterator[None]:
        """A read-only transaction, even inside one that may write. Errors name the file."""
        with translate_errors(f"running {self.file}"):
            try:
                async with connection.transaction():
                    await connection.execute("set transaction read only")
                    yield
            except (asyncpg.QueryCanceledError, TimeoutError) as error:
                raise SourceTooSlow(
                    f"{self.file} did not return all of its rows within data.statement_timeout_seconds "
                    f"({self.data.statement_timeout_seconds:g}). Raise the timeout, or make the query faster."
                ) from error
            except asyncpg.ReadOnlySQLTransactionError as error:
                raise InvalidQuery(f"{self.file} writes, but may only read: {first_line(error)}.") from error
            except asyncpg.InsufficientPrivilegeError as error:
                raise MissingTable(
                    f"{self.file} reads a table that this user may not read: {first_line(error)}. Ask its owner to "
                    "grant SELECT on it."
                ) from error

    async def _check(self, connection: Connection) -> CheckedQuery:
        """Executes nothing."""
        try:
            statement = await connection.prepare(self.text)
        except (*CONNECTION_ERRORS, asyncpg.InsufficientPrivilegeError):
            raise
        except asyncpg.PostgresError as error:
            raise self._explain(error) from error
        attributes = statement.get_attributes()
        text = await self._trim(connection) if attributes else None
        if text is None:
            raise InvalidQuery(
                f"{self.file} is not a SELECT. It must hold exactly one, which returns site, metric, day and value."
            )
        types = self._check_columns([(column.name, column.type.name) for column in attributes])
        parameters = [parameter.name for parameter in statement.get_parameters()]
        self._check_parameters(parameters)
        return CheckedQuery(text, value_type=types["value"], takes_days=bool(parameters))

    async def _trim(self, connection: Connection) -> str | None:
        """The query without its final semicolon and what follows. None if it is not a SELECT.

        PostgreSQL decides which semicolon is the final one: others may be part of a string or a comment.
        """
        text = self.text
        while True:
            try:
                async with connection.transaction():
                    await connection.prepare(f"select from (\n{text}\n) as given")
            except CONNECTION_ERRORS:
                raise
            except asyncpg.PostgresError:
                if ";" not in text:
                    return None
                text = text.rpartition(";")[0]
            else:
                return text

    def _check_columns(self, columns: Sequence[tuple[str, str]]) -> dict[str, str]:
        """The types of the columns by name."""
        names = [name for name, _ in columns]
        for needed in COLUMNS:
            if names.count(needed) != 1:
                amount = f"{names.count(needed)} columns" if needed in names else "no column"
                raise InvalidQuery(
                    f"{self.file} returns {amount} `{needed}`. It returns {', '.join(names)}; it must return "
                    "site, metric, day and value. Name the columns with `as`."
                )
        types = dict(columns)
        if types["day"] != "date":
            cast = DAY_CASTS.get(types["day"], "moment::date")
            raise InvalidQuery(
                f"The column `day` of {self.file} has the type {types['day']}, but must be a date: only the query "
                f"knows in which time zone a day begins. Write {cast} as day."
            )
        if types["value"] not in COUNTS + MEASURES:
            cast = VALUE_CASTS.get(types["value"], "value::double precision")
            raise InvalidQuery(
                f"The column `value` of {self.file} has the type {types['value']}, which is not a number. "
                f"Write {cast} as value."
            )
        return types

    def _check_parameters(self, types: Sequence[str]) -> None:
        if types and list(types) != ["date", "date"]:
            parameters = " and ".join(f"${number} {type_}" for number, type_ in enumerate(types, 1))
            raise InvalidQuery(
                f"{self.file} has the parameters {parameters}. It may have none, or two: $1::date, the first day, and "
                "$2::date, the day to stop before."
            )

    def _explain(self, error: asyncpg.PostgresError) -> InvalidQuery:
        if isinstance(error, asyncpg.PostgresSyntaxError) and not error.position:
            # Of all syntax errors, only this one has no position in the text.
            return InvalidQuery(f"{self.file} holds more than one statement. Keep one SELECT.")
        before = self.text[: int(error.position) - 1] if error.position else ""
        place = f"{self.file}, line {before.count(chr(10)) + 1}" if error.position else str(self.file)
        hint = f" {error.hint}" if error.hint else ""
        return InvalidQuery(f"{place}: {first_line(error)}.{hint}")


def open_source(data: DataConfig) -> UserQuery:
    """Raises SettingError if there is no query."""
    file = data.query
    if file is None:
        raise SettingError(
            "data.source=query runs a query of your own. Set data.query to its file, such as data.query=traffic.sql: "
            "one SELECT that returns site, metric, day and value."
        )
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingError(f"data.query is {file}, which cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"data.query is {file}, which is not UTF-8. Save it as UTF-8.") from error
    return UserQuery(file=file, text=text, data=data)
