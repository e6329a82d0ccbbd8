"""What a version is told to be in model.json, and its next forecasts."""

import dataclasses
from enum import Enum
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from forecasting.artifact import Card, SeriesCard, describe_libraries, now_text
from forecasting.config import MAX_DAYS_AHEAD, Config
from forecasting.model.forecaster import KINDS, LEVELS, Forecaster
from forecasting.panel import Panel, to_date
from forecasting.training.calibration import day_correlation, widening

FEATURES = (
    "value", "same weekday of the weeks before", "rolling means of 7, 14 and 28 days", "day of week",
    "place in the year", "level", "spread", "kind",
)  # fmt: skip


def forecast_next(forecaster: Forecaster, panel: Panel) -> Float[np.ndarray, "series horizon levels"]:
    """Quantiles of the days after each series' last one."""
    windows = [panel.window(row, forecaster.settings.context_length) for row in range(len(panel.series))]
    with torch.no_grad():
        quantiles = forecaster.eval()(
            torch.from_numpy(np.stack([history for history, _ in windows])),
            torch.tensor([first_day for _, first_day in windows]),
            torch.tensor([KINDS[series.kind] for series in panel.series]),
            torch.ones(len(windows), forecaster.settings.prediction_horizon),
        )
    return np.asarray(quantiles.numpy())


def describe_version(
    config: Config,
    forecaster: Forecaster,
    panel: Panel,
    measures: list[dict[str, Any]],  # Any: as backtest.judge gives them
    training: dict[str, Any],
) -> Card:
    """model.json, but for the files' hashes."""
    return Card(
        version=config.training.model_version,
        created_at=now_text(),
        model=_plain(config.model),
        context_length=config.model.context_length,
        levels=LEVELS,
        total_parameters=forecaster.num_parameters(),
        features=FEATURES,
        data={
            "first_day": str(to_date(panel.first_day)),
            "last_day": str(to_date(panel.cutoff)),
            "num_days": panel.num_days,
            "notes": list(panel.notes),
            **_plain(config.data),
        },
        series=tuple(_describe_series(panel, row, measured, config) for row, measured in enumerate(measures)),
        training={**_plain(config.training), **training},
        libraries=describe_libraries(),
        hashes={},
    )


def _describe_series(panel: Panel, row: int, measured: dict[str, Any], config: Config) -> SeriesCard:
    series, horizon = panel.series[row], config.model.prediction_horizon
    values = panel.values[row]
    return SeriesCard(
        site=series.site,
        metric=series.metric,
        kind=series.kind,
        additive=series.additive,
        unit_scale=series.unit_scale,
        band_scale=(1.0,) * horizon,
        widening=widening(values, horizon=horizon, num_horizons=-(-MAX_DAYS_AHEAD // horizon)),
        day_correlation=day_correlation(values),
        metrics=measured,
    )


def _plain(settings: Any) -> dict[str, Any]:  # Any: a dataclass of settings; values as json takes them
    return {
        name: value.value if isinstance(value, Enum) else value for name, value in dataclasses.asdict(settings).items()
    }
