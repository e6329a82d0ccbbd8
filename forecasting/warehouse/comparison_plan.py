"""Whether the days of a large table must be compared: not if PostgreSQL's counts of changed rows say that none has
changed since, or only rows of days that the update reads anyway.

The counts come up to a minute late: a change of that minute is found by the next update. They do not see what a
session with track_counts off has changed, so all days are compared every few days.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import asyncpg

from forecasting.errors import SourceTooSlow
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.catalog import SourceCatalog, local_day, timezone_of
from forecasting.warehouse.connection import OwnConnection, translate_errors
from forecasting.warehouse.ingest_plan import Scope
from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.sources.change_counts import ChangeCounts, CountedTable
from forecasting.warehouse.sources.source import NO_EVENTS, RecentEvents

SMALL_BYTES = 16 * 2**20  # of a table that is compared at every update: that takes less than half a second
COMPARE_DAYS = 7  # after which all days are compared whatever the counts say
COMPARE_UPDATED_DAYS = 1  # the same if rows were updated, in a table where that is usual


@dataclass(frozen=True)
class Comparison:
    """A table when all of its days had been compared. Events since `recent_from` are read again by the next update."""

    counts: ChangeCounts
    recent_from: dt.datetime | None  # None: daily totals
    recent: RecentEvents
    compared_at: dt.datetime


@dataclass(frozen=True)
class ComparisonPlan:
    reason: str | None  # why all days must be compared; None: they need not be
    comparison: Comparison | None = None  # to store once the update has succeeded; None: the counts cannot tell


async def plan_comparison(
    source_connection: OwnConnection, own: OwnConnection, catalog: SourceCatalog, data: DataConfig, scope: Scope
) -> ComparisonPlan:
    table = catalog.counted_table
    if table is None or table.gap or table.size < SMALL_BYTES or not catalog.sites:
        return ComparisonPlan(table.gap if table and table.gap else "the table is small")
    with translate_errors("reading the schema forecasting"):
        (foreign,) = await fetch(own, "find_foreign_changes")
        stored = await _read_comparison(own, catalog, scope)
    if foreign["num_foreign"] is None:
        return ComparisonPlan("changes of forecasting.daily are not counted")
    identity = _identify(catalog, data, scope, num_foreign=foreign["num_foreign"])
    since = _find_recent(catalog, data, scope)
    current = Comparison(replace(table.counts, identity=identity), since, NO_EVENTS, scope.now)
    if since is None:
        return _decide(stored, current, NO_EVENTS, catalog)
    before = since if stored is None or stored.recent_from is None else stored.recent_from
    try:
        recent, again = [await _count_recent(source_connection, catalog, moment) for moment in (since, before)]
    except SourceTooSlow as error:
        return ComparisonPlan(str(error))
    return _decide(stored, replace(current, recent=recent), again, catalog)


async def _count_recent(connection: OwnConnection, catalog: SourceCatalog, since: dt.datetime) -> RecentEvents:
    name = catalog.source.name
    with translate_errors(f"counting the latest events of {name}"):
        try:
            return await catalog.source.count_recent(connection, since)
        except (asyncpg.QueryCanceledError, TimeoutError) as error:
            raise SourceTooSlow(
                f"{name} did not count its latest events within data.statement_timeout_seconds."
            ) from error


def _decide(
    stored: Comparison | None, current: Comparison, again: RecentEvents, catalog: SourceCatalog
) -> ComparisonPlan:
    reason = find_reason(stored, current, again, updates_rows=catalog.source.updates_rows)
    if reason is None and stored is not None:
        current = replace(current, compared_at=stored.compared_at)
    return ComparisonPlan(reason, current)


def find_reason(
    stored: Comparison | None, current: Comparison, again: RecentEvents, *, updates_rows: bool
) -> str | None:
    """Why all days must be compared. `again`: the events since the moment from which `stored` counts them."""
    if stored is None:
        return "they have not been compared before"
    before, now, age = stored.counts, current.counts, current.compared_at - stored.compared_at
    if before.identity != now.identity:
        return "PostgreSQL's counts began anew, or the table, the settings or forecasting.daily were changed"
    if age >= dt.timedelta(days=COMPARE_DAYS):
        return f"they were last compared on {stored.compared_at:%Y-%m-%d}"
    return None if before == now else _explain_changes(stored, current, again, updates_rows=updates_rows)


def _explain_changes(stored: Comparison, current: Comparison, again: RecentEvents, *, updates_rows: bool) -> str | None:
    """None if only rows of days that are read again anyway have changed."""
    before, now, age = stored.counts, current.counts, current.compared_at - stored.compared_at
    if now.num_deleted != before.num_deleted:
        return f"{_count(now.num_deleted - before.num_deleted)} deleted"
    num_updated = now.num_updated - before.num_updated
    if num_updated and not (updates_rows and age < dt.timedelta(days=COMPARE_UPDATED_DAYS)):
        return f"{_count(num_updated)} updated"
    num_older = (now.num_inserted - before.num_inserted) - (again.num_rows - stored.recent.num_rows)
    if not -again.num_newest <= num_older <= stored.recent.num_newest:
        return _describe_older(num_older)
    return None


def _describe_older(num_rows: int) -> str:
    if num_rows < 0:
        return f"PostgreSQL has not counted all of the latest events yet, {-num_rows:,} fewer"
    return f"{_count(num_rows)} inserted, or inserted and rolled back, that are not of the latest days"


def _count(num_rows: int) -> str:
    return "1 row was" if num_rows == 1 else f"{num_rows:,} rows were"


def _find_recent(catalog: SourceCatalog, data: DataConfig, scope: Scope) -> dt.datetime | None:
    """From when on the next update reads events of any site again; None: daily totals."""
    if not catalog.source.quiet_is_zero:
        return None
    zones = {timezone_of(site, data) for site in catalog.sites}
    days = {zone: local_day(scope.now, zone) - dt.timedelta(days=data.reread_days) for zone in zones}
    return max(dt.datetime.combine(day, dt.time(), ZoneInfo(zone)) for zone, day in days.items())


def _identify(catalog: SourceCatalog, data: DataConfig, scope: Scope, *, num_foreign: int) -> str:
    """What must be as it was for the counts to tell anything. Daily totals of today are left out until it is over."""
    table = catalog.counted_table
    parts: list[object] = [table.counts.identity if table else "", num_foreign]
    parts += [data.timezone, data.timezones, data.writer_timezone, data.reread_days]
    parts += [(metric.metric, metric.revision) for metric in catalog.metrics]
    if not catalog.source.quiet_is_zero:
        last_days = [(site.last, timezone_of(site, data)) for site in catalog.sites if site.last]
        todays = {zone: local_day(scope.now, zone) for _, zone in last_days}
        parts += sorted({str(todays[zone]) for last, zone in last_days if local_day(last, zone) >= todays[zone]})
    return repr(parts)


def describe_comparing(table: CountedTable | None) -> Iterator[str]:
    """When updates compare older days, if that is not simply always."""
    if table and table.gap:
        yield f"older days: compared at every update, since {table.gap}"
    elif table and table.size >= SMALL_BYTES:
        yield (
            f"older days: compared when PostgreSQL has counted changes of {table.name} that are not new days, and "
            f"every {COMPARE_DAYS} days"
        )


async def _read_comparison(own: Connection, catalog: SourceCatalog, scope: Scope) -> Comparison | None:
    rows = await fetch(own, "read_comparison", catalog.source.name, scope.name)
    for identity, inserted, updated, deleted, recent_from, num_recent, num_newest, compared_at in rows:
        counts = ChangeCounts(identity, inserted, updated, deleted)
        return Comparison(counts, recent_from, RecentEvents(num_recent, num_newest), compared_at)
    return None


async def write_comparison(own: OwnConnection, source: str, scope: Scope, comparison: Comparison) -> None:
    counts, recent = comparison.counts, comparison.recent
    values = (counts.identity, counts.num_inserted, counts.num_updated, counts.num_deleted)
    values_of_events = (comparison.recent_from, recent.num_rows, recent.num_newest, comparison.compared_at)
    with translate_errors("updating the schema forecasting"):
        await fetch(own, "write_comparison", source, scope.name, *values, *values_of_events)
