"""What training writes into model.json, and the version's first forecasts."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from forecasting.artifact import forecaster_predictor
from forecasting.card import (
    Card,
    add_regressors,
    describe_libraries,
    describe_series_card,
    make_windows,
    now_text,
)
from forecasting.domain import Series, to_date
from forecasting.known_days.effects import Effects
from forecasting.known_days.events import NO_EVENTS, Events
from forecasting.known_days.regressors import NO_REGRESSORS, RegressorEffect, Regressors
from forecasting.model.forecaster import LEVELS, Forecaster
from forecasting.panel import Panel
from forecasting.predictor import Bands, usual_bands
from forecasting.settings.schema import Config


@dataclass(frozen=True)
class NextForecasts:
    """In the model's units; `first_days` in days since 1970-01-01."""

    first_days: Int[np.ndarray, " series"]
    quantiles: Float[np.ndarray, "series horizon levels"]


FEATURES = (
    "value", "same weekday of the weeks before", "rolling means of 7, 14 and 28 days", "day of week",
    "place in the year", "level", "spread", "kind",
)  # fmt: skip


def forecast_next(
    forecaster: Forecaster,
    panel: Panel,
    *,
    bands: Sequence[Bands],
    answers: Sequence[str],
    known: Sequence[tuple[str, Effects]],
    events: Events = NO_EVENTS,
    used: Sequence[tuple[RegressorEffect, ...]],
    regressors: Regressors = NO_REGRESSORS,
) -> NextForecasts:
    """The days after each series' last one, as serving will answer them."""
    predictor = forecaster_predictor("trained", forecaster)
    latest = panel.latest_windows(predictor.context_length)
    cards = [
        describe_series_card(series, series_bands, answered_by=answered_by, known=days, regressors=effects)
        for series, series_bands, answered_by, days, effects in zip(
            panel.series, bands, answers, known, used, strict=True
        )
    ]
    windows = make_windows(
        cards,
        latest.history,
        latest.first_days,
        days_ahead=forecaster.settings.prediction_horizon,
        events=[events.of(card.site) for card in cards],
    )
    return NextForecasts(latest.cutoffs + 1, predictor.predict(add_regressors(windows, cards, regressors)))


def describe_version(
    config: Config,
    forecaster: Forecaster,
    panel: Panel,
    series: Sequence[Series],
    measures: list[dict[str, Any]],  # Any: as backtest.judge gives them
    *,
    bands: Sequence[Bands],
    answers: Sequence[str],
    known: Sequence[tuple[str, Effects]],
    regressors: Sequence[tuple[RegressorEffect, ...]],
    training: dict[str, Any],
) -> Card:
    """model.json without the hashes of the files. `series` are those of all ranks, `panel` has this rank's."""
    return Card(
        version=config.version_to_train,
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
            "regressors": config.data.regressor_origin,
            "verdicts": _plain(config.verdicts),
        },
        series=tuple(
            describe_series_card(
                row, series_bands, answered_by=answered_by, metrics=series_measures, known=days, regressors=effects
            )
            for row, series_bands, answered_by, series_measures, days, effects in zip(
                series, bands, answers, measures, known, regressors, strict=True
            )
        ),
        training={**_plain(config.training), **training},
        libraries=describe_libraries(),
        hashes={},
        usual_band_scale=usual_bands(config.model.output_days).scale,
    )


def _plain(settings: Any) -> dict[str, Any]:  # Any: a dataclass of settings; values as json takes them
    return {name: _plain_value(value) for name, value in dataclasses.asdict(settings).items()}


def _plain_value(value: Any) -> Any:  # Any: json's own types
    if isinstance(value, Enum):
        return value.value
    return str(value.absolute()) if isinstance(value, Path) else value
