"""Numbers that are known ahead: columns of the frame whose values on the days ahead X_df has, as at Nixtla."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np
from jaxtyping import Float, Int

from forecasting.card import SeriesCard
from forecasting.domain import SeriesKey, to_date
from forecasting.errors import DataError, DuplicateDays, name_some
from forecasting.frames.loaded_model import LoadedModel
from forecasting.frames.panels import UNNAMED, make_panel
from forecasting.frames.reading import FrameSeries, RowReader, number_series
from forecasting.known_days.events import Events
from forecasting.known_days.learning import KnownDays
from forecasting.known_days.regressors import NO_REGRESSORS, DailyValues, RegressorEffect, Regressors

X_DF = "X_df"


@dataclass(frozen=True)
class _Rows:
    """Each row's series, its day and its value of each regressor, NaN where unknown."""

    series: Int[np.ndarray, " rows"]
    days: Int[np.ndarray, " rows"]
    values: Float[np.ndarray, "rows regressors"]


@dataclass(frozen=True)
class FrameRegressors:
    """All that a frame and X_df know of some columns, by the names of the series."""

    names: Sequence[str]
    values: Regressors


def read_regressors(
    df: Any, frame: FrameSeries, names: Sequence[str] | None = None, x_df: Any = None
) -> FrameRegressors:  # Any: the user's own kinds of frame, here and below
    """From the columns of the frame, and of X_df, whose values of a day come first. Without `names` they are the
    columns of X_df; without both there are none.

    Raises DataError, DuplicateDays.
    """
    if names is None:
        names = [] if x_df is None else _name_columns(x_df, frame)
    if not names:
        return FrameRegressors((), NO_REGRESSORS)
    parts = [_read(nw.from_native(df, eager_only=True), frame, names, where="The frame")]
    if x_df is not None:
        parts.append(_read_ahead(_open(x_df), frame, names))
    return FrameRegressors(names, _lay_out(parts, frame, names))


def check_days_ahead(frame: FrameSeries, regressors: FrameRegressors, *, h: int) -> None:
    """Raises DataError if X_df lacks a value on any of the `h` days after a series' last value."""
    last = frame.rows.keep(np.isfinite(frame.rows.values)).find_last_days()
    names = regressors.names
    for place in np.flatnonzero(last > -(2**31)).tolist() if names else ():
        first = int(last[place]) + 1
        values = regressors.values.find(name_site(frame.names[place]), names, first_day=first, num_days=h)
        if np.isnan(values).any():
            day, column = (int(index[0]) for index in np.nonzero(np.isnan(values)))
            raise DataError(
                f"{X_DF} has no {names[column]} for {frame.describe(place)} on {to_date(first + day)}. A forecast of "
                f"h={h} days needs it on each day from {to_date(first)} to {to_date(first + h - 1)}: add these days, "
                f"or leave {names[column]} out of {X_DF}."
            )


def name_site(name: str | None) -> str:
    """By which regressors and panels know a series."""
    return UNNAMED if name is None else name


def use_regressors(
    model: LoadedModel, frame: FrameSeries, cards: Sequence[SeriesCard], regressors: FrameRegressors, events: Events
) -> list[SeriesCard]:
    """The cards with what regressors do to their series: as the version has learned it, or, of series that it does not
    know, as the frame shows it, where forecasts of their past weeks gain from it, as in training.

    Warns of those that no series uses. Raises DataError if the version uses others.
    """
    names = regressors.names
    for place, card in enumerate(cards):
        missing = [name for name in card.regressor_names if name not in names] if card.uses_regressors else []
        if missing:
            raise DataError(
                f"Version {model.predictor.name} forecasts {frame.describe(place)} with {name_some(missing)}. Add it "
                f"to the frame as a column, and its values on the days ahead in {X_DF}."
            )
    if not names:
        return list(cards)
    by_version = [bool(card.site) for card in cards]
    named = [replace(card, site=name_site(name)) for card, name in zip(cards, frame.names, strict=True)]
    if not all(by_version):
        chosen = _choose(model, frame, named, regressors.values, events)
        named = [
            card if is_known else replace(card, regressors=chosen.get((card.site, frame.columns.target), ()))
            for card, is_known in zip(named, by_version, strict=True)
        ]
    used = {name for card in named if card.uses_regressors for name in card.regressor_names}
    if unused := [name for name in names if name not in used]:
        warnings.warn(
            f"No forecast uses {name_some(unused)}: forecasts of the past weeks gained no more than chance from it, or "
            "the version was trained without it.",
            stacklevel=3,
        )
    return named


