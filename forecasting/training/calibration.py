"""Calibrates bands on each series' own past, with forecasts of days that fitting did not train on.

Split conformal prediction: a band is scaled by the factor that would have made it hold its share of those days.
Source: Angelopoulos & Bates (2021), A Gentle Introduction to Conformal Prediction, arXiv 2107.07511. A factor from
few weeks is mostly chance, so it counts for n / (n + WEEKS_TO_TRUST) of the way, in logarithms, from the usual one.
EXPERIMENTS.md has the measurements.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from forecasting.artifact import forecaster_predictor
from forecasting.domain import KIND_CODES, MAX_DAYS_AHEAD, MIN_KNOWN_DAYS
from forecasting.evaluation.scoring import HIGHEST, LOWER, LOWEST, UPPER
from forecasting.model.forecaster import MEDIAN, Forecaster
from forecasting.model.rollout import OTHER, to_even
from forecasting.model.scaling import Scaled
from forecasting.panel import Panel
from forecasting.predictor import CORRELATION, Bands, Windows, usual_bands

SHARES = {0.8: (LOWER, UPPER), 0.9: (LOWEST, HIGHEST)}
WEEKS_TO_TRUST, WEEKS_TO_TRUST_A_DAY = 8, 52  # for a factor of all days of the horizon, and of each
WEEK = 7
MAX_WEEKS = 104  # of past forecasts
MIN_FACTOR, MAX_FACTOR = 0.6, 1.6  # the farthest that a factor may lie from the usual one
ORIGINS_AT_ONCE = 4096  # past forecasts of several series together: this bounds memory
SMALLEST_WIDTH = 1e-6


def calibrate(forecaster: Forecaster, panel: Panel, *, unseen: int) -> list[Bands]:
    """The bands of every series, by weekly forecasts of the panel's days from the `unseen`th on."""
    forecaster = forecaster.eval()
    horizon, context = forecaster.settings.prediction_horizon, forecaster.settings.context_length
    cutoffs = [_find_cutoffs(panel, row, unseen, horizon=horizon, context=context) for row in range(len(panel.series))]
    bands = [usual_bands(horizon)] * len(panel.series)
    for rows in _group_rows(cutoffs):
        past = _PastForecasts(forecaster, panel, rows, [cutoffs[row] for row in rows])
        for place, row in enumerate(rows):
            bands[row] = _calibrate_series(past, place)
    return bands


def _find_cutoffs(panel: Panel, row: int, unseen: int, *, horizon: int, context: int) -> Int[np.ndarray, " origins"]:
    """A week apart, latest first. The first horizon after each is known, and fitting did not train on it."""
    known = np.isfinite(panel.values[row])
    if not known.any():
        return np.empty(0, np.int64)
    last = int(np.flatnonzero(known)[-1]) - horizon
    cutoffs = np.arange(last, max(unseen - 1, 0) - 1, -WEEK)[:MAX_WEEKS]
    return np.asarray(cutoffs[panel.count_known(row, cutoffs, context) >= MIN_KNOWN_DAYS])


def _group_rows(cutoffs: Sequence[Int[np.ndarray, " origins"]]) -> Iterator[list[int]]:
    """The series that have cutoffs, in groups of about ORIGINS_AT_ONCE of them."""
    group: list[int] = []
    num_origins = 0
    for row, origins in enumerate(cutoffs):
        if not origins.size:
            continue
        if group and num_origins + origins.size > ORIGINS_AT_ONCE:
            yield group
            group, num_origins = [], 0
        group.append(row)
        num_origins += origins.size
    if group:
        yield group


def _calibrate_series(past: "_PastForecasts", place: int) -> Bands:
    """First one factor for all days of the horizon, then one for each day, then the growth after them."""
    needed = past.needed_factors(place)
    pooled = _shrink(needed, 1.0, WEEKS_TO_TRUST)
    days = range(past.horizon)
    scale = [_shrink(needed[..., day : day + 1], pooled, WEEKS_TO_TRUST_A_DAY) for day in days]
    later = past.needed_later_factors(place, scale[-1])
    return Bands((*scale, *_grow(scale[-1], later)), past.day_correlation(place, np.array(scale)), past.weeks(place))


def _grow(last: float, later: Float[np.ndarray, "shares origins later"]) -> tuple[float, ...]:
    """Factors of the days after the horizon: the usual growth, corrected by what each later week would have needed.

    The correction moves evenly, in logarithms, from none on the horizon's last day to the middle of each week. Bands
    never become narrower with the days ahead.
    """
    num_later = later.shape[-1]
    horizon = MAX_DAYS_AHEAD - num_later
    starts = range(0, num_later, WEEK)
    factors = [_shrink(later[..., start : start + WEEK], 1.0, WEEKS_TO_TRUST) for start in starts]
    middles = [0.0, *(start + (WEEK + 1) / 2 for start in starts)]
    correction = np.exp(np.interp(np.arange(1, num_later + 1), middles, [0.0, *np.log(factors)]))
    usual = np.array(usual_bands(horizon).scale[horizon:])
    grown = last * np.maximum.accumulate(np.maximum(1.0, usual * correction))
    return tuple(float(factor) for factor in grown)


