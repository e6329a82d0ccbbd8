"""Panel: many series of daily values on one calendar, with a verdict on every day. Pure numpy: no clock, no server."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int, UInt8

from forecasting.domain import Kind, Missing, Series, Unit, Verdict
from forecasting.errors import UnknownSite, unknown_metric, unknown_site
from forecasting.latest_windows import LatestWindows, cut_latest_windows
from forecasting.settings.schema import MetricConfig


def describe_series(site: str, metric: str, settings: MetricConfig, *, otherwise: Kind) -> Series:
    """A series with its metric's settings; `otherwise` is its kind if they name none. Only rates have a unit."""
    kind = settings.kind or (Kind.rate if settings.unit else otherwise)
    return Series(
        site=site,
        metric=metric,
        kind=kind,
        additive=kind is Kind.count if settings.additive is None else settings.additive,
        unit_scale=100.0 if kind is Kind.rate and settings.unit is Unit.percent else 1.0,
    )


@dataclass(frozen=True)
class Observations:
    """The values that a source has of one series, on days since 1970-01-01 in any order.

    A value that a verdict masks is infinite here, and `verdicts` says which verdict.
    """

    series: Series
    days: Int[np.ndarray, " days"]
    values: Float[np.ndarray, " days"]
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """Values [series, days] in float32, NaN where unknown; `first_day` in days since 1970-01-01.

    `notes` tell people what was odd in the data, a sentence each.
    """

    series: tuple[Series, ...]
    values: Float[np.ndarray, "series days"]
    first_day: int
    verdicts: UInt8[np.ndarray, "series days"]
    notes: tuple[str, ...] = ()

    @property
    def cutoff(self) -> int:
        """The last complete day, in days since 1970-01-01."""
        return self.first_day + self.num_days - 1

    @property
    def num_days(self) -> int:
        return int(self.values.shape[1])

    def find(self, *, metric: str, site: str | None = None) -> int:
        """The row of a series. `site` may be left out if there is only one.

        Raises UnknownSite or UnknownMetric, listing those that exist.
        """
        sites = sorted({series.site for series in self.series})
        if site is None and len(sites) > 1:
            raise UnknownSite(f"There are {len(sites)} sites: say which, one of {', '.join(sites)}.")
        site = site or sites[0]
        if site not in sites:
            raise unknown_site(site, sites)
        rows = {series.metric: row for row, series in enumerate(self.series) if series.site == site}
        if metric not in rows:
            raise unknown_metric(metric, rows)
        return rows[metric]

    def count_known(self, row: int, cutoffs: Int[np.ndarray, " cutoffs"], num_days: int) -> Int[np.ndarray, " cutoffs"]:
        """Known days of a series among the last `num_days` up to each cutoff, given as a column of the panel."""
        known_before = np.concatenate([[0], np.isfinite(self.values[row]).cumsum()])
        return np.asarray(known_before[cutoffs + 1] - known_before[np.maximum(cutoffs + 1 - num_days, 0)])

    def latest_windows(self, context_length: int) -> LatestWindows:
        """Of each series, the days up to its last value."""
        is_left_out = (self.verdicts == Verdict.gap) & np.isnan(self.values)
        rows, columns = np.nonzero((self.verdicts != Verdict.before) & ~is_left_out)
        return cut_latest_windows(
            np.bincount(rows, minlength=len(self.series)),
            self.first_day + columns,
            self.values[rows, columns].astype(np.float64),
            [series.kind for series in self.series],
            context_length=context_length,
            missing=Missing.mask,  # where missing days count as zero, the panel has these zeros already
        )

    def count_verdicts(self) -> dict[Verdict, int]:
        """How many days, over all series, have each verdict."""
        counts = np.bincount(self.verdicts.ravel(), minlength=len(Verdict))
        return {verdict: int(counts[verdict]) for verdict in Verdict}

    def tail(self, num_days: int) -> "Panel":
        """The last `num_days` days, or all if there are fewer."""
        start = max(0, self.num_days - num_days)
        return replace(
            self,
            values=self.values[:, start:],
            verdicts=self.verdicts[:, start:],
            first_day=self.first_day + start,
        )
