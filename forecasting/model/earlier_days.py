"""The days that a day ahead may repeat: its weekday in the last eight weeks, its day of the month in two months."""

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

WEEKS, MONTHS = 8, 2
NUM_DAYS = 2 * 31 + 1  # before the cutoff, in which they all lie
DAYS_OF_400_YEARS = 146_097  # after which the calendar begins again
# How much each counts before training, in logarithms: half the last week, half the mean of four weeks.
INITIAL_LOGITS = (-0.47, -2.08, -2.08, -2.08, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0)


class EarlierDays(NamedTuple):
    """Values in the scaling's units, 0 where unknown, the newest of each kind first: weeks, then months."""

    z: Float[Tensor, "batch horizon earlier"]
    known: Bool[Tensor, "batch horizon earlier"]
    is_first: Bool[Tensor, "batch horizon"]  # of the month: the day ahead

    @staticmethod
    def from_inputs(inputs: Float[Tensor, "batch inputs"], horizon: int) -> "EarlierDays":
        """From what `read_inputs` gives."""
        weekdays = min(7, horizon)
        weeks, months, is_first = torch.split(inputs, _sizes(horizon), 1)
        repeated = torch.arange(horizon, device=inputs.device) % 7
        weeks = weeks.view(-1, 2, weekdays, WEEKS)[:, :, repeated]
        z, known = torch.cat([weeks, months.view(-1, 2, horizon, MONTHS)], -1).unbind(1)
        return EarlierDays(z, known > 0, is_first > 0)

    def average(self, logits: Float[Tensor, "batch horizon earlier"]) -> Float[Tensor, "batch horizon"]:
        """Average of the known ones by the softmax of `logits`."""
        weights = torch.softmax(torch.where(self.known, logits, -1e4), -1)
        return (weights * self.z).sum(-1)


def num_inputs(horizon: int) -> int:
    return sum(_sizes(horizon))


def _sizes(horizon: int) -> list[int]:
    """Of the inputs: weekdays of the first week ahead, which later weeks repeat, days of the month, first days."""
    return [2 * min(7, horizon) * WEEKS, 2 * horizon * MONTHS, horizon]


def read_inputs(
    days: Float[Tensor, "batch 2 days"],
    next_day: Int[Tensor, " batch"],
    calendar: UInt8[Tensor, "days_of_400_years columns"],
    *,
    horizon: int,
) -> Float[Tensor, "batch inputs"]:
    """`days` are as Scaled.with_flags gives them, at least WEEKS weeks; `next_day` follows the last of them, in days
    since 1970-01-01; `calendar` is what `make_calendar` gives.
    """
    weeks = days[..., -7 * WEEKS :].view(-1, 2, WEEKS, 7).flip(2).transpose(2, 3)[:, :, : min(7, horizon)]
    ahead = torch.arange(horizon, device=days.device)
    dates = calendar[(next_day[:, None] + ahead) % DAYS_OF_400_YEARS]
    # With an unknown day at either end, for those that lie outside.
    num_days = days.shape[2]
    column = ((num_days + 1 + ahead)[:, None] - dates[..., 1:].long()).clamp(0, num_days + 1)
    months = functional.pad(days, (1, 1)).gather(2, column.flatten(1)[:, None].expand(-1, 2, -1))
    return torch.cat([weeks.flatten(1), months.flatten(1), (dates[..., 0] == 1).float()], 1)


@lru_cache(maxsize=1)
def make_calendar() -> UInt8[Tensor, "days_of_400_years columns"]:
    """Of each day from 1970-01-01 on: its day of the month, and how many days before it the months before have the
    same one, 0 where such a month is too short. A table is 40 times as fast as the arithmetic.
    """
    day = torch.arange(DAYS_OF_400_YEARS)
    return torch.stack([day_of_month(day), *_months_before(day)], 1).to(torch.uint8)


def _months_before(day: Int[Tensor, " days"]) -> list[Int[Tensor, " days"]]:
    """Days back to the same day of each of the months before; 0 where such a month is too short to have it."""
    date = day_of_month(day)
    back = torch.zeros_like(day)
    lags = []
    for _ in range(MONTHS):
        # The day before the 1st of the month reached so far is as many days into its month as that month has.
        length = day_of_month(day - back - date)
        back = back + length
        lags.append(torch.where(date <= length, back, 0))
    return lags


def day_of_month(day: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """1 to 31, from days since 1970-01-01. Source: Howard Hinnant, chrono-Compatible Low-Level Date Algorithms."""
    of_era = (day + 719_468) % DAYS_OF_400_YEARS  # eras of 400 years from 0000-03-01
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    return of_year - (153 * ((5 * of_year + 2) // 153) + 2) // 5 + 1
