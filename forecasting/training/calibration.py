"""Calibrates bands on each series' own past, with forecasts of days that fitting did not train on.

Split conformal prediction: a band is scaled by the factor that would have made it hold its share of those days.
Source: Angelopoulos & Bates (2021), A Gentle Introduction to Conformal Prediction, arXiv 2107.07511. A factor from
few weeks is mostly chance, so it counts for n / (n + WEEKS_TO_TRUST) of the way, in logarithms, from the usual one.
EXPERIMENTS.md has the measurements.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from forecasting.artifact import forecaster_predictor
from forecasting.domain import KIND_CODES, MAX_DAYS_AHEAD, MIN_KNOWN_DAYS, RECENT_DAYS
from forecasting.evaluation.scoring import HIGHEST, LOWER, LOWEST, UPPER
from forecasting.model.forecaster import LEVELS, MEDIAN, Forecaster
from forecasting.model.rollout import COUNT, OTHER, to_even
from forecasting.panel import Panel
from forecasting.predictor import CORRELATION, Bands, Windows, usual_bands
from forecasting.totals import correlation_share, quietness, sum_up

SHARES = {0.8: (LOWER, UPPER), 0.9: (LOWEST, HIGHEST)}
WEEKS_TO_TRUST, WEEKS_TO_TRUST_A_DAY = 8, 52  # for a factor of a week ahead, and of a day of the week
WEEK = 7
MAX_WEEKS = 104  # of past forecasts
MIN_FACTOR, MAX_FACTOR = 0.6, 1.6  # the farthest that a factor may lie from the usual one
ORIGINS_AT_ONCE = 4096  # past forecasts of several series together: this bounds memory
SMALLEST_WIDTH = 1e-6
NO_CUTOFF = -1

Needed = Float[np.ndarray, "shares series weeks days"]  # by how much a band would have to be wider; NaN if unknown


def calibrate(forecaster: Forecaster, panel: Panel, *, unseen: int) -> list[Bands]:
    """The bands of every series, by weekly forecasts of the panel's days from the `unseen`th on."""
    forecaster = forecaster.eval()
    settings = forecaster.settings
    horizon = settings.prediction_horizon
    cutoffs = np.concatenate(
        [
            find_cutoffs(np.isfinite(panel.values[start : start + ORIGINS_AT_ONCE]), unseen, horizon)
            for start in range(0, len(panel.series), ORIGINS_AT_ONCE)
        ]
    )
    bands = [usual_bands(settings.output_days)] * len(panel.series)
    num_weeks = (cutoffs != NO_CUTOFF).sum(1)
    for rows in _group_rows(num_weeks):
        past = _PastForecasts(forecaster, panel, rows, cutoffs[rows, : num_weeks[rows].max()])
        for row, scale, correlation in zip(rows, *_calibrate_group(past), strict=True):
            bands[row] = Bands(tuple(scale), correlation, int(num_weeks[row]))
    return bands


def find_cutoffs(
    known: Bool[np.ndarray, "series days"], unseen: int, horizon: int
) -> Int[np.ndarray, "series max_weeks"]:
    """Of each series, a week apart, latest first, then NO_CUTOFF. The first horizon after each is known, fitting did
    not train on it, and serving would forecast from the days before it.
    """
    num_days = known.shape[1]
    last = num_days - 1 - known[:, ::-1].argmax(1) - horizon
    cutoffs = last[:, None] - WEEK * np.arange(MAX_WEEKS)
    is_unseen = known.any(1, keepdims=True) & (cutoffs >= max(unseen - 1, 0))
    known_before = np.pad(known.cumsum(1, dtype=np.int32), ((0, 0), (1, 0)))
    ends = np.where(is_unseen, cutoffs + 1, 0)
    num_known = np.subtract(
        *(np.take_along_axis(known_before, at, 1) for at in (ends, np.maximum(ends - RECENT_DAYS, 0)))
    )
    cutoffs = np.where(is_unseen & (num_known >= MIN_KNOWN_DAYS), cutoffs, NO_CUTOFF)
    order = np.argsort(cutoffs == NO_CUTOFF, axis=1, kind="stable")
    return np.take_along_axis(cutoffs, order, 1).astype(np.int32)


def _group_rows(num_weeks: Int[np.ndarray, " series"]) -> Iterator[Int[np.ndarray, " group"]]:
    """The series that have cutoffs, in groups of about equally many each, and at most ORIGINS_AT_ONCE together."""
    rows = np.argsort(num_weeks, kind="stable")
    rows = rows[num_weeks[rows] > 0]
    while rows.size:
        weeks = num_weeks[rows]
        size = max(1, int((weeks * np.arange(1, len(rows) + 1) <= ORIGINS_AT_ONCE).sum()))
        yield rows[:size]
        rows = rows[size:]


