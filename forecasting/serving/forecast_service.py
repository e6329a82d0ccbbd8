"""The documented answers of one version, from windows and a model: for the routes and for Python alike."""

import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from forecasting.card import Card, SeriesCard
from forecasting.domain import MAX_DAYS_AHEAD, check_days_ahead
from forecasting.errors import BadAnswer, DataError
from forecasting.monitoring.data_age import AnswerAge, describe_past_days
from forecasting.predictor import BY_THE_BASE, Window, let_naive_answer, stack_windows
from forecasting.serving.base_model import BaseModel
from forecasting.serving.known_days import describe_known_days
from forecasting.serving.known_regressors import describe_regressors
from forecasting.serving.request_batcher import RequestBatcher
from forecasting.serving.responses import Response, write_responses
from forecasting.warehouse.site_directory import SiteDirectory
from forecasting.warehouse.sites import SiteIndex

DEFAULT_METRIC = "page_visits"
MAX_SERIES = 256  # written in one go: some milliseconds in which the event loop does nothing else


@runtime_checkable
class Model(Protocol):
    """Whatever turns windows into quantiles: the program in this process, or TorchServe."""

    async def predict(self, windows: Sequence[Window], days_ahead: int) -> Float[np.ndarray, "windows days levels"]: ...


MASKED = {
    "partial": "looks half-counted",
    "outage": "looks like an outage",
    "bot": "looks like traffic of bots",
    "definition_break": "was measured in another way",
}  # the verdicts that mask a last day, as a sentence about it goes on
ReadWindows = Callable[[Sequence[SeriesCard]], Awaitable[list[Window | DataError]]]
Keep = Callable[[Sequence[SeriesCard], Sequence[int], Float[np.ndarray, "series days levels"]], None]


class _Question(NamedTuple):
    card: SeriesCard
    window: Window


