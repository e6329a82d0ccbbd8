"""Forecasts that a model must beat to be worth anything, and that answer where it does not."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from forecasting.domain import Kind


def seasonal_naive(
    history: Float[np.ndarray, "windows days"], *, horizon: int, season: int = 7
) -> Float[np.ndarray, "windows horizon"]:
    """The last season repeated: next Monday will be as last Monday was. An unknown day is looked for a season before.

    NaN where no such day is known.
    """
    num_seasons = history.shape[1] // season
    seasons = history[:, history.shape[1] - num_seasons * season :].reshape(-1, num_seasons, season)
    last = seasons[:, -1].copy()
    for earlier in range(num_seasons - 2, -1, -1):
        last = np.where(np.isfinite(last), last, seasons[:, earlier])
    repeats = -(-horizon // season)
    return np.tile(last, (1, repeats))[:, :horizon]


def seasonal_naive_quantiles(
    history: Float[np.ndarray, "windows days"], *, horizon: int, levels: Sequence[float], season: int = 7
) -> Float[np.ndarray, "windows horizon levels"]:
    """The seasonal naive forecast as quantiles: normal, as wide as the history's changes from season to season.

    The k-th season ahead is sqrt(k) times as wide, as for a random walk. A weekday that was never known is the mean
    of the known days. The median is the forecast itself.
    Source: Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.5.
    """
    median = seasonal_naive(history, horizon=horizon, season=season)
    known = np.isfinite(history)
    mean = np.where(known, history, 0).sum(1) / np.maximum(known.sum(1), 1)
    median = np.where(np.isfinite(median), median, mean[:, None])
    changes = history[:, season:].astype(np.float64) - history[:, :-season]
    paired = np.isfinite(changes)
    spread = np.sqrt((np.where(paired, changes, 0.0) ** 2).sum(1) / np.maximum(paired.sum(1), 1))
    seasons_ahead = 1 + np.arange(horizon) // season
    deviations = np.array([NormalDist().inv_cdf(level) for level in levels])
    width = spread[:, None] * np.sqrt(seasons_ahead)
    return np.asarray(median[..., None] + width[..., None] * deviations, np.float32)


def inside_range(
    quantiles: Float[np.ndarray, "windows horizon levels"], kinds: Sequence[Kind]
) -> Float[np.ndarray, "windows horizon levels"]:
    """No negative counts, no rates outside 0..1: what anybody would do with such methods' answers."""
    lowest = np.array([-np.inf if kind is Kind.other else 0 for kind in kinds], np.float32)
    highest = np.array([1 if kind is Kind.rate else np.inf for kind in kinds], np.float32)
    return np.asarray(np.clip(quantiles, lowest[:, None, None], highest[:, None, None]))


def answer_naively(
    quantiles: Float[np.ndarray, "windows horizon levels"],
    histories: Sequence[Float[np.ndarray, " days"]],
    kinds: Sequence[Kind],
    naive: Sequence[bool],
    *,
    levels: Sequence[float],
) -> Float[np.ndarray, "windows horizon levels"]:
    """The quantiles, but the seasonal naive forecast's, from its history, for each window that is marked `naive`."""
    places = [place for place, one in enumerate(naive) if one]
    if not places:
        return quantiles
    history = np.stack([histories[place] for place in places])
    repeated = seasonal_naive_quantiles(history, horizon=quantiles.shape[1], levels=levels)
    answered = quantiles.copy()
    answered[places] = inside_range(repeated, [kinds[place] for place in places])
    return answered
