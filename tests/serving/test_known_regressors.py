"""What answers say about regressors: which are used, and which values of theirs a forecast does without."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from forecasting.artifact import Artifact
from forecasting.card import SeriesCard
from forecasting.domain import Missing, to_day
from forecasting.errors import DataError
from forecasting.known_days.regressors import DailyValues, RegressorEffect, Regressors
from forecasting.predictor import SEASONAL_NAIVE, Window
from forecasting.serving.forecast_service import ForecastService
from forecasting.serving.known_regressors import describe_regressors
from forecasting.serving.responses import Response
from forecasting.settings.schema import ModelConfig
from forecasting.warehouse.pages import Page
from forecasting.warehouse.windows import cut_windows
from tests.serving.backend import load_model

UNTIL = dt.date(2025, 6, 30)
NUM_DAYS = 60
SALE = 1.0  # effect of a sale
WARM = RegressorEffect("temperature", 0.1, mean=15.0, spread=5.0, low=-2.0, high=30.5)
PRICE = RegressorEffect("price", SALE, mean=0.0, spread=1.0, low=0.0, high=1.0)


def ahead(**values: Sequence[float]) -> Regressors:
    """Of all sites, on the days after UNTIL; 0 before."""
    past = np.zeros(NUM_DAYS)
    first_day = to_day(UNTIL) - NUM_DAYS + 1
    return Regressors({"": {name: DailyValues(first_day, np.append(past, column)) for name, column in values.items()}})


def with_regressors(card: SeriesCard, *effects: RegressorEffect, **changed: str) -> SeriesCard:
    return replace(card, regressors=effects, **changed)  # type: ignore[arg-type]


def cut(card: SeriesCard, regressors: Regressors) -> Window:
    """Of a constant series."""
    days = to_day(UNTIL) - np.arange(NUM_DAYS)
    page = Page((card.key,), np.array([NUM_DAYS]), days, np.full(NUM_DAYS, 100.0))
    context = ModelConfig().context_length
    [window] = cut_windows(page, [card], context_length=context, missing=Missing.zero, regressors=regressors)
    assert isinstance(window, Window)
    return window


def describe(card: SeriesCard, regressors: Regressors, days_ahead: int) -> list[str]:
    return describe_regressors(card, cut(card, regressors), UNTIL, days_ahead)


def test_notes_name_what_is_used_what_is_unknown_and_what_is_out_of_range(sample_artifact: Artifact) -> None:
    card = with_regressors(sample_artifact.card.series[0], WARM, PRICE)
    nan = float("nan")
    regressors = ahead(temperature=[20, 31, 20, 33, 20, nan], price=[0, nan, nan, nan, 0, nan])
    used = "The forecast uses temperature and price."
    assert describe(card, regressors, 1) == [used]
    assert describe(card, regressors, 3) == [
        used,
        "temperature is beyond what it was learned from, -2 to 30.5, on 2025-07-02: the forecast takes the nearest of "
        "these values.",
        "price is not known for 2025-07-02..2025-07-03: the forecast takes its mean, 0, there. Add these days to "
        "data.regressors.",
    ]
    assert describe(card, regressors, 7) == [
        used,
        "temperature is not known for 2025-07-06..2025-07-07: the forecast takes its mean, 15, there. Add these days "
        "to data.regressors.",
        "temperature is beyond what it was learned from, -2 to 30.5, on 2 days of 2025-07-02..2025-07-04: the forecast "
        "takes the nearest of these values.",
        "price is not known for 5 days of 2025-07-02..2025-07-07: the forecast takes its mean, 0, there. Add these "
        "days to data.regressors.",
    ]


def test_series_that_use_none_say_nothing(sample_artifact: Artifact) -> None:
    plain, regressors = sample_artifact.card.series[0], ahead(temperature=[20.0] * 30, price=[0.0] * 30)
    naive = with_regressors(plain, WARM, answered_by=SEASONAL_NAIVE)
    for card in (plain, naive):
        assert describe(card, regressors, 7) == []
        assert cut(card, regressors).effects is None


def answer(artifact: Artifact, window: Window, card: SeriesCard) -> Response:
    async def read(cards: Sequence[SeriesCard]) -> list[Window | DataError]:
        return [window] * len(cards)

    version = replace(artifact.card, series=(card,))
    service = ForecastService(version, load_model(artifact.folder), read)
    return asyncio.run(service.predict(metric=card.metric, days_ahead=3))


def test_answers_have_the_effects_of_the_days_ahead(sample_artifact: Artifact) -> None:
    """A sale on the second of three days, which the history has not seen: exp(1) times the visits and one more."""
    plain = sample_artifact.card.series[0]
    card = with_regressors(plain, PRICE)
    usual = answer(sample_artifact, cut(plain, Regressors()), plain)
    assert "regressors" not in usual
    sale = answer(sample_artifact, cut(card, ahead(price=[0, 1, 0])), card)
    assert sale["regressors"] == ["price"]
    assert sale["notes"][-1] == "The forecast uses price."
    visits, usual_visits = ([row["predicted_visits"] for row in response["predictions"]] for response in (sale, usual))
    assert (visits[0], visits[2]) == (usual_visits[0], usual_visits[2])
    expected = np.expm1(np.log1p(usual_visits[1]) + SALE)
    assert abs(visits[1] - expected) <= np.exp(SALE)  # both are rounded
