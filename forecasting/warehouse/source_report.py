"""What scripts/sources.py prints about sources: their definitions, what one of them has, and problems with it."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from rich.table import Table

from forecasting.domain import MIN_DAYS, SourceName
from forecasting.invocation import show_command
from forecasting.runtime.terminal import render
from forecasting.settings.schema import Config, DataConfig
from forecasting.warehouse.catalog import SourceCatalog, local_day, read_catalog, timezone_of
from forecasting.warehouse.changed_history import describe_dropped_days, find_changed_history
from forecasting.warehouse.comparison_plan import describe_comparing
from forecasting.warehouse.connection import OwnConnection, connected, translate_errors
from forecasting.warehouse.event_store import foresee_events
from forecasting.warehouse.ingest import UpdateResult
from forecasting.warehouse.kept_check import check_kept_days
from forecasting.warehouse.kept_days import find_kept_days
from forecasting.warehouse.known_days_report import describe_known_days, find_unknown_sites
from forecasting.warehouse.last_day_report import find_partial_last_day_warnings
from forecasting.warehouse.origin import read_stored_sites
from forecasting.warehouse.queries import fetch
from forecasting.warehouse.schema import describe_read_only, has_current_schema
from forecasting.warehouse.sites import StoredSite, name_sites
from forecasting.warehouse.sources import siteanalytics
from forecasting.warehouse.sources.rights import list_row_security
from forecasting.warehouse.sources.source import MetricDefinition, Site

ANY = "any"
SILENT_DAYS = 2  # without an event, after which a warning says so
MAX_WARNINGS = 20  # shown


def describe_sources() -> str:
    """Every source's metrics, with the source's own definitions."""
    table = make_table("source", "metric", "kind", "adds up", "definition")
    for source in SourceName:
        for number, metric in enumerate(_definitions(source)):
            kind, adds_up = (
                ("", "") if metric.metric == ANY else (metric.kind.value, "yes" if metric.additive else "no")
            )
            table.add_row("" if number else source.value, metric.metric, kind, adds_up, metric.text)
    return render(table)


def _definitions(source: SourceName) -> Sequence[MetricDefinition]:
    if source is SourceName.siteanalytics:
        columns = MetricDefinition(ANY, "numeric columns of daily_metrics; if it has no row, from page_visits:")
        return [columns, *siteanalytics.EVENT_DEFINITIONS]
    if source is SourceName.query:
        return [MetricDefinition(ANY, "what the SELECT in data.query returns as site, metric, day and value")]
    if source is SourceName.csv:
        formats = "exports of 15 tools, long or wide; see forecasting/warehouse/csv/README.md"
        return [MetricDefinition(ANY, f"the columns of the file data.csv: {formats}")]
    if source is SourceName.parquet:
        return [MetricDefinition(ANY, "the columns of the file data.csv, named as in CSV files; needs pyarrow")]
    definitions: Sequence[MetricDefinition] = import_module(
        f"forecasting.warehouse.sources.{source.value}"
    ).SOURCE.definitions
    return definitions


async def check_source(config: Config, *, now: dt.datetime | None = None) -> str:
    """Connects, and describes the source's sites, its problems, and the rights of the user. Writes nothing."""
    now = now or dt.datetime.now(dt.UTC)
    async with connected(config.read_from, timeout_seconds=config.data.statement_timeout_seconds) as connection:
        with translate_errors(f"asking {config.data.source} for its sites and metrics"):
            catalog = await read_catalog(connection, config.data)
            (rights,) = await fetch(connection, "find_rights", list(catalog.source.tables))
        hidden = await list_row_security(connection, catalog.source.tables) if catalog.source.tables else []
        async with connected(config.kept_in) as own:
            with translate_errors("looking for the schema forecasting"):
                (schema,) = await fetch(own, "find_forecasting")
                is_current = await has_current_schema(own)
                stored = await read_stored_sites(own) if is_current else []
                events = await foresee_events(own if is_current else None, catalog, config.data.events)
            named = name_sites(catalog.sites, stored, source=catalog.source.name)
            catalog = replace(catalog, sites=named.sites)
            changes = await _find_changes(connection, own, catalog, stored, data=config.data, now=now)
        partial = await find_partial_last_day_warnings(connection, catalog, config.data, config.metrics, now=now)
    present = {site.name for site in named.sites}
    renamed = {old: new for old, new in named.renamed.items() if new in present}
    is_file = config.data.source.is_file
    names = {name for site in catalog.sites for name in (site.name, *site.aliases)}
    warnings = [
        *catalog.notes, *hidden, *_find_warnings(catalog, config, now), *find_unknown_sites(names, events), *partial,
        *changes,
    ]  # fmt: skip
    return "\n".join(
        [
            *([f"{config.data.source}: {config.data.csv}"] if is_file else _describe_rights(rights, catalog)),
            _describe_schema(schema, config),
            *describe_comparing(catalog.counted_table),
            f"metrics: {', '.join(metric.metric for metric in catalog.metrics) or 'none'}",
            "",
            _describe_sites(catalog, config),
            "",
            *describe_known_days(catalog.sites, events, config.data, now=now),
            "",
            *(f"renamed: {old} is called {new} in {catalog.source.name} now" for old, new in renamed.items()),
            *_list_warnings(warnings),
        ]
    )


