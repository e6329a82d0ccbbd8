"""Forecasts: windows of many series in, quantiles of their next 1 to 30 days out, whatever runs the model.

Everyone who forecasts does it here: serving, batch jobs, backtests, training's own report. Torch is imported by those
who run a model in this process only; serving asks TorchServe, whose handler rolls out by the same code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.baselines import seasonal_naive_quantiles, within_range
from forecasting.domain import KIND_CODES, MAX_DAYS_AHEAD, Kind
from forecasting.known_days.events import Event

if TYPE_CHECKING:
    from forecasting.model.rollout import Forward

FORECASTER, SEASONAL_NAIVE = "forecaster", "seasonal_naive"  # who answers for a series
BY_THE_BASE = "base"  # who answers for a series that came after the version was trained
GROWTH, GROWTH_POWER = 0.2, 0.8  # of bands beyond the horizon, by weeks: EXPERIMENTS.md, "Bands"
CORRELATION = 0.5  # of the errors of two days of a week
WINDOWS_AT_ONCE = 4096  # which bounds memory, and is enough to keep a core busy


@dataclass(frozen=True)
class Bands:
    """How wide a series' bands are.

    `scale` has a factor for each of the next MAX_DAYS_AHEAD days. Up to the model's horizon it multiplies the day's
    band as trained, beyond it the band of the horizon's last day.
    """

    scale: tuple[float, ...]
    day_correlation: float  # of the errors of two days, 0..1: how wide the band of a total is
    num_weeks: int = 0  # of the series' own past behind these factors


@cache
def usual_bands(horizon: int) -> Bands:
    """The bands of most series, for a series without a past to calibrate on."""
    return Bands(extend_scale((1.0,) * horizon), CORRELATION)


def extend_scale(scale: Sequence[float]) -> tuple[float, ...]:
    """Factors of the horizon's days, and of the days after it, growing as those of most series do."""
    days = np.arange(1, MAX_DAYS_AHEAD + 1 - len(scale))
    growth = 1 + GROWTH * (days / 7) ** GROWTH_POWER
    return (*scale[:MAX_DAYS_AHEAD], *(float(scale[-1] * factor) for factor in growth))


@dataclass(frozen=True)
class Window:
    """What one series' forecast is made from. `history` is oldest first, NaN where unknown; `first_day` is its first
    day, in days since 1970-01-01.
    """

    history: Float[np.ndarray, " context"]
    first_day: int
    kind: Kind
    band_scale: Float[np.ndarray, " days"]
    naive: bool = False  # the seasonal naive forecast answers for this series
    last_verdict: str = ""  # why the last day is masked, if it is
    effects: Float[np.ndarray, " context_and_days"] | None = None  # as Windows.effects, of MAX_DAYS_AHEAD days ahead
    events: tuple[Event, ...] = ()  # among these effects
    regressors: Float[np.ndarray, "days regressors"] | None = None  # that the series uses, ahead; NaN where unknown


@dataclass(frozen=True)
class Windows:
    """Windows of many series, and how many days to forecast: as many as `band_scale` has factors.

    `effects` says by how much each day of the history and of those ahead is expected to lie from what it would be
    otherwise, such as a holiday: in the units of rollout.to_even, 0 where nothing is known. None: nothing at all.
    """

    history: Float[np.ndarray, "windows context"]
    first_day: Int[np.ndarray, " windows"]
    kind: Int[np.ndarray, " windows"]  # domain.KIND_CODES
    band_scale: Float[np.ndarray, "windows days"]
    naive: Bool[np.ndarray, " windows"]
    effects: Float[np.ndarray, "windows context_and_days"] | None = None

    def __len__(self) -> int:
        return len(self.history)

    def select(self, part: slice) -> "Windows":
        effects = None if self.effects is None else self.effects[part]
        return Windows(
            self.history[part], self.first_day[part], self.kind[part], self.band_scale[part], self.naive[part], effects
        )


def stack_windows(windows: Sequence[Window], days_ahead: int) -> Windows:
    """At least one window, as arrays."""
    return Windows(
        history=np.stack([window.history for window in windows]),
        first_day=np.array([window.first_day for window in windows], np.int64),
        kind=np.array([KIND_CODES[window.kind] for window in windows], np.int64),
        band_scale=np.stack([window.band_scale[:days_ahead] for window in windows]),
        naive=np.array([window.naive for window in windows], bool),
        effects=_stack_effects(windows, days_ahead),
    )


def split_windows(windows: Windows) -> list[Window]:
    """One by one: the inverse of stack_windows."""
    kinds = {code: kind for kind, code in KIND_CODES.items()}
    return [
        Window(
            history=windows.history[row],
            first_day=int(windows.first_day[row]),
            kind=kinds[int(windows.kind[row])],
            band_scale=windows.band_scale[row],
            naive=bool(windows.naive[row]),
            effects=None if windows.effects is None else windows.effects[row],
        )
        for row in range(len(windows))
    ]


def _stack_effects(windows: Sequence[Window], days_ahead: int) -> Float[np.ndarray, "windows context_and_days"] | None:
    if all(window.effects is None for window in windows):
        return None
    num_days = len(windows[0].history) + days_ahead
    none = np.zeros(num_days, np.float32)
    return np.stack([none if window.effects is None else window.effects[:num_days] for window in windows])


@dataclass(frozen=True)
class Predictor:
    """A model in this process: a Forecaster, or the exported program of one."""

    name: str  # of the version
    forward: "Forward"
    context_length: int
    horizon: int  # days that one forward pass forecasts
    levels: tuple[float, ...]
    logarithmic: bool = True  # whether bands are proportional to the level, as with robust scaling

    def predict(self, windows: Windows) -> Float[np.ndarray, "windows days levels"]:
        """Quantiles in the histories' units, by the model or the seasonal naive forecast, as each window says."""
        return let_naive_answer(self.roll_out(windows), windows, levels=self.levels)

    def roll_out(self, windows: Windows) -> Float[np.ndarray, "windows days levels"]:
        """Quantiles by the model, whoever answers."""
        parts = [
            self._roll_out(windows.select(slice(start, start + WINDOWS_AT_ONCE)))
            for start in range(0, len(windows), WINDOWS_AT_ONCE)
        ]
        empty = np.empty((0, windows.band_scale.shape[1], len(self.levels)), np.float32)
        return np.concatenate(parts) if parts else empty

    def _roll_out(self, windows: Windows) -> Float[np.ndarray, "windows days levels"]:
        import torch

        from forecasting.model.rollout import roll_out_known

        with torch.inference_mode():
            quantiles = roll_out_known(
                self.forward,
                torch.from_numpy(windows.history),
                torch.from_numpy(windows.first_day),
                torch.from_numpy(windows.kind),
                torch.from_numpy(windows.band_scale),
                effects=None if windows.effects is None else torch.from_numpy(windows.effects),
                horizon=self.horizon,
                median=self.levels.index(0.5),
                logarithmic=self.logarithmic,
            )
        return np.asarray(quantiles.numpy())


def let_naive_answer(
    quantiles: Float[np.ndarray, "windows days levels"], windows: Windows, *, levels: Sequence[float]
) -> Float[np.ndarray, "windows days levels"]:
    """The quantiles, with those of the seasonal naive forecast in place of the model's where it answers."""
    places = np.flatnonzero(windows.naive)
    if not places.size:
        return quantiles
    days_ahead = quantiles.shape[1]
    naive = seasonal_naive_quantiles(windows.history[places], days_ahead=days_ahead, levels=levels)
    answered = quantiles.copy()
    answered[places] = within_range(naive, windows.kind[places])
    return answered
