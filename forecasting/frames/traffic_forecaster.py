"""TrafficForecaster: forecasts of data frames, in this process."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from forecasting.artifact import load_artifact, load_base_predictor
from forecasting.card import SeriesCard, restore_settings
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
from forecasting.frames.reading import DEFAULT_ID, Columns, FrameSeries, read_frame
from forecasting.frames.writing import write_frame
from forecasting.settings.bounds import require
from forecasting.settings.loading import load_config
from forecasting.settings.schema import BASE_VERSION, Config

FORECAST = "forecast"
LOGGER = logging.getLogger("forecasting")


class TrafficForecaster:
    """Forecasts the next days of each series of a data frame: pandas or Polars, and the same kind out.

    A version knows its sites by the ids and its metrics by the name of the target column; `y` is a site's only metric,
    else page_visits. Needs no server. Thread-safe; may be sent to another process.
    """

    def __init__(self, version: str | Path = BASE_VERSION) -> None:
        """The base model; or a version's name in MODEL_DIR, or its folder. Raises UnknownVersion, BrokenArtifact."""
        self._model = load_model(version)

    def forecast(
        self,
        df: Any,  # Any: the user's own kind of frame, here and below
        h: int = 7,
        *,
        level: Sequence[int | float] | None = None,
        quantiles: Sequence[int | float] | None = None,
        id_col: str = DEFAULT_ID,
        time_col: str = "ds",
        target_col: str = "y",
        kind: str | None = None,
        drop_short: bool = False,
    ) -> Any:
        """The next `h` days (1 to 30) of each series, after its own last day with a value.

        `forecast` is the median; a band of `level` percent ends at `forecast-lo-80` and `forecast-hi-80`; `quantiles`
        are `forecast-q-10`. `kind` is count (the default), rate (0..1) or other, or a column that has these words.
        Without a column of ids the frame is one series. Series of too few days are refused, or left out with a warning.

        Raises DataError (TooFewDays, DuplicateDays, AmbiguousUnit), SettingError.
        """
        wanted = name_columns(level, quantiles)
        check_horizon(h)
        frame = read_frame(df, Columns(id_col, time_col, target_col), kind=kind)
        cards = find_cards(self._model, frame)
        forecasts = self._model.forecast(frame.rows, cards, h)
        if len(forecasts.rows) < len(cards):
            report_short(frame, forecasts, drop=drop_short)
        days = forecasts.cutoffs[:, None] + np.arange(1, h + 1)
        return write_frame(
            frame,
            series=np.repeat(forecasts.rows, h),
            days={time_col: days.ravel()},
            values=find_columns(self._model, cards, forecasts, wanted),
        )


def load_model(version: str | Path) -> LoadedModel:
    """Raises UnknownVersion, BrokenArtifact."""
    if version == BASE_VERSION:
        return LoadedModel(load_base_predictor())
    folder = Path(version)
    if isinstance(version, str) and len(folder.parts) == 1 and not folder.is_dir():
        folder = load_config().model_dir / version
    artifact = load_artifact(folder.parent, folder.name)
    return LoadedModel(artifact.load_predictor(), artifact.card.series, restore_settings(artifact.card, Config()))


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


def report_short(frame: FrameSeries, forecasts: SeriesForecasts, *, drop: bool) -> None:
    """Raises TooFewDays, or logs which series are left out."""
    is_short = np.ones(len(frame.names), bool)
    is_short[forecasts.rows] = False
    short = np.flatnonzero(is_short)
    first = int(short[0])
    num_values = int(np.isfinite(frame.rows.select(slice(first, first + 1)).values).sum())
    who = frame.describe(first)
    reason = (
        f"{who[0].upper()}{who[1:]} has {_count_days(num_values)} with a value, {forecasts.num_known[first]} of them "
        f"among the last {RECENT_DAYS}; a forecast needs {MIN_DAYS}, and {forecasts.num_needed[first]} among the last "
        f"{RECENT_DAYS}."
    )
    names = [name for name in (frame.names[place] for place in short.tolist()) if name is not None]
    if len(short) > 1:
        reason += f" {len(short):,} of {len(frame.names):,} series have too few: {name_some(names, at_most=5)}."
    if not drop or len(short) == len(frame.names):
        raise TooFewDays(f"{reason} Add the missing days, or leave such series out with drop_short=True.")
    LOGGER.warning("%s Left out.", reason)


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
