"""`forecasting.daily`, our own copy of the sources' days, one row per day of a series: read in bulk."""

import datetime as dt
from collections.abc import AsyncIterator, Sequence

import numpy as np

from forecasting.domain import SeriesKey, Verdict, to_day
from forecasting.warehouse.pages import DailyQuery, Page, decode_days, decode_page
from forecasting.warehouse.queries import Connection, as_subquery, fetch, load_query, read_out

START: SeriesKey = ("", "")  # before every series


async def count_series(connection: Connection, query: DailyQuery) -> int:
    async with connection.transaction(readonly=True):
        await fetch(connection, "prefer_index")
        statement = f"select count(*) from (\n{as_subquery(load_query('list_series'))}\n) as series"  # noqa: S608 - ours
        return int(await connection.fetchval(statement, *_series_filter(query, after=START, limit=None)))


async def read_pages(connection: Connection, query: DailyQuery, *, page_size: int) -> AsyncIterator[Page]:
    """All series in the order of their keys, `page_size` at a time, by binary COPY.

    Memory is bounded on both sides, and no statement runs long. With `num_days`, a series that has no such day comes
    without rows; with `first_date`, it is left out.
    """
    after: SeriesKey = START
    while True:
        page = await _read_page(connection, query, after=after, page_size=page_size)
        if page.keys:
            yield page
        if len(page.keys) < page_size:
            return
        after = page.keys[-1]


async def read_keys(connection: Connection, query: DailyQuery, *, page_size: int) -> AsyncIterator[list[SeriesKey]]:
    """All series in the order of their keys, `page_size` at a time."""
    after: SeriesKey = START
    while True:
        async with connection.transaction(readonly=True):
            await fetch(connection, "prefer_index")
            rows = await fetch(connection, "list_series", *_series_filter(query, after=after, limit=page_size))
        keys = [(row["site"], row["metric"]) for row in rows]
        if keys:
            yield keys
        if len(keys) < page_size:
            return
        after = keys[-1]


async def read_last_days(
    connection: Connection, keys: Sequence[SeriesKey], *, today: dt.date, num_days: int, masked: Sequence[str]
) -> Page:
    """The last days before `today` of the given series. A series without such a day comes without rows."""
    async with connection.transaction(readonly=True):
        await fetch(connection, "prefer_index")
        rows = await fetch(connection, "read_last_days", *_columns(keys), today, num_days, masked)
    return Page(
        keys=tuple(keys),
        counts=np.array([len(row["days"]) for row in rows], np.int64),
        days=np.array([day for row in rows for day in row["days"]], np.int64),
        values=np.array([value for row in rows for value in row["values"]], np.float64),
        last_verdicts=tuple(row["last_verdict"] for row in rows),
    )


async def read_expected(
    connection: Connection, key: SeriesKey, *, first_date: dt.date
) -> dict[int, tuple[float, float, float]]:
    """Lower end, median and upper end of the forecasts that were made the day before, of days since 1970-01-01."""
    rows = await fetch(connection, "read_expected", *key, first_date)
    return {to_day(row["day"]): (row["lower"], row["value"], row["upper"]) for row in rows}


async def read_verdicts(connection: Connection, query: DailyQuery) -> dict[SeriesKey, dict[int, Verdict]]:
    """The masked days of each series, in days since 1970-01-01, with their verdicts."""
    verdicts: dict[SeriesKey, dict[int, Verdict]] = {}
    values = (query.first_date, query.sites, query.metrics, query.source, query.masked)
    for row in await fetch(connection, "read_verdicts", *values):
        verdicts.setdefault((row["site"], row["metric"]), {})[to_day(row["day"])] = Verdict[row["verdict"]]
    return verdicts


async def _read_page(connection: Connection, query: DailyQuery, *, after: SeriesKey, page_size: int) -> Page:
    async with connection.transaction(readonly=True):
        await fetch(connection, "prefer_index")
        series_filter = _series_filter(query, after=after, limit=page_size)
        if query.num_days is None:
            values = (*series_filter, query.today, query.first_date, query.masked)
            return decode_page(await read_out(connection, "read_days", *values))
        keys = [(row["site"], row["metric"]) for row in await fetch(connection, "list_series", *series_filter)]
        values = (*_columns(keys), query.today, query.num_days, query.masked)
        return decode_days(await read_out(connection, "read_last_days", *values), keys)


def _series_filter(query: DailyQuery, *, after: SeriesKey, limit: int | None) -> tuple[object, ...]:
    """The first parameters of list_series.sql and read_days.sql."""
    return (*after, limit, query.sites, query.metrics, *query.share, query.source)


def _columns(keys: Sequence[SeriesKey]) -> tuple[list[str], list[str]]:
    return [site for site, _ in keys], [metric for _, metric in keys]
