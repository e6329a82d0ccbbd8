"""Which regressors a forecast uses, and what of them was not known, for an answer's notes."""

import datetime as dt
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool

from forecasting.card import SeriesCard
from forecasting.known_days.regressors import RegressorEffect
from forecasting.predictor import Window


def describe_regressors(card: SeriesCard, window: Window, data_until: dt.date, days_ahead: int) -> list[str]:
    """A sentence about all of them, and one about each that is unknown or out of its range on any of the days ahead."""
    if window.regressors is None:
        return []
    ahead = window.regressors[:days_ahead]
    notes = [f"The forecast uses {join_names(card.regressor_names)}."]
    for place, effect in enumerate(card.regressors):
        values = ahead[:, place]
        outside = (values < effect.low) | (values > effect.high)
        notes += _describe_unknown(effect, ~np.isfinite(values), data_until)
        notes += _describe_outside(effect, outside, data_until)
    return notes


def join_names(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _describe_unknown(effect: RegressorEffect, unknown: Bool[np.ndarray, " days"], until: dt.date) -> Iterator[str]:
    if unknown.any():
        yield (
            f"{effect.name} is not known for {_list_days(unknown, until)}: the forecast takes its mean, "
            f"{effect.mean:.6g}, there. Add these days to data.regressors."
        )


def _describe_outside(effect: RegressorEffect, outside: Bool[np.ndarray, " days"], until: dt.date) -> Iterator[str]:
    if outside.any():
        yield (
            f"{effect.name} is beyond what it was learned from, {effect.low:.6g} to {effect.high:.6g}, on "
            f"{_list_days(outside, until)}: the forecast takes the nearest of these values."
        )


def _list_days(days: Bool[np.ndarray, " days"], until: dt.date) -> str:
    """The first and the last of them, and how many they are."""
    ahead = np.flatnonzero(days) + 1
    first, last = (until + dt.timedelta(int(number)) for number in (ahead[0], ahead[-1]))
    if len(ahead) == 1:
        return str(first)
    number = "" if len(ahead) == ahead[-1] - ahead[0] + 1 else f"{len(ahead)} days of "
    return f"{number}{first}..{last}"
