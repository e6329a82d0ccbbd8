"""Bands set right on a series' own past, by forecasts of days that fitting had not trained on.

Split conformal prediction: a band is widened or narrowed by the factor that would have made it hold its share of those
days. Source: Angelopoulos & Bates (2021), A Gentle Introduction to Conformal Prediction, arXiv 2107.07511. A factor of
few weeks says little, so it counts for n / (n + WEEKS_TO_TRUST) of the way, in logarithms, from what holds for most
series. EXPERIMENTS.md has what was measured.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from forecasting.artifact import CORRELATION, SEASON, Bands, usual_bands
from forecasting.domain import MIN_KNOWN_DAYS
from forecasting.model.forecaster import KINDS, MEDIAN, Forecaster
from forecasting.panel import Panel
from forecasting.training.scoring import HIGHEST, LOWER, LOWEST, UPPER

SHARES = {0.8: (LOWER, UPPER), 0.9: (LOWEST, HIGHEST)}
WEEKS_TO_TRUST, WEEKS_TO_TRUST_A_DAY = 8, 52  # for a factor of all days of the horizon, and of each
MAX_WEEKS = 104  # forecasts looked back on
SMALLEST, LARGEST = 0.6, 1.6  # factors that are believed, of what they are shrunk to


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
    tried = _Tried(forecaster, panel, row, cutoffs, num_horizons=len(usual.widening))
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
    return np.asarray(cutoffs[panel.count_known(row, cutoffs, context) >= MIN_KNOWN_DAYS])


class _Tried:
    """Forecasts of a series from some cutoffs, as far ahead as forecasts go, and what came."""

    def __init__(
        self, forecaster: Forecaster, panel: Panel, row: int, cutoffs: Int[np.ndarray, " origins"], *, num_horizons: int
    ) -> None:
        context, self.horizon = forecaster.settings.context_length, forecaster.settings.prediction_horizon
        num_ahead = num_horizons * self.horizon
        before, after = (np.full(days, np.nan, np.float32) for days in (context, num_ahead))
        values = np.concatenate([before, panel.values[row], after])
        place = cutoffs[:, None] + context
        history = torch.from_numpy(values[place + np.arange(1 - context, 1)])
        first_day = torch.from_numpy(panel.first_day + cutoffs + 1 - context)
        self._scaling = forecaster.scaling
        self._actual = torch.from_numpy(values[place + np.arange(1, 1 + num_ahead)])
        self._kind = torch.full((len(cutoffs),), KINDS[panel.series[row].kind])
        self._steps = []  # quantiles in the scaling's units, and the scaled window
        for step in range(num_horizons):
            with torch.no_grad():
                z, scaled = forecaster.scaled_quantiles(history, first_day + step * self.horizon, self._kind)
                median = self._scaling.unscale(z[..., MEDIAN : MEDIAN + 1], self._kind, scaled)[..., 0]
            history = torch.cat([history, median], 1)[:, -context:]
            self._steps.append((z, scaled))

    def scores(self, step: int, scale: Float[np.ndarray, " horizon"]) -> Float[np.ndarray, "shares origins horizon"]:
        """How many times as wide the 80% and the 90% band of a horizon would have had to be to hold each day."""
        z, scaled = self._steps[step]
        days = slice(step * self.horizon, (step + 1) * self.horizon)
        target = self._scaling.scale_target(self._actual[:, days], self._kind, scaled)
        return _needed(target - z[..., MEDIAN], _widths(z, scale))

    def day_correlation(self, scale: Float[np.ndarray, " horizon"]) -> float:
        """How alike the errors of two days of one forecast are, 0 (independent) to 1 (the same), for the total's band.

        Errors of n days that correlate by r spread their sum by sqrt((1 + (n - 1) r) / n) of the sum of their spreads;
        r is solved for where the band of the sum holds its share.
        """
        n = self.horizon
        if n == 1:
            return CORRELATION
        z, scaled = self._steps[0]
        banded = z[..., MEDIAN : MEDIAN + 1] + _widths(z, scale)
        quantiles = self._scaling.unscale(banded, self._kind, scaled).sum(1, keepdim=True)
        error = self._actual[:, :n].sum(1, keepdim=True) - quantiles[..., MEDIAN]
        needed = _needed(error, quantiles - quantiles[..., MEDIAN : MEDIAN + 1])
        usual = math.sqrt((1 + (n - 1) * CORRELATION) / n)
        share = _believed(needed, usual, WEEKS_TO_TRUST)
        return float(np.clip((n * share**2 - 1) / (n - 1), 0.0, 1.0))


def _widths(
    z: Float[Tensor, "origins horizon levels"], scale: Float[np.ndarray, " horizon"]
) -> Float[Tensor, "origins horizon levels"]:
    return (z - z[..., MEDIAN : MEDIAN + 1]) * torch.from_numpy(scale).float()[:, None]


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
