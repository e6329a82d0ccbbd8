"""The user's own events from a CSV file: a row for each occurrence."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forecasting.domain import to_day
from forecasting.errors import DataError
from forecasting.known_days.events import MAX_SIZE, MIN_SIZE, Event, Events
from forecasting.warehouse.csv.tables import Table, read_tables

REQUIRED = ("first_day", "name")
OPTIONAL = ("site", "last_day", "size", "note")
HEADER = "site,first_day,last_day,name,size,note"


@dataclass(frozen=True)
class FileEvent:
    event: Event
    note: str


def read_event_file(file: Path) -> list[FileEvent]:
    """Raises DataError, naming the line, for a row that is no event."""
    table = read_tables(file, titles=frozenset(REQUIRED))[0]
    titles = [title.strip().lower() for title in table.header]
    _check_columns(file, titles)
    columns = {title: place for place, title in enumerate(titles)}
    events = []
    for line, row in table.rows:
        try:
            events.append(_read_row(table, row, columns))
        except ValueError as error:
            raise DataError(f"{file}, line {line}: {error}") from error
    return events


def read_events(file: Path | None) -> Events:
    """None: there are none."""
    return Events(tuple(row.event for row in read_event_file(file)) if file else ())


def _check_columns(file: Path, titles: Sequence[str]) -> None:
    missing = [title for title in REQUIRED if title not in titles]
    if missing:
        raise DataError(f"{file} has no column {missing[0]}. Its first line must be {HEADER}, or a part of it.")
    twice = [title for title in titles if titles.count(title) > 1]
    if twice:
        raise DataError(f"{file} has two columns {twice[0]}. Keep one.")
    unknown = [title for title in titles if title not in (*REQUIRED, *OPTIONAL)]
    if unknown:
        raise DataError(f"{file} has a column {unknown[0]!r}, which no event has. Its first line may be {HEADER}.")


def _read_row(table: Table, row: list[str], columns: Mapping[str, int]) -> FileEvent:
    """Raises ValueError with a sentence about what is wrong."""
    cells = {title: table.fit(row)[place].strip() for title, place in columns.items()}
    if not cells["name"]:
        raise ValueError("the event has no name. Give it one: events of the same name are of the same kind.")
    first = _read_day("first_day", cells["first_day"])
    last = _read_day("last_day", cells["last_day"]) if cells.get("last_day") else first
    if last < first:
        raise ValueError(f"last_day is {last}, before first_day, {first}. Swap them.")
    size = _read_size(cells["size"]) if cells.get("size") else None
    event = Event(cells["name"], to_day(first), to_day(last), cells.get("site") or None, size)
    return FileEvent(event, cells.get("note", ""))


def _read_day(title: str, text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{title} is {text!r}, which is no day. Write it as 2026-11-27.") from None


def _read_size(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = float("nan")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(
            f"size is {text!r}; it must be a number from {MIN_SIZE:g} to {MAX_SIZE:g}, such as 1.5 for half as many "
            "again. Leave it empty if it is not known."
        )
    return size
