"""Which series are forecast together: with the model in this process, and windows that the test makes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from jaxtyping import Float

from forecasting.artifact import Artifact
from forecasting.card import SeriesCard
from forecasting.domain import YEAR_OF_DAYS
from forecasting.errors import BadAnswer, DataError
from forecasting.predictor import Window
from forecasting.serving.forecast_service import ForecastService, Model
from forecasting.serving.responses import Response
from tests.serving.backend import load_model

REFUSED = 13.0  # a level that the model does not answer


@dataclass
class Watched:
    """The model, and how many windows it was asked for at a time."""

    model: Model
    batches: list[tuple[int, int]] = field(default_factory=list)  # windows, days ahead

    async def predict(self, windows: Sequence[Window], days_ahead: int) -> Float[np.ndarray, "windows days levels"]:
        self.batches.append((len(windows), days_ahead))
        if any(window.history[0] == REFUSED for window in windows):
            raise BadAnswer("The handler refused the request (400): 13.")
        return await self.model.predict(windows, days_ahead)


@dataclass
class Levels:
    """Constant windows, one level for each metric; those of `late` come when the test lets them."""

    by_metric: dict[str, float]
    late: str = ""
    may_come: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, cards: Sequence[SeriesCard]) -> list[Window | DataError]:
        if any(card.metric == self.late for card in cards):
            await self.may_come.wait()
        ones = np.ones(30, np.float32)
        return [
            Window(
                np.full(YEAR_OF_DAYS, self.by_metric[card.metric], np.float32), 19_056 - YEAR_OF_DAYS, card.kind, ones
            )
            for card in cards
        ]


@pytest.fixture
def model(sample_artifact: Artifact) -> Watched:
    return Watched(load_model(sample_artifact.folder))


@pytest.fixture
def levels(sample_artifact: Artifact) -> Levels:
    return Levels({card.metric: 100.0 * place for place, card in enumerate(sample_artifact.card.series, start=1)})


@pytest.fixture
def service(sample_artifact: Artifact, model: Watched, levels: Levels) -> ForecastService:
    return ForecastService(sample_artifact.card, model, levels.read)


def without_date(answer: Response) -> Response:
    return {key: value for key, value in answer.items() if key != "prediction_date"}


def test_questions_of_one_turn_are_one_for_the_model_for_each_number_of_days(
    service: ForecastService, model: Watched
) -> None:
    questions = [(card.metric, days) for card in service.card.series for days in (7, 30)]
    assert len(questions) >= 4

    async def ask_together() -> list[Response]:
        return await asyncio.gather(*(service.predict(metric=metric, days_ahead=days) for metric, days in questions))

    async def ask_one_by_one() -> list[Response]:
        return [await service.predict(metric=metric, days_ahead=days) for metric, days in questions]

    together = asyncio.run(ask_together())
    assert sorted(model.batches) == [(len(questions) // 2, 7), (len(questions) // 2, 30)]
    model.batches.clear()
    alone = asyncio.run(ask_one_by_one())
    assert model.batches == [(1, days) for _, days in questions]
    assert [(answer["metric"], answer["days_ahead"]) for answer in together] == questions
    for answer, expected in zip(together, alone, strict=True):
        assert without_date(answer) == without_date(expected)


def test_series_that_the_model_refuses_fails_alone(service: ForecastService, levels: Levels) -> None:
    metrics = [card.metric for card in service.card.series]
    levels.by_metric[metrics[0]] = REFUSED

    async def ask() -> list[Response | BaseException]:
        return await asyncio.gather(*(service.predict(metric=name) for name in metrics), return_exceptions=True)

    refused, *others = asyncio.run(ask())
    assert str(refused) == "The handler refused the request (400): 13."
    assert [answer["metric"] for answer in others if isinstance(answer, dict)] == metrics[1:]


def test_nobody_waits_for_the_days_of_others(service: ForecastService, levels: Levels) -> None:
    metrics = [card.metric for card in service.card.series]
    levels.late = metrics[0]

    async def ask() -> tuple[list[Response], Response]:
        late = asyncio.ensure_future(service.predict(metric=metrics[0]))
        others = await asyncio.gather(*(service.predict(metric=name) for name in metrics[1:]))
        assert not late.done()
        levels.may_come.set()
        return others, await late

    others, late = asyncio.run(ask())
    assert [answer["metric"] for answer in (late, *others)] == metrics
