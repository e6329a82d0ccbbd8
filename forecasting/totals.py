"""The total of several days, with its 80% band, from the quantiles of each day. Pure numpy.

On busy sites it is the sum of the days' medians, and its band is theirs, narrower as far as the days' errors cancel
out. On quiet sites neither holds: a day's median is 0, but a week's total is not, and "0 to 3" holds far more than 80%
of the weeks. There the total is half-way between the sum of medians and the sum of means, and its band that of a gamma
distribution with the sum's mean and variance. EXPERIMENTS.md, "Totals", has the measurements.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

MEDIAN = 0.5
QUIET, STEEPNESS = 50.0, 4  # a day: where both ways count alike, and how fast one gives way to the other
# Visits come one by one, and this part of the errors does not last from day to day. So on quiet sites the errors of two
# days are less alike: correlation * (volume + FEW) / (volume + MANY).
FEW, MANY = 10.0, 100.0
SMALLEST = 1e-6
NORMAL = NormalDist()


class Totals(NamedTuple):
    """In visits, to be rounded to the nearest."""

    value: Float[np.ndarray, " series"]
    lower: Float[np.ndarray, " series"]
    upper: Float[np.ndarray, " series"]


def sum_up(
    quantiles: Float[np.ndarray, "series days levels"],
    levels: Sequence[float],
    day_correlation: Float[np.ndarray, " series"],
    *,
    band: tuple[float, float],
) -> Totals:
    """Totals of counts, with the band between these two levels. `day_correlation` is that of the errors of two days,
    0..1: see `Bands`.
    """
    days, num_days = quantiles.astype(np.float64), quantiles.shape[1]
    sums = days.sum(1)
    median, mean = sums[:, levels.index(MEDIAN)], sums @ _mean_weights(tuple(levels))
    value = np.rint(days[..., levels.index(MEDIAN)]).sum(1)
    low, high = (sums[:, levels.index(level)] for level in band)
    # If the errors of n days correlate by r, their sum spreads by sqrt((1 + (n - 1) r) / n) of the sum of theirs.
    share = np.sqrt((1 + (num_days - 1) * day_correlation) / num_days)
    lower, upper = median - share * (median - low), median + share * (high - median)
    volume = mean / num_days
    quiet = quietness(volume)
    if num_days > 1 and quiet.max(initial=0) > SMALLEST:  # the total of one day is that day
        variance = _sum_variance(days, levels, day_correlation * correlation_share(volume))
        quiet_lower, quiet_upper = _find_gamma_ends(np.maximum(mean, SMALLEST), variance, band)
        value += quiet * ((median + mean) / 2 - value)
        lower += quiet * (quiet_lower - lower)
        upper += quiet * (quiet_upper - upper)
    return Totals(value, np.maximum(np.minimum(lower, value), 0), np.maximum(upper, value))


def quietness(volume: Float[np.ndarray, " series"]) -> Float[np.ndarray, " series"]:
    """1 for a site without visits, 0 for a busy one. `volume` is the mean of a day."""
    return 1 / (1 + (volume / QUIET) ** STEEPNESS)


def correlation_share(volume: Float[np.ndarray, " series"]) -> Float[np.ndarray, " series"]:
    """What is left of the correlation of two days, at this many visits a day."""
    return (volume + FEW) / (volume + MANY)


@cache
def _mean_weights(levels: tuple[float, ...]) -> Float[np.ndarray, " levels"]:
    """The mean, if quantiles lie on straight lines between the levels and are constant beyond the outer ones: what is
    farther out is known least, and tails made totals no better.
    """
    borders = [0.0, *((low + high) / 2 for low, high in pairwise(levels)), 1.0]
    return np.diff(borders)


def _sum_variance(
    days: Float[np.ndarray, "series days levels"], levels: Sequence[float], correlation: Float[np.ndarray, " series"]
) -> Float[np.ndarray, " series"]:
    """Of the sum of days any two of which correlate by this."""
    first, second = _moment_weights(tuple(levels))
    variance = np.maximum((days @ second * days).sum(-1) - (days @ first) ** 2, SMALLEST)
    return np.asarray((1 - correlation) * variance.sum(1) + correlation * np.sqrt(variance).sum(1) ** 2)


@cache
def _moment_weights(
    levels: tuple[float, ...],
) -> tuple[Float[np.ndarray, " levels"], Float[np.ndarray, "levels levels"]]:
    """The first moment is `q @ first`, the second `q @ second @ q`, if quantiles lie on straight lines between the
    levels, the first of which goes on to level 0, and the tail above the highest level is exponential.
    """
    unit, tail = np.eye(len(levels)), 1 - levels[-1]
    lowest = unit[0] - (unit[1] - unit[0]) * levels[0] / (levels[1] - levels[0])
    highest, scale = unit[-1], (unit[-1] - unit[-2]) / np.log((1 - levels[-2]) / tail)
    ends = np.stack([lowest, *unit])
    first, second = tail * (highest + scale), np.zeros((len(levels), len(levels)))
    for share, low, high in zip(np.diff([0.0, *levels]), ends[:-1], ends[1:], strict=True):
        first = first + share * (low + high) / 2
        second += share * (np.outer(low, low) + np.outer(low, high) + np.outer(high, high)) / 3
    second += tail * (np.outer(highest, highest) + 2 * np.outer(highest, scale) + 2 * np.outer(scale, scale))
    return first, second


def _find_gamma_ends(
    mean: Float[np.ndarray, " series"], variance: Float[np.ndarray, " series"], band: tuple[float, float]
) -> tuple[Float[np.ndarray, " series"], Float[np.ndarray, " series"]]:
    """The ends of the band of a total of visits, which is a whole number.

    Less than 10% lie below the lower end of an 80% band once it is rounded, and none below 0. So the upper end leaves
    out what remains of the 20%. Source of the quantiles: Wilson & Hilferty (1931), PNAS 17(12): the cube root of a
    gamma variable is almost normal.
    """
    low, high = band
    spread = np.sqrt(variance) / (3 * mean)  # of the cube root of total / mean
    middle = 1 - spread**2
    lower = mean * np.maximum(middle + spread * NORMAL.inv_cdf(low), 0) ** 3
    whole = np.rint(lower)
    places = (np.cbrt((whole - 0.5) / mean) - middle) / spread
    below = [NORMAL.cdf(place) if visits else 0.0 for place, visits in zip(places.tolist(), whole, strict=True)]
    ends = np.array([NORMAL.inv_cdf(high - low + min(share, low)) for share in below])
    return lower, mean * np.maximum(middle + spread * ends, 0) ** 3
