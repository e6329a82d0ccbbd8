"""Which days an update reads from a source. Decides only: it neither reads nor writes."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from forecasting.settings.schema import DataConfig
from forecasting.warehouse.catalog import SourceCatalog, local_day, timezone_of
from forecasting.warehouse.sources.source import Span, find_block


@dataclass(frozen=True)
class Scope:
    """How much an update reads."""

    now: dt.datetime
    whole: bool = False  # every day that the source has
    recent_days: int | None = None  # of daily totals, only these last days; None: all days
    compare: bool = True  # whether to look for changes in days that were read earlier

    @property
    def name(self) -> str:
        return "all" if self.recent_days is None else f"the last {self.recent_days} days"


@dataclass(frozen=True)
class ReadTask:
    """Days to read, of sites that have been read up to the same day."""

    span: Span
    from_start: bool  # all days are read, whatever was read before
    read_until: dt.date  # earlier days had been read when this was planned, and are read again whoever else does so
    is_all: bool  # daily totals of every day: what the source no longer has is forgotten

    def find_days_to_delete(self, chunk: Span, *, events: bool) -> tuple[dt.date, dt.date]:
        """The days, from one to before the other, of which a row is deleted if the source does not have it any more.

        Daily totals are only deleted if they may be forgotten: they were purged, or are being written anew.
        """
        if events:
            return chunk.first, chunk.until
        if not self.is_all:
            return chunk.first, chunk.first
        ends, begins = chunk.until == self.span.until, chunk.first == self.span.first
        return dt.date.min if begins else chunk.first, dt.date.max if ends else chunk.until


def plan_tasks(
    catalog: SourceCatalog, read_until: Mapping[str, dt.date | None], data: DataConfig, scope: Scope
) -> list[ReadTask]:
    """`read_until`: for each site's key, the day before which it has been read; None: not at all.

    Sites that continue on the same day are read together, apart from those that were never read. Of daily totals that
    were read, hashes tell what to read again.
    """
    events = catalog.source.quiet_is_zero
    groups: dict[tuple[str, dt.date | None], list[tuple[str, dt.date, dt.date]]] = {}
    recent = find_first_recent_day(catalog, data, scope)
    for site in catalog.sites:
        if site.first is None or site.last is None:
            continue
        zone = timezone_of(site, data)
        known = None if scope.whole else read_until[site.key]
        if known and not events:
            continue
        first, until = _days_to_read((site.first, site.last), zone, known, data, scope, events=events, recent=recent)
        if first < until:
            groups.setdefault((zone, known), []).append((site.key, first, until))
    tasks = []
    for (zone, known), sites in groups.items():
        first, until = min(first for _, first, _ in sites), max(until for *_, until in sites)
        span = Span([key for key, *_ in sites], first, until, zone)
        is_all = not events and scope.whole
        tasks.append(ReadTask(span, from_start=known is None, read_until=known or first, is_all=is_all))
    return tasks


def _days_to_read(
    moments: tuple[dt.datetime, dt.datetime],
    zone: str,
    known: dt.date | None,
    data: DataConfig,
    scope: Scope,
    *,
    events: bool,
    recent: dt.date | None,
) -> tuple[dt.date, dt.date]:
    """The first day, and the day to stop before: today at the latest, since it is not complete."""
    first, last = (local_day(moment, zone) for moment in moments)
    today = local_day(scope.now, zone)
    if events:
        return max(first, known - dt.timedelta(days=data.reread_days)) if known else first, today
    return max(first, recent or first), min(today, last + dt.timedelta(days=1))


def find_first_recent_day(catalog: SourceCatalog, data: DataConfig, scope: Scope) -> dt.date | None:
    """The first day of the block of days with which recent daily totals begin; None for all days.

    They are counted from the last day of any site that is not in the future; other sites may have ended long ago.
    """
    if scope.recent_days is None or catalog.source.quiet_is_zero:
        return None
    days = [
        min(local_day(site.last, zone), local_day(scope.now, zone))
        for site in catalog.sites
        for zone in (timezone_of(site, data),)
        if site.last
    ]
    return find_block(max(days) - dt.timedelta(days=scope.recent_days - 1)) if days else None
