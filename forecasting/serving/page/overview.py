"""What the list of all sites shows of each: its last weeks, its next week, and whether yesterday was unusual. Pure."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from jaxtyping import Float

from forecasting.card import SeriesCard
from forecasting.domain import Kind, to_date
from forecasting.errors import DataError, ForecastingError
from forecasting.monitoring.data_age import AnswerAge
from forecasting.predictor import Window
from forecasting.serving.forecast_cache import CachedForecast, Result
from forecasting.serving.forecast_service import DEFAULT_METRIC

SHOWN_DAYS = 42
DAYS_AHEAD = 7

Json = dict[str, Any]  # Any: json's own types
FindAge = Callable[[SeriesCard, dt.date], AnswerAge]  # of an answer from days up to this one


def choose_series(cards: Sequence[SeriesCard]) -> list[SeriesCard]:
    """One of each site: its page visits, else its first metric that adds up, else its first."""
    by_site: dict[str, list[SeriesCard]] = {}
    for card in cards:
        by_site.setdefault(card.site, []).append(card)
    return [
        min(of_site, key=lambda card: (card.metric != DEFAULT_METRIC, not card.additive))
        for of_site in by_site.values()
    ]


def describe_site(
    card: SeriesCard,
    window: Window | DataError,
    result: Result,
    unusual: Json | None,
    find_age: FindAge,
) -> Json:
    """`unusual` is the newest unusual day of the site, as GET /anomalies has it."""
    head: Json = {"site": card.site, "metric": card.metric, "kind": card.kind.value, "additive": card.additive}
    if isinstance(window, DataError):
        return {**head, **_describe_nothing(str(window))}
    values = _read_last(card, window)
    last_day = window.first_day + len(window.history) - 1
    age = find_age(card, to_date(last_day))
    forecast = orjson.loads(result.body) if isinstance(result, CachedForecast) else None
    error = str(result) if isinstance(result, ForecastingError) else None
    return {
        **head,
        "first_date": str(to_date(last_day - len(values) + 1)),
        "data_until": str(to_date(last_day)),
        "age_days": age.days,
        "is_late": age.is_stale,
        "values": [None if np.isnan(value) else value for value in values.tolist()],
        "predictions": forecast["predictions"] if forecast else [],
        "week": _describe_week(card, forecast, values) if forecast else None,
        "unusual": unusual if unusual and unusual["date"] == str(to_date(last_day)) else None,
        "error": error,
    }


def _describe_nothing(error: str) -> Json:
    return {
        "first_date": None, "data_until": None, "age_days": None, "is_late": True, "values": [], "predictions": [],
        "week": None, "unusual": None, "error": error,
    }  # fmt: skip


def _read_last(card: SeriesCard, window: Window) -> Float[np.ndarray, " days"]:
    """From the first known of the last days on, in the source's units."""
    values = window.history[-SHOWN_DAYS:].astype(np.float64) * card.unit_scale
    known = np.flatnonzero(np.isfinite(values))
    rounded = np.rint(values) if card.kind is Kind.count else values
    return rounded[known[0] :] if known.size else rounded[:0]


def _describe_week(card: SeriesCard, forecast: Mapping[str, Any], values: Float[np.ndarray, " days"]) -> Json:
    """The next seven days beside the last seven: their total, or their mean where days do not add up."""
    last = values[-DAYS_AHEAD:]
    is_whole = len(last) == DAYS_AHEAD and bool(np.isfinite(last).all())
    if forecast["total"] is not None:
        return {**forecast["total"], "last": int(last.sum()) if is_whole else None}
    key = "predicted_visits" if card.metric == DEFAULT_METRIC else "predicted_value"
    mean = float(np.mean([row[key] for row in forecast["predictions"]]))
    return {"value": mean, "lower": None, "upper": None, "last": float(last.mean()) if is_whole else None}
