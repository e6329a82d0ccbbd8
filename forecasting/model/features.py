"""Features of each LSTM step: the day's value, the same weekday of earlier weeks, rolling means, the calendar."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from forecasting.model.scaling import Scaled

ROLLING_DAYS = (7, 14, 28)
DAYS_PER_YEAR = 365.2425  # Gregorian mean
NUM_KINDS = 3


def num_features(weekly_lags: int) -> int:
    """Width of one step.

    Lags with their known flags, rolling means, one-hot weekday, season of the day and of the day forecast, level and
    spread, one-hot kind.
    """
    return 2 * (1 + weekly_lags) + len(ROLLING_DAYS) + 7 + 2 + 2 + 2 + NUM_KINDS


def num_days(sequence_length: int, weekly_lags: int) -> int:
    """How many days before the cutoff the features look at."""
    return sequence_length + max(7 * weekly_lags, *ROLLING_DAYS)


def step_features(
    days: Float[Tensor, "batch 2 days"],
    next_day: Int[Tensor, " batch"],
    window: Float[Tensor, "batch window"],
    *,
    sequence_length: int,
    weekly_lags: int,
    horizon: int,
) -> Float[Tensor, "batch sequence features"]:
    """Features of the last `sequence_length` days of each window, in the scaling's units.

    `days` are as Scaled.with_flags gives them; `next_day` follows the last of them, in days since 1970-01-01; `window`
    is as `window_features` gives it. An unknown value is 0 with known flag 0.
    """
    day = next_day[:, None] + torch.arange(-sequence_length, 0, device=days.device)
    return torch.cat(
        [
            _weekly_lags(days, sequence_length, weekly_lags),
            _rolling_means(days, sequence_length),
            one_hot((day + 3) % 7, 7),  # 1970-01-01 was a Thursday; Monday is 0
            _season(torch.stack([day, day + horizon], -1)),
            window[:, None].expand(-1, sequence_length, -1),
        ],
        dim=-1,
    )


def window_features(scaled: Scaled, kind: Int[Tensor, " batch"]) -> Float[Tensor, "batch window"]:
    """What is the same in every step of a window: its level and spread, and the kind of its metric."""
    return torch.cat([scaled.level / 10.0, torch.log(scaled.spread), one_hot(kind, NUM_KINDS)], 1)


def one_hot(x: Int[Tensor, "*shape"], num: int) -> Float[Tensor, "*shape num"]:
    """As torch's, which waits to check its values."""
    return (x[..., None] == torch.arange(num, device=x.device)).float()


def _weekly_lags(
    days: Float[Tensor, "batch 2 days"], sequence_length: int, lags: int
) -> Float[Tensor, "batch sequence twice_lags"]:
    """Each step's own value and the values 7, 14, ... days before it, then which of them are known."""
    weeks = days[..., -(sequence_length + 7 * lags) :].unfold(-1, sequence_length, 7).flip(2)
    return weeks.permute(0, 3, 1, 2).flatten(2)


def _rolling_means(
    days: Float[Tensor, "batch 2 days"], sequence_length: int
) -> Float[Tensor, "batch sequence rolling"]:
    """Mean of the known values in the 7, 14 and 28 days that end on each step; 0 if none is known."""
    recent = days[..., -(sequence_length + max(ROLLING_DAYS)) :]
    before = sequence_length + max(ROLLING_DAYS) + 1
    total = functional.pad(recent, (before - recent.shape[-1], 0)).cumsum(-1)
    starts = [total[..., before - sequence_length - num : before - num] for num in ROLLING_DAYS]
    sums, counts = (total[..., -sequence_length:, None] - torch.stack(starts, -1)).unbind(1)
    return sums / counts.clamp(min=1.0)


def _season(day: Int[Tensor, "batch sequence 2"]) -> Float[Tensor, "batch sequence 4"]:
    """Sine and cosine of each position in the year: the documented month feature, without its monthly jumps."""
    angle = (day % DAYS_PER_YEAR) * (2 * torch.pi / DAYS_PER_YEAR)
    return torch.stack([torch.sin(angle), torch.cos(angle)], -1).flatten(2)
