"""A last day that was counted in part, where no hours tell: a file exported at noon, a copy made too early.

The one rule by which a verdict depends on later days: it holds as long as no later day of the site is known. By then a
half-counted day has been counted in full, or was low indeed.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.data_quality.trailing_days import CONTEXT, MIN_RECENT, RECENT, WEEK, any_of_site

WITNESS_LEVEL = 5.0  # a day, in the median; a metric below it may fall by chance
SEASON_WEEKS = 4  # whose days of the same weekday show what is usual
LEVEL_DAYS = 6  # before a day, which show how far the level has moved since
BAND_END = 1.645  # standard deviations to either end of a 90% band
LEAST_SPREAD = 0.03  # in logarithms: a series that repeats every week is no measure of chance
LEAST_FALL = 0.15  # in logarithms: by 14%
MOST_APART = 0.3  # in logarithms: metrics fall alike if the shares of them that remain differ by a third at most
ALONE_BANDS = 2.0  # a site's only metric has no other to confirm it, so it must fall twice as far as the band reaches


def find_partial_last_days(
    counts: Float[np.ndarray, "series days"],
    last: Int[np.ndarray, " series"],
    sites: Int[np.ndarray, " series"],
) -> Bool[np.ndarray, "series days"]:
    """Of each site the last day, given as a column, if all its metrics fell on it alone, alike, below their 90% bands.
    Marked on all series of the site.

    NaN in `counts` is no witness. No day is marked among the first CONTEXT columns.
    """
    marks = np.zeros(counts.shape, bool)
    rows = np.flatnonzero((last >= CONTEXT) & (last < counts.shape[1]))
    columns = last[rows, None] + np.arange(-CONTEXT, 1)
    fell = _fell_together(counts[rows[:, None], columns], sites[rows]) if rows.size else np.zeros(0, bool)
    marks[rows[fell], last[rows[fell]]] = True
    return marks


def _fell_together(
    counts: Float[np.ndarray, "series window"], sites: Int[np.ndarray, " series"]
) -> Bool[np.ndarray, " series"]:
    """Whether the site's metrics fell on the last day of the window."""
    surprise = _surprise(np.log1p(counts))
    recent, today, yesterday = surprise[:, -RECENT - 1 : -1], surprise[:, -1], surprise[:, -2]
    usual = _median(recent)
    band = BAND_END * np.maximum(1.4826 * _median(np.abs(recent - usual[:, None])), LEAST_SPREAD)  # MAD to deviation
    is_witness = (np.isfinite(recent).sum(1) >= MIN_RECENT) & np.isfinite(today)
    is_witness &= _median(counts[:, -RECENT - 1 : -1]) >= WITNESS_LEVEL
    _, group = np.unique(sites, return_inverse=True)
    num_witnesses = np.bincount(group, is_witness)[group]
    fall = np.where(is_witness, usual - today, np.nan)
    limit = np.maximum(band * np.where(num_witnesses == 1, ALONE_BANDS, 1.0), LEAST_FALL)
    stands = is_witness & ~((fall > limit) & (today < np.fmin.reduce(recent, axis=1)))
    stood_yesterday = is_witness & ~(usual - yesterday > band)
    is_alike = _spread_of_site(fall, group) < MOST_APART
    any_stands, any_stood = any_of_site(np.stack([stands, stood_yesterday], 1), group).T
    return np.asarray((num_witnesses > 0) & is_alike & ~any_stands & any_stood)


def _spread_of_site(x: Float[np.ndarray, " series"], group: Int[np.ndarray, " series"]) -> Float[np.ndarray, " series"]:
    """From the least to the most of each site's values."""
    least, most = np.full(len(x), np.inf), np.full(len(x), -np.inf)
    np.fmin.at(least, group, x)
    np.fmax.at(most, group, x)
    return np.asarray((most - least)[group])


def _surprise(x: Float[np.ndarray, "series window"]) -> Float[np.ndarray, "series window"]:
    """Each day's distance from the median of the same weekday in the weeks before, less that of the days before it."""
    above = x - _median(np.stack([_days_before(x, WEEK * week) for week in range(1, SEASON_WEEKS + 1)], -1))
    level = _median(np.stack([_days_before(above, lag) for lag in range(1, LEVEL_DAYS + 1)], -1))
    return np.asarray(above - level)


def _days_before(x: Float[np.ndarray, "series window"], lag: int) -> Float[np.ndarray, "series window"]:
    shifted = np.full_like(x, np.nan)
    shifted[:, lag:] = x[:, :-lag]
    return shifted


def _median(x: Float[np.ndarray, "*rows values"]) -> Float[np.ndarray, "*rows"]:
    """Of the values that are not NaN; NaN if there are none."""
    ordered = np.sort(x, axis=-1)
    num_known = np.isfinite(x).sum(-1, keepdims=True)
    below, above = np.maximum(num_known - 1, 0) // 2, np.minimum(num_known // 2, x.shape[-1] - 1)
    middle = np.take_along_axis(ordered, below, axis=-1) + np.take_along_axis(ordered, above, axis=-1)
    return np.asarray(middle[..., 0] / 2)