def _choose(
    model: LoadedModel, frame: FrameSeries, cards: Sequence[SeriesCard], regressors: Regressors, events: Events
) -> Mapping[SeriesKey, tuple[RegressorEffect, ...]]:
    """As training chooses them, by forecasts of the past weeks."""
    from forecasting.training.regressor_choice import RegressorHistory, try_regressors

    if not len(frame.rows.days):
        return {}
    metric = frame.columns.target
    panel = make_panel(frame, cards, model.config, metric=metric, named=())
    known = {(card.site, metric): (card.country, card.effects) for card in cards}
    return try_regressors(
        model.predictor,
        RegressorHistory(panel, regressors),
        horizon=model.config.model.prediction_horizon,
        known=KnownDays(known, events),
    )


def _name_columns(x_df: Any, frame: FrameSeries) -> list[str]:
    columns = frame.columns
    names = [name for name in _open(x_df).columns if name not in (columns.id, columns.time, columns.target)]
    if not names:
        raise DataError(
            f"{X_DF} has no column of a regressor beside {columns.id} and {columns.time}. Add one, or leave {X_DF} out."
        )
    return names


def _read_ahead(table: "nw.DataFrame[Any]", frame: FrameSeries, names: Sequence[str]) -> _Rows:
    try:
        rows = _read(table, frame, names, where=X_DF)
    except DataError as error:
        raise error if str(error).startswith(X_DF) else type(error)(f"{X_DF}: {error}") from error
    _refuse_duplicates(rows, frame)
    return rows


def _open(x_df: Any) -> "nw.DataFrame[Any]":
    try:
        return nw.from_native(x_df, eager_only=True)
    except TypeError as error:
        raise DataError(f"{X_DF} is a {type(x_df).__name__}; give a data frame of ids, days and regressors.") from error


def _read(table: "nw.DataFrame[Any]", frame: FrameSeries, names: Sequence[str], *, where: str) -> _Rows:
    columns = frame.columns
    has_ids = frame.ids is not None
    for name in (*([columns.id] if has_ids else []), columns.time, *names):
        if name not in table.columns:
            has = ", ".join(map(str, table.columns))
            raise DataError(f"{where} has no column {name!r}; it has: {has}. Regressors are columns of both frames.")
    if not len(table):
        raise DataError(f"{where} has no rows. Give it the days ahead.")
    codes, _, ids = number_series(table, columns.id if has_ids else None)
    texts = [None] if ids is None else [str(each) for each in ids.to_list()]
    places = {name: place for place, name in enumerate(frame.names)}
    if unknown := [str(text) for text in texts if text not in places]:
        raise DataError(f"{where} has series that the frame does not have: {name_some(unknown, at_most=5)}.")
    reader = RowReader(columns, codes, texts)
    days = reader.read_days(table[columns.time])
    values = [RowReader(replace(columns, target=name), codes, texts).read_values(table[name], days) for name in names]
    series = np.array([places[text] for text in texts], np.int64)[codes]
    return _Rows(series, days, np.column_stack(values))


def _refuse_duplicates(rows: _Rows, frame: FrameSeries) -> None:
    order = np.lexsort((rows.days, rows.series))
    same = (np.diff(rows.series[order]) == 0) & (np.diff(rows.days[order]) == 0)
    if same.any():
        first, second = sorted(order[int(np.argmax(same)) :][:2].tolist())
        raise DuplicateDays(
            f"{X_DF}: rows {first} and {second} (counted from 0) of {frame.describe(int(rows.series[first]))} are both "
            f"of {to_date(rows.days[first])}. Keep one row a day."
        )


def _lay_out(parts: Sequence[_Rows], frame: FrameSeries, names: Sequence[str]) -> Regressors:
    """On a calendar of each series' own; of a day that two parts have, the later one's value where it has any."""
    first = np.full(len(frame.names), 2**31, np.int64)
    last = np.full(len(frame.names), -(2**31), np.int64)
    for part in parts:
        np.minimum.at(first, part.series, part.days)
        np.maximum.at(last, part.series, part.days)
    ends = np.cumsum(np.maximum(last - first + 1, 0))
    starts = np.concatenate([[0], ends[:-1]])
    values = np.full((int(ends[-1]), len(names)), np.nan)
    for part in parts:
        places = starts[part.series] + part.days - first[part.series]
        values[places] = np.where(np.isfinite(part.values), part.values, values[places])
    return Regressors({
        name_site(name): {
            column: DailyValues(int(first[place]), values[starts[place] : ends[place], number])
            for number, column in enumerate(names)
        }
        for place, name in enumerate(frame.names)
    })  # fmt: skip
