"""`forecasting.anomalies` and `forecasting.judged`, our own tables: unusual days, and how far days were judged."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.domain import SeriesKey, to_date
from forecasting.errors import UnknownAnomaly
from forecasting.warehouse.connection import translate_errors
from forecasting.warehouse.copy_format import decode_arrays, split_rows
from forecasting.warehouse.queries import Connection, fetch, in_transaction, read_out


@dataclass(frozen=True)
class DaysToCompare:
    """The last days of the series that have days to judge, one series after another, newest first, as they were at
    `read_at`. Days in days since 1970-01-01; values in the source's units, NaN where unknown.
    """

    places: Int[np.ndarray, " series"]  # of each, among the series that were asked for
    first_days: Int[np.ndarray, " series"]  # to judge
    counts: Int[np.ndarray, " series"]
    days: Int[np.ndarray, " rows"]
    values: Float[np.ndarray, " rows"]
    masked: Bool[np.ndarray, " rows"]
    read_at: dt.datetime


@dataclass(frozen=True)
class JudgedDay:
    """`kind` is empty if the day is as expected. Values are in the source's units."""

    site: str
    metric: str
    day: dt.date
    kind: str
    value: float
    expected: float
    lower: float
    upper: float
    score: float
    sensitivity: str  # the lowest at which it is told
    threshold: float  # of the site
    cause: str
    text: str


@dataclass(frozen=True)
class AnomalyQuery:
    """Which unusual days to read."""

    since: dt.date
    until: dt.date
    least_score: float
    sites: Sequence[str] = ()  # empty: all
    metric: str | None = None
    limit: int = 1000


async def read_days_to_compare(
    connection: Connection,
    keys: Sequence[SeriesKey],
    *,
    today: dt.date,
    num_days: int,
    masked: Sequence[str],
    most_judged: int,
) -> DaysToCompare | None:
    """None if every day of these series has been judged."""
    sites, metrics = [site for site, _ in keys], [metric for _, metric in keys]
    async with connection.transaction(readonly=True):
        await fetch(connection, "prefer_index")
        [clock] = await fetch(connection, "read_clock")
        values = (sites, metrics, today, num_days, masked, most_judged)
        data = await read_out(connection, "read_days_to_compare", *values)
    heads, *arrays = split_rows(data, num_fields=4)
    if not heads:
        return None
    places, first_days = decode_arrays(heads, "i4")[0].astype(np.int64).reshape(-1, 2).T
    days, counts = decode_arrays(arrays[0], "i4")
    return DaysToCompare(
        places=places,
        first_days=first_days,
        counts=counts,
        days=days.astype(np.int64),
        values=decode_arrays(arrays[1], "f8")[0],
        masked=decode_arrays(arrays[2], "i4")[0].astype(bool),
        read_at=clock["now"],
    )


async def write_judged_days(
    connection: Connection,
    judged: Sequence[JudgedDay],
    *,
    until: Sequence[tuple[SeriesKey, int]],
    new_levels: Sequence[tuple[SeriesKey, int]],
    version: str,
    read_at: dt.datetime,
) -> Counter[str]:
    """Stores the unusual days, in one transaction. How many were told, kept for other sensitivities, corrected and
    withdrawn.

    `until` is the last judged day of each series, `new_levels` the days that began one, in days since 1970-01-01.
    """
    changes: Counter[str] = Counter()
    with translate_errors("writing unusual days"):
        async with in_transaction(connection):
            for day in sorted({each.day for each in judged}):  # one after another: each continues the ones before
                columns = _as_columns([each for each in judged if each.day == day])
                rows = await fetch(connection, "write_anomalies", *columns, version, read_at)
                changes.update(row["change"] for row in rows)
            await fetch(connection, "note_judged", *_as_days(until), read_at, *_as_days(new_levels))
    return changes


async def read_anomalies(connection: Connection, query: AnomalyQuery) -> list[Any]:  # Any: PostgreSQL's rows
    """Newest first."""
    values = (query.sites, query.metric, query.since, query.until, query.least_score, query.limit)
    with translate_errors("reading unusual days"):
        return await fetch(connection, "read_anomalies", *values)


async def acknowledge_anomaly(connection: Connection, number: int, *, by: str, note: str | None) -> list[Any]:
    """PostgreSQL's rows of all metrics of the site that day, on the same side. Raises UnknownAnomaly."""
    with translate_errors("writing to forecasting.anomalies"):
        rows = await fetch(connection, "acknowledge_anomaly", number, by, note)
    if not rows:
        raise UnknownAnomaly(f"There is no unusual day with the id {number}. GET /anomalies lists them.")
    return rows


def _as_columns(judged: Sequence[JudgedDay]) -> list[list[Any]]:  # Any: PostgreSQL's types
    fields = (
        "site", "metric", "day", "kind", "value", "expected", "lower", "upper", "score", "sensitivity", "threshold",
        "cause", "text",
    )  # fmt: skip
    return [[getattr(each, field) for each in judged] for field in fields]


def _as_days(days: Sequence[tuple[SeriesKey, int]]) -> tuple[list[str], list[str], list[dt.date]]:
    return [site for (site, _), _ in days], [metric for (_, metric), _ in days], [to_date(day) for _, day in days]
