"""What a source says of itself, and `forecasting.sites`, `metrics` and `events`, which keep it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from forecasting.errors import WouldForget
from forecasting.invocation import show_command
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.connection import OwnConnection
from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.sources import open_source
from forecasting.warehouse.sources.source import Definition, KnownEvent, Site, Source

Row = Any  # PostgreSQL's: a row of forecasting.sites
Described = dict[str, Any]  # Any: a site as json takes it
IDENTITY = ("site", "key", "timezone", "began")


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


async def write_listing(own: Connection, listing: Listing, data: DataConfig, *, whole: bool) -> list[str]:
    """In a transaction. A site that is gone, was reset or is another by now is forgotten with its days: a sentence
    each.

    Raises WouldForget where that would lose days that the source does not have any more, or that are another source's,
    unless the `whole` source is to be read anyway.
    """
    name, sites = listing.source.name, [_describe_site(site, data) for site in listing.sites]
    stored = await fetch(own, "read_sites")
    if await _rename(own, stored, sites, source=name):
        stored = await fetch(own, "read_sites")
    others = _find_others(stored, sites, source=name)
    forgotten = {row["site"]: _tell_other(row, sites, source=name) for row in others}
    if not whole:
        await _refuse_loss(own, others, sites, source=name)
    await fetch(own, "forget_sites", list(forgotten))
    if sites:  # of an empty table nobody knows which metrics it would have
        added = await fetch(own, "write_metrics", name, _as_json([_describe_metric(one) for one in listing.metrics]))
        await fetch(own, "write_sites", name, _as_json(sites), bool(added))  # of a new metric nothing was read yet
    await fetch(own, "write_events", name, _as_json([vars(event) for event in listing.events]))
    return list(forgotten.values())


def timezone_of(site: Site, data: DataConfig) -> str:
    return data.timezone_of(site.name, otherwise=site.timezone)


def local_day(moment: dt.datetime, timezone: str) -> dt.date:
    return moment.astimezone(ZoneInfo(timezone)).date()


def _describe_site(site: Site, data: DataConfig) -> Described:
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


async def _rename(own: Connection, stored: Sequence[Row], sites: Sequence[Described], *, source: str) -> bool:
    """Sites whose name alone is another by now, and one that nobody had; whether there were any."""
    names, taken = {site["key"]: site["site"] for site in sites}, {row["site"] for row in stored}
    renamed = {
        row["site"]: names[row["key"]]
        for row in stored
        if row["source"] == source and names.get(row["key"], row["site"]) not in taken
    }
    if renamed:
        await fetch(own, "rename_sites", list(renamed), list(renamed.values()))
    return bool(renamed)


def _find_others(stored: Sequence[Row], sites: Sequence[Described], *, source: str) -> list[Row]:
    """Stored sites that are gone from the source, were reset, or whose name, time zone or source is another by now.

    A source without any site says nothing: it may be that a right is missing.
    """
    same = {tuple(site[what] for what in IDENTITY) for site in sites}
    names = {site["site"] for site in sites}
    return [
        row
        for row in stored
        if sites
        and (
            (row["source"] == source and _identity(row) not in same)
            or (row["source"] != source and row["site"] in names)
        )
    ]


def _tell_other(row: Row, sites: Sequence[Described], *, source: str) -> str:
    site = row["site"]
    now = next((one for one in sites if one["key"] == row["key"]), None)
    if row["source"] != source:
        return f"the days of {site} that were kept of {row['source']} are forgotten: {source} has a site of that name"
    if now is None:
        return f"the site {site} is no longer in {source}: its days are forgotten"
    if now["began"] != row["began"]:
        return f"the site {site} was reset in {source}: its days are read anew"
    if now["timezone"] != row["timezone"]:
        return (
            f"the days of {site} were days of {row['timezone']}, and are of {now['timezone']} now: they are read anew"
        )
    return f"the site {site} has another name in {source} by now: its days are read anew"


async def _refuse_loss(own: Connection, others: Sequence[Row], sites: Sequence[Described], *, source: str) -> None:
    listed = {site["key"]: site for site in sites}
    oldest = {row["site"]: row["day"] for row in await fetch(own, "find_oldest_days", [row["site"] for row in others])}
    for row in others:
        since = oldest.get(row["site"])
        if since is None:
            continue
        if row["source"] != source:
            raise WouldForget(
                f"Days of a site {row['site']} are kept of {row['source']}, since {since}, and {source} has a site of "
                "that name: they would be forgotten. Name one of the two otherwise, keep them apart with CACHE_URL, "
                f"or, if they may go: {show_command('sources', '--update', '--whole', '--source', source)}"
            )
        now: Row = listed.get(row["key"], row)
        held = now["first_day"] or dt.date.max
        if now["timezone"] != row["timezone"] and since < held - dt.timedelta(
            days=1
        ):  # another zone, another first day
            raise WouldForget(
                f"The days of {row['site']} are kept as days of {row['timezone']}, since {since}; {source} has them "
                f"since {held} alone, so that as days of {now['timezone']} the older ones would be lost. Say "
                f"data.timezone={row['timezone']}, or, if they may go: {show_command('sources', '--update', '--whole')}"
            )


def _identity(row: Row) -> tuple[Any, ...]:  # Any: PostgreSQL's types
    return tuple(row[what] for what in IDENTITY)


def _as_json(objects: Sequence[Any]) -> str:  # Any: what json takes
    return orjson.dumps(objects).decode()
