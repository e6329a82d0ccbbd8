"""Everything before and after the model, for both ways of asking it: history in, the documented answer out. Pure."""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from forecasting.artifact import SEASONAL_NAIVE, Card, SeriesCard
from forecasting.baselines import answer_naively
from forecasting.domain import MAX_DAYS_AHEAD, MIN_DAYS, MIN_KNOWN_DAYS, Kind, Missing, Unit
from forecasting.errors import (
    AmbiguousUnit,
    DataError,
    SettingError,
    TooFewDays,
    UnknownMetric,
    UnknownSite,
    name_some,
)
from forecasting.panel import Observations, RecentWindows, describe_series, latest_windows, to_date
from forecasting.settings.schema import MetricConfig
from forecasting.warehouse.pages import Page
from forecasting.warehouse.units import tell_unit

BAND = (0.1, 0.9)  # `lower` and `upper` of an answer: the 80% band


@dataclass(frozen=True)
class Instance:
    """One window for the model, as its handler takes it; `first_day` in days since 1970-01-01."""

    history: Float[np.ndarray, " context"]
    first_day: int
    kind: Kind
    band_scale: Float[np.ndarray, " horizon"]


def check_days_ahead(days_ahead: int) -> int:
    if not 1 <= days_ahead <= MAX_DAYS_AHEAD:
        raise SettingError(f"days_ahead is {days_ahead}; it must be 1 to {MAX_DAYS_AHEAD}.")
    return days_ahead


def find_series(card: Card, *, metric: str, site: str | None) -> SeriesCard:
    """What the version knows of a series. Raises UnknownSite or UnknownMetric, naming those that it was trained on."""
    sites = card.by_site
    if site is None:
        if len(sites) != 1:
            raise UnknownSite(f"There are {len(sites)} sites: say which with `site`, one of {name_some(sites)}.")
        [site] = sites
    if site not in sites:
        raise UnknownSite(
            f"There is no site {site!r} in version {card.version}. It was trained on: {name_some(sites)}."
        )
    known = sites[site]
    if metric not in known:
        raise UnknownMetric(
            f"There is no metric {metric!r} in version {card.version}. It was trained on: {name_some(known)}."
        )
    return known[metric]


def find_each(card: Card, *, metrics: Iterable[str], site: str | None) -> dict[str, SeriesCard | DataError]:
    """By metric, in the order in which they were asked for first; why not, where there is no such series."""
    found: dict[str, SeriesCard | DataError] = {}
    for metric in dict.fromkeys(metrics):
        try:
            found[metric] = find_series(card, metric=metric, site=site)
        except DataError as error:
            found[metric] = error
    return found


def metric_config(series: SeriesCard) -> MetricConfig:
    """As the version was trained, whatever the configuration says by now."""
    unit = None
    if series.kind is Kind.rate:
        unit = Unit.percent if series.unit_scale == 100 else Unit.fraction
    return MetricConfig(kind=series.kind, unit=unit, additive=series.additive)


def first_instances(
    page: Page, series: Sequence[SeriesCard], card: Card, *, missing: Missing
) -> list[Instance | DataError]:
    """Of each series, by its rows in the page, the window that ends on its own last known day; TooFewDays or
    AmbiguousUnit where there is none.
    """
    windows = page_windows(page, series, context_length=card.context_length, missing=missing)
    first_days = windows.cutoffs - card.context_length + 1
    ends = page.counts.cumsum()
    instances: list[Instance | DataError] = []
    for row, one in enumerate(series):
        rows = slice(ends[row] - page.counts[row], ends[row])
        wrong = _find_wrong(one, page.days[rows], page.values[rows], windows, row)
        # a copy, since a row would keep the whole batch
        history = windows.history[row].copy()
        instances.append(wrong or Instance(history, int(first_days[row]), one.kind, _band_scale(one, 0)))
    return instances


def page_windows(page: Page, series: Sequence[SeriesCard], *, context_length: int, missing: Missing) -> RecentWindows:
    """In the model's units."""
    scale = np.array([one.unit_scale for one in series])
    return latest_windows(
        page.counts,
        page.days,
        page.values / np.repeat(scale, page.counts),
        [one.kind for one in series],
        context_length=context_length,
        missing=missing,
    )