def _calibrate_group(past: "_PastForecasts") -> tuple[list[list[float]], list[float]]:
    """Of each series the factors of all days, and the correlation of days."""
    scale = _scale_horizon(past.needed_factors())
    grown = _grow(scale[:, -1], past.needed_later_factors(scale[:, -1]))
    return np.concatenate([scale, grown], 1).tolist(), past.day_correlation(scale).tolist()


def _scale_horizon(needed: Needed) -> Float[np.ndarray, "series horizon"]:
    """One factor for each week ahead, evenly from the middle of one to the next, times one for each day of the week.

    A factor for each day alone would rest on as many forecasts as a day of the week, and jump from day to day.
    """
    horizon = needed.shape[-1]
    starts = np.arange(0, horizon, WEEK)
    weeks = np.stack([_shrink(needed[..., start : start + WEEK], 1.0, WEEKS_TO_TRUST) for start in starts], 1)
    between = np.stack([np.interp(np.arange(horizon), starts + (WEEK - 1) / 2, knot) for knot in np.eye(len(starts))])
    of_weeks = np.exp(np.log(weeks) @ between)
    relative = needed / of_weeks[:, None, :]
    weekdays = [_shrink(relative[..., day::WEEK], 1.0, WEEKS_TO_TRUST_A_DAY) for day in range(min(WEEK, horizon))]
    return np.asarray(of_weeks * np.stack(weekdays, 1)[:, np.arange(horizon) % WEEK])


def _grow(last: Float[np.ndarray, " series"], later: Needed) -> Float[np.ndarray, "series later"]:
    """Factors of the days after the horizon: the usual growth, corrected by what each later week would have needed.

    The correction moves evenly, in logarithms, from none on the horizon's last day to the middle of each week. Bands
    never become narrower with the days ahead.
    """
    num_later = later.shape[-1]
    horizon = MAX_DAYS_AHEAD - num_later
    starts = range(0, num_later, WEEK)
    factors = np.stack([_shrink(later[..., start : start + WEEK], 1.0, WEEKS_TO_TRUST) for start in starts], 1)
    middles = np.array([0.0, *(start + (WEEK + 1) / 2 for start in starts)])
    knots = np.eye(len(middles))[1:]  # the first has no correction
    between = np.stack([np.interp(np.arange(1, num_later + 1), middles, knot) for knot in knots])
    usual = np.array(usual_bands(horizon).scale[horizon:])
    growth = np.maximum(1.0, usual * np.exp(np.log(factors) @ between))
    return np.asarray(last[:, None] * np.maximum.accumulate(growth, axis=1))


