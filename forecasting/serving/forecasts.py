"""Everything before and after the model, for both ways of asking it: history in, the documented answer out. Pure."""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from forecasting.artifact import SEASONAL_NAIVE, Card, SeriesCard
from forecasting.baselines import answer_naively
from forecasting.config import MAX_DAYS_AHEAD, MIN_KNOWN_DAYS, Kind, MetricConfig, Unit
from forecasting.errors import SettingError, TooFewDays, UnknownMetric, UnknownSite
from forecasting.panel import Panel, to_date

BAND = (0.1, 0.9)  # `lower` and `upper` of an answer: the 80% band


@dataclass(frozen=True)
class Instance:
    """One window for the model, as its handler takes it; `first_day` in days since 1970-01-01."""

    history: Float[np.ndarray, " context"]
    first_day: int
    kind: Kind
    band_scale: Float[np.ndarray, " horizon"]


@dataclass(frozen=True)
class Forecast:
    """Quantiles of the days after the cutoff, in the model's units."""

    series: SeriesCard
    cutoff: int
    quantiles: Float[np.ndarray, "days levels"]


def check_days_ahead(days_ahead: int) -> int:
    if not 1 <= days_ahead <= MAX_DAYS_AHEAD:
        raise SettingError(f"days_ahead is {days_ahead}; it must be 1 to {MAX_DAYS_AHEAD}.")
    return days_ahead


def find_series(card: Card, *, metric: str, site: str | None) -> SeriesCard:
    """What the version knows of a series. Raises UnknownSite or UnknownMetric, naming those that it was trained on."""
    sites = sorted({series.site for series in card.series})
    if site is None and len(sites) > 1:
        raise UnknownSite(f"There are {len(sites)} sites: say which with `site`, one of {', '.join(sites)}.")
    if site is not None and site not in sites:
        raise UnknownSite(
            f"There is no site {site!r} in version {card.version}. It was trained on: {', '.join(sites)}."
        )
    known = {series.metric: series for series in card.series if series.site == (site or sites[0])}
    if metric not in known:
        raise UnknownMetric(
            f"There is no metric {metric!r} in version {card.version}. It was trained on: {', '.join(sorted(known))}."
        )
    return known[metric]


def metric_config(series: SeriesCard) -> MetricConfig:
    """As the version was trained, whatever the configuration says by now."""
    unit = None
    if series.kind is Kind.rate:
        unit = Unit.percent if series.unit_scale == 100 else Unit.fraction
    return MetricConfig(kind=series.kind, unit=unit, additive=series.additive)


def first_instance(panel: Panel, series: SeriesCard, card: Card) -> Instance:
    """The window that ends on the series' own last known day. Raises TooFewDays."""
    row = panel.find(metric=series.metric, site=series.site)
    history, first_day = panel.window(row, card.context_length)
    known = int(np.isfinite(history).sum())
    if known < MIN_KNOWN_DAYS:
        raise TooFewDays(
            f"{panel.series[row].name} has {known} known days among the last {card.context_length}; a forecast needs "
            f"{MIN_KNOWN_DAYS}. Load the missing days, or train with data.missing=zero if they had no traffic."
        )
    return Instance(history, first_day, series.kind, _band_scale(series, 0))


def next_instance(
    instance: Instance, quantiles: Float[np.ndarray, "horizon levels"], step: int, series: SeriesCard, card: Card
) -> Instance:
    """The window one horizon later: the medians stand for the days that nobody has seen, the band is wider."""
    medians = quantiles[:, card.levels.index(0.5)]
    history = np.concatenate([instance.history, medians])[-card.context_length :].astype(np.float32)
    return replace(
        instance,
        history=history,
        first_day=instance.first_day + card.horizon,
        band_scale=_band_scale(series, step),
    )


def who_answers(
    quantiles: Float[np.ndarray, "series days levels"],
    series: Sequence[SeriesCard],
    first: Sequence[Instance],
    card: Card,
) -> Float[np.ndarray, "series days levels"]:
    """The forecaster's quantiles, but the seasonal naive forecast's for series whose card names that."""
    return answer_naively(
        quantiles,
        [one.history for one in first],
        [one.kind for one in series],
        [one.answers == SEASONAL_NAIVE for one in series],
        levels=card.levels,
    )


def shape_answer(forecast: Forecast, card: Card, *, made_at: dt.datetime) -> dict[str, Any]:  # Any: json's own types
    """The documented answer, in the source's unit: counts as integers, rates within their range."""
    series, levels = forecast.series, card.levels
    lower, median, upper = (forecast.quantiles[:, levels.index(level)] for level in (BAND[0], 0.5, BAND[1]))
    rows = [
        {
            "date": str(to_date(forecast.cutoff + ahead)),
            **_value(series, float(median[ahead - 1])),
            "lower": _number(series, float(lower[ahead - 1])),
            "upper": _number(series, float(upper[ahead - 1])),
        }
        for ahead in range(1, len(median) + 1)
    ]
    counted = series.kind is Kind.count
    return {
        "predictions": rows,
        "site": series.site,
        "metric": series.metric,
        "additive": series.additive,
        "model_version": card.version,
        "answered_by": series.answers,
        "prediction_date": made_at.isoformat(timespec="seconds"),
        "data_until": str(to_date(forecast.cutoff)),
        "days_ahead": len(rows),
        "total_predicted_visits": sum(row["predicted_visits"] for row in rows) if counted else None,
        "total": _total(series, lower, median, upper, rows) if counted and series.additive else None,
        "band": round(BAND[1] - BAND[0], 2),
    }


def _band_scale(series: SeriesCard, step: int) -> Float[np.ndarray, " horizon"]:
    return np.asarray(series.band_scale, np.float32) * np.float32(series.widening[step])


def _value(series: SeriesCard, value: float) -> dict[str, int | float]:
    number = _number(series, value)
    if series.metric == "page_visits":
        return {"predicted_visits": number}
    if series.kind is Kind.count:
        return {"predicted_value": number, "predicted_visits": number}
    return {"predicted_value": number}


def _number(series: SeriesCard, value: float) -> int | float:
    scaled = value * series.unit_scale
    return round(scaled) if series.kind is Kind.count else float(f"{scaled:.6g}")  # what float32 knows for sure


def _total(
    series: SeriesCard,
    lower: Float[np.ndarray, " days"],
    median: Float[np.ndarray, " days"],
    upper: Float[np.ndarray, " days"],
    rows: Sequence[dict[str, Any]],
) -> dict[str, int]:
    """The sum and its band: errors of n days that correlate by r spread their sum by sqrt((1 + (n - 1) r) / n)."""
    days = len(median)
    share = math.sqrt((1 + (days - 1) * series.day_correlation) / days)
    middle, below, above = (float(part.sum()) for part in (median, median - lower, upper - median))
    return {
        "value": sum(row["predicted_visits"] for row in rows),
        "lower": max(0, round(middle - share * below)),
        "upper": round(middle + share * above),
    }
