"""How far a day lies from what was forecast for it, in units where 1.645 is the end of the 90% band. Pure numpy."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.domain import KIND_CODES, Kind
from forecasting.known_days.effects import to_even

BAND_END = 1.645
LEAST_HALF_BAND = 0.001  # in the units of to_even
AHEAD = 7  # a day is compared with the forecasts made 1 to 7 days before it
LEAST_POINTS = 0.05  # of a rate in 0..1: smaller differences are never told
# One day in so many is told from this score on, measured on the sites of the README.
RARITY = ((1.645, 13.0), (2.0, 19.0), (2.5, 32.0), (3.0, 50.0), (3.75, 88.0), (5.0, 164.0), (7.0, 354.0))


@dataclass(frozen=True)
class LeastChange:
    """What a difference must have to be told, however unlikely it is."""

    share: float = 0.2  # of the expected value
    count: float = 10.0  # such as visits, of counts


@dataclass(frozen=True)
class DayScores:
    """Each day beside the forecasts made 1 to AHEAD days before it.

    `score` is NaN where the day has no value, or where there was no such forecast. `is_large` says whether the
    difference is large enough to be told.
    """

    score: Float[np.ndarray, "series days ahead"]
    is_large: Bool[np.ndarray, "series days ahead"]


def score_days(
    observed: Float[np.ndarray, "series days"],
    bands: Float[np.ndarray, "series days ahead 3"],
    kinds: Int[np.ndarray, " series"],
    *,
    softening: Float[np.ndarray, "series days"] | None = None,
    least: LeastChange | None = None,
) -> DayScores:
    """`bands` has the quantiles .05, .5 and .95 of each day, by the forecast made 1, 2, ... days before.

    `kinds` are domain.KIND_CODES. `softening` divides the scores of days that often differ, such as holidays.
    """
    least = least or LeastChange()
    score = np.full(bands.shape[:-1], np.nan)
    for kind in Kind:
        rows = np.flatnonzero(kinds == KIND_CODES[kind])
        if rows.size:
            score[rows] = _score(to_even(observed[rows], kind)[..., None], to_even(bands[rows], kind))
    if softening is not None:
        score /= softening[..., None]
    median = bands[..., 1]
    change = np.abs(observed[..., None] - median)
    by_kind = {Kind.count: least.count, Kind.rate: LEAST_POINTS, Kind.other: 0.0}
    least_change = np.select([kinds == KIND_CODES[kind] for kind in Kind], [by_kind[kind] for kind in Kind])
    is_large = (change >= least.share * np.abs(median)) & (change >= least_change[:, None, None])
    return DayScores(score, is_large & np.isfinite(score))


def days_between(score: float) -> float:
    """One day in so many lies at least as far off, at a usual site."""
    scores, days = np.array(RARITY).T
    slope = (np.log(days[-1]) - np.log(days[-2])) / (scores[-1] - scores[-2])
    size = abs(score)
    if size > scores[-1]:
        return float(days[-1] * np.exp(min(slope * (size - scores[-1]), 50.0)))
    return float(np.exp(np.interp(size, scores, np.log(days))))


def _score(
    observed: Float[np.ndarray, "series days 1"], bands: Float[np.ndarray, "series days ahead 3"]
) -> Float[np.ndarray, "series days ahead"]:
    lower, median, upper = np.moveaxis(bands, -1, 0)
    half = np.where(observed > median, upper - median, median - lower)
    return np.asarray(BAND_END * (observed - median) / np.maximum(half, LEAST_HALF_BAND))
