"""Forecasts of past days of a frame, each from the days before it alone, beside what came."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from forecasting.card import SeriesCard
from forecasting.domain import Kind, Missing
from forecasting.frames.forecasts import find_columns, report_short
from forecasting.frames.loaded_model import LoadedModel, SeriesForecasts
from forecasting.frames.reading import FrameSeries
from forecasting.frames.series_rows import SeriesRows
from forecasting.known_days.events import Event
from forecasting.known_days.regressors import Regressors
from forecasting.latest_windows import cut_latest_windows
from forecasting.settings.bounds import require


@dataclass(frozen=True)
class Validation:
    """A row for each forecast day, sorted by series, cutoff and day; days since 1970-01-01."""

    series: Int[np.ndarray, " rows"]
    days: Int[np.ndarray, " rows"]
    cutoffs: Int[np.ndarray, " rows"]
    actual: Float[np.ndarray, " rows"]
    columns: Mapping[str, Float[np.ndarray, " rows"]]


def check_windows(n_windows: int, step_size: int) -> None:
    for name, value in (("n_windows", n_windows), ("step_size", step_size)):
        require(value >= 1, f"{name} is {value}; it must be at least 1.")


def validate(
    model: LoadedModel,
    frame: FrameSeries,
    learn: Callable[[SeriesRows], Sequence[SeriesCard]],
    wanted: Mapping[str, float],
    *,
    events: Sequence[Sequence[Event]],
    regressors: Regressors,
    h: int,
    n_windows: int,
    step_size: int,
    drop_short: bool,
) -> Validation:
    """Of each series, `n_windows` forecasts of `h` days, the last of which ends with its last day.

    `learn` gives the cards of all series, with what the days up to a cutoff show. A forecast begins after the last
    known day at its cutoff. Days whose value nobody knows are left out. Raises TooFewDays if a series has too few days
    for any forecast.
    """
    rows = frame.rows
    last = rows.keep(np.isfinite(rows.values)).find_last_days()
    parts, forecasts = [], []
    for window in reversed(range(n_windows)):
        until = last - h - window * step_size
        seen = rows.keep(rows.days <= until[rows.series])
        cards = learn(seen)
        of_window = model.forecast(seen, cards, h, events=events, regressors=regressors)
        parts.append(_lay_out(model, cards, of_window, wanted, h=h))
        forecasts.append(of_window)
    _report_short(frame, forecasts, drop=drop_short)
    joined = _join(parts)
    actual = find_actual(rows, cards, joined.series, joined.days, missing=model.config.data.missing)
    return _select(Validation(joined.series, joined.days, joined.cutoffs, actual, joined.columns))


def keep_first_window(rows: SeriesRows, *, h: int, n_windows: int, step_size: int) -> SeriesRows:
    """The rows that the first window sees."""
    last = rows.keep(np.isfinite(rows.values)).find_last_days()
    until = last - h - (n_windows - 1) * step_size
    return rows.keep(rows.days <= until[rows.series])


def _lay_out(
    model: LoadedModel,
    cards: Sequence[SeriesCard],
    forecasts: SeriesForecasts,
    wanted: Mapping[str, float],
    *,
    h: int,
) -> Validation:
    days = forecasts.cutoffs[:, None] + np.arange(1, h + 1)
    columns = find_columns(model, cards, forecasts, wanted)
    return Validation(
        np.repeat(forecasts.rows, h), days.ravel(), np.repeat(forecasts.cutoffs, h), np.zeros(days.size), columns
    )


def _join(parts: Sequence[Validation]) -> Validation:
    return Validation(
        series=np.concatenate([part.series for part in parts]),
        days=np.concatenate([part.days for part in parts]),
        cutoffs=np.concatenate([part.cutoffs for part in parts]),
        actual=np.concatenate([part.actual for part in parts]),
        columns={name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
    )


def _select(rows: Validation) -> Validation:
    """Those with an actual value, in order; of two forecasts with the same cutoff, after a gap, one."""
    order = np.lexsort((rows.days, rows.cutoffs, rows.series))
    key = np.stack([rows.series, rows.cutoffs, rows.days])[:, order]
    is_new = np.append(True, np.any(np.diff(key) != 0, axis=0)) if order.size else np.zeros(0, bool)
    places = order[is_new & np.isfinite(rows.actual[order])]
    return Validation(
        rows.series[places],
        rows.days[places],
        rows.cutoffs[places],
        rows.actual[places],
        {name: values[places] for name, values in rows.columns.items()},
    )


def _report_short(frame: FrameSeries, forecasts: Sequence[SeriesForecasts], *, drop: bool) -> None:
    """Raises TooFewDays for a series without any forecast; warns of those with fewer than the others."""
    num_made = np.bincount(np.concatenate([of_window.rows for of_window in forecasts]), minlength=len(frame.names))
    if np.any(num_made == 0):
        latest = replace(forecasts[-1], rows=np.flatnonzero(num_made))
        report_short(frame, latest, drop=drop, when=" before its last window")
    fewer = int(np.sum((num_made > 0) & (num_made < len(forecasts))))
    if fewer:
        warnings.warn(
            f"{fewer:,} of {len(frame.names):,} series have too few days for all {len(forecasts)} windows: the "
            "earliest windows are left out.",
            stacklevel=4,
        )


def find_actual(
    rows: SeriesRows,
    cards: Sequence[SeriesCard],
    series: Int[np.ndarray, " wanted"],
    days: Int[np.ndarray, " wanted"],
    *,
    missing: Missing,
) -> Float[np.ndarray, " wanted"]:
    """The value of each series on each day, as the frame has it: 0 on days without a row that stand for no traffic, NaN
    where nobody knows.
    """
    if not len(days):
        return np.zeros(0)
    base = int(rows.days.min())
    span = int(max(rows.days.max(), days.max())) - base + 1
    keys, wanted = rows.series * span + rows.days - base, series * span + days - base
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    has_row = keys[places] == wanted
    fills = [card.can_be_zero for card in cards]
    dense = cut_latest_windows(
        rows.counts, rows.days, rows.values, [Kind.other] * len(cards),
        context_length=span, missing=missing, can_be_zero=fills,
    )  # fmt: skip
    columns = days - dense.first_days[series]
    inside = (columns >= 0) & (columns < span)
    filled = np.where(inside, dense.history[series, np.clip(columns, 0, span - 1)], np.nan)
    return np.asarray(np.where(has_row, rows.values[places], filled))
