"""Whether one of two forecasters is better than the other by more than chance, on the same days."""

import numpy as np
from jaxtyping import Float, Int

MIN_WEEKS = 12  # what fewer weeks preferred was worse on the weeks that followed (EXPERIMENTS.md)
STANDARD_ERRORS = 2.0


def is_worse(
    error: Float[np.ndarray, "windows days"],
    other: Float[np.ndarray, "windows days"],
    first_days: Int[np.ndarray, " windows"],
) -> bool:
    """Whether `error`, absolute errors of one forecaster, exceeds the `other`'s by more than STANDARD_ERRORS.

    The errors of a week's windows are averaged, since neighbouring windows share days; with fewer than MIN_WEEKS weeks
    the answer is no. `first_days` are days since 1970-01-01; days that are NaN in either are left out.
    """
    difference = error - other
    known = np.isfinite(difference).any(1)
    if not known.any():
        return False
    each = np.asarray(np.nanmean(difference[known], 1, dtype=np.float64))
    week = (first_days[known] - first_days[known].min()) // 7
    weeks = np.array([each[week == number].mean() for number in np.unique(week)])
    if len(weeks) < MIN_WEEKS:
        return False
    return bool(weeks.mean() > STANDARD_ERRORS * weeks.std(ddof=1) / np.sqrt(len(weeks)))
