"""What a source says of itself, and `forecasting.sites`, `metrics` and `events`, which keep it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from forecasting.config import DataConfig
from forecasting.warehouse.connect import OwnConnection
from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.sources import open_source
from forecasting.warehouse.sources.source import Definition, KnownEvent, Site, Source


@dataclass(frozen=True)
class Listing:
    source: Source
    sites: Sequence[Site]
    metrics: Sequence[Definition]
    events: Sequence[KnownEvent]
    notes: tuple[str, ...]


async def list_source(reading: OwnConnection, data: DataConfig) -> Listing:
    """Raises MissingTable, SettingError, and whatever else the source has to say."""
    async with reading.transaction(isolation="repeatable_read", readonly=True):
        source = await open_source(data, reading)
        metrics = await source.list_metrics(reading)
        sites = await source.list_sites(reading)
        events = await source.list_events(reading, timezone=data.timezone)
        return Listing(source, sites, metrics, events, tuple(await source.find_oddities(reading)))


async def write_listing(own: Connection, listing: Listing, data: DataConfig) -> list[str]:
    """In a transaction. A site that is gone, or another one by now, is forgotten with its days: a sentence each."""
    name = listing.source.name
    sites = [_describe_site(site, data) for site in listing.sites]
    forgotten = _find_others(await fetch(own, "read_sites"), sites, source=name)
    await fetch(own, "forget_sites", forgotten)
    if sites:  # of an empty table nobody knows which metrics it would have
        added = await fetch(own, "write_metrics", name, _as_json([_describe_metric(one) for one in listing.metrics]))
        await fetch(own, "write_sites", name, _as_json(sites), bool(added))  # of a new metric nothing was read yet
    await fetch(own, "write_events", name, _as_json([vars(event) for event in listing.events]))
    return [f"the site {site} is not what it was before: its days are read anew" for site in forgotten]


def timezone_of(site: Site, data: DataConfig) -> str:
    return data.timezone_of(site.name) or site.timezone or data.timezone


def local_day(moment: dt.datetime, timezone: str) -> dt.date:
    return moment.astimezone(ZoneInfo(timezone)).date()


def _describe_site(site: Site, data: DataConfig) -> dict[str, Any]:  # Any: what json takes
    zone = timezone_of(site, data)
    return {
        "site": site.name,
        "key": site.key,
        "timezone": zone,
        "began": local_day(site.began, zone) if site.began else None,
        "first_day": local_day(site.first, zone) if site.first else None,
    }


def _describe_metric(one: Definition) -> dict[str, Any]:  # Any: what json takes
    return {"metric": one.metric, "kind": one.kind.value, "additive": one.additive, "unit": one.unit}


def _find_others(stored: Sequence[Any], sites: Sequence[dict[str, Any]], *, source: str) -> list[str]:  # Any: rows
    """Stored sites that are gone from the source, were reset, or whose name, time zone or source is another by now.

    A source without any site says nothing: it may be that a right is missing.
    """
    same = {tuple(site[what] for what in ("site", "key", "timezone", "began")) for site in sites}
    names = {site["site"] for site in sites}
    return [
        row["site"]
        for row in stored
        if sites
        and (row["site"], row["key"], row["timezone"], row["began"]) not in same
        and (row["source"] == source or row["site"] in names)
    ]


def _as_json(objects: Sequence[Any]) -> str:  # Any: what json takes
    return orjson.dumps(objects).decode()
