"""What the days before a day were like: windows that end the day before each judged column.

Arrays of days hold CONTEXT columns, which are only looked at, before the columns to judge.
"""

import numpy as np
from jaxtyping import Bool, Int, Shaped

WEEK = 7
CONTEXT = 56  # days before a day that its verdict depends on: eight of each weekday
RECENT = 28  # days that show what is usual
MIN_RECENT = 14  # fewer do not show it


def recent_starts(has_traffic: Bool[np.ndarray, "rows days"]) -> Int[np.ndarray, "rows judged"]:
    """For each judged column, where its last RECENT days with traffic begin, at most CONTEXT columns before it."""
    counts = _cumulative(has_traffic)
    num_judged = has_traffic.shape[1] - CONTEXT
    before = counts[:, CONTEXT:-1]
    num_too_early = np.zeros(before.shape, np.uint8)
    for lag in range(1, CONTEXT + 1):
        num_too_early += before - days_before(counts[:, :-1], lag, num_judged) > RECENT
    return np.arange(num_judged) + num_too_early


def count_since(
    marks: Bool[np.ndarray, "rows days *hours"], starts: Int[np.ndarray, "rows judged"]
) -> Int[np.ndarray, "rows judged *hours"]:
    """How many marks there are from each judged column's start up to the column before it."""
    counts = _cumulative(marks)
    places = starts.reshape(starts.shape + (1,) * (marks.ndim - 2))
    return np.asarray(counts[:, CONTEXT:-1] - np.take_along_axis(counts, places, axis=1))


def ends_quiet_week(has_traffic: Bool[np.ndarray, "rows days"]) -> Bool[np.ndarray, "rows days"]:
    """Whether a day is the last of seven days without traffic."""
    counts = _cumulative(has_traffic)
    quiet = np.zeros(has_traffic.shape, bool)
    quiet[:, WEEK - 1 :] = counts[:, WEEK:] == counts[:, :-WEEK]
    return quiet


def days_before(x: Shaped[np.ndarray, "rows days"], lag: int, num_last: int) -> Shaped[np.ndarray, "rows last"]:
    """The columns `lag` days before each of the last columns."""
    stop = x.shape[1] - lag
    return x[:, stop - num_last : stop]


def any_of_site(
    marks: Bool[np.ndarray, "series days"], sites: Int[np.ndarray, " series"]
) -> Bool[np.ndarray, "series days"]:
    """Whether any series of the same site is marked."""
    order = np.argsort(sites, kind="stable")
    _, firsts, group = np.unique(sites[order], return_index=True, return_inverse=True)
    shared = np.empty_like(marks)
    shared[order] = np.logical_or.reduceat(marks[order], firsts, axis=0)[group]
    return shared


def _cumulative(marks: Bool[np.ndarray, "rows days *hours"]) -> Int[np.ndarray, "rows columns *hours"]:
    """The number of marks before each column, and in the end before one more column."""
    counts = np.zeros((marks.shape[0], marks.shape[1] + 1, *marks.shape[2:]), np.int32)
    np.cumsum(marks, axis=1, out=counts[:, 1:])
    return counts
