"""Quantiles of 1 to 30 days from a model that forecasts one horizon. Imports torch alone, since it travels inside the
.mar beside the handler.

Medians are fed back: they stand for the days that nobody has seen yet, and the model forecasts the horizon after them.
The model's own bands would then start again as narrow as for tomorrow. So later days take the band of the horizon's
last day, widened with each day ahead, in units in which traffic is about equally noisy at every level.
"""

from collections.abc import Callable

import torch
from torch import Tensor

COUNT, RATE, OTHER = 0, 1, 2  # `kind`, as tensors carry it
MAX_LOG_COUNT = 60.0  # exp of it is 1e26: fits float32, far above any traffic
SMALLEST_SCALE = 1e-6  # of a band: avoids a division by 0

Forward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # as Forecaster.forward


def roll_out(
    forward: Forward,
    history: Tensor,
    first_day: Tensor,
    kind: Tensor,
    band_scale: Tensor,
    *,
    horizon: int,
    median: int,
    logarithmic: bool,
) -> Tensor:
    """Quantiles [batch, days, levels] of as many days as `band_scale` [batch, days] has, in the histories' units.

    `history`, `first_day` and `kind` are as Forecaster.forward takes them; `median` is the place of the level 0.5. Up
    to the horizon, `band_scale` multiplies the bands as trained; beyond it, the band of the horizon's last day.
    `logarithmic` says that the model's bands are proportional to the level (robust scaling); not so with min-max.
    """
    days = band_scale.shape[1]
    padding = band_scale.new_ones(len(band_scale), max(0, horizon - days))
    scale = torch.cat([band_scale[:, :horizon], padding], 1)
    quantiles = forward(history, first_day, kind, scale)
    if days <= horizon:
        return quantiles[:, :days]
    medians = [quantiles[..., median]]
    while horizon * len(medians) < days:
        history = torch.cat([history, medians[-1]], 1)[:, -history.shape[1] :]
        first_day = first_day + horizon
        medians.append(forward(history, first_day, kind, scale)[..., median])
    growth = band_scale[:, horizon:] / scale[:, -1:].clamp(min=SMALLEST_SCALE)
    units = kind if logarithmic else torch.full_like(kind, OTHER)
    later = widen(torch.cat(medians, 1)[:, horizon:days], quantiles[:, -1], growth, units, median=median)
    return torch.cat([quantiles, within_range(later, kind)], 1)


def roll_out_known(
    forward: Forward,
    history: Tensor,
    first_day: Tensor,
    kind: Tensor,
    band_scale: Tensor,
    *,
    effects: Tensor | None,
    horizon: int,
    median: int,
    logarithmic: bool,
) -> Tensor:
    """As roll_out, of a history without its known `effects` [batch, context + days], with those of the days ahead added
    to the quantiles.
    """
    context = history.shape[1]
    plain = history if effects is None else shift(history, -effects[:, :context], kind)
    quantiles = roll_out(
        forward, plain, first_day, kind, band_scale, horizon=horizon, median=median, logarithmic=logarithmic
    )
    return quantiles if effects is None else shift(quantiles, effects[:, context:, None], kind)


def widen(medians: Tensor, last: Tensor, growth: Tensor, units: Tensor, *, median: int) -> Tensor:
    """Quantiles [batch, days, levels] around `medians` [batch, days], as far from them as those of the `last` day
    [batch, levels] are from theirs, times `growth` [batch, days]: distances in the units of `to_even`.
    """
    even = to_even(last, units)
    distance = even - even[:, median, None]
    quantiles = from_even(to_even(medians, units)[..., None] + growth[..., None] * distance[:, None], units)
    quantiles[..., median] = medians  # to the bit
    return quantiles


def shift(values: Tensor, effects: Tensor, kind: Tensor) -> Tensor:
    """The values with the effects of known days added, in the units of `to_even`. An effect of 0 changes nothing, to
    the bit. Both have the windows first; NaN stays NaN.
    """
    even = to_even(values, kind) + effects
    limit = torch.where(kind == OTHER, -torch.inf, 0.0).view(-1, *[1] * (values.dim() - 1))
    return torch.where(effects == 0, values, from_even(torch.maximum(even, limit), kind))


def within_range(quantiles: Tensor, kind: Tensor) -> Tensor:
    """Counts are never negative, rates lie in 0..1. `quantiles` are [batch, days, levels]."""
    kind = kind[:, None, None]
    quantiles = torch.where(kind == OTHER, quantiles, quantiles.clamp(min=0.0))
    return torch.where(kind == RATE, quantiles.clamp(max=1.0), quantiles)


def to_even(values: Tensor, kind: Tensor) -> Tensor:
    """Values in units in which noise is about equal at every level: log(1 + y) for counts, asin(sqrt(y)) for rates.

    Source of the latter: Anscombe (1948), Biometrika 35.
    """
    kind = kind.view(-1, *[1] * (values.dim() - 1))
    count = torch.log1p(values.clamp(min=0.0))
    rate = torch.asin(torch.sqrt(values.clamp(0.0, 1.0)))
    return torch.where(kind == COUNT, count, torch.where(kind == RATE, rate, values))


def from_even(x: Tensor, kind: Tensor) -> Tensor:
    """The inverse of `to_even`. Rates are clipped to 0..1."""
    kind = kind.view(-1, *[1] * (x.dim() - 1))
    count = torch.expm1(x.clamp(max=MAX_LOG_COUNT))
    rate = torch.sin(x.clamp(0.0, torch.pi / 2)) ** 2
    return torch.where(kind == COUNT, count, torch.where(kind == RATE, rate, x))
