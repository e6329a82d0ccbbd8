"""Known days in `forecasting.events`: the user's own events, those of data.events, and the notes of the source."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from forecasting.domain import to_date, to_day
from forecasting.known_days.events import Event, Events
from forecasting.warehouse.catalog import SourceCatalog
from forecasting.warehouse.csv.event_file import FileEvent, read_events
from forecasting.warehouse.queries import Connection, fetch

USER, FILE = "user", "file"  # sources of events beside the analytics tools


async def read_known_events(connection: Connection, source: str) -> Events:
    """Sites have their present names. Days on which a metric's definition changed, or notes on one metric, are none."""
    return Events(tuple(_make_event(row) for row in await fetch(connection, "read_events", source) if _is_event(row)))


async def foresee_events(own: Connection | None, catalog: SourceCatalog, file: Path | None) -> Events:
    """As the next update will leave them. None: there is no schema yet. Raises DataError for a file with an error."""
    rows = await fetch(own, "read_events", catalog.source.name) if own else []
    kept = (USER,) if file else (USER, FILE)
    stored = [_make_event(row) for row in rows if row["source"] in kept and _is_event(row)]
    names = {site.key: site.name for site in catalog.sites}
    of_source = [
        Event(event.note, to_day(event.day), to_day(event.day), names[event.key] if event.key else None)
        for event in catalog.events
        if not event.is_break and event.metric is None and event.note and event.key in (None, *names)
    ]
    return Events((*stored, *of_source, *read_events(file).events))


async def write_file_events(own: Connection, rows: Sequence[FileEvent]) -> None:
    """In place of those of an earlier file. Must run in a transaction."""
    content = [
        {
            "site": row.event.site,
            "first_day": to_date(row.event.first_day),
            "last_day": to_date(row.event.last_day),
            "name": row.event.name,
            "size": row.event.size,
            "note": row.note,
        }
        for row in rows
    ]
    await fetch(own, "write_file_events", orjson.dumps(content).decode())


def _is_event(row: Any) -> bool:  # Any: PostgreSQL's row
    return not row["is_break"] and row["metric"] is None and bool(row["name"])


def _make_event(row: Any) -> Event:  # Any: PostgreSQL's row
    return Event(row["name"], to_day(row["first_day"]), to_day(row["last_day"]), row["site"], row["size"])
