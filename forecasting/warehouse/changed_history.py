"""Finds days that were read earlier and have other totals in the source now: imported, deleted, or counted late."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

import asyncpg

from forecasting.errors import SourceTooSlow
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.catalog import SourceCatalog, local_day, timezone_of
from forecasting.warehouse.connection import OwnConnection, translate_errors
from forecasting.warehouse.ingest_plan import ReadTask
from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.sites import StoredSite
from forecasting.warehouse.sources.source import Site, Span

CHUNK_DAYS = 366  # counted in one statement
JOIN_DAYS = 28  # changed days that are no further apart are read together
MAX_SPANS = 20  # of a site; more are read as one
DROPPED_DAYS = 7  # fewer that a source drops at a time are its usual retention

Totals = dict[str, dict[dt.date, float]]  # by the site's key and day; days without any are left out


@dataclass(frozen=True)
class ChangedHistory:
    """The days of a site whose totals differ from those that were read, in order."""

    site: Site
    timezone: str
    days: Sequence[dt.date]
    busy: Set[dt.date]  # days on which the source has anything
    read_until: dt.date

    def describe(self, source: str) -> str:
        num_days = "1 day" if len(self.days) == 1 else f"{len(self.days):,} days"
        span = f"{self.days[0]}..{self.days[-1]}" if len(self.days) > 1 else str(self.days[0])
        return f"{source} has other totals on {num_days} of {self.site.name} ({span}) than when they were read"

    def plan_tasks(self) -> list[ReadTask]:
        """What to read again. Each span ends with a busy day: quiet days are zero only between two busy ones."""
        gaps = [(last, first) for last, first in pairwise(self.days) if (first - last).days > JOIN_DAYS]
        gaps = gaps if len(gaps) < MAX_SPANS else []
        firsts, lasts = [self.days[0], *(first for _, first in gaps)], [*(last for last, _ in gaps), self.days[-1]]
        tasks = []
        for first, last in zip(firsts, lasts, strict=True):
            end = min((day for day in self.busy if day > last), default=last)
            span = Span([self.site.key], first, end + dt.timedelta(days=1), self.timezone)
            tasks.append(ReadTask(span, from_start=False, read_until=self.read_until, is_all=False))
        return tasks


async def find_changed_history(
    source_connection: OwnConnection,
    own: Connection,
    catalog: SourceCatalog,
    stored: Sequence[StoredSite],
    data: DataConfig,
) -> tuple[list[ChangedHistory], str | None]:
    """The sites with changed days among those that an update does not read anyway, and why that is not known of all.

    `stored`: the sites as they were before the update. Reads days of events only: daily totals are read again as a
    whole.
    """
    source = catalog.source
    if not source.quiet_is_zero or source.counted is None:
        return [], None
    rows = _find_read_sites(stored, catalog)
    sites = [site for site in catalog.sites if site.key in rows]
    changed: list[ChangedHistory] = []
    try:
        for span, group in _group_sites(sites, rows, data):
            current = await _count(source_connection, catalog, span)
            stored_totals = await _read_totals(own, catalog, span)
            read_until = span.until + dt.timedelta(days=data.reread_days)
            changed += _compare(group, span, current, stored_totals, read_until=read_until)
    except SourceTooSlow as error:
        return changed, f"it is not known whether days that were read earlier have changed since. {error}"
    return changed, None


def _find_read_sites(stored: Sequence[StoredSite], catalog: SourceCatalog) -> dict[str, StoredSite]:
    source = catalog.source.name
    return {row.key: row for row in stored if row.source == source and row.read_until and not row.is_gone}


def describe_dropped_days(stored: Sequence[StoredSite], catalog: SourceCatalog, data: DataConfig) -> list[str]:
    """Notes about days at the beginning that a source of events has deleted."""
    rows = _find_read_sites(stored, catalog)
    sites = [site for site in catalog.sites if site.key in rows]
    return [note for site in sites for note in _describe_dropped(site, rows[site.key], catalog, data)]


def _describe_dropped(site: Site, row: StoredSite, catalog: SourceCatalog, data: DataConfig) -> Iterator[str]:
    """Days at the beginning that the source has deleted, more than it would by retention since the last update."""
    name = catalog.source.name
    if site.first is None:
        yield f"{name} has no day of {site.name} any more: the days that were read earlier are kept"
        return
    first = local_day(site.first, timezone_of(site, data))
    if row.first_day is not None and (first - row.first_day).days > DROPPED_DAYS:
        yield (
            f"{name} no longer has the days of {site.name} from {row.first_day} to before {first}: those that were "
            "read earlier are kept"
        )


def _group_sites(
    sites: Sequence[Site], rows: Mapping[str, StoredSite], data: DataConfig
) -> list[tuple[Span, list[Site]]]:
    """Sites that were read up to the same day, and the days of theirs that an update does not read anyway."""
    groups: dict[tuple[str, dt.date], list[Site]] = {}
    for site in sites:
        zone, row = timezone_of(site, data), rows[site.key]
        if site.first and row.read_until and row.timezone == zone:  # else all of its days are read again
            groups.setdefault((zone, row.read_until), []).append(site)
    spans = []
    for (zone, read_until), group in groups.items():
        first = min(local_day(site.first, zone) for site in group if site.first)
        until = read_until - dt.timedelta(days=data.reread_days)
        if first < until:
            spans.append((Span([site.key for site in group], first, until, zone), group))
    return spans


def _compare(
    sites: Sequence[Site], span: Span, current: Totals, stored: Totals, *, read_until: dt.date
) -> list[ChangedHistory]:
    """The sites with changed days."""
    changed = []
    for site in sites:
        now, then = current.get(site.key, {}), stored.get(site.key, {})
        days = _differing_days(now, then, local_day(site.first, span.timezone)) if site.first else []
        if days:
            changed.append(ChangedHistory(site, span.timezone, days, now.keys(), read_until))
    return changed


def _differing_days(current: Mapping[dt.date, float], stored: Mapping[dt.date, float], first: dt.date) -> list[dt.date]:
    """Days before `first`, the oldest that the source has, are kept as they were read. So is that day itself if older
    ones are known: the source may have deleted a part of it.
    """
    is_cut = any(day < first for day in stored)
    days = [day for day in current.keys() | stored.keys() if day > first or (day == first and not is_cut)]
    return sorted(day for day in days if current.get(day, 0.0) != stored.get(day, 0.0))


async def _count(connection: OwnConnection, catalog: SourceCatalog, span: Span) -> Totals:
    """Raises SourceTooSlow."""
    totals: Totals = {}
    first = span.first
    while first < span.until:
        until = min(first + dt.timedelta(days=CHUNK_DAYS), span.until)
        days = f"{first}..{until - dt.timedelta(days=1)}"
        with translate_errors(f"counting the days {days} of {catalog.source.name}"):
            try:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    part = await catalog.source.count_days(connection, replace(span, first=first, until=until))
            except (asyncpg.QueryCanceledError, TimeoutError) as error:
                raise SourceTooSlow(
                    f"{catalog.source.name} did not count the days {days} within data.statement_timeout_seconds. "
                    "Raise the timeout, or read every day again with --whole"
                ) from error
        for (key, day), total in part.items():
            totals.setdefault(key, {})[day] = total
        first = until
    return totals


async def _read_totals(own: Connection, catalog: SourceCatalog, span: Span) -> Totals:
    """Of all stored days before the end of the span."""
    source, totals = catalog.source, Totals()
    with translate_errors("reading forecasting.daily"):
        rows = await fetch(own, "read_totals", source.name, source.counted, list(span.keys), span.until)
    for row in rows:
        totals.setdefault(row["key"], {})[row["day"]] = row["total"]
    return totals
