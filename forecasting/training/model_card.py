"""What a version is told to be in model.json, and its next forecasts."""

import dataclasses
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from forecasting.artifact import SEASONAL_NAIVE, Bands, Card, describe_libraries, describe_series_card, now_text
from forecasting.baselines import answer_naively
from forecasting.model.forecaster import KINDS, LEVELS, Forecaster
from forecasting.panel import Panel, Series, to_date
from forecasting.settings.schema import Config

FEATURES = (
    "value", "same weekday of the weeks before", "rolling means of 7, 14 and 28 days", "day of week",
    "place in the year", "level", "spread", "kind",
)  # fmt: skip


def forecast_next(
    forecaster: Forecaster, panel: Panel, *, bands: Sequence[Bands], answers: Sequence[str]
) -> Float[np.ndarray, "series horizon levels"]:
    """Quantiles of the days after each series' last one, as serving will answer them."""
    windows = [panel.window(row, forecaster.settings.context_length) for row in range(len(panel.series))]
    with torch.no_grad():
        quantiles = forecaster.eval()(
            torch.from_numpy(np.stack([history for history, _ in windows])),
            torch.tensor([first_day for _, first_day in windows]),
            torch.tensor([KINDS[series.kind] for series in panel.series]),
            torch.tensor([one.scale for one in bands]),
        )
    return answer_naively(
        np.asarray(quantiles.numpy()),
        [history for history, _ in windows],
        [series.kind for series in panel.series],
        [who == SEASONAL_NAIVE for who in answers],
        levels=LEVELS,
    )


def describe_version(
    config: Config,
    forecaster: Forecaster,
    panel: Panel,
    series: Sequence[Series],
    measures: list[dict[str, Any]],  # Any: as backtest.judge gives them
    *,
    bands: Sequence[Bands],
    answers: Sequence[str],
    training: dict[str, Any],
) -> Card:
    """model.json, but for the files' hashes. The `series` may be more than this rank's panel has."""
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
            "days": {verdict.name: count for verdict, count in panel.count_verdicts().items()},
            **_plain(config.data),
            "verdicts": _plain(config.verdicts),
        },
        series=tuple(
            describe_series_card(one, of, answers=who, metrics=measured)
            for one, of, who, measured in zip(series, bands, answers, measures, strict=True)
        ),
        training={**_plain(config.training), **training},
        libraries=describe_libraries(),
        hashes={},
    )


def _plain(settings: Any) -> dict[str, Any]:  # Any: a dataclass of settings; values as json takes them
    return {name: _plain_value(value) for name, value in dataclasses.asdict(settings).items()}


def _plain_value(value: Any) -> Any:  # Any: json's own types
    if isinstance(value, Enum):
        return value.value
    return str(value.absolute()) if isinstance(value, Path) else value
