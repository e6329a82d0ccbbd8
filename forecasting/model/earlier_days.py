"""The days that a day ahead may repeat: its weekday in the last eight weeks, its day of the month in two months."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
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
        """The weekdays of the first week ahead, which those after it repeat, and the days of the month of all days."""
        weeks = (x[:, :7, :WEEKS].flatten(1) for x in (self.z, self.known.float()))
        months = (x[..., WEEKS:].flatten(1) for x in (self.z, self.known.float()))
        return torch.cat([*weeks, *months, self.is_first.float()], 1)

    @staticmethod
    def from_inputs(inputs: Float[Tensor, "batch inputs"], horizon: int) -> "EarlierDays":
        weekdays = min(7, horizon)
        sizes = [weekdays * WEEKS] * 2 + [horizon * MONTHS] * 2 + [horizon]
        *parts, is_first = torch.split(inputs, sizes, 1)
        week_z, week_known = (_repeat_weeks(part.reshape(-1, weekdays, WEEKS), horizon) for part in parts[:2])
        month_z, month_known = (part.reshape(-1, horizon, MONTHS) for part in parts[2:])
        known = torch.cat([week_known, month_known], -1) > 0
        return EarlierDays(torch.cat([week_z, month_z], -1), known, is_first > 0)

    def average(self, logits: Float[Tensor, "batch horizon earlier"]) -> Float[Tensor, "batch horizon"]:
        """Average of the known ones by the softmax of `logits`."""
        weights = torch.softmax(torch.where(self.known, logits, -1e4), -1)
        return (weights * self.z).sum(-1)


def num_inputs(horizon: int) -> int:
    return 2 * min(7, horizon) * WEEKS + horizon * (2 * MONTHS + 1)


def find_earlier_days(
    z: Float[Tensor, "batch days"], known: Bool[Tensor, "batch days"], first_day: Int[Tensor, " batch"], *, horizon: int
) -> EarlierDays:
    """`first_day` is the day of the first column, in days since 1970-01-01. There must be at least WEEKS weeks."""
    num_days = z.shape[1]
    ahead = torch.arange(horizon, device=z.device)
    day = first_day[:, None] + num_days + ahead
    column = torch.stack([num_days + ahead - before for before in _months_before(day)], -1)
    is_inside = (column >= 0) & (column < num_days)
    flat = column.clamp(0, num_days - 1).flatten(1)
    is_known = known.gather(1, flat).view(column.shape) & is_inside
    month_z = torch.where(is_known, z.gather(1, flat).view(column.shape), 0.0)
    week_z, week_known = (_weekdays(x, horizon) for x in (z, known))
    return EarlierDays(torch.cat([week_z, month_z], -1), torch.cat([week_known, is_known], -1), day_of_month(day) == 1)


def _weekdays(x: Shaped[Tensor, "batch days"], horizon: int) -> Shaped[Tensor, "batch horizon weeks"]:
    return _repeat_weeks(x[:, -7 * WEEKS :].reshape(-1, WEEKS, 7).flip(1).transpose(1, 2), horizon)


def _repeat_weeks(x: Shaped[Tensor, "batch weekdays weeks"], horizon: int) -> Shaped[Tensor, "batch horizon weeks"]:
    """Of the next weekdays, for each day ahead."""
    return x[:, torch.arange(horizon, device=x.device) % 7]


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
