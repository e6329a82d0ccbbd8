"""What a series' own past says of the width of bands: over days added up, and further ahead than one horizon."""

import numpy as np
from jaxtyping import Float

SEASON = 7
MIN_PAIRS = 14  # differences below which a series' own past says nothing yet


def day_correlation(values: Float[np.ndarray, " days"]) -> float:
    """How alike the errors of the days of one forecast are, 0 (independent) to 1 (the same), for the total's band.

    Of the changes from week to week, which are the seasonal naive forecast's errors: the variance of a week's sum is
    7 s^2 (1 + 6 r) for days of variance s^2 whose pairs correlate by r on average; solved for r. 1, the widest band,
    where the past is too short.
    """
    changes = values[SEASON:].astype(np.float64) - values[:-SEASON]
    weeks = np.lib.stride_tricks.sliding_window_view(changes, SEASON) if changes.size >= SEASON else changes[:0, None]
    weeks = weeks[np.isfinite(weeks).all(1)]
    if len(weeks) < MIN_PAIRS or not np.any(weeks):
        return 1.0
    inflation = float(np.mean(weeks.sum(1) ** 2) / (SEASON * np.mean(weeks**2)))
    return float(np.clip((inflation - 1) / (SEASON - 1), 0.0, 1.0))


def widening(values: Float[np.ndarray, " days"], *, horizon: int, num_horizons: int) -> tuple[float, ...]:
    """Band factors of the first, second, ... horizon ahead: how much more values change over k horizons than over one.

    In whole weeks, so that weekdays meet weekdays. Never falling; square roots of k, a random walk's, where the past
    is too short to say.
    """
    weeks = [max(1, -(-horizon * k // SEASON)) for k in range(1, num_horizons + 1)]
    one = _mean_change(values, weeks[0])
    factors = [1.0]
    for k, lag in enumerate(weeks[1:], start=2):
        change = _mean_change(values, lag)
        factor = np.sqrt(k) if one is None or change is None else change / one
        factors.append(max(factors[-1], float(factor)))
    return tuple(factors)


def _mean_change(values: Float[np.ndarray, " days"], weeks: int) -> float | None:
    changes = np.abs(values[SEASON * weeks :].astype(np.float64) - values[: -SEASON * weeks])
    changes = changes[np.isfinite(changes)]
    return float(changes.mean()) if changes.size >= MIN_PAIRS and changes.any() else None
