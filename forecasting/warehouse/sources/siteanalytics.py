"""The documented backend: `daily_metrics`, a row a day, every numeric column a metric; else its events, `page_visits`.

Events count where `daily_metrics` has no row: the backend fills it from them, or somebody else does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from forecasting.domain import Kind, Unit
from forecasting.errors import MissingTable, SettingError, WarehouseError
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.queries import Connection, Write, copy_out, fetch
from forecasting.warehouse.sources.source import (
    Definition,
    KnownEvent,
    Site,
    Source,
    Span,
    check_tables,
    find_table,
    site_of_days,
)  # fmt: skip

NO_METRICS = ("id", "site", "date")
COUNTS = ("smallint", "integer", "bigint")
MEASURES = ("real", "double precision", "numeric")
DATES = ("date", "timestamp without time zone", "timestamp with time zone")
EVENT_DEFINITIONS = (
    Definition("page_visits", "rows without an event_name"),
    Definition("unique_visitors", "distinct visitor_id among them", additive=False),
    Definition("visits", "distinct session_id among them; one over midnight counts on both days"),
    Definition(
        "bounce_rate", "sessions of one page view / sessions", kind=Kind.rate, additive=False, unit=Unit.fraction
    ),
    Definition("avg_time_on_page", "mean of time_on_page, in seconds", kind=Kind.other, additive=False),
)


async def open_source(data: DataConfig, connection: Connection) -> Source:
    """Raises SettingError where events are to be read, but nobody said when they were written."""
    days = await find_table(connection, "daily_metrics")
    if days.readable:
        (found,) = await fetch(connection, "sources/has_daily_metrics")
        if found["has_rows"]:
            return DailyMetrics(data)
    if days.readable or not days.schemas:
        events = await find_table(connection, "page_visits")
        if events.readable and (await fetch(connection, "sources/has_page_visits"))[0]["has_rows"]:
            return _open_events(data)
    return DailyMetrics(data)


def _open_events(data: DataConfig) -> Source:
    if data.writer_timezone is None:
        raise SettingError(
            "daily_metrics has no row, and page_visits is read instead: in which time zone was its column `timestamp` "
            "written? It does not say. Say data.writer_timezone=UTC, or another."
        )
    return PageVisits(data.writer_timezone)


@dataclass(frozen=True)
class DailyMetrics:
    """Days as somebody else has counted them; where `date` is a moment, days of data.timezone."""

    data: DataConfig
    name: str = "siteanalytics"
    quiet_is_zero: bool = False
    tables: Sequence[str] = ("daily_metrics",)

    async def list_metrics(self, connection: Connection) -> Sequence[Definition]:
        types = await self._read_types(connection)
        return [
            Definition(name, f"the column of daily_metrics ({of})", kind=kind, additive=kind is Kind.count)
            for name, of in types.items()
            for kind in (Kind.count if of in COUNTS else Kind.other,)
        ]

    async def list_sites(self, connection: Connection) -> Sequence[Site]:
        await self._set_timezone(connection)
        rows = await fetch(connection, "sources/daily_metrics_sites")
        return [site_of_days(row["key"], row["first_day"], row["last_day"], self.data) for row in rows]

    async def list_events(self, connection: Connection, *, timezone: str) -> Sequence[KnownEvent]:
        return []

    async def find_oddities(self, connection: Connection) -> Sequence[str]:
        (found,) = await fetch(connection, "sources/daily_metrics_undated")
        rows = "1 row" if found["num_rows"] == 1 else f"{found['num_rows']} rows"
        return [f"daily_metrics has {rows} without a date: left out"] if found["num_rows"] else []

    async def copy_days(self, connection: Connection, span: Span, *, write: Write) -> None:
        metrics = list(await self._read_types(connection))
        await self._set_timezone(connection)
        values = (list(span.keys), span.first, span.until, metrics)
        await copy_out(connection, "sources/daily_metrics", *values, write=write)

    async def _set_timezone(self, connection: Connection) -> None:
        """Until the transaction ends."""
        await connection.execute("select set_config('TimeZone', $1, true)", self.data.timezone)

    async def _read_types(self, connection: Connection) -> dict[str, str]:
        """The columns that can be metrics, in their order, with their types."""
        await check_tables(connection, ["daily_metrics"], lacking=_ask_for_table)
        types = {row["name"]: row["type"] for row in await fetch(connection, "read_columns")}
        if "date" not in types:
            raise WarehouseError(
                f"daily_metrics has no column `date`. It has: {', '.join(types)}. Rename the one that holds the day, "
                "or make a view of that name."
            )
        if types["date"] not in DATES:
            raise WarehouseError(
                f"The column `date` of daily_metrics is of type {types['date']}, which holds no days. Change it: "
                "ALTER TABLE daily_metrics ALTER COLUMN date TYPE date USING date::date;"
            )
        return {name: of for name, of in types.items() if of in COUNTS + MEASURES and name not in NO_METRICS}


@dataclass(frozen=True)
class PageVisits:
    """Events, of one site, which has the database's name."""

    writer_timezone: str
    name: str = "siteanalytics"
    quiet_is_zero: bool = True
    tables: Sequence[str] = ("page_visits",)

    async def list_metrics(self, connection: Connection) -> Sequence[Definition]:
        await check_tables(connection, ["page_visits"], lacking=_ask_for_table)
        return EVENT_DEFINITIONS

    async def list_sites(self, connection: Connection) -> Sequence[Site]:
        return [Site(**row) for row in await fetch(connection, "sources/page_visits_sites", self.writer_timezone)]

    async def list_events(self, connection: Connection, *, timezone: str) -> Sequence[KnownEvent]:
        return []

    async def find_oddities(self, connection: Connection) -> Sequence[str]:
        return [f"daily_metrics has no row: page_visits is read, whose moments are taken as {self.writer_timezone}'s"]

    async def copy_days(self, connection: Connection, span: Span, *, write: Write) -> None:
        values = (list(span.keys), span.first, span.until, span.timezone, self.writer_timezone)
        await copy_out(connection, "sources/page_visits", *values, write=write)


def _ask_for_table(names: Sequence[str], database: str) -> MissingTable:
    return MissingTable(
        f"There is no table {', '.join(names)} in the database {database}. Check DB_NAME, say whose tables "
        "these are with data.source, or create it: one row a day, a `date` column, a numeric column for each metric."
    )
