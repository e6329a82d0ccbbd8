"""What is read from `forecasting.daily`, as values, and how it is decoded. Pure: no connection, no query."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from forecasting.domain import SeriesKey, to_day
from forecasting.panel import Observations
from forecasting.warehouse.copy_format import Field, decode_arrays, decode_texts, split_rows


@dataclass(frozen=True)
class DailyQuery:
    """Which days to read: those before `today`, either from `first_date` on or the last `num_days` of each series."""

    today: dt.date
    first_date: dt.date = dt.date.min
    num_days: int | None = None  # instead of `first_date`
    sites: Sequence[str] = ()  # empty: all
    metrics: Sequence[str] = ()  # empty: all
    source: str = ""  # the source that the sites belong to; empty: any
    masked: Sequence[str] = ()  # verdicts that mask a day's value: it is read as infinite
    share: tuple[int, int] = (0, 1)  # which share of the series, of how many


@dataclass(frozen=True)
class Page:
    """The rows of several series, one series after another, each sorted by day in either order; NaN for NULL."""

    keys: tuple[SeriesKey, ...]
    counts: Int[np.ndarray, " series"]  # rows of each
    days: Int[np.ndarray, " rows"]  # since 1970-01-01
    values: Float[np.ndarray, " rows"]
    last_verdicts: tuple[str, ...] = ()  # of each, that of the newest day with a value if it masks, else empty


@dataclass(frozen=True)
class DailyHistory:
    """All that a panel is made from, with a sentence about everything odd in it."""

    observations: tuple[Observations, ...]
    today: dt.date  # not over yet
    first_date: dt.date
    last_date: dt.date | None  # the last complete day
    notes: tuple[str, ...] = ()
    oldest_date: dt.date | None = None  # that has a value, whatever was read

    @property
    def num_days(self) -> int:
        """From the oldest day to the last, whatever was read."""
        if self.oldest_date is None or self.last_date is None:
            return 0
        return (self.last_date - self.oldest_date).days + 1

    @property
    def cutoff(self) -> int | None:
        """The last complete day with a value, over the series of all shares, in days since 1970-01-01."""
        return None if self.last_date is None else to_day(self.last_date)


@dataclass(frozen=True)
class Revision:
    """The state of forecasting.daily. Whatever was computed from it stays valid while this does not change."""

    number: int | None  # of changes so far; None where they are not counted, so that nothing may be cached
    today: dt.date  # not over yet
    database: str = ""  # tells it from any other, and from a copy of it on another server
    todays: tuple[dt.date, ...] = ()  # in each time zone of the source's sites
    generation: int = 0  # set by who watches: another one at each change, since a number may come again


def decode_page(data: bytes) -> Page:
    """Of a COPY of read_days.sql: (site, metric, days integer[], values double precision[])."""
    sites, metrics, days, values = split_rows(data, num_fields=4)
    return _decode(days, values, zip(decode_texts(sites), decode_texts(metrics), strict=True))


def decode_days(data: bytes, keys: Sequence[SeriesKey]) -> Page:
    """Of a COPY of read_last_days.sql, a row for each key: (days integer[], values double precision[], text)."""
    days, values, _ = split_rows(data, num_fields=3)
    return _decode(days, values, keys)


def _decode(days: Sequence[Field], values: Sequence[Field], keys: Iterable[SeriesKey]) -> Page:
    numbers, counts = decode_arrays(days, "i4")
    return Page(tuple(keys), counts, numbers.astype(np.int64), decode_arrays(values, "f8")[0])
