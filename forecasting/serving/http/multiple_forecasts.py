"""Answers of POST /predict/multiple. Large ones are made and sent page by page: none is ever in memory as a whole."""

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, nullcontext
from itertools import islice, product
from typing import Any, NamedTuple

import orjson
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Send

from forecasting.card import SeriesCard
from forecasting.errors import DataError, ForecastingError
from forecasting.serving.forecast_cache import CachedForecast, CacheStatus, CacheTag, ForecastCache, Result
from forecasting.serving.http.error_responses import describe_error, shows_details
from forecasting.serving.http.json_body import VARY, takes_gzip
from forecasting.serving.http.request_schema import MultipleRequest
from forecasting.serving.http.response_cache import MAX_BYTES
from forecasting.warehouse.site_directory import SiteDirectory

logger = logging.getLogger("forecasting.requests")

# A page is made in some milliseconds, in which the event loop does nothing else. More than 256 series would be two
# requests to TorchServe.
PAGE_DAYS, PAGE_SERIES = 1920, 256
FEW_SERIES = 16  # which never wait for pages of others
PAGES_AHEAD = 3  # that are made while one is sent
# Of JSON: a day, and the rest of a forecast without its names, with a sentence of notes.
ROW_BYTES, FORECAST_BYTES = 90, 600
NAME_BYTES = 100  # of memory: a site or metric of the request

Name = tuple[str | None, str]  # site and metric, as the request has them
State = dict[str, Any]  # Any: what the log and the outer layers have of a request


class Item(NamedTuple):
    """A forecast, or why there is none, as JSON."""

    site: str | None
    metric: str
    body: bytes


class Page(NamedTuple):
    items: Sequence[Item]
    statuses: frozenset[CacheStatus]  # of its forecasts
    tag: CacheTag | None  # that its forecasts have in common
    outage: ForecastingError | None  # if nothing of it could be forecast, because a part is down


class MultipleForecasts:
    """Makes at most `num_pages` pages at a time, whoever asks, so that single forecasts do not wait for them."""

    def __init__(self, *, num_pages: int) -> None:
        self._gate = asyncio.Semaphore(num_pages)

    async def answer(self, http: Request, cache: ForecastCache, request: MultipleRequest) -> Response:
        """Raises the error of a part that is down if nothing can be forecast without it, and TooMuchInFlight."""
        state: State = http.scope["state"]
        state |= {
            "metric": f"{len(request.metrics)} metrics", "site": request.site, "days_ahead": request.days_ahead,
            "version": cache.card.version, "is_counted": True,
        }  # fmt: skip
        num_bytes, in_full = estimate_bytes(request), shows_details(http.scope)
        if num_bytes <= MAX_BYTES:
            state["memory"].hold(2 * num_bytes)
            page = await self._make_page(
                cache, cache.sites, [*_list_names(request)], request.days_ahead, in_full=in_full
            )
            return _respond(state, page, by_site=request.sites is not None)
        state["memory"].hold(estimate_page_bytes(request))
        pages = self._make_pages(cache, request, in_full=in_full)
        try:
            first = await _read_first(pages)
        except BaseException:
            await pages.aclose()
            raise
        return _PageResponse(state, first, pages, by_site=request.sites is not None, is_packed=takes_gzip(http))

    async def _make_pages(
        self, cache: ForecastCache, request: MultipleRequest, *, in_full: bool
    ) -> AsyncGenerator[Page, None]:
        """In order; a few of them are made while one is sent."""
        sites, names, making = cache.sites, _list_names(request), deque[asyncio.Task[Page]]()
        with cache.use():
            try:
                while part := [*islice(names, page_series(request.days_ahead))]:
                    page = self._make_page(cache, sites, part, request.days_ahead, in_full=in_full)
                    making.append(asyncio.create_task(page))
                    if len(making) > PAGES_AHEAD:
                        yield await making.popleft()
                while making:
                    yield await making.popleft()
            finally:
                for task in making:
                    task.cancel()
                await asyncio.gather(*making, return_exceptions=True)

    async def _make_page(
        self, cache: ForecastCache, sites: SiteDirectory, names: Sequence[Name], days_ahead: int, *, in_full: bool
    ) -> Page:
        async with self._gate if len(names) > FEW_SERIES else nullcontext():
            matches = [_find(sites, name) for name in names]
            results = await cache.get([match for match in matches if isinstance(match, SeriesCard)], days_ahead)
            remaining = iter(results)
            items = [
                Item(site, metric, _write(next(remaining) if isinstance(match, SeriesCard) else match, in_full=in_full))
                for (site, metric), match in zip(names, matches, strict=True)
            ]
        forecasts = [result for result in results if isinstance(result, CachedForecast)]
        statuses = frozenset(forecast.status for forecast in forecasts)
        outage = _find_outage(results)
        if outage is not None and forecasts:
            logger.warning("%s", outage)  # callers may be told less
        return Page(items, statuses, _find_common_tag(results), None if forecasts else outage)


class _PageResponse(StreamingResponse):
    """Sends pages as the client reads them."""

    def __init__(
        self, state: State, first: Sequence[Page], pages: AsyncGenerator[Page, None], *, by_site: bool, is_packed: bool
    ) -> None:
        headers = {**VARY, "content-encoding": "gzip"} if is_packed else VARY
        parts = _write_pages(state, first, pages, by_site=by_site)
        super().__init__(_pack(parts) if is_packed else parts, media_type="application/json", headers=headers)

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self.body_iterator):  # type: ignore[type-var] # always a generator
            await super().stream_response(send)


