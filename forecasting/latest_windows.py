"""The window of each series' latest days, for thousands of series at once: what forecasts are made from. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.domain import MIN_DAYS, MIN_DAYS_BESIDE_GAP, MIN_KNOWN_DAYS, RECENT_DAYS, Kind, Missing
from forecasting.long_gaps import fill_spans, find_long_gaps

NEVER_NEGATIVE = (Kind.count, Kind.rate)
# Days to read beyond the context: they show whether the window begins with a gap or before the series began.
SPARE_DAYS = 35


@dataclass(frozen=True)
class LatestWindows:
    """The last days of many series, each up to its own last value."""

    history: Float[np.ndarray, "series context"]  # float32, NaN where unknown
    cutoffs: Int[np.ndarray, " series"]  # the last column of each series, in days since 1970-01-01
    enough: Bool[np.ndarray, " series"]  # whether the series has enough days for a forecast
    num_needed: Int[np.ndarray, " series"]  # known days among the last RECENT_DAYS that a forecast needs

    @property
    def first_days(self) -> Int[np.ndarray, " series"]:
        """The first column of each series, in days since 1970-01-01."""
        return np.asarray(self.cutoffs - self.history.shape[1] + 1)


def cut_latest_windows(
    counts: Int[np.ndarray, " series"],
    days: Int[np.ndarray, " rows"],
    values: Float[np.ndarray, " rows"],
    kinds: Sequence[Kind],
    *,
    context_length: int,
    missing: Missing = Missing.zero,
    can_be_zero: Sequence[bool] | None = None,
) -> LatestWindows:
    """The same windows as those of the panel that `build_panel` would make of each series.

    The rows of one series follow those of another, `counts` rows each, in any order, all before today. Rows from before
    the window, if only one, show whether the window begins with a gap or before the series does. `can_be_zero`, by
    default of counts alone, tells of each series whether a missing day can stand for zero at all.
    """
    series = np.repeat(np.arange(len(counts)), counts)
    measured = ~np.isnan(values)
    first, last = (np.full(len(counts), bound, np.int64) for bound in (2**31, -(2**31)))  # for series without a value
    np.minimum.at(first, series[measured], days[measured])
    np.maximum.at(last, series[measured], days[measured])
    column = days - (last - context_length + 1)[series]
    inside = (column >= 0) & (column < context_length)
    known = inside & ~_out_of_range_rows(values, kinds, series)
    history = np.full((len(counts), context_length), np.nan, np.float32)
    history[series[known], column[known]] = values[known]
    num_days = np.bincount(series[np.isfinite(values)], minlength=len(counts))
    lived = (days >= first[series]) & (days <= last[series])
    rows, begins, ends = find_long_gaps(series[lived], days[lived])
    offset = (last - context_length + 1)[rows]
    lost = fill_spans(rows, begins - offset, ends - offset, shape=history.shape)
    num_needed = np.maximum(MIN_KNOWN_DAYS - lost[:, -RECENT_DAYS:].sum(1), MIN_DAYS_BESIDE_GAP)
    if missing is Missing.zero:
        gaps = np.arange(context_length) > (first - last + context_length - 1)[:, None]
        gaps[series[inside], column[inside]] = False
        fills = np.array([kind is Kind.count for kind in kinds] if can_be_zero is None else can_be_zero, bool)
        gaps &= ~lost
        history[gaps & fills[:, None]] = 0.0
        num_lost = np.bincount(rows, ends - begins, minlength=len(counts)).astype(np.int64)
        num_days = np.where(fills, last - first + 1 - num_lost, num_days)
    enough = (num_days >= MIN_DAYS) & (np.isfinite(history[:, -RECENT_DAYS:]).sum(1) >= num_needed)
    return LatestWindows(history, last, enough, num_needed)


def _out_of_range_rows(
    values: Float[np.ndarray, " rows"], kinds: Sequence[Kind], series: Int[np.ndarray, " rows"]
) -> Bool[np.ndarray, " rows"]:
    never_negative = np.array([kind in NEVER_NEGATIVE for kind in kinds], bool)
    at_most_one = np.array([kind is Kind.rate for kind in kinds], bool)
    return out_of_range(values, never_negative[series], at_most_one[series])


def out_of_range(
    values: Float[np.ndarray, "*days"], never_negative: Bool[np.ndarray, "..."], at_most_one: Bool[np.ndarray, "..."]
) -> Bool[np.ndarray, "*days"]:
    """Whether a value is impossible. NaN counts as impossible."""
    possible = np.abs(values) <= np.finfo(np.float32).max
    return np.asarray(~possible | (never_negative & (values < 0)) | (at_most_one & (values > 1)))
