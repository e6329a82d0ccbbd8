"""The days that a day ahead may repeat: its weekday in the last eight weeks, its day of the month in two months."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

WEEKS, MONTHS = 8, 2
# How much each counts before training, in logarithms: half the last week, half the mean of four weeks.
INITIAL_LOGITS = (-0.47, -2.08, -2.08, -2.08, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0)


class EarlierDays(NamedTuple):
    """Values in the scaling's units, 0 where unknown, the newest of each kind first: weeks, then months."""

    z: Float[Tensor, "batch horizon earlier"]
    known: Bool[Tensor, "batch horizon earlier"]
    is_first: Bool[Tensor, "batch horizon"]  # of the month: the day ahead

    def as_inputs(self) -> Float[Tensor, "batch inputs"]:
        return torch.cat([self.z.flatten(1), self.known.float().flatten(1), self.is_first.float()], 1)

    @staticmethod
    def from_inputs(inputs: Float[Tensor, "batch inputs"], horizon: int) -> "EarlierDays":
        size = horizon * (WEEKS + MONTHS)
        z, known, is_first = torch.split(inputs, [size, size, horizon], 1)
        shape = (-1, horizon, WEEKS + MONTHS)
        return EarlierDays(z.reshape(shape), known.reshape(shape) > 0, is_first > 0)

    def average(self, logits: Float[Tensor, "batch horizon earlier"]) -> Float[Tensor, "batch horizon"]:
        """Average of the known ones by the softmax of `logits`."""
        weights = torch.softmax(torch.where(self.known, logits, -1e4), -1)
        return (weights * self.z).sum(-1)


def num_inputs(horizon: int) -> int:
    return horizon * (2 * (WEEKS + MONTHS) + 1)


def find_earlier_days(
    z: Float[Tensor, "batch days"], known: Bool[Tensor, "batch days"], first_day: Int[Tensor, " batch"], *, horizon: int
) -> EarlierDays:
    """`first_day` is the day of the first column, in days since 1970-01-01."""
    num_days = z.shape[1]
    ahead = torch.arange(horizon, device=z.device)
    day = first_day[:, None] + num_days + ahead
    weeks = num_days - 7 + ahead % 7 - 7 * torch.arange(WEEKS, device=z.device)[:, None]
    columns = [weeks.T.expand(day.shape[0], -1, -1)]  # not len(day): torch.export would record it as a constant
    for months_before in _months_before(day):
        columns.append((num_days + ahead - months_before)[..., None])
    column = torch.cat(columns, -1)
    is_inside = (column >= 0) & (column < num_days)
    flat = column.clamp(0, num_days - 1).flatten(1)
    is_known = known.gather(1, flat).view(column.shape) & is_inside
    values = z.gather(1, flat).view(column.shape)
    return EarlierDays(torch.where(is_known, values, 0.0), is_known, day_of_month(day) == 1)


def _months_before(day: Int[Tensor, "batch horizon"]) -> list[Int[Tensor, "batch horizon"]]:
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
    of_era = (day + 719_468) % 146_097  # eras of 400 years from 0000-03-01
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    return of_year - (153 * ((5 * of_year + 2) // 153) + 2) // 5 + 1