class _Writer:
    """Writes `{metric: forecast}` or `{site: {metric: forecast}}`, some items at a time."""

    def __init__(self, *, by_site: bool) -> None:
        self._by_site = by_site
        self._site: str | None = None  # whose object is open
        self._num_items = 0

    def write(self, items: Sequence[Item]) -> bytes:
        pieces: list[bytes] = []
        for item in items:
            begins_site = self._by_site and item.site != self._site
            if begins_site:
                pieces += (b"}," if self._num_items else b"{", orjson.dumps(item.site), b":{")
                self._site = item.site
            else:
                pieces.append(b"," if self._num_items else b"{")
            pieces += (orjson.dumps(item.metric), b":", item.body)
            self._num_items += 1
        return b"".join(pieces)

    def end(self) -> bytes:
        return b"}}" if self._by_site else b"}"


def estimate_bytes(request: MultipleRequest) -> int:
    """Of the whole answer. Each forecast has its own names, and the keys are names."""
    sites, metrics = _distinct_sites(request), set(request.metrics)
    site_bytes = sum(len(site or "") for site in sites) * len(metrics)
    metric_bytes = sum(map(len, metrics)) * len(sites)
    num_series = len(sites) * len(metrics)
    return 2 * (site_bytes + metric_bytes) + num_series * (FORECAST_BYTES + request.days_ahead * ROW_BYTES)


def estimate_page_bytes(request: MultipleRequest) -> int:
    """What is held at a time while a large answer is made and sent: pages, and the names of the request."""
    sites, num_metrics = _distinct_sites(request), len(set(request.metrics))
    page_bytes = estimate_bytes(request) * page_series(request.days_ahead) // (len(sites) * num_metrics)
    return (PAGES_AHEAD + 2) * page_bytes + NAME_BYTES * (len(sites) + num_metrics)


def page_series(days_ahead: int) -> int:
    """How many forecasts a page has."""
    return min(PAGE_SERIES, PAGE_DAYS // days_ahead)


def _distinct_sites(request: MultipleRequest) -> Sequence[str | None]:
    return [*dict.fromkeys(request.sites)] if request.sites else [request.site]


def _list_names(request: MultipleRequest) -> Iterator[Name]:
    """In the order of the request, without repetitions."""
    return product(_distinct_sites(request), dict.fromkeys(request.metrics))


def _find(sites: SiteDirectory, name: Name) -> SeriesCard | DataError:
    site, metric = name
    try:
        return sites.find_series(metric=metric, site=site)
    except DataError as error:
        return error


async def _read_first(pages: AsyncGenerator[Page, None]) -> list[Page]:
    """Pages up to the first one that an outage has not emptied. Raises the outage if there is none."""
    first = []
    async for page in pages:
        first.append(page)
        if page.outage is None:
            return first
    raise first[0].outage or AssertionError


def _respond(state: State, page: Page, *, by_site: bool) -> Response:
    """A whole answer of one page."""
    if page.outage is not None:
        raise page.outage
    writer = _Writer(by_site=by_site)
    _note_statuses(state, page.statuses)
    state["tag"] = page.tag
    return Response(writer.write(page.items) + writer.end(), media_type="application/json")


async def _write_pages(
    state: State, first: Sequence[Page], pages: AsyncGenerator[Page, None], *, by_site: bool
) -> AsyncGenerator[bytes, None]:
    writer, statuses = _Writer(by_site=by_site), frozenset[CacheStatus]()
    async with aclosing(pages):
        for page in first:
            statuses |= page.statuses
            yield writer.write(page.items)
        _note_statuses(state, statuses)
        async for page in pages:
            statuses |= page.statuses
            _note_statuses(state, statuses)
            yield writer.write(page.items)
    yield writer.end()


async def _pack(parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """With gzip, at its fastest level, and in 64 KiB of memory instead of 256."""
    packer = zlib.compressobj(level=1, wbits=16 + 13, memLevel=6)
    async with aclosing(parts):
        async for part in parts:
            if packed := await asyncio.to_thread(packer.compress, part):
                yield packed
    yield packer.flush()


def _find_outage(results: Sequence[Result]) -> ForecastingError | None:
    """The error of a part that is down."""
    errors = (result for result in results if isinstance(result, ForecastingError))
    return next((error for error in errors if not isinstance(error, DataError)), None)


def _write(result: Result, *, in_full: bool) -> bytes:
    if isinstance(result, CachedForecast):
        return result.body
    return orjson.dumps({"error": describe_error(result, in_full=in_full)})


def _note_statuses(state: State, statuses: frozenset[CacheStatus]) -> None:
    """The worst one, for the log: stale before computed before cached."""
    worst_first = CacheStatus.stale, CacheStatus.computed, CacheStatus.cached
    state["answered"] = next((status.value for status in worst_first if status in statuses), None)


def _find_common_tag(results: Sequence[Result]) -> CacheTag | None:
    """The tag of the whole response; None if a part of it may be different the next time."""
    tags = [result.tag if isinstance(result, CachedForecast) else None for result in results]
    return tags[0] if tags and all(tag == tags[0] for tag in tags) else None
