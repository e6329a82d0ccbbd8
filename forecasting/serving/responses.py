"""The documented answers, from quantiles."""

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from forecasting.card import Card, SeriesCard
from forecasting.domain import Kind, to_date
from forecasting.totals import sum_up

BAND = (0.1, 0.9)  # `lower` and `upper` of an answer: the 80% band
MAX_COUNT = 2.0**53  # beyond it, readers of JSON that know no integers lose digits
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
    columns = [version.levels.index(level) for level in (BAND[0], 0.5, BAND[1])]
    values = quantiles[..., columns] * np.array([card.unit_scale for card in cards])[:, None, None]
    counts = np.minimum(np.rint(values), MAX_COUNT).astype(np.int64)  # of all series at once, which is faster
    origin = {"model_version": version.version, "prediction_date": made_at.isoformat(timespec="seconds")}
    series = zip(cards, cutoffs, values.tolist(), counts.tolist(), _sum_up(quantiles, cards, version), strict=True)
    return [_write(*each, origin=origin) for each in series]


def _write(
    card: SeriesCard,
    cutoff: int,
    values: Sequence[Sequence[float]],
    counts: Sequence[Sequence[int]],
    total: Mapping[str, int] | None,
    *,
    origin: Mapping[str, str],
) -> Response:
    """`values` and `counts` have lower end, median and upper end of each day."""
    is_count = card.kind is Kind.count
    data_until, *dates = _format_dates(cutoff, len(values))
    visits = sum(median for _, median, _ in counts) if is_count else None
    return {
        "predictions": _write_rows(card, dates, counts if is_count else _shorten(values)),
        "site": card.site,
        "metric": card.metric,
        "additive": card.additive,
        "model_version": origin["model_version"],
        "answered_by": card.answered_by,
        "prediction_date": origin["prediction_date"],
        "data_until": data_until,
        "days_ahead": len(dates),
        "total_predicted_visits": visits,
        "total": total,
        "band": round(BAND[1] - BAND[0], 2),
        "stale": False,
    }


def _write_rows(
    card: SeriesCard, dates: Sequence[str], days: Sequence[Sequence[float] | Sequence[int]]
) -> list[dict[str, Any]]:
    """Any: dates as text, counts as integers, other values as floats."""
    rows = zip(dates, days, strict=True)
    if card.metric == "page_visits":
        return [{"date": date, "predicted_visits": day[1], "lower": day[0], "upper": day[2]} for date, day in rows]
    if card.kind is Kind.count:
        return [
            {"date": date, "predicted_value": day[1], "predicted_visits": day[1], "lower": day[0], "upper": day[2]}
            for date, day in rows
        ]
    return [{"date": date, "predicted_value": day[1], "lower": day[0], "upper": day[2]} for date, day in rows]


@lru_cache(maxsize=256)
def _format_dates(cutoff: int, days: int) -> list[str]:
    """The cutoff, then the days after it."""
    return [str(to_date(cutoff + ahead)) for ahead in range(days + 1)]


def _shorten(values: Sequence[Sequence[float]]) -> list[list[float]]:
    """With the digits that a float32 holds."""
    return [[float(f"{value:.6g}") for value in day] for day in values]


def _sum_up(
    quantiles: Float[np.ndarray, "series days levels"], cards: Sequence[SeriesCard], version: Card
) -> list[dict[str, int] | None]:
    """The total of each series; None where days do not add up."""
    totals: list[dict[str, int] | None] = [None] * len(cards)
    places = [place for place, card in enumerate(cards) if card.kind is Kind.count and card.additive]
    if places:
        days = np.minimum(quantiles[places], MAX_COUNT)
        correlation = np.array([cards[place].day_correlation for place in places])
        sums = np.rint(sum_up(days, version.levels, correlation, band=BAND)).astype(np.int64)
        for place, value, lower, upper in zip(places, *sums.tolist(), strict=True):
            totals[place] = {"value": value, "lower": lower, "upper": upper}
    return totals
