"""What scripts/sources.py says: what sources define, what one of them has and lacks, and what its days are worth."""

import datetime as dt
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Int
from rich.table import Table

from forecasting.domain import MASKABLE, MIN_DAYS, SourceName, Verdict, to_date
from forecasting.panel import Panel
from forecasting.runtime import render
from forecasting.settings.schema import Config
from forecasting.warehouse.catalog import Listing, list_source, local_day, timezone_of
from forecasting.warehouse.connection import connected, translate_errors
from forecasting.warehouse.daily import find_origin
from forecasting.warehouse.ingest import Updated, update_shown
from forecasting.warehouse.panel_loader import read_panel
from forecasting.warehouse.queries import fetch
from forecasting.warehouse.sources import siteanalytics
from forecasting.warehouse.sources.source import Definition

ANY = "any other"
SILENT_DAYS = 2  # without an event, after which it is told
AS_USUAL = (Verdict.before, Verdict.observed)
MAX_TROUBLES = 20  # that are told, of many


def describe_sources() -> str:
    """Every source's metrics by its own definitions."""
    table = _table("source", "metric", "kind", "adds up", "definition")
    for source in SourceName:
        for number, one in enumerate(_define(source)):
            told = ("", "") if one.metric == ANY else (one.kind.value, "yes" if one.additive else "no")
            table.add_row("" if number else source.value, one.metric, *told, one.text)
    return render(table)


def _define(source: SourceName) -> Sequence[Definition]:
    if source is SourceName.siteanalytics:
        of_days = Definition(ANY, "numeric columns of daily_metrics, where it has a row; else of page_visits:")
        return [of_days, *siteanalytics.EVENT_DEFINITIONS]
    if source is SourceName.query:
        return [Definition(ANY, "what the SELECT in data.query returns as site, metric, day, value")]
    if source is SourceName.csv:
        return [Definition(ANY, "what the file data.csv has: GA4, Plausible, Matomo, long or wide (README.md)")]
    definitions: Sequence[Definition] = import_module(
        f"forecasting.warehouse.sources.{source.value}"
    ).SOURCE.definitions
    return definitions


async def check_source(config: Config, *, now: dt.datetime | None = None) -> str:
    """Connects, and says what there is, what is wrong with it, and which rights the user has. Nothing is written."""
    now = now or dt.datetime.now(dt.UTC)
    async with connected(config.read_from, timeout_seconds=config.data.statement_timeout_seconds) as reading:
        with translate_errors(f"asking {config.data.source} what it has"):
            listing = await list_source(reading, config.data)
            (rights,) = await fetch(reading, "find_rights", list(listing.source.tables))
    async with connected(config.kept_in) as own:
        with translate_errors("looking for the schema forecasting"):
            (kept,) = await fetch(own, "find_forecasting")
    metrics = ", ".join(one.metric for one in listing.metrics)
    lines = [
        *([f"csv: {config.data.csv}"] if config.data.source is SourceName.csv else _describe_rights(rights, listing)),
        _describe_own(kept),
        f"metrics: {metrics or 'none'}",
        "",
        _describe_sites(listing, config),
        "",
    ]
    troubles = [*listing.notes, *_find_troubles(listing, config, now)]
    told = troubles[:MAX_TROUBLES] or ["none found"]
    told += [f"{len(troubles) - MAX_TROUBLES} more like these"] if len(troubles) > MAX_TROUBLES else []
    return "\n".join([*lines, *(f"trouble: {one}" for one in told)])


def _describe_rights(rights: Any, listing: Listing) -> Iterator[str]:  # Any: PostgreSQL's row
    what = " (a replica)" if rights["is_replica"] else ""
    yield f"{listing.source.name} in the database {rights['database']}, PostgreSQL {rights['version']}{what}"
    may = f"may read {', '.join(rights['readable'])}" if rights["readable"] else "may read what the query reads"
    also = f", and write to {', '.join(rights['writable'])}, which is not needed" if rights["writable"] else ""
    yield f"rights: {rights['reader']}{' (a superuser)' if rights['is_superuser'] else ''} {may}{also}"


def _describe_own(kept: Any) -> str:  # Any: PostgreSQL's row
    """Where the days are kept, or will be."""
    where = f"our own schema: forecasting in the database {kept['database']}"
    if kept["has_tables"] and kept["writable"]:
        return f"{where}, which {kept['reader']} may write to"
    if kept["may_create"] and not kept["has_tables"]:
        return f"{where}, which {kept['reader']} may make"
    elsewhere = "so it is kept in the embedded PostgreSQL, or where CACHE_URL says"
    return f"{where} may not be made or written to by {kept['reader']}, {elsewhere}"


def _describe_sites(listing: Listing, config: Config) -> str:
    table = _table("site", "first day", "last day", "days", "time zone")
    for site in listing.sites:
        zone = timezone_of(site, config.data)
        if site.first is None or site.last is None:
            table.add_row(site.name, "no day", "", "0", zone)
            continue
        first, last = local_day(site.first, zone), local_day(site.last, zone)
        table.add_row(site.name, str(first), str(last), f"{(last - first).days + 1:,}", zone)
    return render(table)


