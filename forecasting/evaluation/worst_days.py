"""The days on which forecasts erred most, and what these days were."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from forecasting.domain import to_date
from forecasting.evaluation.rolling_origins import Rolling, RollingForecasts
from forecasting.model.forecaster import MEDIAN
from forecasting.panel import Panel

SPIKE = 2.0  # times the median of the four weeks before, or the inverse of it for a drop
BEFORE, GAP_REACH = 28, 7  # days
NamesOf = Callable[[str], Mapping[int, str]]


def name_none(site: str) -> Mapping[int, str]:
    return {}


@dataclass(frozen=True)
class WorstDay:
    """`share` is the day's in its series' sum of errors, over all forecasts of that day."""

    name: str
    date: str
    share: float
    reason: str


def find_worst_days(
    rolling: Rolling,
    forecasts: RollingForecasts,
    rows: Sequence[int],
    *,
    most: int,
    names_of: NamesOf = name_none,
) -> list[WorstDay]:
    """The worst first. `names_of` a site are those of holidays and events, by day since 1970-01-01."""
    shares = _share_errors(rolling, forecasts, rows)
    worst = np.argsort(-shares, axis=None, kind="stable")[:most]
    panel, days = rolling.panel, []
    for place, column in zip(*np.unravel_index(worst, shares.shape), strict=True):
        row, share = rows[place], float(shares[place, column])
        if share > 0:
            reason = explain_day(panel, row, int(column), names_of(panel.series[row].site))
            days.append(WorstDay(panel.series[row].name, str(to_date(panel.first_day + int(column))), share, reason))
    return days


def share_of_worst(rolling: Rolling, forecasts: RollingForecasts, rows: Sequence[int], *, worst: float) -> float:
    """How much of the error the `worst` share of the forecast days of each series makes up: the mean over series."""
    parts = []
    for shares in _share_errors(rolling, forecasts, rows):
        ordered = np.sort(shares[shares >= 0])[::-1]
        parts.append(ordered[: max(1, round(worst * ordered.size))].sum())
    return float(np.mean(parts))


def _share_errors(
    rolling: Rolling, forecasts: RollingForecasts, rows: Sequence[int]
) -> Float[np.ndarray, "series days"]:
    """Of each day in its series' absolute error; -1 for days that were not forecast."""
    errors = np.abs(forecasts.quantiles[..., MEDIAN] - rolling.actual())
    shares = np.full((len(rows), rolling.panel.num_days), -1.0)
    for place, row in enumerate(rows):
        origins = rolling.rows == row
        days = rolling.cutoffs[origins, None] + np.arange(1, rolling.days_ahead + 1)
        own = errors[origins]
        known = np.isfinite(own)
        sums = np.bincount(days[known], own[known], minlength=rolling.panel.num_days)
        counts = np.bincount(days[known], minlength=rolling.panel.num_days)
        shares[place, counts > 0] = sums[counts > 0] / max(float(sums.sum()), np.finfo(np.float64).tiny)
    return shares


def explain_day(panel: Panel, row: int, column: int, names: Mapping[int, str]) -> str:
    """A holiday's name, else whether it came after a gap, else how far it was above or below the weeks before."""
    name = names.get(panel.first_day + column)
    if name is not None:
        return name
    before = panel.values[row, max(0, column - BEFORE) : column]
    if not np.isfinite(before[-GAP_REACH:]).all():
        return f"after unknown days among the {GAP_REACH} before"
    median, value = float(np.nanmedian(before)) if before.size else 0.0, float(panel.values[row, column])
    if median > 0 and value >= SPIKE * median:
        return f"spike, {value / median:.1f} times the median of the {BEFORE} days before"
    if median > 0 and value * SPIKE <= median:
        return f"drop, {value / median:.2f} times the median of the {BEFORE} days before"
    return "nothing that the data show"
