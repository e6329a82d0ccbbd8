"""A source's catalog in `forecasting.sites`, `metrics` and `events`, and what happens to the days of changed sites."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from forecasting.errors import WouldLoseDays
from forecasting.invocation import show_command
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.catalog import SourceCatalog, local_day, timezone_of
from forecasting.warehouse.origin import read_stored_sites
from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.sites import StoredSite, name_sites
from forecasting.warehouse.sources.source import MetricDefinition, Site

SiteRecord = dict[str, Any]  # Any: a site as JSON takes it
INTERIM = "\x1f"  # begins names that sites have while others take theirs


@dataclass(frozen=True)
class WrittenCatalog:
    catalog: SourceCatalog  # its sites have their names in our tables
    stored: Sequence[StoredSite]  # of the source, as they are now
    notes: Sequence[str]  # a sentence about each site that changed


async def write_catalog(own: Connection, catalog: SourceCatalog, data: DataConfig, *, whole: bool) -> WrittenCatalog:
    """Stores the catalog; must run in a transaction. Renamed sites and those that are gone keep their days. The stored
    days of a site that was reset or has another time zone now are deleted. When the `whole` source is read, so are
    those of sites and metrics that are gone.

    Raises WouldLoseDays if that would delete days that the source no longer has, or days of another source; not when
    the `whole` source is read.
    """
    source = catalog.source.name
    catalog, notes = await _name_sites(own, catalog)
    stored, sites = await read_stored_sites(own), [_record_site(site, data) for site in catalog.sites]
    changed, keys = _find_changed(stored, sites, source=source), {site["key"] for site in sites}
    gone = [row for row in changed if row.source == source and row.key not in keys]
    forgotten = [row.name for row in stored if row.source == source and sites and row.key not in keys] if whole else []
    if not whole:
        await _refuse_loss(own, changed, sites, source=source)
    reread = [row.name for row in changed if row.source == source and row.key in keys]
    await fetch(own, "delete_days", [*reread, *forgotten])
    await fetch(own, "delete_sites", [row.name for row in changed if row.source != source])
    await fetch(own, "retire_sites", [row.name for row in gone])
    await fetch(own, "keep_blocks", source, [row.key for row in gone], [None] * len(gone))  # all blocks of theirs
    if sites:  # an empty table does not tell which metrics it would have
        metrics = _to_json([_record_metric(metric) for metric in catalog.metrics])
        changes = await fetch(own, "write_metrics", source, metrics, whole)
        await fetch(own, "write_sites", source, _to_json(sites), bool(changes))  # their days have not been read yet
        notes += [
            f"{source} measures {row['metric']} in another way since it was updated: all days are read again"
            for row in changes
            if not row["is_new"]
        ]
    await fetch(own, "write_events", source, _to_json([vars(event) for event in catalog.events]))
    notes += [_describe_change(row, sites, source=source, whole=whole) for row in changed]
    returned = [row.name for row in stored if row.is_gone and row.source == source and row.key in keys]
    notes += [f"the site {name} is in {source} again: its days are read from the beginning" for name in returned]
    if gone or returned:
        await fetch(own, "count_change")
    written = [row for row in await read_stored_sites(own) if row.source == source]
    return WrittenCatalog(catalog, written, notes)


async def note_arrivals(own: Connection, catalog: SourceCatalog, data: DataConfig, *, now: dt.datetime) -> None:
    """Notes the newest complete day of each site, and how old the one before it had become by then."""
    rows = []
    for site in catalog.sites:
        if site.last is not None:
            zone = timezone_of(site, data)
            today = local_day(now, zone)
            rows.append((site.key, min(local_day(site.last, zone), today - dt.timedelta(days=1)), today))
    if rows:
        await fetch(own, "note_arrivals", catalog.source.name, *(list(column) for column in zip(*rows, strict=True)))


async def _name_sites(own: Connection, catalog: SourceCatalog) -> tuple[SourceCatalog, list[str]]:
    """The catalog with the sites' names in our tables, where sites with another name now have been renamed. A sentence
    about each of them.
    """
    source, stored = catalog.source.name, await read_stored_sites(own)
    used = await fetch(own, "find_used_names", [site.name for site in catalog.sites])
    named = name_sites(catalog.sites, stored, source=source, taken={row["name"] for row in used})
    if named.renamed:
        await _rename_sites(own, named.renamed)
    present = {site.name for site in named.sites}
    notes = [
        f"another site is called {old} now: the forecasts of the one that is gone are kept as {new}"
        if new not in present
        else f"the site {old} is called {new} in {source} now: its days and forecasts are kept under that name"
        for old, new in named.renamed.items()
    ]
    return replace(catalog, sites=named.sites), notes


async def _rename_sites(own: Connection, renamed: Mapping[str, str]) -> None:
    """Where one site takes the name of another, that one gives it up first."""
    interim = {old: INTERIM + old for old in renamed if old in renamed.values()}
    await fetch(own, "rename_sites", list(interim), list(interim.values()))
    current = [interim.get(old, old) for old in renamed]
    await fetch(own, "rename_sites", current, list(renamed.values()))
    await fetch(own, "add_aliases", list(renamed.values()), list(renamed))


def _record_site(site: Site, data: DataConfig) -> SiteRecord:
    zone = timezone_of(site, data)
    return {
        "site": site.name,
        "key": site.key,
        "timezone": zone,
        "began": local_day(site.began, zone) if site.began else None,
        "first_day": local_day(site.first, zone) if site.first else None,
    }


def _record_metric(metric: MetricDefinition) -> dict[str, Any]:  # Any: what JSON takes
    names = ("metric", "additive", "unit", "revision")
    return {"kind": metric.kind.value} | {name: getattr(metric, name) for name in names}


def _find_changed(stored: Sequence[StoredSite], sites: Sequence[SiteRecord], *, source: str) -> list[StoredSite]:
    """Stored sites that are gone from the source, were reset, or have another time zone or source now.

    None if the source has no site at all: it may only be that a right is missing.
    """
    records = {site["key"]: site for site in sites}
    names = {site["site"] for site in sites}
    return [
        row
        for row in stored
        if sites
        and (
            (row.source == source and _has_changed(row, records.get(row.key)))
            or (row.source != source and row.name in names and not row.is_gone)
        )
    ]


def _has_changed(row: StoredSite, record: SiteRecord | None) -> bool:
    if record is None:
        return not row.is_gone
    return (row.timezone, row.began) != (record["timezone"], record["began"])


def _describe_change(row: StoredSite, sites: Sequence[SiteRecord], *, source: str, whole: bool) -> str:
    site = row.name
    current = next((record for record in sites if record["key"] == row.key), None)
    if row.source != source:
        return f"the days of {site} copied from {row.source} are deleted: {source} has a site with the same name"
    if current is None:
        return f"the site {site} is no longer in {source}: its days are {'deleted' if whole else 'kept'}"
    if current["began"] != row.began:
        return f"the site {site} was reset in {source}: its days are read again"
    return f"the time zone of {site} was {row.timezone} and is {current['timezone']} now: its days are read again"


async def _refuse_loss(
    own: Connection, changed: Sequence[StoredSite], sites: Sequence[SiteRecord], *, source: str
) -> None:
    records = {site["key"]: site for site in sites}
    oldest = {row["site"]: row["day"] for row in await fetch(own, "find_oldest_days", [row.name for row in changed])}
    for row in changed:
        since = oldest.get(row.name)
        if since is None:
            continue
        if row.source != source:
            raise WouldLoseDays(
                f"{source} has a site {row.name}, but forecasting.daily already has days of a site with that name "
                f"from {row.source}, since {since}. They would be deleted. Rename one of the two sites, keep the "
                "sources apart with CACHE_URL, or, if those days may be deleted, run: "
                f"{show_command('sources', '--update', '--whole', '--source', source)}"
            )
        if row.key in records:
            _refuse_lost_timezone(row, records[row.key], since, source=source)


def _refuse_lost_timezone(row: StoredSite, current: SiteRecord, since: dt.date, *, source: str) -> None:
    """Raises if days of the old time zone are older than those that the source still has."""
    held_since = current["first_day"] or dt.date.max
    if current["timezone"] == row.timezone or since >= held_since - dt.timedelta(days=1):  # the zone may shift a day
        return
    raise WouldLoseDays(
        f"forecasting.daily has days of {row.name} in the time zone {row.timezone} since {since}, but {source} "
        f"only has data since {held_since}: in the time zone {current['timezone']} the older days would be lost. "
        f"Set data.timezone={row.timezone}, or, if they may be lost, run: "
        f"{show_command('sources', '--update', '--whole')}"
    )


def _to_json(objects: Sequence[Any]) -> str:  # Any: what JSON takes
    return orjson.dumps(objects).decode()
