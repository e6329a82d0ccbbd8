"""Answers as they are sent, made once: kept while they hold, and for a while longer in case no new one can be made."""

import asyncio
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

import orjson
from cachetools import LRUCache

from forecasting.artifact import Card, SeriesCard
from forecasting.errors import DataError, ForecastingError, ServingError, WarehouseError
from forecasting.serving.prediction_service import Answer, Forecasts
from forecasting.warehouse.daily import Revision

SERIES_AT_ONCE = 256  # computed and shaped in one go: some milliseconds in which nobody else is answered
OVERHEAD_BYTES = 400  # of a kept answer, beside its text

Key = tuple[str, str, int]  # site, metric, days ahead


class Answered(StrEnum):
    """Where an answer is from."""

    cached = "cached"
    computed = "computed"
    stale = "stale"


class Basis(NamedTuple):
    """What answers rest on: while it is the same, an answer is."""

    card: Card
    revision: Revision


class Told(NamedTuple):
    """An answer as JSON, and what it holds for; None: nobody can say."""

    body: bytes
    answered: Answered
    basis: Basis | None = None


@runtime_checkable
class Days(Protocol):
    """What answers are made from, and whether that is known to hold: a History."""

    @property
    def revision(self) -> Revision | None: ...

    @property
    def keeps(self) -> bool: ...

    @property
    def is_current(self) -> bool: ...


class _Kept(NamedTuple):
    body: bytes
    revision: Revision | None
    made_at: float  # by the monotonic clock


class Answers:
    """A version's answers. Equal questions that come together are one computation.

    An answer is `cached` while the history has the revision that it was made of. Where a part is down, the last one is
    given as `stale`, if it is not older than `stale_seconds`; so is one that nobody can say still holds.
    """

    def __init__(self, forecasts: Forecasts, days: Days, *, megabytes: float, stale_seconds: float) -> None:
        self._forecasts = forecasts
        self._days = days
        self._stale_seconds = stale_seconds
        self.kept: LRUCache[Key, _Kept] = LRUCache(megabytes * 2**20, getsizeof=_size_of)
        self._computing: dict[Key, asyncio.Future[Told | ForecastingError]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def card(self) -> Card:
        return self._forecasts.card

    @property
    def basis(self) -> Basis | None:
        """For which answers made now hold; None where changes are not counted, or were not seen at the last look."""
        days = self._days
        return Basis(self.card, days.revision) if days.revision and days.keeps and days.is_current else None

    async def find(self, series: Sequence[SeriesCard], days_ahead: int) -> list[Told | ForecastingError]:
        """Of each series, or why there is none: a DataError is its own, any other error a part's that is down."""
        asked = {(one.site, one.metric, days_ahead): one for one in series}
        told: dict[Key, Told | ForecastingError] = {}
        lacking = []
        for key in asked:
            kept = self._find_kept(key)
            if kept is None:
                lacking.append(key)
            else:
                told[key] = kept
        new = [key for key in lacking if key not in self._computing]
        for start in range(0, len(new), SERIES_AT_ONCE):
            self._start([(key, asked[key]) for key in new[start : start + SERIES_AT_ONCE]])
        for key, future in [(key, self._computing[key]) for key in lacking]:
            told[key] = await asyncio.shield(future)
        return [told[one.site, one.metric, days_ahead] for one in series]

    async def finish(self) -> None:
        """Returns when nothing is being computed any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _find_kept(self, key: Key) -> Told | None:
        kept = self.kept.get(key)
        if kept is None or kept.revision is None or kept.revision != self._days.revision:
            return None
        if self._days.is_current:
            return Told(kept.body, Answered.cached, self.basis)
        return self._find_stale(key)

    def _find_stale(self, key: Key) -> Told | None:
        kept = self.kept.get(key)
        if kept is None or time.monotonic() - kept.made_at > self._stale_seconds:
            return None
        return _as_stale(kept.body)

    def _start(self, series: Sequence[tuple[Key, SeriesCard]]) -> None:
        """In a task of its own: whoever asked first may leave, the others still wait."""
        loop = asyncio.get_running_loop()
        for key, _ in series:
            self._computing[key] = loop.create_future()
        task = loop.create_task(self._compute(series))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compute(self, series: Sequence[tuple[Key, SeriesCard]]) -> None:
        keys = [key for key, _ in series]
        futures = [self._computing[key] for key in keys]
        try:
            told = await self._make(keys, [one for _, one in series])
        except Exception as error:  # noqa: BLE001 - a mistake of ours is raised where it was asked
            for future in futures:
                future.set_exception(error)
        else:
            for future, one in zip(futures, told, strict=True):
                future.set_result(one)
        finally:
            for key in keys:
                self._computing.pop(key).cancel()  # of those that nobody has answered

    async def _make(self, keys: Sequence[Key], series: Sequence[SeriesCard]) -> list[Told | ForecastingError]:
        basis = self.basis
        try:
            answers = await self._forecasts.answer(series, keys[0][2])
        except (ServingError, WarehouseError) as error:
            return [self._find_stale(key) or error for key in keys]
        holds = basis if basis == self.basis else None
        return [self._keep(key, answer, holds) for key, answer in zip(keys, answers, strict=True)]

    def _keep(self, key: Key, answer: Answer | DataError, basis: Basis | None) -> Told | DataError:
        """What cannot be said to hold is kept all the same, to stand in where no new one can be made."""
        if isinstance(answer, DataError):
            return answer
        body = orjson.dumps(answer)
        kept = _Kept(body, basis and basis.revision, time.monotonic())
        if _size_of(kept) <= self.kept.maxsize:
            self.kept[key] = kept
        return Told(body, Answered.computed, basis)


def _size_of(kept: _Kept) -> int:
    return len(kept.body) + OVERHEAD_BYTES


def _as_stale(body: bytes) -> Told:
    """Within a text JSON writes quotes otherwise, so that this is the answer's own key."""
    return Told(body.replace(b'"stale":false', b'"stale":true', 1), Answered.stale)
