"""Scores of the forecasts of a rolling backtest, by series and over all series."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from forecasting.errors import UndefinedMetric
from forecasting.evaluation import measures
from forecasting.evaluation.rolling_origins import Rolling, RollingForecasts
from forecasting.model.forecaster import LEVELS, MEDIAN

LOWER, UPPER = LEVELS.index(0.1), LEVELS.index(0.9)  # the 80% band
LOWEST, HIGHEST = LEVELS.index(0.05), LEVELS.index(0.95)  # the 90% band
MIN_MEAN = 5.0  # a day: on nearly empty series whoever forecasts zero wins
MIN_NAIVE_SHARE = 0.01  # of the mean: below it, last week repeats almost exactly and any ratio to its error is chance


@dataclass(frozen=True)
class SeriesScore:
    """One forecaster on one series, in the source's unit. Sums over days, so that series can be pooled.

    MASE divides by the seasonal naive forecast's error on all days up to the first cutoff; it is NaN if that is 0.
    """

    num_days: int
    total: float
    absolute_error: float
    mase: float
    pinball: float  # in the units of mase
    relative_error: float  # mean absolute error over the seasonal naive forecast's; NaN if that is 0
    inside_80: float  # days inside the band
    inside_90: float
    row: int = 0  # of the panel


@dataclass(frozen=True)
class Score:
    """One forecaster on several series. None if no series defines the measure."""

    name: str
    num_series: int
    num_worse: int  # series on which the seasonal naive forecast is better
    mase: float | None  # mean over series
    wape: float | None  # over all days
    relative_error: float | None  # geometric mean over series
    pinball: float | None  # mean over levels, days and series, in units of MASE
    coverage_80: float | None  # over all days
    coverage_90: float | None
    ms_a_forecast: float
    sites_alike: float | None = None  # relative error, geometric mean over sites: see SiteErrors


def judged_rows(rolling: Rolling, naive: RollingForecasts) -> list[int]:
    """Rows whose relative error means something: MIN_MEAN a day or more, and no near repetition of last week."""
    scores = score_series(rolling, naive, naive)
    return [score.row for score in scores if _is_judged(score)]


def _is_judged(naive: SeriesScore) -> bool:
    mean, error = naive.total / naive.num_days, naive.absolute_error / naive.num_days
    return mean >= MIN_MEAN and error >= MIN_NAIVE_SHARE * mean


def score_series(rolling: Rolling, forecasts: RollingForecasts, naive: RollingForecasts) -> list[SeriesScore]:
    """A score for each series with a known day among those forecast."""
    actual, scores = rolling.actual(), []
    for row in np.unique(rolling.rows):
        origins = rolling.rows == row
        if not np.isfinite(actual[origins]).any():
            continue
        scale = _scale(rolling.panel.values[row, : rolling.cutoffs[origins].min() + 1])
        unit = rolling.panel.series[row].unit_scale
        score = _score(actual[origins], forecasts.quantiles[origins], naive.quantiles[origins], scale=scale, unit=unit)
        scores.append(replace(score, row=int(row)))
    return scores


def _scale(past: Float[np.ndarray, " days"]) -> float:
    try:
        return measures.seasonal_error(past)
    except UndefinedMetric:
        return np.nan


def _score(
    actual: Float[np.ndarray, "origins days"],
    quantiles: Float[np.ndarray, "origins days levels"],
    naive: Float[np.ndarray, "origins days levels"],
    *,
    scale: float,
    unit: float,
) -> SeriesScore:
    error, naive_error = measures.mae(actual, quantiles[..., MEDIAN]), measures.mae(actual, naive[..., MEDIAN])
    num_days = int(np.isfinite(actual).sum())
    return SeriesScore(
        num_days=num_days,
        total=float(np.nansum(np.abs(actual), dtype=np.float64)) * unit,
        absolute_error=error * num_days * unit,
        mase=error / scale,
        pinball=measures.pinball(actual, quantiles, levels=LEVELS) / scale,
        relative_error=error / naive_error if naive_error else np.nan,
        inside_80=measures.coverage(actual, quantiles[..., LOWER], quantiles[..., UPPER]) * num_days,
        inside_90=measures.coverage(actual, quantiles[..., LOWEST], quantiles[..., HIGHEST]) * num_days,
    )


def summarize(
    scores: Sequence[SeriesScore], *, name: str, ms_a_forecast: float, sites_alike: float | None = None
) -> Score:
    num_days, total = sum(score.num_days for score in scores), sum(score.total for score in scores)
    relative = _defined([score.relative_error for score in scores])
    with np.errstate(divide="ignore"):  # a forecaster without any error makes the geometric mean 0
        geometric = float(np.exp(np.mean(np.log(relative)))) if relative.size else None
    return Score(
        name=name,
        num_series=len(scores),
        num_worse=int(np.sum(relative > 1)),
        mase=_mean([score.mase for score in scores]),
        wape=sum(score.absolute_error for score in scores) / total if total else None,
        relative_error=geometric,
        pinball=_mean([score.pinball for score in scores]),
        coverage_80=sum(score.inside_80 for score in scores) / num_days if num_days else None,
        coverage_90=sum(score.inside_90 for score in scores) / num_days if num_days else None,
        ms_a_forecast=ms_a_forecast,
        sites_alike=sites_alike,
    )


def coverage_by_day(rolling: Rolling, forecasts: RollingForecasts, rows: Sequence[int]) -> Float[np.ndarray, " days"]:
    """Share of the 80% bands that held the value, by day ahead: the mean over the `rows`, each weighted alike."""
    lower, upper, actual = forecasts.quantiles[..., LOWER], forecasts.quantiles[..., UPPER], rolling.actual()
    inside = np.where(np.isfinite(actual), (lower <= actual) & (actual <= upper), np.nan)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice")  # a day ahead that was never known
        by_series = [np.nanmean(inside[rolling.rows == row], axis=0) for row in rows]
        return np.asarray(np.nanmean(by_series, axis=0))


def _defined(values: Sequence[float]) -> Float[np.ndarray, " defined"]:
    array = np.array(values, np.float64)
    return array[np.isfinite(array)]


def _mean(values: Sequence[float]) -> float | None:
    defined = _defined(values)
    return float(defined.mean()) if defined.size else None
