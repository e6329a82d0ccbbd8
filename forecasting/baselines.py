"""Forecasts that a model must beat to be worth anything, and that answer where it does not."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

from forecasting.domain import KIND_CODES, Kind


def seasonal_naive(
    history: Float[np.ndarray, "windows days"], *, days_ahead: int, season: int = 7
) -> Float[np.ndarray, "windows days_ahead"]:
    """The last season repeated: next Monday will be as last Monday was. An unknown day is looked for a season before.

    NaN where no such day is known.
    """
    num_seasons = history.shape[1] // season
    seasons = history[:, history.shape[1] - num_seasons * season :].reshape(-1, num_seasons, season)
    last = seasons[:, -1].copy()
    for earlier in range(num_seasons - 2, -1, -1):
        last = np.where(np.isfinite(last), last, seasons[:, earlier])
    repeats = -(-days_ahead // season)
    return np.tile(last, (1, repeats))[:, :days_ahead]


def seasonal_naive_quantiles(
    history: Float[np.ndarray, "windows days"], *, days_ahead: int, levels: Sequence[float], season: int = 7
) -> Float[np.ndarray, "windows days_ahead levels"]:
    """The seasonal naive forecast as quantiles: normal, as wide as the history's changes from season to season.

    The k-th season ahead is sqrt(k) times as wide, as for a random walk. A weekday that was never known is the mean
    of the known days. The median is the forecast itself.
    Source: Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.5.
    """
    median = seasonal_naive(history, days_ahead=days_ahead, season=season)
    known = np.isfinite(history)
    mean = np.where(known, history, 0).sum(1) / np.maximum(known.sum(1), 1)
    median = np.where(np.isfinite(median), median, mean[:, None])
    changes = history[:, season:].astype(np.float64) - history[:, :-season]
    paired = np.isfinite(changes)
    spread = np.sqrt((np.where(paired, changes, 0.0) ** 2).sum(1) / np.maximum(paired.sum(1), 1))
    seasons_ahead = 1 + np.arange(days_ahead) // season
    deviations = np.array([NormalDist().inv_cdf(level) for level in levels])
    width = spread[:, None] * np.sqrt(seasons_ahead)
    return np.asarray(median[..., None] + width[..., None] * deviations, np.float32)


def within_range(
    quantiles: Float[np.ndarray, "windows days_ahead levels"], kind: Int[np.ndarray, " windows"]
) -> Float[np.ndarray, "windows days_ahead levels"]:
    """Without negative counts, or rates outside 0..1. `kind` holds domain.KIND_CODES."""
    lowest = np.where(kind == KIND_CODES[Kind.other], -np.inf, 0).astype(np.float32)
    highest = np.where(kind == KIND_CODES[Kind.rate], 1, np.inf).astype(np.float32)
    return np.asarray(np.clip(quantiles, lowest[:, None, None], highest[:, None, None]))