async def _find_changes(
    connection: OwnConnection,
    own: OwnConnection,
    catalog: SourceCatalog,
    stored: Sequence[StoredSite],
    *,
    data: DataConfig,
    now: dt.datetime,
) -> list[str]:
    """Sentences about days that were read earlier and have changed since, or that only our copy still has."""
    if not stored:
        return []
    if not catalog.source.quiet_is_zero:
        return await check_kept_days(connection, own, catalog, stored, data=data, now=now)
    changed, problem = await find_changed_history(connection, own, catalog, stored, data)
    notes = [*describe_dropped_days(stored, catalog, data), *([problem] if problem else [])]
    command = show_command("sources", "--update")
    kept = await find_kept_days(own, catalog)
    return [*notes, *kept, *(f"{history.describe(catalog.source.name)}. Run: {command}" for history in changed)]


def _list_warnings(warnings: Sequence[str]) -> Iterator[str]:
    if not warnings:
        yield "no warnings"
    for text in warnings[:MAX_WARNINGS]:
        yield f"warning: {text}"
    if len(warnings) > MAX_WARNINGS:
        yield f"warning: {len(warnings) - MAX_WARNINGS} more like these"


def _describe_rights(rights: Any, catalog: SourceCatalog) -> Iterator[str]:  # Any: PostgreSQL's row
    replica = " (a replica)" if rights["is_replica"] else ""
    yield f"{catalog.source.name} in the database {rights['database']}, PostgreSQL {rights['version']}{replica}"
    may = f"may read {', '.join(rights['readable'])}" if rights["readable"] else "may read what the query reads"
    excess = f", and may write to {', '.join(rights['writable'])}, which is not needed" if rights["writable"] else ""
    yield f"rights: {rights['reader']}{' (a superuser)' if rights['is_superuser'] else ''} {may}{excess}"


def _describe_schema(schema: Any, config: Config) -> str:  # Any: PostgreSQL's row
    """Where the days are kept, or will be."""
    place, reader = f"our own schema: forecasting in the database {schema['database']}", schema["reader"]
    elsewhere = "it is kept in the embedded PostgreSQL instead, or where CACHE_URL points"
    if config.cache_database or config.database.embedded:
        elsewhere = "nothing can be read until it can. Set CACHE_URL to another database, or to embedded"
    if cause := describe_read_only(schema):
        return f"{place}, which {cause}: {elsewhere}"
    if schema["has_tables"] and schema["writable"]:
        return f"{place}; {reader} may write to it"
    if schema["may_create"] and not schema["has_tables"]:
        return f"{place}; {reader} may create it"
    return f"{place}; {reader} may neither create nor write to it: {elsewhere}"


def _describe_sites(catalog: SourceCatalog, config: Config) -> str:
    table = make_table("site", "first day", "last day", "days", "time zone")
    for site in catalog.sites:
        zone = timezone_of(site, config.data)
        if site.first is None or site.last is None:
            table.add_row(site.name, "no day", "", "0", zone)
            continue
        first, last = local_day(site.first, zone), local_day(site.last, zone)
        table.add_row(site.name, str(first), str(last), f"{(last - first).days + 1:,}", zone)
    return render(table)


def _find_warnings(catalog: SourceCatalog, config: Config, now: dt.datetime) -> Iterator[str]:
    if not catalog.sites:
        yield f"{catalog.source.name} has no site yet. Check the database and data.source"
    names = {name for site in catalog.sites for name in (site.name, *site.aliases)}
    for name in config.data.sites_with_timezone:
        if catalog.sites and name not in names:
            yield f"data.timezones names the site {name!r}, which does not exist"
    for site in catalog.sites:
        yield from _find_site_warnings(site, timezone_of(site, config.data), now)


def _find_site_warnings(site: Site, zone: str, now: dt.datetime) -> Iterator[str]:
    if site.first is None or site.last is None:
        yield f"{site.name} has no day yet"
        return
    num_days = (local_day(site.last, zone) - local_day(site.first, zone)).days + 1
    if num_days < MIN_DAYS:
        yield f"{site.name} has {'1 day' if num_days == 1 else f'{num_days} days'}; at least {MIN_DAYS} are needed"
    if site.last > now + dt.timedelta(days=1):
        yield f"{site.name} has days in the future, the last on {site.last:%Y-%m-%d}: check the clock of the writer"
    silent = (now - site.last).days
    if silent >= SILENT_DAYS:
        yield f"{site.name} has no data from the last {silent:,} days: its forecasts begin after its last day"


def describe_update(result: UpdateResult, config: Config) -> str:
    if result.num_rows is None:
        return "there is no table daily_metrics: forecasting.daily is used as it is"
    summary = f"forecasting.daily is up to date with {config.data.source}: {result.num_rows:,} rows changed"
    if result.problem:
        summary = f"no new day was read. {result.problem}"
    return "\n".join([summary, *(f"note: {note}" for note in (*result.notes, *result.kept))])


def make_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
