"""What followed a year ago: how the level moved in the weeks ahead, and how each day differed from its week."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from forecasting.domain import YEAR_OF_DAYS

YEAR = 364  # days: the same weekday
LEVEL_DAYS, SMOOTH_DAYS = YEAR_OF_DAYS - YEAR, 7
MIN_LEVEL_DAYS, MIN_SMOOTH_DAYS = 14, 4
# How much of the level's way and of each day's difference is expected again before training, as logits: 18% and 8%.
INITIAL_LOGITS = (-1.5, -2.5)


class LastYear(NamedTuple):
    """In the scaling's units, 0 where unknown."""

    drift: Float[Tensor, "batch horizon"]  # a week's mean around the day, less that of the four weeks before them all
    difference: Float[Tensor, "batch horizon"]  # the day, less the mean of the week around it
    known: Bool[Tensor, "batch horizon"]

    def as_inputs(self) -> Float[Tensor, "batch inputs"]:
        return torch.cat([self.drift, self.difference, self.known.float()], 1)

    @staticmethod
    def from_inputs(inputs: Float[Tensor, "batch inputs"]) -> "LastYear":
        drift, difference, known = inputs.chunk(3, 1)
        return LastYear(drift, difference, known > 0)

    def expect(self, logits: Float[Tensor, "batch horizon 2"]) -> Float[Tensor, "batch horizon"]:
        """How far each day ahead will lie from today's level, if the shares of both that the logits give come again."""
        share = torch.sigmoid(logits)
        return share[..., 0] * self.drift + share[..., 1] * self.difference


def num_inputs(horizon: int) -> int:
    return 3 * horizon


def num_days(horizon: int) -> int:
    """From the first of YEAR_OF_DAYS days on, in which everything lies that is read of last year."""
    return LEVEL_DAYS + horizon + SMOOTH_DAYS // 2


def find_last_year(days: Float[Tensor, "batch 2 days"], *, horizon: int) -> LastYear:
    """`days` are the first `num_days` of YEAR_OF_DAYS days, as Scaled.with_flags gives them."""
    total = functional.pad(days, (1, 0)).cumsum(-1)
    start = LEVEL_DAYS - SMOOTH_DAYS // 2
    level, level_days = _means(total[..., LEVEL_DAYS : LEVEL_DAYS + 1])
    smooth, smooth_days = _means(total[..., start + SMOOTH_DAYS :] - total[..., start : start + horizon])
    is_known = (level_days >= MIN_LEVEL_DAYS) & (smooth_days >= MIN_SMOOTH_DAYS)
    z, known = days[..., LEVEL_DAYS : LEVEL_DAYS + horizon].unbind(1)
    difference = torch.where(is_known & (known > 0), z - smooth, 0.0)
    return LastYear(torch.where(is_known, smooth - level, 0.0), difference, is_known)


def _means(sums: Float[Tensor, "batch 2 num"]) -> tuple[Float[Tensor, "batch num"], Float[Tensor, "batch num"]]:
    """Means of known days, and how many are known, from the sums of both."""
    total, days = sums.unbind(1)
    return total / days.clamp(min=1), days
