"""What a source is: the tables or the file that somebody's analytics fill, read as days of sites and metrics."""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from forecasting.domain import EARLIEST_DATE, Kind, SourceName, Unit
from forecasting.errors import MissingTable
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.queries import Connection, Write, copy_out, fetch
from forecasting.warehouse.sources.recognition import suggest_source

BLOCK_DAYS = 28  # in a block of daily totals, counted from 1970-01-01; the SQL has these two numbers, too
HASH_MODULUS = 2**62  # a sum of two is a bigint


@dataclass(frozen=True)
class MetricDefinition:
    """A metric, and how the source defines it. By default a count whose days add up."""

    metric: str
    text: str
    kind: Kind = Kind.count
    additive: bool = True
    unit: Unit | None = None  # of a rate, if the source leaves no doubt
    revision: str = ""  # of the definition: when it changes, all days are read again

    @classmethod
    def fraction(cls, metric: str, text: str) -> "MetricDefinition":
        """A rate, 0..1."""
        return cls(metric, text, kind=Kind.rate, additive=False, unit=Unit.fraction)

    @classmethod
    def mean(cls, metric: str, text: str) -> "MetricDefinition":
        """Such as a duration: any number, whose days do not add up."""
        return cls(metric, text, kind=Kind.other, additive=False)


@dataclass(frozen=True)
class Site:
    """Timezone-aware datetimes; None if there is none or it is unknown."""

    key: str  # in the source
    name: str  # in the source; in a catalog that is stored, the one in our tables
    began: dt.datetime | None = None  # older data no longer belong to the site
    first: dt.datetime | None = None  # the oldest data in the source
    last: dt.datetime | None = None  # the newest data in the source
    timezone: str | None = None
    num_misdated: int = 0  # rows from before 1990 or the future, which are left out
    misdated_first: str | None = None  # their days as PostgreSQL writes them: datetimes end at the year 9999
    misdated_last: str | None = None
    aliases: tuple[str, ...] = ()  # earlier names in our tables

    def find_warnings(self) -> list[str]:
        if not self.num_misdated:
            return []
        first, last = self.misdated_first, self.misdated_last
        days = first if first == last else f"from {first} to {last}"
        return [
            f"{self.name} has {count_rows(self.num_misdated)} dated before {EARLIEST_DATE.year} or in the future "
            f"({days}), left out. Correct {'its date' if self.num_misdated == 1 else 'their dates'}, and check the "
            "clock of the writer"
        ]


@dataclass(frozen=True)
class KnownEvent:
    """What the source knows about a day: a release, a campaign, or a change in how a metric is measured."""

    key: str | None  # of the site; None: all sites
    day: dt.date
    note: str
    metric: str | None = None  # None: all metrics
    is_break: bool = False  # the metric is measured differently from this day on


@dataclass(frozen=True)
class Span:
    """Days of sites in one time zone, from `first` to the day before `until`."""

    keys: Sequence[str]
    first: dt.date
    until: dt.date
    timezone: str


BlockKey = tuple[str, dt.date]  # of a site's key, and the first day of a block


@dataclass(frozen=True)
class BlockHash:
    """Of the rows of a block of days. Hashes of parts of a block add up, modulo HASH_MODULUS."""

    known: int  # of the days before a given one
    total: int  # of all days


@dataclass(frozen=True)
class RecentEvents:
    """The rows of events since some moment."""

    num_rows: int
    num_newest: int  # of the last minute or hour: PostgreSQL may not have counted them yet


NO_EVENTS = RecentEvents(0, 0)


