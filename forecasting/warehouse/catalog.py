"""What a source has: its sites, its metrics, and what it knows about single days."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import asyncpg

from forecasting.domain import SourceName
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.connection import OwnConnection
from forecasting.warehouse.sources import open_source
from forecasting.warehouse.sources.change_counts import CountedTable, read_change_counts
from forecasting.warehouse.sources.rights import explain_denied, refuse_hidden_tables
from forecasting.warehouse.sources.source import KnownEvent, MetricDefinition, Site, Source


@dataclass(frozen=True)
class SourceCatalog:
    source: Source
    sites: Sequence[Site]
    metrics: Sequence[MetricDefinition]
    events: Sequence[KnownEvent]
    notes: tuple[str, ...]  # warnings, a sentence each
    counted_table: CountedTable | None = None  # that decides whether days have changed, as it was before all of this


async def read_catalog(connection: OwnConnection, data: DataConfig) -> SourceCatalog:
    """Raises MissingTable, SettingError and the source's own errors."""
    try:
        return await _try_to_read(connection, data)
    except asyncpg.UndefinedTableError:  # gone while it was read: the next look tells how
        return await _try_to_read(connection, data)


async def _try_to_read(connection: OwnConnection, data: DataConfig) -> SourceCatalog:
    source = None
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            source = await open_source(data, connection)
        async with connection.transaction(readonly=True):  # what it counts is seen by every later transaction
            table = await read_change_counts(connection, source.counted_table) if source.counted_table else None
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return replace(await _read_catalog(connection, source, data), counted_table=table)
    except asyncpg.InsufficientPrivilegeError as error:
        if source is None or not source.tables:
            raise
        raise await explain_denied(connection, source.name, source.tables, error) from error


async def _read_catalog(connection: OwnConnection, source: Source, data: DataConfig) -> SourceCatalog:
    metrics = await source.list_metrics(connection)
    if source.tables:
        await refuse_hidden_tables(connection, source.tables)
    sites = await source.list_sites(connection)
    if not sites and data.source is SourceName.query:  # nobody knows which tables it reads
        await refuse_hidden_tables(connection, ())
    events = await source.list_events(connection, timezone=data.timezone)
    misdated = [warning for site in sites for warning in site.find_warnings()]
    notes = (*await source.find_warnings(connection), *misdated)
    return SourceCatalog(source, sites, metrics, events, notes)


def timezone_of(site: Site, data: DataConfig) -> str:
    """That of `data.timezones` for the site's name, or else for an earlier name."""
    names = (site.name, *reversed(site.aliases))
    name = next((name for name in names if name in data.sites_with_timezone), site.name)
    return data.timezone_of(name, otherwise=site.timezone)


def local_day(moment: dt.datetime, timezone: str) -> dt.date:
    return moment.astimezone(ZoneInfo(timezone)).date()