class _PastForecasts:
    """Forecasts of several series from past cutoffs, as far ahead as forecasts go, beside what came."""

    def __init__(
        self, forecaster: Forecaster, panel: Panel, rows: Sequence[int], cutoffs: Sequence[Int[np.ndarray, " _"]]
    ) -> None:
        context, self.horizon = forecaster.settings.context_length, forecaster.settings.prediction_horizon
        self._ends = np.cumsum([0, *(len(origins) for origins in cutoffs)])
        self._scaling = forecaster.scaling
        places = np.repeat(np.arange(len(rows)), np.diff(self._ends))
        origins = np.concatenate(cutoffs)
        past, self._actual = _cut(panel.values[rows], places, origins, context)
        kind = np.array([KIND_CODES[panel.series[row].kind] for row in rows], np.int64)[places]
        scale = np.tile(np.array(usual_bands(self.horizon).scale, np.float32), (len(origins), 1))
        naive = np.zeros(len(origins), bool)
        windows = Windows(past, panel.first_day + origins + 1 - context, kind, scale, naive)
        predictor = forecaster_predictor("calibrated", forecaster)
        self._kind = torch.from_numpy(kind)
        self._units = self._kind if predictor.logarithmic else torch.full_like(self._kind, OTHER)
        self._later = torch.from_numpy(predictor.roll_out(windows)[:, self.horizon :])
        with torch.no_grad():
            self._z, self._scaled = forecaster.scaled_quantiles(
                torch.from_numpy(past), torch.from_numpy(windows.first_day), self._kind
            )

    def weeks(self, place: int) -> int:
        return int(self._ends[place + 1] - self._ends[place])

    def needed_factors(self, place: int) -> Float[np.ndarray, "shares origins horizon"]:
        """By how much the 80% and the 90% band of each day would have to be wider to just hold it, as trained."""
        rows = self._rows(place)
        target = self._scaling.scale_target(self._actual[rows, : self.horizon], self._kind[rows], self._scaled_of(rows))
        z = self._z[rows]
        return _needed(target - z[..., MEDIAN], z - z[..., MEDIAN : MEDIAN + 1])

    def needed_later_factors(self, place: int, last: float) -> Float[np.ndarray, "shares origins later"]:
        """The same of the days after the horizon, relative to the usual growth from the `last` day's factor."""
        rows = self._rows(place)
        quantiles = to_even(self._later[rows], self._units[rows])
        actual = to_even(self._actual[rows, self.horizon :], self._units[rows])
        median = quantiles[..., MEDIAN]
        return _needed(actual - median, last * (quantiles - median[..., None]))

    def day_correlation(self, place: int, scale: Float[np.ndarray, " horizon"]) -> float:
        """How alike the errors of two days of a forecast are, from 0 (independent) to 1 (equal): for bands of totals.

        If the errors of n days correlate by r, their sum spreads by sqrt((1 + (n - 1) r) / n) of the sum of their
        spreads. This solves for the r at which the band of the sum holds its share.
        """
        n, rows = self.horizon, self._rows(place)
        if n == 1:
            return CORRELATION
        z, factors = self._z[rows], torch.from_numpy(scale).float()[:, None]
        median = z[..., MEDIAN : MEDIAN + 1]
        banded = self._scaling.unscale(median + factors * (z - median), self._kind[rows], self._scaled_of(rows))
        total = banded.sum(1, keepdim=True)
        error = self._actual[rows, :n].sum(1, keepdim=True) - total[..., MEDIAN]
        needed = _needed(error, total - total[..., MEDIAN : MEDIAN + 1])
        share = _shrink(needed, math.sqrt((1 + (n - 1) * CORRELATION) / n), WEEKS_TO_TRUST)
        return float(np.clip((n * share**2 - 1) / (n - 1), 0.0, 1.0))

    def _rows(self, place: int) -> slice:
        return slice(int(self._ends[place]), int(self._ends[place + 1]))

    def _scaled_of(self, rows: slice) -> Scaled:
        return Scaled(*(part[rows] for part in self._scaled))


def _cut(
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


def _needed(
    error: Float[Tensor, "origins days"], widths: Float[Tensor, "origins days levels"]
) -> Float[np.ndarray, "shares origins days"]:
    """|error| over the distance from the median to the band's end on its side; NaN where the day is unknown."""
    needed = []
    for lower, upper in SHARES.values():
        width = torch.where(error > 0, widths[..., upper], -widths[..., lower]).clamp(min=SMALLEST_WIDTH)
        needed.append((error.abs() / width).numpy())
    return np.stack(needed)


def _shrink(needed: Float[np.ndarray, "shares origins days"], usual: float, weeks_to_trust: int) -> float:
    """The factor that would have held each share of the days, as far from the usual one as its weeks are worth."""
    weeks = int(np.isfinite(needed[0]).any(1).sum())
    if not weeks:
        return usual
    logs = []
    for share, factors in zip(SHARES, needed, strict=True):
        known = factors[np.isfinite(factors)]
        level = min(1.0, share * (1 + 1 / known.size))
        logs.append(math.log(np.clip(np.quantile(known, level) / usual, MIN_FACTOR, MAX_FACTOR)))
    return float(usual * math.exp(weeks / (weeks + weeks_to_trust) * np.mean(logs)))