class ForecastService:
    """Reads the windows of series, forecasts them, and writes the answers.

    Series whose windows are there in the same turn of the event loop are forecast and written together, whoever asks
    for them, which takes much less of the processor than one after another. Used in one event loop.
    """

    def __init__(
        self,
        card: Card,
        model: Model,
        read_windows: ReadWindows,
        *,
        find_sites: Callable[[], SiteDirectory] | None = None,
        find_age: Callable[[SeriesCard, dt.date], AnswerAge] | None = None,
        keep: Keep | None = None,
        base: Model | None = None,
    ) -> None:
        """Without `find_sites` the sites have the names that they had when the version was trained.

        `find_age` tells how old an answer with such a `data_until` is: by default in UTC. A cache, which gives an
        answer again later, must find out itself whether it has become stale. `keep` gets every forecast.
        `base` answers for sites that came after the version was trained; by default in this process.
        """
        trained = SiteDirectory.of(card, SiteIndex(()), unnamed=None)
        self._find_sites = find_sites or (lambda: trained)
        self._model = model
        self._read_windows = read_windows
        self._find_age = find_age or _find_age_in_utc
        self._keep = keep
        self._base = base or BaseModel()
        self._batchers = {
            days: RequestBatcher(
                partial(self._forecast, days_ahead=days), max_items=MAX_SERIES, retry_alone=(BadAnswer,)
            )
            for days in range(1, MAX_DAYS_AHEAD + 1)
        }

    @property
    def sites(self) -> SiteDirectory:
        return self._find_sites()

    @property
    def card(self) -> Card:
        """With the present names of the sites."""
        return self.sites.card

    async def predict(self, *, metric: str = DEFAULT_METRIC, days_ahead: int = 7, site: str | None = None) -> Response:
        [answer] = await self.answer([self.sites.find_series(metric=metric, site=site)], days_ahead)
        if isinstance(answer, DataError):
            raise answer
        return answer

    async def predict_multiple(
        self, *, metrics: Sequence[str], days_ahead: int = 7, site: str | None = None
    ) -> dict[str, Response]:
        """By metric; a metric that cannot be forecast has the reason in place of its answer."""
        matches = find_each(self.sites, metrics=metrics, site=site)
        cards = [match for match in matches.values() if isinstance(match, SeriesCard)]
        answers = iter(await self.answer(cards, days_ahead))
        results = {name: next(answers) if isinstance(match, SeriesCard) else match for name, match in matches.items()}
        return {
            name: {"error": str(result)} if isinstance(result, DataError) else result
            for name, result in results.items()
        }

    async def answer(self, cards: Sequence[SeriesCard], days_ahead: int) -> list[Response | DataError]:
        """Of each series, its answer or why there is none.

        Raises what reading windows and asking the model raise when a part is down.
        """
        check_days_ahead(days_ahead)
        windows = await self._read_windows(cards)
        questions = [
            _Question(card, window) for card, window in zip(cards, windows, strict=True) if isinstance(window, Window)
        ]
        answers = iter(await self._batchers[days_ahead].submit(questions))
        return [next(answers) if isinstance(window, Window) else window for window in windows]

    async def _forecast(self, questions: Sequence[_Question], *, days_ahead: int) -> list[Response]:
        cards, windows = zip(*questions, strict=True)
        quantiles = await self._predict(cards, windows, days_ahead)
        if any(window.naive for window in windows):
            quantiles = let_naive_answer(quantiles, stack_windows(windows, days_ahead), levels=self.card.levels)
        cutoffs = [window.first_day + self.card.context_length - 1 for window in windows]
        answers = write_responses(quantiles, cards, cutoffs, self.card, made_at=dt.datetime.now(dt.UTC))
        for answer, question in zip(answers, questions, strict=True):
            self._add_age(answer, question)
        if self._keep is not None:
            self._keep(cards, cutoffs, quantiles)
        return answers

    async def _predict(
        self, cards: Sequence[SeriesCard], windows: Sequence[Window], days_ahead: int
    ) -> Float[np.ndarray, "windows days levels"]:
        """By the version, or by the base, as each card says."""
        new = [place for place, card in enumerate(cards) if card.answered_by == BY_THE_BASE]
        if not new:
            return await self._model.predict(windows, days_ahead)
        known = [place for place, card in enumerate(cards) if card.answered_by != BY_THE_BASE]
        quantiles = np.empty((len(cards), days_ahead, len(self.card.levels)), np.float32)
        for places, model in ((new, self._base), (known, self._model)):
            if places:
                quantiles[places] = await model.predict([windows[place] for place in places], days_ahead)
        return quantiles

    def _add_age(self, answer: Response, question: _Question) -> None:
        data_until = dt.date.fromisoformat(answer["data_until"])
        age = self._find_age(question.card, data_until)
        past = describe_past_days(data_until, answer["days_ahead"], age_days=age.days)
        known = describe_known_days(question.card, question.window.events, data_until, answer["days_ahead"])
        regressors = describe_regressors(question.card, question.window, data_until, answer["days_ahead"])
        notes = (past, _describe_masked(data_until, question.window.last_verdict), *known, *regressors)
        answer["stale"], answer["data_age_days"] = age.is_stale, age.days
        answer["notes"] = [note for note in notes if note]
        if question.window.regressors is not None:
            answer["regressors"] = question.card.regressor_names


def _find_age_in_utc(card: SeriesCard, data_until: dt.date) -> AnswerAge:
    return AnswerAge.of((dt.datetime.now(dt.UTC).date() - data_until).days, ())


def _describe_masked(day: dt.date, verdict: str) -> str | None:
    if not verdict:
        return None
    return f"The last day, {day}, {MASKED[verdict]}, so its value is masked."


def find_each(sites: SiteDirectory, *, metrics: Iterable[str], site: str | None) -> dict[str, SeriesCard | DataError]:
    """By metric, in the order of the request without repetitions: the series, or why there is none."""
    matches: dict[str, SeriesCard | DataError] = {}
    for metric in dict.fromkeys(metrics):
        try:
            matches[metric] = sites.find_series(metric=metric, site=site)
        except DataError as error:
            matches[metric] = error
    return matches