class _PastForecasts:
    """Forecasts of several series from past cutoffs, as far ahead as forecasts go, beside what came."""

    def __init__(
        self,
        forecaster: Forecaster,
        panel: Panel,
        rows: Int[np.ndarray, " series"],
        cutoffs: Int[np.ndarray, "series weeks"],
    ) -> None:
        context, self.horizon = forecaster.settings.context_length, forecaster.settings.output_days
        self._total_days = forecaster.settings.prediction_horizon
        self._is_forecast = cutoffs != NO_CUTOFF
        self._series, _ = np.nonzero(self._is_forecast)  # of each origin
        self._scaling = forecaster.scaling
        origins = cutoffs[self._is_forecast]
        past, self._actual = cut(panel.values[rows], self._series, origins, context)
        kinds = np.array([KIND_CODES[panel.series[row].kind] for row in rows], np.int64)
        self._are_counts, kind = kinds == COUNT, kinds[self._series]
        scale = np.tile(np.array(usual_bands(self.horizon).scale, np.float32), (len(origins), 1))
        naive = np.zeros(len(origins), bool)
        windows = Windows(past, panel.first_day + origins.astype(np.int64) + 1 - context, kind, scale, naive)
        predictor = forecaster_predictor("calibrated", forecaster)
        self._kind = torch.from_numpy(kind)
        self._units = self._kind if predictor.logarithmic else torch.full_like(self._kind, OTHER)
        self._later = torch.from_numpy(predictor.roll_out(windows)[:, self.horizon :])
        with torch.no_grad():
            self._z, self._scaled = forecaster.scaled_quantiles(
                torch.from_numpy(past), torch.from_numpy(windows.first_day), self._kind
            )

    def needed_factors(self) -> Needed:
        """Of the 80% and the 90% band of each day of the horizon, to just hold it, as trained."""
        target = self._scaling.scale_target(self._actual[:, : self.horizon], self._kind, self._scaled)
        return self._needed(target - self._z[..., MEDIAN], self._z - self._z[..., MEDIAN, None])

    def needed_later_factors(self, last: Float[np.ndarray, " series"]) -> Needed:
        """The same of the days after the horizon, relative to the usual growth from the `last` day's factor."""
        quantiles = to_even(self._later, self._units)
        actual = to_even(self._actual[:, self.horizon :], self._units)
        median = quantiles[..., MEDIAN]
        return self._needed(actual - median, self._spread(last)[:, None, None] * (quantiles - median[..., None]))

    def day_correlation(self, scale: Float[np.ndarray, "series horizon"]) -> Float[np.ndarray, " series"]:
        """How alike the errors of two days of a forecast are, from 0 (independent) to 1 (equal): for bands of totals.

        It is the one with which the bands of the sum hold their shares, where days can be summed up.
        """
        n, median = self._total_days, self._z[..., MEDIAN, None]
        z = median + self._spread(scale)[..., None] * (self._z - median)
        banded = self._scaling.unscale(z, self._kind, self._scaled).numpy()[:, :n]
        if n == 1:
            return np.full(len(scale), CORRELATION)
        left, factor = self._factor_of_totals(np.maximum(banded, 0))
        correlation = (factor**2 * (1 + (n - 1) * CORRELATION * left) - 1) / ((n - 1) * left)
        return np.where(self._are_counts, np.clip(correlation, 0.0, 1.0), CORRELATION)

    def _factor_of_totals(
        self, banded: Float[np.ndarray, "origins total_days levels"]
    ) -> tuple[Float[np.ndarray, " series"], Float[np.ndarray, " series"]]:
        """What totals leave of the correlation of days, and by how much their usual bands would have to be wider."""
        usual, widths = np.full(len(banded), CORRELATION), torch.zeros(len(banded), 1, len(LEVELS))
        for low, high in SHARES.values():
            sums = sum_up(banded, LEVELS, usual, band=(LEVELS[low], LEVELS[high]))
            widths[:, 0, low] = torch.from_numpy(sums.lower - sums.value)
            widths[:, 0, high] = torch.from_numpy(sums.upper - sums.value)
        error = self._actual[:, : self._total_days].sum(1, keepdim=True) - torch.from_numpy(sums.value)[:, None]
        volume = sums.value / self._total_days
        left = 1 - quietness(volume) * (1 - correlation_share(volume))
        left_of_series = np.bincount(self._series, left) / np.bincount(self._series)
        return left_of_series, _shrink(self._needed(error, widths), 1.0, WEEKS_TO_TRUST)

    def _spread(self, of_series: Float[np.ndarray, "series *days"]) -> Float[Tensor, "origins *days"]:
        """What belongs to a series, at each of its origins."""
        return torch.from_numpy(of_series[self._series]).float()

    def _needed(self, error: Float[Tensor, "origins days"], widths: Float[Tensor, "origins days levels"]) -> Needed:
        """|error| over the distance from the median to the band's end on its side; NaN where the day is unknown."""
        needed = np.full((len(SHARES), *self._is_forecast.shape, error.shape[1]), np.nan, np.float32)
        for place, (lower, upper) in enumerate(SHARES.values()):
            width = torch.where(error > 0, widths[..., upper], -widths[..., lower]).clamp(min=SMALLEST_WIDTH)
            needed[place, self._is_forecast] = (error.abs() / width).numpy()
        return needed


def cut(
    values: Float[np.ndarray, "series all_days"],
    series: Int[np.ndarray, " origins"],
    cutoffs: Int[np.ndarray, " origins"],
    context: int,
) -> tuple[Float[np.ndarray, "origins context"], Float[Tensor, "origins days"]]:
    """The days up to each cutoff, and those after it; NaN where there are no values."""
    before, after = (np.full((len(values), days), np.nan, np.float32) for days in (context, MAX_DAYS_AHEAD))
    padded = np.concatenate([before, values, after], axis=1)
    columns = cutoffs[:, None] + context
    past = padded[series[:, None], columns + np.arange(1 - context, 1)]
    return past, torch.from_numpy(padded[series[:, None], columns + np.arange(1, 1 + MAX_DAYS_AHEAD)])


def _shrink(
    needed: Needed, usual: float | Float[np.ndarray, " series"], weeks_to_trust: int
) -> Float[np.ndarray, " series"]:
    """The factor that would have held each share of the days, as far from the usual one as its weeks are worth."""
    weeks = np.isfinite(needed[0]).any(2).sum(1)
    logs = np.zeros(len(weeks))
    for share, factors in zip(SHARES, needed, strict=True):
        held = _conformal_quantile(factors.reshape(len(weeks), -1), share) / usual
        logs += np.log(np.clip(np.where(np.isfinite(held), held, 1.0), MIN_FACTOR, MAX_FACTOR))
    return np.asarray(usual * np.exp(weeks / (weeks + weeks_to_trust) * logs / len(SHARES)))


def _conformal_quantile(values: Float[np.ndarray, "series values"], share: float) -> Float[np.ndarray, " series"]:
    """The value that `share` of each row's finite values do not exceed, or the next does not; NaN without any."""
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=1)  # NaN last
    count = np.isfinite(ordered).sum(1)
    level = np.minimum(1.0, share * (1 + 1 / np.maximum(count, 1)))
    top = np.maximum(count - 1, 0)
    position = level * top
    below = position.astype(np.int64)
    low, high = (np.take_along_axis(ordered, at[:, None], 1)[:, 0] for at in (below, np.minimum(below + 1, top)))
    return np.asarray(low + (position - below) * (high.astype(np.float64) - low))
