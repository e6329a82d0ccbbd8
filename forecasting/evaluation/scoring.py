"""Scores of the forecasts of a rolling backtest, by series and over all series."""

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
    """One contestant on one series, in the source's unit; sums over days where series are to be pooled.

    MASE divides by the seasonal naive forecast's error on all days up to the first cutoff, NaN where those repeat.
    """

    num_days: int
    total: float
    absolute_error: float
    mase: float
    pinball: float  # in the units of mase
    relative_error: float  # mean absolute error over the seasonal naive forecast's; NaN where that has none
    inside_80: float  # days within the band
    inside_90: float
    row: int = 0  # of the panel


@dataclass(frozen=True)
class Score:
    """One contestant on several series. None where no series defines it."""

    name: str
    num_series: int
    num_worse: int  # series on which the seasonal naive forecast is better
    mase: float | None  # mean over series
    wape: float | None  # of all days together
    relative_error: float | None  # geometric mean over series
    pinball: float | None  # mean over levels, days and series, in units of MASE
    coverage_80: float | None  # of all days together
    coverage_90: float | None
    ms_a_forecast: float


def judged_rows(rolling: Rolling, naive: RollingForecasts) -> list[int]:
    """The series that relative errors are told of: MIN_MEAN a day at least, and no exact repetition of last week."""
    scores = score_series(rolling, naive, naive)
    means = ((one.row, one.total / one.num_days, one.absolute_error / one.num_days) for one in scores)
    return [row for row, mean, error in means if mean >= MIN_MEAN and error >= MIN_NAIVE_SHARE * mean]


def score_series(rolling: Rolling, forecasts: RollingForecasts, naive: RollingForecasts) -> list[SeriesScore]:
    """One score a series that has a known day among its forecasts."""
    actual, scores = rolling.actual(), []
    for row in np.unique(rolling.rows):
        of = rolling.rows == row
        if not np.isfinite(actual[of]).any():
            continue
        scale = _scale(rolling.panel.values[row, : rolling.cutoffs[of].min() + 1])
        unit = rolling.panel.series[row].unit_scale
        one = _score_one(actual[of], forecasts.quantiles[of], naive.quantiles[of], scale=scale, unit=unit)
        scores.append(replace(one, row=int(row)))
    return scores


def _scale(past: Float[np.ndarray, " days"]) -> float:
    try:
        return measures.seasonal_error(past)
    except UndefinedMetric:
        return np.nan


def _score_one(
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


def summarize(scores: Sequence[SeriesScore], *, name: str, ms_a_forecast: float) -> Score:
    num_days, total = sum(one.num_days for one in scores), sum(one.total for one in scores)
    relative = _defined([one.relative_error for one in scores])
    with np.errstate(divide="ignore"):  # a contestant without any error makes the geometric mean 0
        geometric = float(np.exp(np.mean(np.log(relative)))) if relative.size else None
    return Score(
        name=name,
        num_series=len(scores),
        num_worse=int(np.sum(relative > 1)),
        mase=_mean([one.mase for one in scores]),
        wape=sum(one.absolute_error for one in scores) / total if total else None,
        relative_error=geometric,
        pinball=_mean([one.pinball for one in scores]),
        coverage_80=sum(one.inside_80 for one in scores) / num_days if num_days else None,
        coverage_90=sum(one.inside_90 for one in scores) / num_days if num_days else None,
        ms_a_forecast=ms_a_forecast,
    )


def _defined(values: Sequence[float]) -> Float[np.ndarray, " defined"]:
    array = np.array(values, np.float64)
    return array[np.isfinite(array)]


def _mean(values: Sequence[float]) -> float | None:
    defined = _defined(values)
    return float(defined.mean()) if defined.size else None
