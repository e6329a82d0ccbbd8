"""Forecasts of the series of a frame, as the columns of another."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from forecasting.card import SeriesCard
from forecasting.domain import MAX_DAYS_AHEAD, MIN_DAYS, RECENT_DAYS
from forecasting.errors import AmbiguousUnit, SettingError, TooFewDays, name_some
from forecasting.frames.levels import (
    MEDIAN,
    band_ends,
    check_levels,
    check_quantiles,
    find_quantiles,
    name_number,
)
from forecasting.frames.loaded_model import LoadedModel, SeriesForecasts
from forecasting.frames.reading import FrameSeries
from forecasting.settings.bounds import require

FORECAST = "forecast"


def check_horizon(h: int) -> None:
    is_whole = isinstance(h, int | np.integer) and not isinstance(h, bool)
    require(
        is_whole and 1 <= h <= MAX_DAYS_AHEAD, f"h is {h!r}; it must be a whole number of days, 1 to {MAX_DAYS_AHEAD}."
    )


def name_columns(level: Sequence[int | float] | None, quantiles: Sequence[int | float] | None) -> dict[str, float]:
    """The quantile of each column. Raises SettingError."""
    if level is not None and quantiles is not None:
        raise SettingError("level and quantiles are both given. Give one of them.")
    columns = {FORECAST: MEDIAN}
    for width in check_levels(level or ()):
        for end, quantile in zip(("lo", "hi"), band_ends(width), strict=True):
            columns[f"{FORECAST}-{end}-{name_number(width)}"] = quantile
    for quantile in check_quantiles(quantiles or ()):
        columns[f"{FORECAST}-q-{name_number(quantile * 100)}"] = quantile
    return columns


def find_cards(model: LoadedModel, frame: FrameSeries) -> list[SeriesCard]:
    """What the model knows of each series. Raises AmbiguousUnit for a kind that is not the version's."""
    cards = []
    for place, (name, kind) in enumerate(zip(frame.names, frame.kinds, strict=True)):
        card = model.find_card(name, frame.columns.target, kind)
        if kind is not None and card.kind is not kind:
            raise AmbiguousUnit(
                f"kind is {kind.value} for {frame.describe(place)}, but version {model.predictor.name} was trained on "
                f"{card.name} as {card.kind.value}. Leave kind out."
            )
        cards.append(card)
    return cards


def report_short(frame: FrameSeries, forecasts: SeriesForecasts, *, drop: bool, when: str = "") -> None:
    """Raises TooFewDays, or warns of the series that are left out. `when` says of which days these are."""
    is_short = np.ones(len(frame.names), bool)
    is_short[forecasts.rows] = False
    short = np.flatnonzero(is_short)
    first, are_all = int(short[0]), len(short) == len(frame.names)
    who = frame.describe(first)
    reason = (
        f"{who[0].upper()}{who[1:]} has {_count_days(int(forecasts.num_values[first]))} with a value{when}, "
        f"{forecasts.num_known[first]} of them among the last {RECENT_DAYS}; a forecast needs {MIN_DAYS}, and "
        f"{forecasts.num_needed[first]} among the last {RECENT_DAYS}."
    )
    names = [name for name in (frame.names[place] for place in short.tolist()) if name is not None]
    if len(short) > 1:
        reason += f" {len(short):,} of {len(frame.names):,} series have too few: {name_some(names, at_most=5)}."
    if not drop or are_all:
        otherwise = "" if are_all else ", or leave such series out with drop_short=True"
        raise TooFewDays(f"{reason} Add the missing days{otherwise}.")
    warnings.warn(f"{reason} {'They are' if len(short) > 1 else 'It is'} left out.", stacklevel=4)


def find_columns(
    model: LoadedModel, cards: Sequence[SeriesCard], forecasts: SeriesForecasts, wanted: Mapping[str, float]
) -> dict[str, Float[np.ndarray, " rows"]]:
    """The quantile of each column, a row for each series and day."""
    predictor = model.predictor
    chosen = [cards[row] for row in forecasts.rows]
    scale = np.array([card.unit_scale for card in chosen])[:, None, None]
    values = scale * find_quantiles(
        forecasts.quantiles,
        predictor.levels,
        list(wanted.values()),
        [card.kind for card in chosen],
        logarithmic=predictor.logarithmic,
    )
    return {name: values[..., place].ravel() for place, name in enumerate(wanted)}


def _count_days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"
