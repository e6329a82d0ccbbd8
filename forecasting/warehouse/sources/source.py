"""What a source is: tables, or a file, that somebody's analytics fills, told as days of sites and metrics."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable
from zoneinfo import ZoneInfo

from forecasting.domain import Kind, Unit
from forecasting.errors import MissingTable
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.queries import Connection, Write, copy_out, fetch


@dataclass(frozen=True)
class Definition:
    """A metric as the source means it."""

    metric: str
    text: str
    kind: Kind = Kind.count
    additive: bool = True
    unit: Unit | None = None  # of a rate, where the source leaves no doubt


@dataclass(frozen=True)
class Site:
    """Moments are aware; None: none, or not known."""

    key: str  # in the source
    name: str  # in panels
    began: dt.datetime | None = None  # what is older is not this site's any more
    first: dt.datetime | None = None  # the oldest and
    last: dt.datetime | None = None  # the newest that the source holds
    timezone: str | None = None


@dataclass(frozen=True)
class KnownEvent:
    """What the source knows of a day: a release, a campaign, or that it measures otherwise from then on."""

    key: str | None  # of the site; None: of all
    day: dt.date
    note: str
    metric: str | None = None  # None: of all
    is_break: bool = False


@dataclass(frozen=True)
class Span:
    """Sites of one time zone and their days from `first` to before `until`."""

    keys: Sequence[str]
    first: dt.date
    until: dt.date
    timezone: str


@runtime_checkable
class Source(Protocol):
    """Reads over the connection that it is given, inside a read-only transaction, and writes nothing."""

    @property
    def name(self) -> str: ...

    @property
    def quiet_is_zero(self) -> bool:
        """Whether a day between two without a row had no traffic (events); else nobody knows (totals of others).

        Days of events are final once they are over, but for what comes late; totals may be changed at any time.
        """
        ...

    @property
    def tables(self) -> Sequence[str]:
        """That are read."""
        ...

    async def list_metrics(self, connection: Connection) -> Sequence[Definition]:
        """Raises MissingTable where what is needed is not there, or may not be read."""
        ...

    async def list_sites(self, connection: Connection) -> Sequence[Site]: ...

    async def list_events(self, connection: Connection, *, timezone: str) -> Sequence[KnownEvent]: ...

    async def find_oddities(self, connection: Connection) -> Sequence[str]:
        """What is wrong, a sentence each."""
        ...

    async def copy_days(self, connection: Connection, span: Span, *, write: Write) -> None:
        """Writes (key text, metric text, day date, value double precision, hours integer) in binary COPY format.

        A row each day that there is something to say of; `hours` has the bit h set where something happened in the
        local hour h, and is NULL where the source does not know.
        """
        ...


@dataclass(frozen=True)
class EventSource:
    """A source whose tables hold what happened, so that the queries in sql/sources say everything about it.

    `<name>_sites.sql` returns key, name, began, first, last, timezone; `<name>.sql` what `copy_days` writes, of the
    keys $1 text[], days from $2 to before $3, in the time zone $4; `<name>_events.sql`, of days in the time zone $1,
    key, day, note, metric, is_break.
    """

    name: str
    tables: Sequence[str]
    definitions: Sequence[Definition]
    has_events: bool = False
    quiet_is_zero: bool = True

    async def list_metrics(self, connection: Connection) -> Sequence[Definition]:
        await check_tables(connection, self.tables, lacking=self._ask_for_tables)
        return self.definitions

    async def list_sites(self, connection: Connection) -> Sequence[Site]:
        return name_apart([Site(**row) for row in await fetch(connection, f"sources/{self.name}_sites")])

    async def list_events(self, connection: Connection, *, timezone: str) -> Sequence[KnownEvent]:
        if not self.has_events:
            return []
        return [KnownEvent(**row) for row in await fetch(connection, f"sources/{self.name}_events", timezone)]

    async def find_oddities(self, connection: Connection) -> Sequence[str]:
        return []

    async def copy_days(self, connection: Connection, span: Span, *, write: Write) -> None:
        values = (list(span.keys), span.first, span.until, span.timezone)
        await copy_out(connection, f"sources/{self.name}", *values, write=write)

    def _ask_for_tables(self, names: Sequence[str], database: str) -> MissingTable:
        return MissingTable(
            f"There is no table {', '.join(names)} in the database {database}, which {self.name} would have. Check "
            "DB_NAME, or say whose tables these are with data.source."
        )


@dataclass(frozen=True)
class Table:
    """What is known of a table by its name."""

    name: str
    place: str | None  # with its schema, where who asks would find it
    readable: bool
    schemas: Sequence[str]  # that hold one of the name
    database: str
    reader: str


async def find_table(connection: Connection, name: str) -> Table:
    (row,) = await fetch(connection, "find_tables", [name])
    return Table(**row)


async def check_tables(
    connection: Connection, names: Sequence[str], *, lacking: Callable[[Sequence[str], str], MissingTable]
) -> None:
    """Raises MissingTable, saying what the tables' owner must run, or `lacking` of those that are nowhere and the
    database.
    """
    tables = [Table(**row) for row in await fetch(connection, "find_tables", list(names))]
    database, reader = tables[0].database, tables[0].reader
    for table in tables:
        if not table.place and table.schemas:
            schema = table.schemas[0]
            raise MissingTable(
                f"The table {table.name} of the database {database} is in the schema {schema}, where the user {reader} "
                f'does not look. Let its owner run: GRANT USAGE ON SCHEMA "{schema}" TO "{reader}"; '
                f'ALTER ROLE "{reader}" IN DATABASE "{database}" SET search_path = "{schema}", public;'
            )
    if missing := [table.name for table in tables if not table.place]:
        raise lacking(missing, database)
    if closed := [table for table in tables if not table.readable]:
        grants = " ".join(f'GRANT SELECT ON {table.place} TO "{reader}";' for table in closed)
        raise MissingTable(
            f"The user {reader} may not read {', '.join(str(table.place) for table in closed)} in the database "
            f"{database}. Let its owner run: {grants}"
        )


def site_of_days(name: str, first_day: dt.date, last_day: dt.date, data: DataConfig) -> Site:
    """A site of which days are known, but no moments: noon stands for each of the two."""
    zone = ZoneInfo(data.timezone_of(name))
    first, last = (dt.datetime.combine(day, dt.time(12), zone) for day in (first_day, last_day))
    return Site(name, name, first=first, last=last)


def name_apart(sites: Sequence[Site]) -> list[Site]:
    """Those of one name get the beginning of their keys behind it, or all of these where they begin alike."""
    names = Counter(site.name for site in sites)
    beginnings = Counter((site.name, site.key[:8]) for site in sites)
    return [
        site if names[site.name] == 1 else replace(site, name=f"{site.name} ({beginning})")
        for site in sites
        for beginning in (site.key[:8] if beginnings[site.name, site.key[:8]] == 1 else site.key,)
    ]
