"""Whether one of two forecasters is better than the other by more than chance, on the same days."""

import numpy as np
from jaxtyping import Float, Int

MIN_WEEKS = 12  # what fewer weeks preferred was worse on the weeks that followed (EXPERIMENTS.md)
STANDARD_ERRORS = 2.0
OVERWHELMING = 4.0  # times the other's error, in every window: this is not chance even in few weeks


def is_worse(
    error: Float[np.ndarray, "windows days"],
    other: Float[np.ndarray, "windows days"],
    first_days: Int[np.ndarray, " windows"],
) -> bool:
    """Whether the absolute errors `error` exceed `other` by more than STANDARD_ERRORS standard errors.

    Errors are averaged over the windows of a week, because neighbouring windows share days. The answer is no for fewer
    than MIN_WEEKS weeks. `first_days` are in days since 1970-01-01. Days that are NaN in either are skipped.
    """
    difference = error - other
    known = np.isfinite(difference).any(1)
    if not known.any():
        return False
    window_means = np.asarray(np.nanmean(difference[known], 1, dtype=np.float64))
    week = (first_days[known] - first_days[known].min()) // 7
    weeks = np.array([window_means[week == number].mean() for number in np.unique(week)])
    if len(weeks) < MIN_WEEKS:
        return False
    return bool(weeks.mean() > STANDARD_ERRORS * weeks.std(ddof=1) / np.sqrt(len(weeks)))


def is_far_worse(error: Float[np.ndarray, "windows days"], other: Float[np.ndarray, "windows days"]) -> bool:
    """Whether the mean absolute error `error` is above OVERWHELMING times `other` in every window, of any number.

    Days that are NaN in either are skipped.
    """
    known = np.isfinite(error) & np.isfinite(other)
    windows = known.any(1)
    if not windows.any():
        return False
    sums = (np.where(known, errors, 0).sum(1, dtype=np.float64)[windows] for errors in (error, other))
    own, others = sums
    return bool((own > OVERWHELMING * others).all())
