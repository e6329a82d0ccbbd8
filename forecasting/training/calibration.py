"""Bands set right on a series' own past, by forecasts of days that fitting had not trained on.

Split conformal prediction: a band is widened or narrowed by the factor that would have made it hold its share of those
days. Source: Angelopoulos & Bates (2021), A Gentle Introduction to Conformal Prediction, arXiv 2107.07511. A factor of
few weeks says little, so it counts for n / (n + WEEKS_TO_TRUST) of the way, in logarithms, from what holds for most
series. EXPERIMENTS.md has what was measured.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from forecasting.config import MAX_DAYS_AHEAD, MIN_KNOWN_DAYS
from forecasting.model.forecaster import KINDS, LEVELS, MEDIAN, Forecaster
from forecasting.panel import Panel

SEASON = 7
SHARES = {0.8: (LEVELS.index(0.1), LEVELS.index(0.9)), 0.9: (LEVELS.index(0.05), LEVELS.index(0.95))}
WEEKS_TO_TRUST, WEEKS_TO_TRUST_A_DAY = 8, 52  # for a factor of all days of the horizon, and of each
MAX_WEEKS = 104  # forecasts looked back on
GROWTH = 0.85  # of a band, each week further ahead: medians that are fed back make the model too sure of itself
CORRELATION = 0.5  # of the errors of two days of a week
SMALLEST, LARGEST = 0.6, 1.6  # factors that are believed, of what they are shrunk to


@dataclass(frozen=True)
class Bands:
    """What a series' bands are multiplied by; the fields are SeriesCard's."""

    scale: tuple[float, ...]
    widening: tuple[float, ...]
    day_correlation: float
    num_weeks: int = 0  # of the series' own past that this rests on


def usual_bands(horizon: int) -> Bands:
    """What holds for most series, where a series' own past says nothing."""
    num_horizons = -(-MAX_DAYS_AHEAD // horizon)
    widening = tuple(1 + GROWTH * horizon / SEASON * k for k in range(num_horizons))
    return Bands((1.0,) * horizon, widening, CORRELATION)


def calibrate(forecaster: Forecaster, panel: Panel, *, unseen: int) -> list[Bands]:
    """The bands of every series, by weekly forecasts of the panel's days from the `unseen`th on."""
    forecaster = forecaster.eval()
    return [_calibrate_series(forecaster, panel, row, unseen) for row in range(len(panel.series))]


def _calibrate_series(forecaster: Forecaster, panel: Panel, row: int, unseen: int) -> Bands:
    horizon = forecaster.settings.prediction_horizon
    usual = usual_bands(horizon)
    context = forecaster.settings.context_length
    cutoffs = _cutoffs(panel, row, unseen, horizon=horizon, context=context)
    if not cutoffs.size:
        return usual
    tried = _Tried(forecaster, panel, row, cutoffs)
    first = tried.scores(0, np.ones(horizon))
    pooled = _believed(first, 1.0, WEEKS_TO_TRUST)
    scale = tuple(_believed(first[..., day : day + 1], pooled, WEEKS_TO_TRUST_A_DAY) for day in range(horizon))
    widening = [1.0]
    for step in range(1, len(usual.widening)):
        factor = _believed(tried.scores(step, np.array(scale)), usual.widening[step], WEEKS_TO_TRUST)
        widening.append(max(widening[-1], factor))
    return Bands(scale, tuple(widening), tried.day_correlation(np.array(scale)), len(cutoffs))


def _cutoffs(panel: Panel, row: int, unseen: int, *, horizon: int, context: int) -> Int[np.ndarray, " origins"]:
    """A week apart, latest first; what is forecast from them is known and was not trained on."""
    known = np.isfinite(panel.values[row])
    if not known.any():
        return np.empty(0, np.int64)
    last = int(np.flatnonzero(known)[-1]) - horizon
    cutoffs = np.arange(last, max(unseen - 1, 0) - 1, -SEASON)[:MAX_WEEKS]
    until = np.concatenate([[0], known.cumsum()])
    in_context = until[cutoffs + 1] - until[np.maximum(cutoffs + 1 - context, 0)]
    return np.asarray(cutoffs[in_context >= MIN_KNOWN_DAYS])


class _Tried:
    """Forecasts of a series from some cutoffs, as far ahead as forecasts go, and what came."""

    def __init__(self, forecaster: Forecaster, panel: Panel, row: int, cutoffs: Int[np.ndarray, " origins"]) -> None:
        settings = forecaster.settings
        context, self.horizon = settings.context_length, settings.prediction_horizon
        nothing = np.full(context, np.nan, np.float32)
        values = np.concatenate(
            [nothing, panel.values[row], np.full(MAX_DAYS_AHEAD + self.horizon, np.nan, np.float32)]
        )
        place = cutoffs[:, None] + context
        self._forecaster = forecaster
        self._history = torch.from_numpy(values[place + np.arange(1 - context, 1)])
        ahead = np.arange(1, 1 + self.horizon * -(-MAX_DAYS_AHEAD // self.horizon))
        self._actual = torch.from_numpy(values[place + ahead])
        self._first_day = torch.from_numpy(panel.first_day + cutoffs + 1 - context)
        self._kind = torch.full((len(cutoffs),), KINDS[panel.series[row].kind])
        self._fed = [self._history]

    def scores(self, step: int, scale: Float[np.ndarray, " horizon"]) -> Float[np.ndarray, "shares origins horizon"]:
        """How many times as wide the 80% and the 90% band of a horizon would have had to be to hold each day."""
        with torch.no_grad():
            history, first_day = self._history_at(step), self._first_day + step * self.horizon
            z, scaled = self._forecaster.scaled_quantiles(history, first_day, self._kind)
            days = slice(step * self.horizon, (step + 1) * self.horizon)
            target = self._forecaster.scaling.scale_target(self._actual[:, days], self._kind, scaled)
            widths = (z - z[..., MEDIAN : MEDIAN + 1]) * torch.from_numpy(scale).float()[:, None]
            return _needed(target - z[..., MEDIAN], widths)

    def _history_at(self, step: int) -> Tensor:
        while len(self._fed) <= step:
            done, history = len(self._fed) - 1, self._fed[-1]
            ones = torch.ones(len(history), self.horizon)
            quantiles = self._forecaster(history, self._first_day + done * self.horizon, self._kind, ones)
            self._fed.append(torch.cat([history, quantiles[..., MEDIAN]], 1)[:, -history.shape[1] :])
        return self._fed[step]

    def day_correlation(self, scale: Float[np.ndarray, " horizon"]) -> float:
        """How alike the errors of two days of one forecast are, 0 (independent) to 1 (the same), for the total's band.

        Errors of n days that correlate by r spread their sum by sqrt((1 + (n - 1) r) / n) of the sum of their spreads;
        r is solved for where the band of the sum holds its share.
        """
        n = self.horizon
        if n == 1:
            return CORRELATION
        bands = torch.from_numpy(scale).float().expand(len(self._history), -1)
        with torch.no_grad():
            quantiles = self._forecaster(self._history, self._first_day, self._kind, bands).sum(1, keepdim=True)
        error = self._actual[:, :n].sum(1, keepdim=True) - quantiles[..., MEDIAN]
        needed = _needed(error, quantiles - quantiles[..., MEDIAN : MEDIAN + 1])
        usual = math.sqrt((1 + (n - 1) * CORRELATION) / n)
        share = _believed(needed, usual, WEEKS_TO_TRUST)
        return float(np.clip((n * share**2 - 1) / (n - 1), 0.0, 1.0))


def _needed(
    error: Float[Tensor, "origins days"], widths: Float[Tensor, "origins days levels"]
) -> Float[np.ndarray, "shares origins days"]:
    """|error| over the distance from the median to the band's end on its side; NaN where the day is unknown."""
    needed = []
    for lower, upper in SHARES.values():
        width = torch.where(error > 0, widths[..., upper], -widths[..., lower]).clamp(min=1e-6)
        needed.append((error.abs() / width).numpy())
    return np.stack(needed)


def _believed(needed: Float[np.ndarray, "shares origins days"], usual: float, weeks_to_trust: int) -> float:
    """The factor that would have held each share of the days, as far from the usual one as its weeks are worth."""
    weeks = int(np.isfinite(needed[0]).any(1).sum())
    if not weeks:
        return usual
    logs = []
    for share, of in zip(SHARES, needed, strict=True):
        found = of[np.isfinite(of)]
        level = min(1.0, share * (1 + 1 / found.size))
        logs.append(math.log(np.clip(np.quantile(found, level) / usual, SMALLEST, LARGEST)))
    return float(usual * math.exp(weeks / (weeks + weeks_to_trust) * np.mean(logs)))
