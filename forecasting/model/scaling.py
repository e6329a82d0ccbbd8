"""Conversion between raw units and the network's units: z = (transform(value) - level) / spread."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from forecasting.model.rollout import COUNT, RATE, from_even, to_even, within_range

SCALING_DAYS = 49  # before the cutoff, from which level and spread are taken
MAX_Z = 15.0  # larger spikes carry no further information


class Scaled(NamedTuple):
    """A window in the network's units, with the level and spread that convert forecasts back."""

    z: Float[Tensor, "batch days"]  # 0 where unknown
    known: Bool[Tensor, "batch days"]
    level: Float[Tensor, "batch 1"]
    spread: Float[Tensor, "batch 1"]

    def with_flags(self) -> Float[Tensor, "batch 2 days"]:
        """Values, and 1 where they are known."""
        return torch.stack([self.z, self.known.float()], 1)


class WindowScaling(nn.Module):
    """Base of both scalings. Subclasses define `transform`, its inverse, and level and spread."""

    def forward(self, history: Float[Tensor, "batch days"], kind: Int[Tensor, " batch"]) -> Scaled:
        known = torch.isfinite(history)
        x = self.transform(torch.where(known, history, 0.0), kind)
        level, spread = self.level_and_spread(x, known, kind)
        z = ((x - level) / spread).clamp(-MAX_Z, MAX_Z)
        return Scaled(torch.where(known, z, 0.0), known, level, spread)

    def scale_target(
        self, target: Float[Tensor, "batch horizon"], kind: Int[Tensor, " batch"], scaled: Scaled
    ) -> Float[Tensor, "batch horizon"]:
        """The target in the units of `scaled`. NaN stays NaN."""
        return ((self.transform(target, kind) - scaled.level) / scaled.spread).clamp(-MAX_Z, MAX_Z)

    def unscale(
        self, z: Float[Tensor, "batch horizon levels"], kind: Int[Tensor, " batch"], scaled: Scaled
    ) -> Float[Tensor, "batch horizon levels"]:
        """Quantiles in raw units, clipped to their range: counts are never negative, rates stay in 0..1."""
        x = z * scaled.spread[..., None] + scaled.level[..., None]
        return within_range(self.inverse(x, kind), kind)

    def transform(self, values: Tensor, kind: Int[Tensor, " batch"]) -> Tensor:
        raise NotImplementedError

    def inverse(self, x: Tensor, kind: Int[Tensor, " batch"]) -> Tensor:
        raise NotImplementedError

    def level_and_spread(
        self, x: Float[Tensor, "batch days"], known: Bool[Tensor, "batch days"], kind: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch 1"], Float[Tensor, "batch 1"]]:
        raise NotImplementedError


class RobustScaling(WindowScaling):
    """Scales each window by its own median and mean absolute deviations, so one model fits sites of any size.

    Counts become log(1 + y), because noise and weekday effects are proportional to the level. Rates become
    asin(sqrt(y)), which stabilises the variance of a proportion (Anscombe, 1948, Biometrika 35). Other values are not
    transformed.
    """

    def transform(self, values: Tensor, kind: Int[Tensor, " batch"]) -> Tensor:
        return to_even(values, kind)

    def inverse(self, x: Tensor, kind: Int[Tensor, " batch"]) -> Tensor:
        return from_even(x, kind)

    def level_and_spread(
        self, x: Float[Tensor, "batch days"], known: Bool[Tensor, "batch days"], kind: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch 1"], Float[Tensor, "batch 1"]]:
        """Level: median of the last four weeks. Spread: mean of the deviation from it and of the weekly change."""
        level = _median(x[:, -28:], known[:, -28:])
        away = masked_mean((x[:, -28:] - level).abs(), known[:, -28:])
        recent, is_known = x[:, -SCALING_DAYS:], known[:, -SCALING_DAYS:]
        weekly = masked_mean((recent[:, 7:] - recent[:, :-7]).abs(), is_known[:, 7:] & is_known[:, :-7])
        # A flat window still needs a spread above 0: 3% of a count, 0.01 of a transformed rate, 0.1% of anything else.
        kind = kind[:, None]
        floor = torch.where(kind == COUNT, 0.03, torch.where(kind == RATE, 0.01, 1e-3 * level.abs() + 1e-6))
        return level, torch.maximum(0.5 * away + 0.5 * weekly, floor)


class MinMaxScaling(WindowScaling):
    """The documented scaling: 0..1 over the training days, fitted by scikit-learn's MinMaxScaler. One series only."""

    data_min: Tensor
    data_range: Tensor

    def __init__(self, data_min: float = 0.0, data_range: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("data_min", torch.tensor(data_min))
        self.register_buffer("data_range", torch.tensor(data_range))

    def transform(self, values: Tensor, kind: Int[Tensor, " batch"]) -> Tensor:
        return values

    def inverse(self, x: Tensor, kind: Int[Tensor, " batch"]) -> Tensor:
        return x

    def level_and_spread(
        self,
        x: Float[Tensor, "batch days"],
        known: Bool[Tensor, "batch days"],
        kind: Int[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch 1"], Float[Tensor, "batch 1"]]:
        batch = x.shape[0]  # not len(x): torch.export would record it as a constant
        return self.data_min.expand(batch, 1), self.data_range.expand(batch, 1)


def masked_mean(x: Float[Tensor, "batch days"], known: Bool[Tensor, "batch days"]) -> Float[Tensor, "batch 1"]:
    """Mean of the known days; 0 if none is known."""
    total = torch.where(known, x, 0.0).sum(1, keepdim=True)
    return total / known.sum(1, keepdim=True).clamp(min=1)


def _median(x: Float[Tensor, "batch days"], known: Bool[Tensor, "batch days"]) -> Float[Tensor, "batch 1"]:
    """Lower median of the known days; 0 if none is known."""
    ordered = torch.where(known, x, torch.inf).sort(1).values
    middle = ((known.sum(1, keepdim=True) - 1) // 2).clamp(min=0)
    median = ordered.gather(1, middle)
    return torch.where(torch.isfinite(median), median, 0.0)
