"""Forecasts of days that are known, made as if they were not, beside the seasonal naive forecast of the same days."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from forecasting.model.forecaster import LEVELS, MEDIAN, Forecaster
from forecasting.panel import Panel
from forecasting.training import metrics
from forecasting.training.baselines import seasonal_naive
from forecasting.training.datamodule import TrafficDataModule

LOWER, UPPER = LEVELS.index(0.1), LEVELS.index(0.9)  # the 80% band


@dataclass(frozen=True)
class Backtest:
    """Windows of the test part: `first_days` are days since 1970-01-01 of each one's first target."""

    series: Int[np.ndarray, " windows"]
    first_days: Int[np.ndarray, " windows"]
    actual: Float[np.ndarray, "windows horizon"]
    quantiles: Float[np.ndarray, "windows horizon levels"]
    naive: Float[np.ndarray, "windows horizon"]

    def of(self, series: int) -> "Backtest":
        rows = self.series == series
        return Backtest(
            self.series[rows], self.first_days[rows], self.actual[rows], self.quantiles[rows], self.naive[rows]
        )


def backtest(forecaster: Forecaster, data: TrafficDataModule) -> Backtest:
    """The forecasts at every cutoff whose horizon lies in the test part; each sees the days up to its cutoff alone."""
    batch = data.windows.gather(data.test_index)
    ones = torch.ones_like(batch.target)
    with torch.no_grad():
        quantiles = forecaster.eval()(batch.history, batch.first_day, batch.kind, ones)
    return Backtest(
        series=data.test_index[:, 0].cpu().numpy(),
        first_days=batch.first_day.cpu().numpy() + data.windows.context_length,
        actual=batch.target.cpu().numpy(),
        quantiles=quantiles.cpu().numpy(),
        naive=seasonal_naive(batch.history.cpu().numpy(), horizon=batch.target.shape[1]),
    )


def judge(tested: Backtest, panel: Panel, data: TrafficDataModule) -> list[dict[str, Any]]:  # Any: numbers and reasons
    """The measures of each series of the panel, in the source's units, beside the seasonal naive forecast's."""
    return [_judge_series(tested.of(row), panel, row, data) for row in range(len(panel.series))]


def relative_error(measures: list[dict[str, Any]]) -> float | None:  # Any: as judge gives them
    """Mean absolute error over the seasonal naive forecast's, geometric mean over the series where both are above 0."""
    pairs = [(one["mae"], one["seasonal_naive"]["mae"]) for one in measures if one["num_cutoffs"]]
    ratios = [mae / naive for mae, naive in pairs if mae and naive]
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else None


def _judge_series(tested: Backtest, panel: Panel, row: int, data: TrafficDataModule) -> dict[str, Any]:
    if not tested.actual.size:
        return {"num_cutoffs": 0}
    scale = panel.series[row].unit_scale
    past = panel.values[row, : data.split.test] * scale
    actual, quantiles = tested.actual * scale, tested.quantiles * scale
    measured: Mapping[str, Any] = metrics.measure(actual, quantiles[..., MEDIAN], past)
    return {
        "num_cutoffs": len(actual),
        **measured,
        "coverage_80": metrics.coverage(actual, quantiles[..., LOWER], quantiles[..., UPPER]),
        "seasonal_naive": metrics.measure(actual, tested.naive * scale, past),
    }
