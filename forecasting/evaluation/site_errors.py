"""Errors relative to the seasonal naive forecast with sites weighted alike, and how much of them hangs on one cutoff.

A site's error is the geometric mean over its series, so that a site with ten metrics counts as much as one with one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from forecasting.evaluation.rolling_origins import Rolling, RollingForecasts
from forecasting.model.forecaster import MEDIAN


@dataclass(frozen=True)
class Influence:
    """What the error would be without one forecast."""

    row: int  # of the panel
    cutoff: int  # its place in the panel
    without: float


@dataclass(frozen=True)
class SiteErrors:
    """Absolute errors of a forecaster and of the seasonal naive forecast; NaN where the value is unknown."""

    rolling: Rolling
    rows: tuple[int, ...]  # of the series that are judged
    own: Float[np.ndarray, "origins days"]
    naive: Float[np.ndarray, "origins days"]

    def relative(self, days: slice = slice(None)) -> float | None:
        """None if no series has an error above 0 of both."""
        logs = np.array([self._log_ratio(np.flatnonzero(self.rolling.rows == row), days) for row in self.rows])
        return _exp(self._over_sites(logs))

    def influences(self) -> list[Influence]:
        """Of every forecast, the largest change first."""
        rolling = self.rolling
        logs = np.array([self._log_ratio(np.flatnonzero(rolling.rows == row)) for row in self.rows])
        influences = []
        for place, row in enumerate(self.rows):
            origins = np.flatnonzero(rolling.rows == row)
            for origin in origins:
                others = logs.copy()
                others[place] = self._log_ratio(origins[origins != origin])
                without = _exp(self._over_sites(others))
                if without is not None:
                    influences.append(Influence(row, int(rolling.cutoffs[origin]), without))
        whole = np.log(_exp(self._over_sites(logs)) or 1.0)
        return sorted(influences, key=lambda each: -abs(np.log(each.without) - whole))

    def _log_ratio(self, origins: Int[np.ndarray, " some"], days: slice = slice(None)) -> float:
        own, naive = (float(np.nansum(errors[origins, days], dtype=np.float64)) for errors in (self.own, self.naive))
        return float(np.log(own / naive)) if own > 0 and naive > 0 else np.nan

    def _over_sites(self, logs: Float[np.ndarray, " series"]) -> float:
        known = np.isfinite(logs)
        sums = np.bincount(self._sites[known], logs[known])
        counts = np.bincount(self._sites[known])
        return float((sums[counts > 0] / counts[counts > 0]).mean()) if known.any() else np.nan

    @cached_property
    def _sites(self) -> Int[np.ndarray, " series"]:
        names = [self.rolling.panel.series[row].site for row in self.rows]
        return np.unique(names, return_inverse=True)[1]


def site_errors(
    rolling: Rolling, forecasts: RollingForecasts, naive: RollingForecasts, rows: Sequence[int]
) -> SiteErrors:
    actual = rolling.actual()
    own, others = (np.abs(each.quantiles[..., MEDIAN] - actual) for each in (forecasts, naive))
    return SiteErrors(rolling, tuple(rows), own, others)


def _exp(log: float) -> float | None:
    return float(np.exp(log)) if np.isfinite(log) else None
