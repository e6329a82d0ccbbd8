"""Answers as they are sent, made once: kept while they hold, and for a while longer in case no new one can be made."""

import asyncio
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

import orjson
from cachetools import LRUCache

from forecasting.card import Card, SeriesCard
from forecasting.errors import DataError, ForecastingError, ServingError, WarehouseError
from forecasting.serving.forecast_service import ForecastService
from forecasting.serving.responses import Response
from forecasting.warehouse.pages import Revision

SERIES_AT_ONCE = 256  # computed and shaped in one go: some milliseconds in which nobody else is answered
OVERHEAD_BYTES = 400  # of a kept answer, beside its text

CacheKey = tuple[str, str, int]  # site, metric, days ahead


class CacheStatus(StrEnum):
    """Where an answer is from."""

    cached = "cached"
    computed = "computed"
    stale = "stale"


class CacheTag(NamedTuple):
    """What answers rest on: while it is the same, an answer is."""

    card: Card
    revision: Revision


class CachedForecast(NamedTuple):
    """An answer as JSON, and what it holds for; None: nobody can say."""

    body: bytes
    answered: CacheStatus
    tag: CacheTag | None = None


@runtime_checkable
class Days(Protocol):
    """What answers are made from, and whether that is known to hold: a RecentWindows."""

    @property
    def revision(self) -> Revision | None: ...

    @property
    def keeps(self) -> bool: ...

    @property
    def is_current(self) -> bool: ...


class _Entry(NamedTuple):
    body: bytes
    revision: Revision | None
    made_at: float  # by the monotonic clock


class ForecastCache:
    """A version's answers. Equal questions that come together are one computation.

    An answer is `cached` while the history has the revision that it was made of. Where a part is down, the last one is
    given as `stale`, if it is not older than `stale_seconds`; so is one that nobody can say still holds.
    """

    def __init__(self, forecasts: ForecastService, days: Days, *, megabytes: float, stale_seconds: float) -> None:
        self._forecasts = forecasts
        self._days = days
        self._stale_seconds = stale_seconds
        self.kept: LRUCache[CacheKey, _Entry] = LRUCache(megabytes * 2**20, getsizeof=_size_of)
        self._computing: dict[CacheKey, asyncio.Future[CachedForecast | ForecastingError]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def card(self) -> Card:
        return self._forecasts.card

    @property
    def tag(self) -> CacheTag | None:
        """For which answers made now hold; None where changes are not counted, or were not seen at the last look."""
        days = self._days
        return CacheTag(self.card, days.revision) if days.revision and days.keeps and days.is_current else None

    async def find(self, series: Sequence[SeriesCard], days_ahead: int) -> list[CachedForecast | ForecastingError]:
        """Of each series, or why there is none: a DataError is its own, any other error a part's that is down."""
        asked = {(one.site, one.metric, days_ahead): one for one in series}
        told: dict[CacheKey, CachedForecast | ForecastingError] = {}
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

    def _find_kept(self, key: CacheKey) -> CachedForecast | None:
        kept = self.kept.get(key)
        if kept is None or kept.revision is None or kept.revision != self._days.revision:
            return None
        if self._days.is_current:
            return CachedForecast(kept.body, CacheStatus.cached, self.tag)
        return self._find_stale(key)

    def _find_stale(self, key: CacheKey) -> CachedForecast | None:
        kept = self.kept.get(key)
        if kept is None or time.monotonic() - kept.made_at > self._stale_seconds:
            return None
        return _as_stale(kept.body)

    def _start(self, series: Sequence[tuple[CacheKey, SeriesCard]]) -> None:
        """In a task of its own: whoever asked first may leave, the others still wait."""
        loop = asyncio.get_running_loop()
        for key, _ in series:
            self._computing[key] = loop.create_future()
        task = loop.create_task(self._compute(series))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compute(self, series: Sequence[tuple[CacheKey, SeriesCard]]) -> None:
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

    async def _make(
        self, keys: Sequence[CacheKey], series: Sequence[SeriesCard]
    ) -> list[CachedForecast | ForecastingError]:
        tag = self.tag
        try:
            answers = await self._forecasts.answer(series, keys[0][2])
        except (ServingError, WarehouseError) as error:
            return [self._find_stale(key) or error for key in keys]
        holds = tag if tag == self.tag else None
        return [self._keep(key, answer, holds) for key, answer in zip(keys, answers, strict=True)]

    def _keep(self, key: CacheKey, answer: Response | DataError, tag: CacheTag | None) -> CachedForecast | DataError:
        """What cannot be said to hold is kept all the same, to stand in where no new one can be made."""
        if isinstance(answer, DataError):
            return answer
        body = orjson.dumps(answer)
        kept = _Entry(body, tag and tag.revision, time.monotonic())
        if _size_of(kept) <= self.kept.maxsize:
            self.kept[key] = kept
        return CachedForecast(body, CacheStatus.computed, tag)


def _size_of(kept: _Entry) -> int:
    return len(kept.body) + OVERHEAD_BYTES


def _as_stale(body: bytes) -> CachedForecast:
    """Within a text JSON writes quotes otherwise, so that this is the answer's own key."""
    return CachedForecast(body.replace(b'"stale":false', b'"stale":true', 1), CacheStatus.stale)
