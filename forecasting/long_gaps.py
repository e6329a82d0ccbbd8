"""Gaps too long to be days without traffic: nothing was collected, whatever missing days stand for otherwise."""

import math

import numpy as np
from jaxtyping import Bool, Int

RECENT_ROWS = 28  # before a gap, which show how often days are missing: serving reads as many before its windows
USUAL_DAYS = 7  # a gap up to this long may be a holiday: it is what missing days always are
RARE = 1e-4  # the probability below which chance makes no gap so long, about once in 30 years

Gaps = tuple[Int[np.ndarray, " gaps"], Int[np.ndarray, " gaps"], Int[np.ndarray, " gaps"]]


def find_long_gaps(series: Int[np.ndarray, " rows"], days: Int[np.ndarray, " rows"]) -> Gaps:
    """Of each gap that is longer than is usual for its series: the series, the first day, the day after the last.

    `series` and `days` number the rows that exist, in any order, each day of a series once. If days were missing by
    chance, as often as among the RECENT_ROWS rows before (by the rule of succession), a gap of n days would have the
    probability share ** n.
    """
    order = np.lexsort((days, series))
    series, days = series[order], days[order]
    place = np.arange(len(days))
    first = np.searchsorted(series, series)  # each series' first row
    before = np.maximum(place - 1, 0)
    length = np.where(place > first, days - days[before] - 1, 0)
    start = np.maximum(place - RECENT_ROWS, first)
    span = days[before] - days[start] + 1
    share = (span - (place - start) + 1) / (span + 2)
    is_long = (length > USUAL_DAYS) & (length * np.log(np.where(length > 0, share, 1.0)) < math.log(RARE))
    return series[is_long], days[before[is_long]] + 1, days[is_long]


def mark_long_gaps(has_row: Bool[np.ndarray, "series days"]) -> Bool[np.ndarray, "series days"]:
    return fill_spans(*find_long_gaps(*np.nonzero(has_row)), shape=has_row.shape)


def fill_spans(
    series: Int[np.ndarray, " gaps"],
    first: Int[np.ndarray, " gaps"],
    until: Int[np.ndarray, " gaps"],
    *,
    shape: tuple[int, ...],
) -> Bool[np.ndarray, "series days"]:
    """True from each first column to the one before `until`; columns outside are left out."""
    steps = np.zeros((shape[0], shape[1] + 1), np.int64)
    np.add.at(steps, (series, np.clip(first, 0, shape[1])), 1)
    np.add.at(steps, (series, np.clip(until, 0, shape[1])), -1)
    return np.asarray(steps.cumsum(1)[:, :-1] > 0)
