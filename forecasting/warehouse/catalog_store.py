"""A source's catalog in `forecasting.sites`, `metrics` and `events`, and what happens to the days of changed sites."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import orjson

from forecasting.errors import WouldLoseDays
from forecasting.invocation import show_command
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.catalog import SourceCatalog, local_day, timezone_of
from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.sources.source import MetricDefinition, Site

Row = Any  # PostgreSQL's: a row of forecasting.sites
SiteRecord = dict[str, Any]  # Any: a site as JSON takes it
IDENTITY = ("site", "key", "timezone", "began")  # a site that differs in one of these is another site


async def write_catalog(own: Connection, catalog: SourceCatalog, data: DataConfig, *, whole: bool) -> list[str]:
    """Stores the catalog; must run in a transaction. The stored days of a site that is gone, was reset or has another
    identity now are deleted. Returns a sentence about each.

    Raises WouldLoseDays if that would delete days that the source no longer has, or days of another source; not when
    the `whole` source is read.
    """
    source, sites = catalog.source.name, [_record_site(site, data) for site in catalog.sites]
    stored = await fetch(own, "read_sites")
    if await _rename_sites(own, stored, sites, source=source):
        stored = await fetch(own, "read_sites")
    changed = _find_changed(stored, sites, source=source)
    notes = {row["site"]: _describe_change(row, sites, source=source) for row in changed}
    if not whole:
        await _refuse_loss(own, changed, sites, source=source)
    await fetch(own, "delete_sites", list(notes))
    if sites:  # an empty table does not tell which metrics it would have
        metrics = _to_json([_record_metric(metric) for metric in catalog.metrics])
        new_metrics = await fetch(own, "write_metrics", source, metrics)
        await fetch(own, "write_sites", source, _to_json(sites), bool(new_metrics))  # a new metric has not been read
    await fetch(own, "write_events", source, _to_json([vars(event) for event in catalog.events]))
    return list(notes.values())


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
    return {"metric": metric.metric, "kind": metric.kind.value, "additive": metric.additive, "unit": metric.unit}


async def _rename_sites(own: Connection, stored: Sequence[Row], sites: Sequence[SiteRecord], *, source: str) -> bool:
    """Renames stored sites whose key has a new name, unless another stored site has that name; whether it did any."""
    names, taken = {site["key"]: site["site"] for site in sites}, {row["site"] for row in stored}
    renamed = {
        row["site"]: names[row["key"]]
        for row in stored
        if row["source"] == source and names.get(row["key"], row["site"]) not in taken
    }
    if renamed:
        await fetch(own, "rename_sites", list(renamed), list(renamed.values()))
    return bool(renamed)


def _find_changed(stored: Sequence[Row], sites: Sequence[SiteRecord], *, source: str) -> list[Row]:
    """Stored sites that are gone from the source, were reset, or have another name, time zone or source now.

    None if the source has no site at all: it may only be that a right is missing.
    """
    identities = {_identity(site) for site in sites}
    names = {site["site"] for site in sites}
    return [
        row
        for row in stored
        if sites
        and (
            (row["source"] == source and _identity(row) not in identities)
            or (row["source"] != source and row["site"] in names)
        )
    ]


def _describe_change(row: Row, sites: Sequence[SiteRecord], *, source: str) -> str:
    site = row["site"]
    current = next((record for record in sites if record["key"] == row["key"]), None)
    if row["source"] != source:
        return f"the days of {site} copied from {row['source']} are deleted: {source} has a site with the same name"
    if current is None:
        return f"the site {site} is no longer in {source}: its days are deleted"
    if current["began"] != row["began"]:
        return f"the site {site} was reset in {source}: its days are read again"
    if current["timezone"] != row["timezone"]:
        return (
            f"the time zone of {site} was {row['timezone']} and is {current['timezone']} now: its days are read again"
        )
    return f"the site {site} was renamed in {source}: its days are read again"


async def _refuse_loss(own: Connection, changed: Sequence[Row], sites: Sequence[SiteRecord], *, source: str) -> None:
    records = {site["key"]: site for site in sites}
    oldest = {row["site"]: row["day"] for row in await fetch(own, "find_oldest_days", [row["site"] for row in changed])}
    for row in changed:
        since = oldest.get(row["site"])
        if since is None:
            continue
        if row["source"] != source:
            raise WouldLoseDays(
                f"{source} has a site {row['site']}, but forecasting.daily already has days of a site with that name "
                f"from {row['source']}, since {since}. They would be deleted. Rename one of the two sites, keep the "
                "sources apart with CACHE_URL, or, if those days may be deleted, run: "
                f"{show_command('sources', '--update', '--whole', '--source', source)}"
            )
        _refuse_lost_timezone(row, records.get(row["key"], row), since, source=source)


def _refuse_lost_timezone(row: Row, current: Row, since: dt.date, *, source: str) -> None:
    """Raises if days of the old time zone are older than those that the source still has."""
    held_since = current["first_day"] or dt.date.max
    if current["timezone"] == row["timezone"] or since >= held_since - dt.timedelta(days=1):  # the zone may shift a day
        return
    raise WouldLoseDays(
        f"forecasting.daily has days of {row['site']} in the time zone {row['timezone']} since {since}, but {source} "
        f"only has data since {held_since}: in the time zone {current['timezone']} the older days would be lost. "
        f"Set data.timezone={row['timezone']}, or, if they may be lost, run: "
        f"{show_command('sources', '--update', '--whole')}"
    )


def _identity(site: Row) -> tuple[Any, ...]:  # Any: PostgreSQL's types
    return tuple(site[column] for column in IDENTITY)


def _to_json(objects: Sequence[Any]) -> str:  # Any: what JSON takes
    return orjson.dumps(objects).decode()
