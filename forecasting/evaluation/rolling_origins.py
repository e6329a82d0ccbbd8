"""Which forecasts a rolling backtest makes, and which days each may see: the one place that decides what is past."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.domain import MIN_DAYS, MIN_KNOWN_DAYS, RECENT_DAYS, Verdict
from forecasting.errors import TooFewDays
from forecasting.long_gaps import mark_long_gaps
from forecasting.panel import Panel
from forecasting.settings.schema import BacktestConfig


@dataclass(frozen=True)
class Rolling:
    """Forecasts to make, one per origin: a row of the panel, and a cutoff, the place of the last day that may be seen.

    Forecasters get their days from `histories` or `visible`, which hold nothing later.
    """

    panel: Panel
    rows: Int[np.ndarray, " origins"]
    cutoffs: Int[np.ndarray, " origins"]
    days_ahead: int
    history_days: int | None  # None: all
    left_out: int = 0  # origins with too few known days before them

    def visible(self, origin: int) -> Float[np.ndarray, " days"]:
        """The days of one series that may be seen, from its first known day on."""
        stop = int(self.cutoffs[origin]) + 1
        start = 0 if self.history_days is None else max(0, stop - self.history_days)
        values = self.panel.values[self.rows[origin], start:stop]
        return values[np.flatnonzero(np.isfinite(values))[0] :]

    def histories(self, origins: slice, num_days: int) -> Float[np.ndarray, "part days"]:
        """The last `num_days` days up to each cutoff, NaN where unknown or hidden."""
        offsets = np.arange(1 - num_days, 1)
        days = self.cutoffs[origins, None] + offsets
        values = self.panel.values[self.rows[origins, None], np.maximum(days, 0)]
        hidden = days < 0
        if self.history_days is not None:
            hidden |= offsets <= -self.history_days
        return np.where(hidden, np.float32(np.nan), values)

    def actual(self) -> Float[np.ndarray, "origins days"]:
        """The values that followed. A missing day counts as zero where it can be one; other unknown values are NaN."""
        days = self.cutoffs[:, None] + np.arange(1, self.days_ahead + 1)
        values = self.panel.values[self.rows[:, None], days]
        verdicts = self.panel.verdicts
        gaps = (verdicts == Verdict.gap) & ~mark_long_gaps(~np.isin(verdicts, (Verdict.before, Verdict.gap)))
        missing = gaps[self.rows[:, None], days]
        fills = np.array([self.panel.series[row].can_be_zero for row in self.rows], bool)
        return np.where(missing & fills[:, None], np.float32(0), values)

    def known_until(self, cutoff: int) -> Panel:
        """The panel that a model may be fitted on at a cutoff."""
        panel, stop = self.panel, cutoff + 1
        known = replace(panel, values=panel.values[:, :stop], verdicts=panel.verdicts[:, :stop])
        return known if self.history_days is None else known.tail(self.history_days)

    def select(self, origins: Bool[np.ndarray, " origins"]) -> "Rolling":
        return replace(self, rows=self.rows[origins], cutoffs=self.cutoffs[origins])


def roll(panel: Panel, settings: BacktestConfig) -> Rolling:
    """The origins of every series: the last forecast ends with the series' own data, each other a step earlier.

    Raises TooFewDays if no series is long enough.
    """
    origins = [(row, cutoff) for row in range(len(panel.series)) for cutoff in _find_cutoffs(panel, row, settings)]
    if not origins:
        raise TooFewDays(
            f"No series is long enough: {MIN_DAYS} days before a cutoff and {settings.days_ahead} after it are needed, "
            f"and {MIN_KNOWN_DAYS} known days among the last {RECENT_DAYS}. Load more days, or lower --days-ahead."
        )
    rows, cutoffs = np.array(origins, np.int64).T
    left_out = settings.origins * len(panel.series) - len(origins)
    return Rolling(panel, rows, cutoffs, settings.days_ahead, settings.history_days, left_out)


def _find_cutoffs(panel: Panel, row: int, settings: BacktestConfig) -> Int[np.ndarray, " origins"]:
    """Oldest first."""
    columns = np.flatnonzero(panel.verdicts[row] != Verdict.before)  # of the series' life
    last = columns[-1] - settings.days_ahead
    cutoffs = last - settings.step * np.arange(settings.origins - 1, -1, -1)
    cutoffs = cutoffs[cutoffs + 1 - columns[0] >= MIN_DAYS]
    num_seen = min(RECENT_DAYS, settings.history_days or RECENT_DAYS)
    return np.asarray(cutoffs[panel.count_known(row, cutoffs, num_seen) >= MIN_KNOWN_DAYS])


@dataclass(frozen=True)
class RollingForecasts:
    """One forecaster's quantiles at every origin, in the panel's units; the median is its point forecast."""

    name: str
    quantiles: Float[np.ndarray, "origins days levels"]
    seconds: float
