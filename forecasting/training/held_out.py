"""Forecasts of the test part, which training has not seen, beside the seasonal naive forecast of the same days."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from forecasting.baselines import seasonal_naive
from forecasting.evaluation import measures
from forecasting.evaluation.comparison import is_far_worse, is_worse
from forecasting.evaluation.scoring import LOWER, MIN_NAIVE_SHARE, UPPER
from forecasting.model.forecaster import MEDIAN, Forecaster
from forecasting.panel import Panel
from forecasting.predictor import FORECASTER, SEASONAL_NAIVE
from forecasting.training.data_module import TrafficDataModule

MIN_ERROR_SHARE = 0.002  # of the mean: nobody notices a smaller error, whoever makes it


@dataclass(frozen=True)
class HeldOutForecasts:
    """Windows of the test part, series by series. `first_days` are those of the targets, in days since 1970-01-01."""

    series: Int[np.ndarray, " windows"]
    first_days: Int[np.ndarray, " windows"]
    actual: Float[np.ndarray, "windows horizon"]
    quantiles: Float[np.ndarray, "windows horizon levels"]
    naive: Float[np.ndarray, "windows horizon"]

    def of(self, series: int) -> "HeldOutForecasts":
        rows = slice(*np.searchsorted(self.series, [series, series + 1]))
        return HeldOutForecasts(
            self.series[rows], self.first_days[rows], self.actual[rows], self.quantiles[rows], self.naive[rows]
        )


def forecast_test_part(forecaster: Forecaster, data: TrafficDataModule) -> HeldOutForecasts:
    """A forecast from every cutoff whose horizon lies in the test part; each sees only the days up to its cutoff."""
    forecaster, parts = forecaster.eval(), []
    horizon = data.windows.horizon
    for windows, _, _ in data.test_dataloader():
        with torch.no_grad():
            quantiles = forecaster(windows.history, windows.first_day, windows.kind, torch.ones_like(windows.target))
        naive = seasonal_naive(windows.history.numpy(), days_ahead=horizon)
        columns = (windows.first_day, windows.target[:, :horizon], quantiles[:, :horizon])
        parts.append((*(column.numpy() for column in columns), naive))
    first_days, actual, quantiles, naive = (np.concatenate(column) for column in zip(*parts, strict=True))
    first_days = first_days + data.windows.context_length
    return HeldOutForecasts(data.test_index[:, 0].numpy(), first_days, actual, quantiles, naive)


def measure_test_part(
    held_out: HeldOutForecasts, panel: Panel, data: TrafficDataModule
) -> list[dict[str, Any]]:  # Any: numbers, and reasons for missing ones
    """The measures of each series of the panel, in the source's units, beside the seasonal naive forecast's."""
    return [_measure_series(held_out.of(row), panel, row, data) for row in range(len(panel.series))]


def choose_answerers(held_out: HeldOutForecasts, panel: Panel) -> list[str]:
    """Who answers for each series: the forecaster, unless repeating last week was better by more than chance, over
    twelve weeks or more, or several times better in every window, however few.
    """
    rows = range(len(panel.series))
    return [SEASONAL_NAIVE if _is_beaten(held_out.of(row)) else FORECASTER for row in rows]


def _is_beaten(held_out: HeldOutForecasts) -> bool:
    naive_error = np.abs(held_out.naive - held_out.actual)
    error = np.abs(held_out.quantiles[..., MEDIAN] - held_out.actual)
    if not np.isfinite(held_out.actual).any():
        return False
    level = np.nanmean(np.abs(held_out.actual))
    # On nearly empty series whoever forecasts zero wins, until somebody comes.
    is_noticed = np.nanmedian(np.abs(held_out.actual)) > 0 and np.nanmean(error) > MIN_ERROR_SHARE * level
    if is_noticed and is_far_worse(error, naive_error):
        return True
    if not is_worse(error, naive_error, held_out.first_days):
        return False
    # The forecaster also repeats a series that repeats itself, and is ready for the day on which that ends.
    return bool(np.nanmean(naive_error) > MIN_NAIVE_SHARE * level)


def relative_error(measured: list[dict[str, Any]]) -> float | None:  # Any: as measure_test_part returns them
    """Mean absolute error over the seasonal naive forecast's, geometric mean over the series where both are above 0."""
    pairs = [(series["mae"], series["seasonal_naive"]["mae"]) for series in measured if series["num_cutoffs"]]
    ratios = [mae / naive for mae, naive in pairs if mae and naive]
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else None


def _measure_series(held_out: HeldOutForecasts, panel: Panel, row: int, data: TrafficDataModule) -> dict[str, Any]:
    # Both forecasts are measured on the same days: those on which the seasonal naive forecast exists too.
    known = np.isfinite(held_out.actual) & np.isfinite(held_out.naive)
    if not known.any():
        return {"num_cutoffs": 0}
    scale = panel.series[row].unit_scale
    past = panel.values[row, : data.split.test] * scale
    actual, quantiles = np.where(known, held_out.actual, np.float32(np.nan)) * scale, held_out.quantiles * scale
    measured: Mapping[str, Any] = measures.measure(actual, quantiles[..., MEDIAN], past)
    return {
        "num_cutoffs": len(actual),
        **measured,
        "coverage_80": measures.coverage(actual, quantiles[..., LOWER], quantiles[..., UPPER]),
        "seasonal_naive": measures.measure(actual, held_out.naive * scale, past),
    }
