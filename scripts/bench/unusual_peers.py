"""Three usual ways to find unusual days, for bench_unusual.py: signed scores, from earlier days alone."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from forecasting.evaluation.statsforecast_baselines import BANDS, forecast_peer

WEEK, NUM_WEEKS = 7, 8
TO_SIGMA = 1.4826  # from the median absolute deviation, for normal noise
ETS_DAYS, ETS_FROM = 112, 56  # of history that AutoETS sees, and needs
TO_99 = 2.576 / 1.645  # from the end of the 90% band to that of the 99% band

Days = Float[np.ndarray, " days"]


def three_sigma(values: Days) -> Days:
    """In standard deviations of the last weeks' same weekday."""
    past = take_weeks(values)
    return (values - past.mean(1)) / np.maximum(past.std(1, ddof=1), 1e-9)


def seasonal_naive(values: Days) -> Days:
    """The change of the logarithm in a week, in deviations of the changes of the weeks before."""
    logs = np.log1p(np.maximum(values, 0))
    change = logs - lag(logs, WEEK)
    recent = np.stack([lag(change, day) for day in range(1, WEEK * NUM_WEEKS + 1)], 1)
    middle = np.median(recent, axis=1)
    deviation = TO_SIGMA * np.median(np.abs(recent - middle[:, None]), axis=1)
    return (change - middle) / np.maximum(deviation, 0.01)


PEERS: dict[str, tuple[Callable[[Days], Days], float]] = {
    "3 sigma": (three_sigma, 3.0),
    "naive, MAD": (seasonal_naive, 3.0),
}


def score_by_ets(values: Days) -> Days:
    """In half widths of AutoETS's 99% band of log counts, forecast anew each week."""
    logs = np.log1p(np.maximum(values, 0))
    origins = range(ETS_FROM, len(values), WEEK)
    forecasts = forecast_peer("AutoETS", [logs[max(0, day - ETS_DAYS) : day] for day in origins], horizon=WEEK)
    places = [list(BANDS).index(level) for level in (0.05, 0.5, 0.95)]
    low, median, high = forecasts.quantiles[..., places].reshape(-1, 3)[: len(values) - ETS_FROM].T
    away = logs[ETS_FROM:] - median
    half = TO_99 * np.where(away > 0, high - median, median - low)
    return np.concatenate([np.full(ETS_FROM, np.nan), away / np.maximum(half, 0.001)])


def take_weeks(values: Days) -> Float[np.ndarray, "days weeks"]:
    return np.stack([lag(values, WEEK * week) for week in range(1, NUM_WEEKS + 1)], 1)


def lag(values: Days, days: int) -> Days:
    """Each day's value of so many days before; NaN before the first."""
    return np.concatenate([np.full(min(days, len(values)), np.nan), values[: len(values) - days]])
