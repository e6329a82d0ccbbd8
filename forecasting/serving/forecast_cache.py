"""Forecasts as JSON: computed once, cached while they are valid, and reused as stale ones while a part is down."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

import orjson
from cachetools import LRUCache

from forecasting.card import Card, SeriesCard
from forecasting.errors import DataError, ForecastingError, ServingError, WarehouseError
from forecasting.serving.forecast_service import MAX_SERIES, ForecastService
from forecasting.serving.responses import Response
from forecasting.warehouse.pages import Revision
from forecasting.warehouse.site_directory import SiteDirectory

OVERHEAD_BYTES = 400  # of memory for each entry besides its JSON

CacheKey = tuple[str, str | None, str, int]  # site, its key, metric, days ahead


class CacheStatus(StrEnum):
    cached = "cached"
    computed = "computed"
    stale = "stale"


class CacheTag(NamedTuple):
    """What a forecast was made from. A cached forecast is valid while its tag is the current one."""

    card: Card
    revision: Revision


class CachedForecast(NamedTuple):
    body: bytes  # JSON
    status: CacheStatus
    tag: CacheTag | None = None  # None if it may not be cached further


Result = CachedForecast | ForecastingError


@runtime_checkable
class Revisions(Protocol):
    """The state of the data, as RevisionWatch knows it."""

    @property
    def revision(self) -> Revision | None: ...

    @property
    def is_cacheable(self) -> bool: ...

    @property
    def is_current(self) -> bool: ...


class _Entry(NamedTuple):
    body: bytes
    revision: Revision | None
    data_until: dt.date
    made_at: float  # by the monotonic clock


class ForecastCache:
    """The forecasts of one version. Equal requests that arrive together are computed once.

    A forecast is `cached` while the data has the revision that it was made from. While a part is down, or nobody knows
    whether the data has changed, the last forecast is given as `stale` if it is at most `stale_seconds` old. So is any
    forecast that lacks days which cannot be read.
    """

    def __init__(
        self,
        service: ForecastService,
        revisions: Revisions,
        *,
        megabytes: float,
        stale_seconds: float,
        misses_days: Callable[[dt.date], bool] = lambda data_until: False,
        find_kept: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """`misses_days` tells whether days after `data_until` should be known by now, but cannot be read. `find_kept`
        returns sentences about days that our copy has and the source no longer has.
        """
        self._service = service
        self._revisions = revisions
        self._stale_seconds = stale_seconds
        self._misses_days = misses_days
        self._find_kept = find_kept
        self.entries: LRUCache[CacheKey, _Entry] = LRUCache(megabytes * 2**20, getsizeof=_size_of)
        self._computing: dict[
            CacheKey, asyncio.Future[dict[CacheKey, Result]]
        ] = {}  # with all that is computed with it
        self._tasks: set[asyncio.Task[None]] = set()
        self._uses: set[asyncio.Future[None]] = set()

    @property
    def card(self) -> Card:
        """With the present names of the sites."""
        return self._service.card

    @property
    def sites(self) -> SiteDirectory:
        return self._service.sites

    @property
    def changes(self) -> list[str]:
        """A sentence about everything that is not in the source as it was."""
        return [*self.sites.changes, *self._find_kept()]

    @property
    def tag(self) -> CacheTag | None:
        """The current one; None if no response may be kept now."""
        return None if self._misses_days(dt.date.min) else self._entry_tag

    @property
    def _entry_tag(self) -> CacheTag | None:
        """The current one; None if no forecast may be kept now."""
        revisions = self._revisions
        if revisions.revision is None or not revisions.is_cacheable or not revisions.is_current:
            return None
        return CacheTag(self.card, revisions.revision)

    async def get(self, cards: Sequence[SeriesCard], days_ahead: int) -> list[Result]:
        """The forecast of each series, or its error: a DataError, or another error if a part is down."""
        cards_by_key = {_cache_key(card, days_ahead): card for card in cards}
        results: dict[CacheKey, Result] = {}
        missing = []
        for key in cards_by_key:
            forecast = self._find_cached(key)
            if forecast is None:
                missing.append(key)
            else:
                results[key] = forecast
        new = [key for key in missing if key not in self._computing]
        for start in range(0, len(new), MAX_SERIES):
            self._start_computing([(key, cards_by_key[key]) for key in new[start : start + MAX_SERIES]])
        computing = {key: self._computing[key] for key in missing}
        for future in dict.fromkeys(computing.values()):
            await asyncio.shield(future)
        results |= {key: future.result()[key] for key, future in computing.items()}
        return [results[_cache_key(card, days_ahead)] for card in cards]

    @contextmanager
    def use(self) -> Iterator[None]:
        """For an answer that needs several calls of `get`: `finish` waits for it."""
        in_use = asyncio.get_running_loop().create_future()
        self._uses.add(in_use)
        try:
            yield
        finally:
            self._uses.remove(in_use)
            in_use.cancel()

    async def finish(self) -> None:
        """Waits for what is being computed or used."""
        while waiting := self._tasks | self._uses:
            await asyncio.wait(waiting)

    def _find_cached(self, key: CacheKey) -> CachedForecast | None:
        entry = self.entries.get(key)
        if entry is None or entry.revision is None or entry.revision != self._revisions.revision:
            return None
        if self._revisions.is_current:
            return self._give(entry, CacheStatus.cached, self.tag)
        return self._find_stale(key)

    def _give(self, entry: _Entry, status: CacheStatus, tag: CacheTag | None) -> CachedForecast:
        if self._misses_days(entry.data_until):
            return CachedForecast(_mark_stale(entry.body), CacheStatus.stale)
        return CachedForecast(entry.body, status, tag)

    def _find_stale(self, key: CacheKey) -> CachedForecast | None:
        entry = self.entries.get(key)
        if entry is None or time.monotonic() - entry.made_at > self._stale_seconds:
            return None
        return CachedForecast(_mark_stale(entry.body), CacheStatus.stale)

    def _start_computing(self, series: Sequence[tuple[CacheKey, SeriesCard]]) -> None:
        """In a task of its own: if the first caller leaves, the others still wait."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._computing.update((key, future) for key, _ in series)
        task = loop.create_task(self._compute(series, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compute(
        self, series: Sequence[tuple[CacheKey, SeriesCard]], future: "asyncio.Future[dict[CacheKey, Result]]"
    ) -> None:
        keys = [key for key, _ in series]
        try:
            results = await self._forecast(keys, [card for _, card in series])
        except Exception as error:  # noqa: BLE001 - a bug, raised again where the forecast was requested
            future.set_exception(error)
        else:
            future.set_result(dict(zip(keys, results, strict=True)))
        finally:
            for key in keys:
                del self._computing[key]
            future.cancel()  # has no effect if it is done

    async def _forecast(self, keys: Sequence[CacheKey], cards: Sequence[SeriesCard]) -> list[Result]:
        tag = self._entry_tag
        try:
            responses = await self._service.answer(cards, keys[0][-1])
        except (ServingError, WarehouseError) as error:
            return [self._find_stale(key) or error for key in keys]
        valid_tag = tag if tag == self._entry_tag else None  # the data may have changed meanwhile
        return [self._store(key, response, valid_tag) for key, response in zip(keys, responses, strict=True)]

    def _store(self, key: CacheKey, response: Response | DataError, tag: CacheTag | None) -> CachedForecast | DataError:
        """Stores forecasts without a tag, too: they can be given as stale ones."""
        if isinstance(response, DataError):
            return response
        # A copy: orjson's bytes are cut from a larger piece of memory, and what is left of it stays in between.
        body = bytes(memoryview(orjson.dumps(response)))
        data_until = dt.date.fromisoformat(response["data_until"])
        entry = _Entry(body, tag and tag.revision, data_until, time.monotonic())
        if _size_of(entry) <= self.entries.maxsize:
            self.entries[key] = entry
        return self._give(entry, CacheStatus.computed, tag)


def _cache_key(card: SeriesCard, days_ahead: int) -> CacheKey:
    """With both the site's name and its key: two sites may exchange their names."""
    return card.site, card.site_key, card.metric, days_ahead


def _size_of(entry: _Entry) -> int:
    return len(entry.body) + OVERHEAD_BYTES


def _mark_stale(body: bytes) -> bytes:
    """Inside a JSON string quotes are escaped, so the first match is the response's own key."""
    return body.replace(b'"stale":false', b'"stale":true', 1)