def check_fraction(series: SeriesCard, days: Int[np.ndarray, " days"], values: Float[np.ndarray, " days"]) -> None:
    """Raises AmbiguousUnit for a rate above 1 that the version took for a share of 0..1."""
    if series.kind is Kind.rate and series.unit_scale == 1:
        said = metric_config(series)
        described = describe_series(series.site, series.metric, said, otherwise=series.kind)
        tell_unit(Observations(described, days, values), {series.metric: said}, named=(), notes=[])


def _find_wrong(
    series: SeriesCard,
    days: Int[np.ndarray, " days"],
    values: Float[np.ndarray, " days"],
    windows: RecentWindows,
    row: int,
) -> DataError | None:
    """What keeps a series from being forecast. The days are in order, or reversed."""
    try:
        check_fraction(series, days, values)
    except AmbiguousUnit as error:
        return error
    if windows.enough[row]:
        return None
    name, known = f"{series.metric} of {series.site}", int(np.isfinite(windows.history[row]).sum())
    if known >= MIN_KNOWN_DAYS:
        return TooFewDays(
            f"{name} has fewer than {MIN_DAYS} days of data; at least {MIN_DAYS} are needed. "
            "Wait for more, or load older days."
        )
    return TooFewDays(
        f"{name} has {known} known days among the last {windows.history.shape[1]}; a forecast needs "
        f"{MIN_KNOWN_DAYS}. Load the missing days, or train with data.missing=zero if they had no traffic."
    )


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


def let_naive_answer(
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


def shape_answers(
    quantiles: Float[np.ndarray, "series days levels"],
    series: Sequence[SeriesCard],
    cutoffs: Sequence[int],
    card: Card,
    *,
    made_at: dt.datetime,
) -> list[dict[str, Any]]:  # Any: json's own types
    """The documented answers, in the source's units: counts as integers, rates within their range."""
    bands = quantiles[..., [card.levels.index(level) for level in (BAND[0], 0.5, BAND[1])]].astype(np.float64)
    made = {"model_version": card.version, "prediction_date": made_at.isoformat(timespec="seconds")}
    return [_shape(one, cutoff, band, made) for one, cutoff, band in zip(series, cutoffs, bands, strict=True)]


def _shape(
    series: SeriesCard, cutoff: int, band: Float[np.ndarray, "days 3"], made: Mapping[str, str]
) -> dict[str, Any]:  # Any: json's own types
    counted = series.kind is Kind.count
    until, *dates = _dates(cutoff, len(band))
    number = round if counted else _shorten
    numbers = [[number(value * series.unit_scale) for value in day] for day in band.tolist()]
    name = "predicted_visits" if series.metric == "page_visits" else "predicted_value"
    rows: list[dict[str, Any]] = []
    for date, (lower, median, upper) in zip(dates, numbers, strict=True):
        row = {"date": date, name: median}
        if counted:
            row["predicted_visits"] = median
        rows.append(row | {"lower": lower, "upper": upper})
    visits = sum(row["predicted_visits"] for row in rows) if counted else None
    return {
        "predictions": rows,
        "site": series.site,
        "metric": series.metric,
        "additive": series.additive,
        "model_version": made["model_version"],
        "answered_by": series.answers,
        "prediction_date": made["prediction_date"],
        "data_until": until,
        "days_ahead": len(rows),
        "total_predicted_visits": visits,
        "total": _total(series, band, visits) if visits is not None and series.additive else None,
        "band": round(BAND[1] - BAND[0], 2),
        "stale": False,
    }


@lru_cache(maxsize=256)
def _dates(cutoff: int, days: int) -> list[str]:
    """The cutoff's, and those of the days after it."""
    return [str(to_date(cutoff + ahead)) for ahead in range(days + 1)]


def _band_scale(series: SeriesCard, step: int) -> Float[np.ndarray, " horizon"]:
    return np.asarray(series.band_scale, np.float32) * np.float32(series.widening[step])


def _shorten(value: float) -> float:
    return float(f"{value:.6g}")  # what float32 knows for sure


def _total(series: SeriesCard, band: Float[np.ndarray, "days 3"], visits: int) -> dict[str, int]:
    """The sum and its band: errors of n days that correlate by r spread their sum by sqrt((1 + (n - 1) r) / n)."""
    days = len(band)
    share = math.sqrt((1 + (days - 1) * series.day_correlation) / days)
    lower, middle, upper = band.sum(0).tolist()
    return {
        "value": visits,
        "lower": max(0, round(middle - share * (middle - lower))),
        "upper": round(middle + share * (upper - middle)),
    }
