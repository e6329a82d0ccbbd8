"""Features of each LSTM step: the day's value, the same weekday of earlier weeks, rolling means, the calendar."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from forecasting.model.scaling import Scaled

ROLLING_DAYS = (7, 14, 28)
DAYS_PER_YEAR = 365.2425  # Gregorian mean


def num_features(weekly_lags: int) -> int:
    """Width of one step.

    Lags with their known flags, rolling means, one-hot weekday, season of the day and of the day forecast, level and
    spread, one-hot kind.
    """
    return 2 * (1 + weekly_lags) + len(ROLLING_DAYS) + 7 + 2 + 2 + 2 + 3


def step_features(
    scaled: Scaled,
    first_day: Int[Tensor, " batch"],
    kind: Int[Tensor, " batch"],
    *,
    sequence_length: int,
    weekly_lags: int,
    horizon: int,
) -> Float[Tensor, "batch sequence features"]:
    """Features of the last `sequence_length` days of each window, in the scaling's units.

    `first_day` is the day of the history's first column, in days since 1970-01-01. An unknown value is 0 with known
    flag 0.
    """
    num_days = scaled.z.shape[1]
    recent = sequence_length + max(ROLLING_DAYS)
    day = first_day[:, None] + torch.arange(num_days - sequence_length, num_days, device=scaled.z.device)
    window = torch.cat([scaled.level / 10.0, torch.log(scaled.spread), functional.one_hot(kind, 3)], 1)
    return torch.cat(
        [
            _weekly_lags(scaled.z, sequence_length, weekly_lags),
            _weekly_lags(scaled.known.float(), sequence_length, weekly_lags),
            _rolling_means(scaled.z[:, -recent:], scaled.known[:, -recent:])[:, -sequence_length:],
            functional.one_hot((day + 3) % 7, 7).float(),  # 1970-01-01 was a Thursday; Monday is 0
            _season(day),
            _season(day + horizon),
            window[:, None].expand(-1, sequence_length, -1),
        ],
        dim=-1,
    )


def _weekly_lags(x: Float[Tensor, "batch days"], sequence_length: int, lags: int) -> Float[Tensor, "batch s lags"]:
    """Each step's own value and the values 7, 14, ... days before it."""
    end = x.shape[1]
    return torch.stack([x[:, end - sequence_length - 7 * k : end - 7 * k] for k in range(lags + 1)], -1)


def _rolling_means(
    z: Float[Tensor, "batch days"], known: Bool[Tensor, "batch days"]
) -> Float[Tensor, "batch days rolling"]:
    """Mean of the known values in the 7, 14 and 28 days that end on each day; 0 if none is known."""
    means = [_rolling_sum(z, days) / _rolling_sum(known.float(), days).clamp(min=1.0) for days in ROLLING_DAYS]
    return torch.stack(means, -1)


def _rolling_sum(x: Float[Tensor, "batch days"], days: int) -> Float[Tensor, "batch days"]:
    total = x.cumsum(1)
    return total - functional.pad(total, (days, 0))[:, : x.shape[1]]


def _season(day: Int[Tensor, "batch s"]) -> Float[Tensor, "batch s 2"]:
    """Sine and cosine of the position in the year: the documented month feature, without its monthly jumps."""
    angle = (day % DAYS_PER_YEAR) * (2 * torch.pi / DAYS_PER_YEAR)
    return torch.stack([torch.sin(angle), torch.cos(angle)], -1)
