"""The documented answers, from quantiles."""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from forecasting.card import Card, SeriesCard
from forecasting.domain import Kind, to_date

BAND = (0.1, 0.9)  # `lower` and `upper` of an answer: the 80% band
Response = dict[str, Any]  # json's own types


def write_responses(
    quantiles: Float[np.ndarray, "series days levels"],
    cards: Sequence[SeriesCard],
    cutoffs: Sequence[int],
    version: Card,
    *,
    made_at: dt.datetime,
) -> list[Response]:
    """In the source's units: counts as integers, rates within their range."""
    bands = quantiles[..., [version.levels.index(level) for level in (BAND[0], 0.5, BAND[1])]].astype(np.float64)
    origin = {"model_version": version.version, "prediction_date": made_at.isoformat(timespec="seconds")}
    return [_write(card, cutoff, band, origin) for card, cutoff, band in zip(cards, cutoffs, bands, strict=True)]


def _write(card: SeriesCard, cutoff: int, band: Float[np.ndarray, "days 3"], origin: Mapping[str, str]) -> Response:
    is_count = card.kind is Kind.count
    data_until, *dates = _format_dates(cutoff, len(band))
    rows = _write_rows(card, dates, band.tolist())
    visits = sum(row["predicted_visits"] for row in rows) if is_count else None
    return {
        "predictions": rows,
        "site": card.site,
        "metric": card.metric,
        "additive": card.additive,
        "model_version": origin["model_version"],
        "answered_by": card.answered_by,
        "prediction_date": origin["prediction_date"],
        "data_until": data_until,
        "days_ahead": len(rows),
        "total_predicted_visits": visits,
        "total": _write_total(card, band, visits) if visits is not None and card.additive else None,
        "band": round(BAND[1] - BAND[0], 2),
        "stale": False,
    }


def _write_rows(card: SeriesCard, dates: Sequence[str], bands: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Any: dates as text, counts as integers, other values as floats."""
    is_count = card.kind is Kind.count
    to_number = round if is_count else _shorten
    value_key = "predicted_visits" if card.metric == "page_visits" else "predicted_value"
    rows: list[dict[str, Any]] = []
    for date, band in zip(dates, bands, strict=True):
        lower, median, upper = (to_number(value * card.unit_scale) for value in band)
        row = {"date": date, value_key: median}
        if is_count:
            row["predicted_visits"] = median
        rows.append(row | {"lower": lower, "upper": upper})
    return rows


@lru_cache(maxsize=256)
def _format_dates(cutoff: int, days: int) -> list[str]:
    """The cutoff, then the days after it."""
    return [str(to_date(cutoff + ahead)) for ahead in range(days + 1)]


def _shorten(value: float) -> float:
    return float(f"{value:.6g}")  # the digits that a float32 holds


def _write_total(card: SeriesCard, band: Float[np.ndarray, "days 3"], visits: int) -> dict[str, int]:
    """The sum and its band: if the errors of n days correlate by r, their sum spreads by sqrt((1 + (n - 1) r) / n)."""
    days = len(band)
    share = math.sqrt((1 + (days - 1) * card.day_correlation) / days)
    lower, middle, upper = band.sum(0).tolist()
    return {
        "value": visits,
        "lower": max(0, round(middle - share * (middle - lower))),
        "upper": round(middle + share * (upper - middle)),
    }
