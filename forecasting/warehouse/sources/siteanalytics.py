"""The documented backend: `daily_metrics`, one row per day with a column per metric, or its events, `page_visits`.

The events are read if `daily_metrics` has no row. Where it has rows, the backend or another program fills it.
"""

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from forecasting.domain import SourceName
from forecasting.errors import MissingTable, SettingError, WarehouseError
from forecasting.invocation import show_command
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.metric_names import infer_stored
from forecasting.warehouse.queries import Connection, Write, copy_out, fetch, load_query
from forecasting.warehouse.session import quote_name
from forecasting.warehouse.sources.column_types import change_type, describe_number_column, find_day_expression
from forecasting.warehouse.sources.recognition import EVENT_COLUMNS, suggest_source
from forecasting.warehouse.sources.source import (
    BlockHash,
    BlockKey,
    MetricDefinition,
    RecentEvents,
    Site,
    Source,
    Span,
    check_tables,
    count_rows,
    find_table,
    read_hashes,
    site_of_days,
)  # fmt: skip

NO_METRICS = ("id", "site", "date")
COUNTS = ("smallint", "integer", "bigint")
MEASURES = ("real", "double precision", "numeric")
DATES = ("date", "timestamp without time zone", "timestamp with time zone")
HASH_OF_ROW = "hashint4extended(date::date - date '1970-01-01', 0)"  # in daily_metrics_hashes.sql
EVENT_DEFINITIONS = (
    MetricDefinition("page_visits", "page views: rows without an event_name"),
    MetricDefinition("unique_visitors", "distinct visitor_id of page views", additive=False),
    MetricDefinition("visits", "distinct session_id of page views; a session across midnight counts on both days"),
    MetricDefinition.fraction("bounce_rate", "sessions with one page view / all sessions"),
    MetricDefinition.mean("avg_time_on_page", "mean time_on_page of page views, in seconds"),
)


async def open_source(data: DataConfig, connection: Connection) -> Source:
    """Raises SettingError if events are to be read but the time zone in which they were written is not set."""
    days = await find_table(connection, "daily_metrics")
    if days.readable and await _has_rows(connection, "has_daily_metrics"):
        return DailyMetrics(data=data)
    if days.readable or not days.schemas:
        events = await find_table(connection, "page_visits")
        if events.readable and await _has_rows(connection, "has_page_visits"):
            return await _open_events(data, connection)
    return DailyMetrics(data=data)


async def _has_rows(connection: Connection, query: str) -> bool:
    (row,) = await fetch(connection, f"sources/{query}")
    return bool(row["has_rows"])


async def _open_events(data: DataConfig, connection: Connection) -> Source:
    table = (await fetch(connection, "find_columns", ["page_visits"]))[0]
    if missing := [name for name in EVENT_COLUMNS if name not in table["columns"]]:
        suggestion = await suggest_source(connection, SourceName.siteanalytics)
        raise MissingTable(
            f"There are no days in daily_metrics, and the table page_visits has no column {', '.join(missing)}, as the "
            f"documented backend's would. {suggestion}".rstrip()
        )
    if data.writer_timezone is None:
        command = show_command("sources", "--check", "data.writer_timezone=UTC")
        raise SettingError(
            "daily_metrics has no row, so page_visits is read. The time zone of its column `timestamp` is not stored: "
            "set data.writer_timezone to the zone in which it was written, such as data.writer_timezone=UTC. Run: "
            f"{command}"
        )
    return PageVisits(writer_timezone=data.writer_timezone)