def find_block(day: dt.date) -> dt.date:
    """The first day of the block that a day is in."""
    return day - dt.timedelta(days=(day - dt.date(1970, 1, 1)).days % BLOCK_DAYS)


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """Reads over the connection it is given, in a read-only transaction, and writes nothing.

    `quiet_is_zero`: whether a day without rows, between two days with some, had no traffic. True for events: their days
    are final once they are over, apart from late events. False for daily totals that other programs write: such a day
    is unknown, and any day may change at any time.
    """

    name: str
    tables: Sequence[str] = ()  # that are read
    quiet_is_zero: bool
    counted: str | None = None  # the metric whose totals `count_days` returns; None: it cannot
    counted_table: str | None = None  # whose rows decide what `count_days` or `hash_days` returns; None: unknown
    updates_rows: bool = False  # of that table, as a matter of course

    @abstractmethod
    async def list_metrics(self, connection: Connection) -> Sequence[MetricDefinition]:
        """Raises MissingTable if a table that is needed does not exist or may not be read."""

    async def explain_lost(self, connection: Connection, metrics: Collection[str]) -> Sequence[str]:
        """A sentence about each of these metrics that is still there, but cannot be read any more."""
        return []

    @abstractmethod
    async def list_sites(self, connection: Connection) -> Sequence[Site]: ...

    async def list_events(self, connection: Connection, *, timezone: str) -> Sequence[KnownEvent]:
        return []

    async def find_warnings(self, connection: Connection) -> Sequence[str]:
        """A sentence about each problem that does not stop the source from being read."""
        return []

    @abstractmethod
    async def copy_days(self, connection: Connection, span: Span, *, write: Write) -> None:
        """Writes rows (key text, metric text, day date, value double precision, hours integer) as binary COPY.

        There is a row for each day with data. `hours` has bit h set if there was traffic in the local hour h, and is
        NULL if the source has no hours.
        """

    async def count_days(self, connection: Connection, span: Span) -> dict[tuple[str, dt.date], float]:
        """Of events: the totals of the metric `counted` by key and day, which cost less to read than all metrics."""
        raise NotImplementedError

    async def count_recent(self, connection: Connection, since: dt.datetime) -> RecentEvents:
        """Of events: the rows of `counted_table` since then, whatever their site."""
        raise NotImplementedError

    async def hash_days(self, connection: Connection, span: Span, *, known_until: dt.date) -> dict[BlockKey, BlockHash]:
        """Of daily totals: what differs if any row differs that `copy_days` would write. Blocks without a row are left
        out; `known` is of the days before `known_until`.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class EventSource(Source):
    """A source of events, described entirely by its queries in sql/sources.

    `<name>_sites.sql` returns (key, name, began, first, last, timezone). `<name>.sql` returns the rows that `copy_days`
    writes, for the keys $1 text[], from the day $2 to before the day $3, in the time zone $4. `<name>_events.sql`
    returns (key, day, note, metric, is_break), with days in the time zone $1. `<name>_totals.sql` returns (key, day,
    total) of the metric `counted`, for the same parameters as `<name>.sql`. `<name>_recent.sql` returns (num_rows,
    num_newest) of `counted_table` since the moment $1.
    """

    definitions: Sequence[MetricDefinition]
    has_events: bool = False
    quiet_is_zero: bool = True
    counted: str | None = "page_visits"

    async def list_metrics(self, connection: Connection) -> Sequence[MetricDefinition]:
        """Also raises MissingTable if the tables are those of another tool, or of a version that cannot be read."""
        suggestion = await suggest_source(connection, SourceName(self.name))
        missing_error = partial(self._missing_tables, suggestion=suggestion)
        await check_tables(connection, self.tables, missing_error=missing_error)
        if suggestion:
            raise MissingTable(f"The tables {', '.join(self.tables)} are not as {self.name} makes them. {suggestion}")
        return self.definitions

    async def list_sites(self, connection: Connection) -> Sequence[Site]:
        return [Site(**row) for row in await fetch(connection, f"sources/{self.name}_sites")]

    async def list_events(self, connection: Connection, *, timezone: str) -> Sequence[KnownEvent]:
        if not self.has_events:
            return []
        return [KnownEvent(**row) for row in await fetch(connection, f"sources/{self.name}_events", timezone)]

    async def copy_days(self, connection: Connection, span: Span, *, write: Write) -> None:
        values = (list(span.keys), span.first, span.until, span.timezone)
        await copy_out(connection, f"sources/{self.name}", *values, write=write)

    async def count_days(self, connection: Connection, span: Span) -> dict[tuple[str, dt.date], float]:
        values = (list(span.keys), span.first, span.until, span.timezone)
        rows = await fetch(connection, f"sources/{self.name}_totals", *values)
        return {(row["key"], row["day"]): row["total"] for row in rows if row["total"]}

    async def count_recent(self, connection: Connection, since: dt.datetime) -> RecentEvents:
        (row,) = await fetch(connection, f"sources/{self.name}_recent", since)
        return RecentEvents(**row)

    def _missing_tables(self, names: Sequence[str], database: str, *, suggestion: str) -> MissingTable:
        otherwise = "Check DB_NAME, or set data.source to the analytics tool whose tables to read."
        return MissingTable(
            f"The database {database} has no table {', '.join(names)}, as {self.name} would. {suggestion or otherwise}"
        )


@dataclass(frozen=True)
class Table:
    name: str
    place: str | None  # with its schema, if the search path finds it
    readable: bool  # some columns at least
    wholly_readable: bool
    schemas: Sequence[str]  # that have a table of this name
    usable_schemas: Sequence[str]
    searched: Sequence[str]  # schemas
    database: str
    reader: str


async def find_table(connection: Connection, name: str) -> Table:
    (row,) = await fetch(connection, "find_tables", [name])
    return Table(**row)


async def check_tables(
    connection: Connection, names: Sequence[str], *, missing_error: Callable[[Sequence[str], str], MissingTable]
) -> None:
    """Raises MissingTable with the SQL that the tables' owner must run, or the `missing_error` for tables that exist
    in no schema of the database.
    """
    tables = [Table(**row) for row in await fetch(connection, "find_tables", list(names))]
    database, reader = tables[0].database, tables[0].reader
    for table in tables:
        if not table.place and table.schemas:
            raise _explain_schema(table)
    if missing := [table.name for table in tables if not table.place]:
        raise missing_error(missing, database)
    if unreadable := [table for table in tables if not table.readable]:
        grants = " ".join(f'GRANT SELECT ON {table.place} TO "{reader}";' for table in unreadable)
        raise MissingTable(
            f"The user {reader} may not read {', '.join(str(table.place) for table in unreadable)} in the database "
            f"{database}. Ask its owner to run: {grants}"
        )


def _explain_schema(table: Table) -> MissingTable:
    """Of a table in a schema that is not searched, or that the user may not use."""
    schema, reader = table.schemas[0], table.reader
    text = f"The table {table.name} of the database {table.database} is in the schema {schema}, "
    if schema not in table.usable_schemas:
        return MissingTable(
            f"{text}which the user {reader} may not use. Set data.schema={schema}, and ask its owner to run: "
            f'GRANT USAGE ON SCHEMA "{schema}" TO "{reader}"; GRANT SELECT ON ALL TABLES IN SCHEMA "{schema}" TO '
            f'"{reader}";'
        )
    searched = ", ".join(table.searched) or "none"
    return MissingTable(f"{text}which is not searched (searched: {searched}). Set data.schema={schema}.")


def site_of_days(row: Any, data: DataConfig) -> Site:  # Any: a row of PostgreSQL or a dictionary
    """A site whose days are known but not the times of day: noon stands for both.

    `row` has key, first_day and last_day (None: no day), and what a Site says of misdated rows.
    """
    key = row["key"]
    zone = ZoneInfo(data.timezone_of(key))
    first, last = (day and dt.datetime.combine(day, dt.time(12), zone) for day in (row["first_day"], row["last_day"]))
    misdated = {name: row[name] for name in ("num_misdated", "misdated_first", "misdated_last")}
    return Site(key, key, first=first, last=last, **misdated)


def read_hashes(rows: Sequence[Any]) -> dict[BlockKey, BlockHash]:  # Any: PostgreSQL's rows
    """Of the rows (key, first_day, known, total)."""
    return {(key, first): BlockHash(known, total) for key, first, known, total in rows}


def count_rows(num_rows: int) -> str:
    return "1 row" if num_rows == 1 else f"{num_rows:,} rows"
