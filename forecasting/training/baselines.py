"""Forecasts that a model must beat to be worth anything."""

import numpy as np
from jaxtyping import Float


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