@dataclass(frozen=True, kw_only=True)
class DailyMetrics(Source):
    """Daily totals written by another program. If `date` is a timestamp, its days are those of data.timezone."""

    name: str = "siteanalytics"
    tables: Sequence[str] = ("daily_metrics",)
    counted_table: str | None = "daily_metrics"
    quiet_is_zero: bool = False
    data: DataConfig

    async def list_metrics(self, connection: Connection) -> Sequence[MetricDefinition]:
        return [
            MetricDefinition(name, f"the column of daily_metrics ({type_})", kind=kind, additive=additive)
            for name, type_ in (await self._read_types(connection)).items()
            for kind, additive in (infer_stored(name, whole=type_ in COUNTS),)
        ]

    async def explain_lost(self, connection: Connection, metrics: Collection[str]) -> Sequence[str]:
        texts = [text async for text in self._describe_left_out(connection, only=metrics)]
        columns = await fetch(connection, "read_columns")
        others = [
            f"the column {row['name']} of daily_metrics has the type {row['type']}, which is no number"
            for row in columns
            if row["name"] in metrics and not any(f"the column {row['name']} of" in text for text in texts)
        ]
        return [text if text.endswith(";") else f"{text}." for text in (*texts, *others)]

    async def list_sites(self, connection: Connection) -> Sequence[Site]:
        await self._set_timezone(connection)
        rows = await fetch(connection, "sources/daily_metrics_sites")
        return [site_of_days(row, self.data) for row in rows]

    async def find_warnings(self, connection: Connection) -> Sequence[str]:
        (row,) = await fetch(connection, "sources/daily_metrics_undated")
        num_rows = row["num_rows"]
        undated = [f"daily_metrics has {count_rows(num_rows)} without a date, left out"] if num_rows else []
        return [*undated, *[text async for text in self._describe_left_out(connection)]]

    async def copy_days(self, connection: Connection, span: Span, *, write: Write) -> None:
        metrics = list(await self._read_types(connection))
        await self._set_timezone(connection)
        values = (list(span.keys), span.first, span.until, metrics)
        rows = await fetch(connection, "read_columns")
        readable = ", ".join(quote_name(row["name"]) for row in rows if row["readable"])
        # Only the columns that the user may read: `daily_metrics as m` stands for all of them.
        table = f"(select {readable} from daily_metrics) as m"  # noqa: S608 - quoted
        await copy_out(
            connection, "sources/daily_metrics", *values, write=write, replacing=("daily_metrics as m", table)
        )

    async def hash_days(self, connection: Connection, span: Span, *, known_until: dt.date) -> dict[BlockKey, BlockHash]:
        metrics = sorted(await self._read_types(connection))
        await self._set_timezone(connection)
        values = (list(span.keys), span.first, span.until, known_until)
        query = load_query("sources/daily_metrics_hashes").replace(HASH_OF_ROW, _hash_row(metrics))
        return read_hashes(await connection.fetch(query, *values))

    async def _set_timezone(self, connection: Connection) -> None:
        """Until the transaction ends."""
        await connection.execute("select set_config('TimeZone', $1, true)", self.data.timezone)

    async def _read_types(self, connection: Connection) -> dict[str, str]:
        """The types of the columns that can be metrics, in the order of the columns."""
        await _check_tables(connection, ["daily_metrics"])
        rows = await fetch(connection, "read_columns")
        types = {row["name"]: row["type"] for row in rows}
        if "date" not in types:
            raise WarehouseError(
                f"daily_metrics has no column `date`. Its columns: {', '.join(types)}. Rename the column that holds "
                "the day, or create a view with that name."
            )
        if types["date"] not in DATES:
            has_default = any(row["has_default"] for row in rows if row["name"] == "date")
            raise await self._explain_date(connection, types["date"], has_default=has_default)
        numeric = [row["name"] for row in rows if row["readable"] and row["type"] in COUNTS + MEASURES]
        return {name: types[name] for name in numeric if name not in NO_METRICS}

    async def _explain_date(self, connection: Connection, type_: str, *, has_default: bool) -> WarehouseError:
        text = f"The column `date` of daily_metrics has the type {type_}, which does not hold days."
        expression = await find_day_expression(connection, type_)
        if expression is None:
            return WarehouseError(f"{text} Change it to the type date, or create a view whose column `date` is one.")
        return WarehouseError(f"{text} Run: {change_type('date', 'date', expression, has_default=has_default)}")

    async def _describe_left_out(
        self, connection: Connection, *, only: Collection[str] | None = None
    ) -> AsyncIterator[str]:
        for row in await fetch(connection, "read_columns"):
            name, type_ = row["name"], row["type"]
            if name in NO_METRICS or (only is not None and name not in only):
                continue
            if not row["readable"]:
                yield f"the column {name} of daily_metrics may not be read by this user, so it is left out"
            elif text := await describe_number_column(connection, name, type_, has_default=row["has_default"]):
                yield text


@dataclass(frozen=True, kw_only=True)
class PageVisits(Source):
    """Events of one site, which is named after the database."""

    name: str = "siteanalytics"
    tables: Sequence[str] = ("page_visits",)
    quiet_is_zero: bool = True
    counted: str | None = "page_visits"
    counted_table: str | None = "page_visits"
    writer_timezone: str

    async def list_metrics(self, connection: Connection) -> Sequence[MetricDefinition]:
        await _check_tables(connection, self.tables)
        return EVENT_DEFINITIONS

    async def list_sites(self, connection: Connection) -> Sequence[Site]:
        return [Site(**row) for row in await fetch(connection, "sources/page_visits_sites", self.writer_timezone)]

    async def find_warnings(self, connection: Connection) -> Sequence[str]:
        return [f"daily_metrics has no row, so page_visits is read, its timestamps as times in {self.writer_timezone}"]

    async def copy_days(self, connection: Connection, span: Span, *, write: Write) -> None:
        values = (list(span.keys), span.first, span.until, span.timezone, self.writer_timezone)
        await copy_out(connection, "sources/page_visits", *values, write=write)

    async def count_days(self, connection: Connection, span: Span) -> dict[tuple[str, dt.date], float]:
        values = (list(span.keys), span.first, span.until, span.timezone, self.writer_timezone)
        rows = await fetch(connection, "sources/page_visits_totals", *values)
        return {(row["key"], row["day"]): row["total"] for row in rows}

    async def count_recent(self, connection: Connection, since: dt.datetime) -> RecentEvents:
        (row,) = await fetch(connection, "sources/page_visits_recent", since, self.writer_timezone)
        return RecentEvents(**row)


def _hash_row(metrics: Sequence[str]) -> str:
    """SQL for the hash of a row's day and values, which another set of metrics changes."""
    seed = int.from_bytes(hashlib.blake2b(repr(metrics).encode(), digest_size=7).digest())
    expression = f"hashint8extended(date::date - date '1970-01-01', {seed})"
    for metric in metrics:
        value = f"coalesce({quote_name(metric)}::double precision, 'NaN')"
        expression = f"hashfloat8extended({value}, {expression})"
    return expression


async def _check_tables(connection: Connection, names: Sequence[str]) -> None:
    """Raises MissingTable, which names the tool whose tables the database has."""
    suggestion = await suggest_source(connection, SourceName.siteanalytics)
    await check_tables(connection, names, missing_error=partial(_missing_tables, suggestion=suggestion))


def _missing_tables(names: Sequence[str], database: str, *, suggestion: str) -> MissingTable:
    otherwise = (
        "Check DB_NAME, set data.source to the analytics tool whose tables to read, or create the table: one row per "
        "day, a `date` column, and a numeric column for each metric."
    )
    return MissingTable(f"The database {database} has no table {', '.join(names)}. {suggestion or otherwise}")
