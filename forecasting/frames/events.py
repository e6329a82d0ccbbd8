"""Events that people know beforehand, from a data frame."""

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from forecasting.errors import DataError, name_some
from forecasting.frames.reading import FrameSeries, RowReader
from forecasting.known_days.events import MAX_SIZE, MIN_SIZE, NO_EVENTS, Event, Events

NAMES = ("event", "holiday")  # what the column of names may be called; the second is Prophet's
UNTIL, SIZE = "until", "size"


def read_events(events: Any, frame: FrameSeries) -> Events:  # Any: pandas, Polars, Arrow, or None
    """Rows of a first day and a name; also of an id, a last day (`until`) and a `size`. Without an id, or with an empty
    one, an event is of all series. Raises DataError.
    """
    if events is None:
        return NO_EVENTS
    try:
        return _read(nw.from_native(events, eager_only=True), frame)
    except TypeError as error:
        raise DataError(f"events is a {type(events).__name__}; give a data frame with ds and event.") from error
    except DataError as error:
        raise DataError(f"events: {error}") from error


def own_events(frame: FrameSeries, events: Events) -> list[tuple[Event, ...]]:
    """Of each series; empty if there are none of any."""
    return [tuple(events.of(name or "")) for name in frame.names] if len(events) else []


def _read(table: "nw.DataFrame[Any]", frame: FrameSeries) -> Events:
    columns = frame.columns
    name = next((name for name in NAMES if name in table.columns), NAMES[0])
    for needed in (columns.time, name):
        if needed not in table.columns:
            raise DataError(f"There is no column {needed!r}; the frame has: {', '.join(table.columns)}.")
    reader = RowReader(columns, np.zeros(len(table), np.int64), [None])
    first = reader.read_days(table[columns.time]).tolist() if len(table) else []
    last = reader.read_days(table[UNTIL]).tolist() if UNTIL in table.columns and first else first
    sites = _read_sites(table, frame)
    sizes = table[SIZE].to_list() if SIZE in table.columns else [None] * len(first)
    names = [str(each) for each in table[name].to_list()]
    rows = zip(names, first, last, sites, sizes, strict=True)
    return Events(tuple(_describe(place, *row, site=site, size=size) for place, (*row, site, size) in enumerate(rows)))


def _read_sites(table: "nw.DataFrame[Any]", frame: FrameSeries) -> Sequence[str | None]:
    if frame.columns.id not in table.columns:
        return [None] * len(table)
    values = table[frame.columns.id].to_list()
    sites = [None if pd.isna(value) else str(value) for value in values]
    if unknown := {site for site in sites if site is not None} - set(frame.names):
        raise DataError(f"the frame does not have the series {name_some(unknown, at_most=5)}.")
    return sites


def _describe(
    row: int, name: str, first: int, last: int, *, site: str | None, size: Any
) -> Event:  # Any: a number, or none

    if last < first:
        raise DataError(f"Row {row} (counted from 0): {UNTIL} is before its first day.")
    if pd.isna(size):
        return Event(name, first, last, site)
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise DataError(
            f"Row {row} (counted from 0): {SIZE} is {size:g}; it is how many times the usual count is expected, "
            f"{MIN_SIZE:g} to {MAX_SIZE:g}."
        )
    return Event(name, first, last, site, float(size))
