"""Forecasts of days that are known, made as if they were not, beside the seasonal naive forecast of the same days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from forecasting.artifact import FORECASTER, SEASONAL_NAIVE
from forecasting.baselines import seasonal_naive
from forecasting.errors import UndefinedMetric
from forecasting.evaluation import measures as metrics
from forecasting.evaluation.rolling_origins import Forecasts, Rolling
from forecasting.model.forecaster import LEVELS, MEDIAN, Forecaster
from forecasting.panel import Panel
from forecasting.training.data_module import TrafficDataModule

LOWER, UPPER = LEVELS.index(0.1), LEVELS.index(0.9)  # the 80% band
LOWEST, HIGHEST = LEVELS.index(0.05), LEVELS.index(0.95)  # the 90% band
MIN_MEAN = 5.0  # a day: nearly empty series reward whoever forecasts zero
MIN_WEEKS, STANDARD_ERRORS = 12, 2.0  # of a test part, and of its weeks, that can take a series from the forecaster
MIN_NAIVE_SHARE = 0.01  # of the mean: below it, repeating last week is all but exact and any ratio to it is chance


@dataclass(frozen=True)
class Backtest:
    """Windows of the test part, series by series: `first_days` are days since 1970-01-01 of each first target."""

    series: Int[np.ndarray, " windows"]
    first_days: Int[np.ndarray, " windows"]
    actual: Float[np.ndarray, "windows horizon"]
    quantiles: Float[np.ndarray, "windows horizon levels"]
    naive: Float[np.ndarray, "windows horizon"]

    def of(self, series: int) -> "Backtest":
        rows = slice(*np.searchsorted(self.series, [series, series + 1]))
        return Backtest(
            self.series[rows], self.first_days[rows], self.actual[rows], self.quantiles[rows], self.naive[rows]
        )


def backtest(forecaster: Forecaster, data: TrafficDataModule) -> Backtest:
    """The forecasts at every cutoff whose horizon lies in the test part; each sees the days up to its cutoff alone."""
    forecaster, parts = forecaster.eval(), []
    for windows, _, _ in data.in_order(data.test_index):
        with torch.no_grad():
            quantiles = forecaster(windows.history, windows.first_day, windows.kind, torch.ones_like(windows.target))
        naive = seasonal_naive(windows.history.numpy(), horizon=windows.target.shape[1])
        parts.append((windows.first_day.numpy(), windows.target.numpy(), quantiles.numpy(), naive))
    first_days, actual, quantiles, naive = (np.concatenate(column) for column in zip(*parts, strict=True))
    first_days = first_days + data.windows.context_length
    return Backtest(data.test_index[:, 0].numpy(), first_days, actual, quantiles, naive)


def judge(tested: Backtest, panel: Panel, data: TrafficDataModule) -> list[dict[str, Any]]:  # Any: numbers and reasons
    """The measures of each series of the panel, in the source's units, beside the seasonal naive forecast's."""
    return [_judge_series(tested.of(row), panel, row, data) for row in range(len(panel.series))]


def choose_answerers(tested: Backtest, panel: Panel) -> list[str]:
    """Who answers for each series: the forecaster, but where repeating last week was better beyond chance.

    That is, by more than STANDARD_ERRORS of the weeks' differences, over MIN_WEEKS or more: what fewer weeks liked
    better was worse on the weeks that followed (EXPERIMENTS.md).
    """
    return [SEASONAL_NAIVE if _is_worse(tested.of(row)) else FORECASTER for row in range(len(panel.series))]


def _is_worse(tested: Backtest) -> bool:
    naive_error = np.abs(tested.naive - tested.actual)
    difference = np.abs(tested.quantiles[..., MEDIAN] - tested.actual) - naive_error
    known = np.isfinite(difference).any(1)
    if not known.any() or np.nanmean(naive_error) <= MIN_NAIVE_SHARE * np.nanmean(np.abs(tested.actual)):
        return False  # what repeats itself, the forecaster repeats too; and it is ready for the day on which that ends
    each = np.asarray(np.nanmean(difference[known], 1, dtype=np.float64))
    week = (tested.first_days[known] - tested.first_days[known].min()) // 7
    weeks = np.array([each[week == one].mean() for one in np.unique(week)])
    if len(weeks) < MIN_WEEKS:
        return False
    return bool(weeks.mean() > STANDARD_ERRORS * weeks.std(ddof=1) / np.sqrt(len(weeks)))


def relative_error(measures: list[dict[str, Any]]) -> float | None:  # Any: as judge gives them
    """Mean absolute error over the seasonal naive forecast's, geometric mean over the series where both are above 0."""
    pairs = [(one["mae"], one["seasonal_naive"]["mae"]) for one in measures if one["num_cutoffs"]]
    ratios = [mae / naive for mae, naive in pairs if mae and naive]
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else None


def _judge_series(tested: Backtest, panel: Panel, row: int, data: TrafficDataModule) -> dict[str, Any]:
    # Both forecasts are judged on the same days: those that repeating last week can say anything of, too.
    known = np.isfinite(tested.actual) & np.isfinite(tested.naive)
    if not known.any():
        return {"num_cutoffs": 0}
    scale = panel.series[row].unit_scale
    past = panel.values[row, : data.split.test] * scale
    actual, quantiles = np.where(known, tested.actual, np.float32(np.nan)) * scale, tested.quantiles * scale
    measured: Mapping[str, Any] = metrics.measure(actual, quantiles[..., MEDIAN], past)
    return {
        "num_cutoffs": len(actual),
        **measured,
        "coverage_80": metrics.coverage(actual, quantiles[..., LOWER], quantiles[..., UPPER]),
        "seasonal_naive": metrics.measure(actual, tested.naive * scale, past),
    }


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


def judged_rows(rolling: Rolling, naive: Forecasts) -> list[int]:
    """The series that relative errors are told of: MIN_MEAN a day at least, and no exact repetition of last week."""
    scores = score_series(rolling, naive, naive)
    means = ((one.row, one.total / one.num_days, one.absolute_error / one.num_days) for one in scores)
    return [row for row, mean, error in means if mean >= MIN_MEAN and error >= MIN_NAIVE_SHARE * mean]


def score_series(rolling: Rolling, forecasts: Forecasts, naive: Forecasts) -> list[SeriesScore]:
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
        return metrics.seasonal_error(past)
    except UndefinedMetric:
        return np.nan


def _score_one(
    actual: Float[np.ndarray, "origins horizon"],
    quantiles: Float[np.ndarray, "origins horizon levels"],
    naive: Float[np.ndarray, "origins horizon levels"],
    *,
    scale: float,
    unit: float,
) -> SeriesScore:
    error, naive_error = metrics.mae(actual, quantiles[..., MEDIAN]), metrics.mae(actual, naive[..., MEDIAN])
    num_days = int(np.isfinite(actual).sum())
    return SeriesScore(
        num_days=num_days,
        total=float(np.nansum(np.abs(actual), dtype=np.float64)) * unit,
        absolute_error=error * num_days * unit,
        mase=error / scale,
        pinball=metrics.pinball(actual, quantiles, levels=LEVELS) / scale,
        relative_error=error / naive_error if naive_error else np.nan,
        inside_80=metrics.coverage(actual, quantiles[..., LOWER], quantiles[..., UPPER]) * num_days,
        inside_90=metrics.coverage(actual, quantiles[..., LOWEST], quantiles[..., HIGHEST]) * num_days,
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