def _find_troubles(listing: Listing, config: Config, now: dt.datetime) -> Iterator[str]:
    if not listing.sites:
        yield f"{listing.source.name} has no site yet. Check that the database and data.source are the right ones"
    for name in config.data.sites_with_timezone:
        if listing.sites and name not in {site.name for site in listing.sites}:
            yield f"data.timezones names the site {name!r}, which is not there"
    for site in listing.sites:
        zone = timezone_of(site, config.data)
        if site.first is None or site.last is None:
            yield f"{site.name} has no day yet"
            continue
        num_days = (local_day(site.last, zone) - local_day(site.first, zone)).days + 1
        if num_days < MIN_DAYS:
            yield f"{site.name} has {'1 day' if num_days == 1 else f'{num_days} days'}; at least {MIN_DAYS} are needed"
        if site.last > now + dt.timedelta(days=1):
            yield f"{site.name} has days in the future, the last on {site.last:%Y-%m-%d}: see to the writer's clock"
        silent = (now - site.last).days
        if silent >= SILENT_DAYS:
            yield f"{site.name} has nothing from the last {silent:,} days: forecasts start after its last day"


def describe_update(updated: Updated, config: Config) -> str:
    if updated.num_rows is None:
        return "there is no daily_metrics: forecasting.daily is taken as it is"
    done = f"forecasting.daily is up to date with {config.data.source}: {updated.num_rows:,} rows changed"
    return "\n".join([done, *(f"note: {note}" for note in updated.notes)])


async def list_days(config: Config) -> str:
    """Brings forecasting.daily up to date, and says how many days of each series have which verdict, every day that is
    not as usual, what is known of days, and which series are left out.
    """
    updated = await update_shown(config)
    async with connected(updated.database) as connection:
        panel, as_told = [
            await read_panel(connection, data=config.data, metrics=config.metrics, masked=masked)
            for masked in (MASKABLE, ())
        ]
        origin = await find_origin(connection, config.data)
        with translate_errors("reading forecasting.events"):
            events = await fetch(connection, "read_events", origin.source)
    sites = dict.fromkeys(one.site for one in panel.series)
    odd = [line for site in sites for line in _list_odd_days(site, panel, as_told)]
    lines = [_count_days(panel), "", *(odd or ["no day is other than usual"])]
    known = [f"known: {_describe_event(event)}" for event in events]
    return "\n".join([*lines, *known, *(f"note: {note}" for note in _find_other_notes(as_told))])


def _find_other_notes(panel: Panel) -> list[str]:
    """Those that tell more than the panel's days do: of series that are not in it."""
    of_days = tuple(f"{one.name}{end}" for one in panel.series for end in (":", " ends on "))
    return [note for note in panel.notes if not note.startswith(of_days)]


def _count_days(panel: Panel) -> str:
    counts = np.stack([(panel.verdicts == verdict).sum(1) for verdict in Verdict], 1)
    shown = [verdict for verdict in Verdict if counts[:, verdict].any() and verdict is not Verdict.before]
    table = _table("series", *(verdict.name for verdict in shown))
    for one, row in zip(panel.series, counts, strict=True):
        table.add_row(one.name, *(f"{row[verdict]:,}" for verdict in shown))
    return render(table)


def _list_odd_days(site: str, panel: Panel, as_told: Panel) -> list[str]:
    """A line for days in a row with the same verdict on the same metrics, and the first metric's values on them."""
    rows = [row for row, one in enumerate(panel.series) if one.site == site]
    days: dict[tuple[Verdict, tuple[int, ...]], list[int]] = {}
    for day in np.flatnonzero(~np.isin(panel.verdicts[rows], AS_USUAL).all(0)):
        for verdict in Verdict:
            of = tuple(row for row in rows if panel.verdicts[row, day] == verdict)
            if of and verdict not in AS_USUAL:
                days.setdefault((verdict, of), []).append(int(day))
    spans = [
        (span, verdict, of)
        for (verdict, of), found in days.items()
        for span in np.split(np.array(found), np.flatnonzero(np.diff(found) > 1) + 1)
    ]
    return [
        f"{site}: {_span(panel, span)} {verdict.name}: {_names(panel, of)}{_values(as_told, of[0], span, verdict)}"
        for span, verdict, of in sorted(spans, key=lambda one: (one[0][0], one[1]))
    ]


def _span(panel: Panel, span: Int[np.ndarray, " days"]) -> str:
    first, last = (to_date(panel.first_day + day) for day in (span[0], span[-1]))
    return str(first) if first == last else f"{first}..{last}"


def _names(panel: Panel, rows: Sequence[int]) -> str:
    return ", ".join(panel.series[row].metric for row in rows)


def _values(panel: Panel, row: int, span: Int[np.ndarray, " days"], verdict: Verdict) -> str:
    """In the source's unit; of a day without a value none."""
    if verdict in (Verdict.gap, Verdict.unmeasured):
        return ""
    values = panel.values[row, span] * panel.series[row].unit_scale
    if not np.isfinite(values).all():
        return ""  # it could not be, and is not kept
    told = " to ".join(f"{value:,.6g}" for value in sorted({float(values.min()), float(values.max())}))
    return f" ({panel.series[row].metric} {told})"


def _describe_event(event: Any) -> str:  # Any: PostgreSQL's row
    of = " of ".join(name for name in (event["metric"], event["site"]) if name)
    what = "measured otherwise from then on: " if event["is_break"] else ""
    return f"{event['day']}{f', {of}' if of else ''}: {what}{event['note']}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
