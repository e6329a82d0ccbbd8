"""The recent days of a version's series, from forecasting.daily: brought up to date, read, and kept while they hold."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from cachetools import LRUCache

from forecasting.card import Card, SeriesCard, restore_settings
from forecasting.domain import SeriesKey
from forecasting.errors import (
    CannotConnect,
    DataError,
    MissingTable,
    SettingError,
    TimedOut,
    Unavailable,
    UnknownSite,
    WarehouseError,
)
from forecasting.predictor import Window
from forecasting.serving.circuit_breaker import CircuitBreaker
from forecasting.serving.request_batcher import RequestBatcher
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import CONNECTION_ERRORS, Connection, Pool, open_pool, translate_errors
from forecasting.warehouse.daily import read_last_days
from forecasting.warehouse.ingest import update
from forecasting.warehouse.inventory import explain_missing
from forecasting.warehouse.origin import find_origin, read_revision, read_site_timezones
from forecasting.warehouse.pages import Revision
from forecasting.warehouse.schema import translate_missing_schema
from forecasting.warehouse.windows import SPARE_DAYS, cut_windows

logger = logging.getLogger("forecasting.warehouse")

T = TypeVar("T")
POOL_SIZE = 8  # connections: a forecast holds one for some milliseconds
READS_AT_ONCE = 4
SERIES_AT_ONCE = 1024
MAX_KEPT = 65536  # windows, of less than 1 kB each
LOOK_SECONDS = 2.0  # that PostgreSQL has to say whether anything changed
RELEASE_SECONDS = 1.0  # that a server has to end what was given up, before its connection is closed
SLOW_UPDATE_MINUTES = 5  # after which a source, or a connection that nobody ended, is said to be slow
CLOSE_SECONDS = 2.0  # that connections have to be closed politely in


class RecentWindows:
    """The recent days of a version's series, read as the version was trained: its units, its time zone, its gaps.

    forecasting.daily is brought up to date with the source when that was done `serving.refresh_seconds` ago, while
    answers are still made from what it has; only the first one waits. A source that does not answer is no reason for
    no answer: `trouble` says so.

    What was read is kept for as long as `look`, called each second, finds the same revision: a number that PostgreSQL
    counts up with every change to forecasting.daily, and the day it is. Without `look` nothing is kept.
    """

    def __init__(self, config: Config, card: Card) -> None:
        self._config = restore_settings(card, config)
        self._card = card
        self._updating: asyncio.Task[None] | None = None
        self._updated_at: float | None = None  # by the monotonic clock
        self._own = config.kept_in  # where forecasting.daily is
        self._has_read = False  # whether any update has ended well
        self._trouble: str | None = None  # what the last update ended with
        self._update_began_at = 0.0
        self._unanswered: str | None = None  # what the last look ended with
        self._known_as: str | None = None
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()
        self._kept: LRUCache[SeriesKey, Window] = LRUCache(MAX_KEPT)
        self.revision: Revision | None = None  # that `look` saw last
        self.is_current = False  # whether it saw it just now
        self._batcher = RequestBatcher(self._read, max_items=SERIES_AT_ONCE, num_at_once=READS_AT_ONCE)
        self.breaker = CircuitBreaker(self._batcher.fail)

    async def read(self, series: Sequence[SeriesCard]) -> list[Window | DataError]:
        """The window that ends on each series' own last known day, or why there is none, which depends on nothing but
        that series. Raises WarehouseError, or TimedOut where PostgreSQL does not answer within the deadline.
        """
        if self._looks_each_time:
            await self.bring_up_to_date()
            return await self._read_prepared(series)
        kept = [self._kept.get((one.site, one.metric)) if self.is_current else None for one in series]
        lacking = [one for one, known in zip(series, kept, strict=True) if known is None]
        if lacking:
            await self.bring_up_to_date()
        read = iter(await self._batcher.ask(lacking))
        return [known or next(read) for known in kept]

    @property
    def keeps(self) -> bool:
        """Whether what is made of these days may be kept: somebody counts their changes, nobody wants each read."""
        return self.revision is not None and self.revision.number is not None and not self._looks_each_time

    @property
    def trouble(self) -> str | None:
        """What keeps new days from being read."""
        minutes = (time.monotonic() - self._update_began_at) / 60
        if self._updating is None or self._updating.done() or minutes < SLOW_UPDATE_MINUTES:
            return self._trouble
        return f"New days have been read for {minutes:.0f} minutes, and are not all there yet."

    @property
    def unanswered(self) -> str | None:
        """What keeps forecasting.daily from being read, or from having a day."""
        is_empty = self.revision is None or self.revision.number == 0
        return self._unanswered or (self.trouble if is_empty else None)

    async def look(self) -> None:
        """Sees whether PostgreSQL answers and what is kept still holds, and has new days looked for in the source."""
        await self.bring_up_to_date(wait=False)
        try:
            found = await self._ask(partial(_read_revision, config=self._config), seconds=LOOK_SECONDS)
        except MissingTable:
            found = None  # it answers; the update makes the schema, or says why it cannot
        except (WarehouseError, TimedOut) as error:
            self.is_current, self._unanswered = False, str(error)
            self.breaker.failed(error)
            return
        if found != self.revision or found is None or found.number is None:
            self._kept.clear()
        self.revision, self.is_current, self._unanswered = found, True, None
        self.breaker.succeeded()

    async def list_sites(self) -> dict[str, str]:
        """The sites that the source has by now, and their time zones; empty where nothing was read, or can be."""
        await self.bring_up_to_date()
        try:
            rows = await self._ask(partial(read_site_timezones, source=self._config.data.source.value))
        except (WarehouseError, TimedOut) as error:
            logger.warning("the sites cannot be listed: %s", error)
            return {}
        # The version's only site may be known by the name of another database.
        only = {self._known_as: self._card.series[0].site} if self._known_as else {}
        return {only.get(site, site): zone for site, zone in rows.items()}

    async def bring_up_to_date(self, *, wait: bool = True) -> None:
        """Starts an update where the last is `serving.refresh_seconds` old. Waits for it where there was none yet, or
        each answer is to be of the newest days: for half the deadline, so that half is left to answer in.
        """
        seconds = self._config.serving.refresh_seconds
        if self._updated_at is None or time.monotonic() - self._updated_at >= seconds:
            self._start_update()
        if wait and self._updating is not None and (self._updated_at is None or self._looks_each_time):
            await asyncio.wait({self._updating}, timeout=self._config.serving.deadline_seconds / 2)

    @property
    def _looks_each_time(self) -> bool:
        return not self._config.serving.refresh_seconds

    async def _wait_for_update(self) -> None:
        """Where nothing was ever read. Raises TimedOut."""
        deadline = self._config.serving.deadline_seconds
        done, _ = await asyncio.wait({self._start_update()}, timeout=deadline / 2)
        if not done:
            raise TimedOut(f"PostgreSQL did not answer within {deadline:g} s. Try again later.")

    def _start_update(self) -> "asyncio.Task[None]":
        if self._updating is None or self._updating.done():
            self._update_began_at = time.monotonic()
            self._updating = asyncio.create_task(self._update())
        return self._updating

    async def _update(self) -> None:
        metrics = self._config.metrics | {one.metric: one.metric_config for one in self._card.series}
        try:
            updated = await update(
                replace(self._config, metrics=metrics), recent_days=self._card.context_length + SPARE_DAYS
            )
            self._trouble, self._has_read = None, True
            await self._move(updated.database)
        except (WarehouseError, DataError, SettingError) as error:
            self._trouble = f"New days cannot be read: {error}"
            logger.warning("%s", self._trouble)
        self._updated_at = time.monotonic()

    async def _move(self, database: DatabaseConfig) -> None:
        """To where the update has found, or made, forecasting.daily: connections so far may lead elsewhere."""
        if database == self._own:
            return
        async with self._opening:
            pool, self._pool, self._own = self._pool, None, database
            self.revision = None  # that was counted there
            self._kept.clear()
        await _close(pool)

    async def close(self) -> None:
        if self._updating is not None:
            self._updating.cancel()
            await asyncio.wait({self._updating}, timeout=CLOSE_SECONDS)
        await _close(self._pool)

    async def _read(self, series: Sequence[SeriesCard]) -> list[Window | DataError]:
        """From PostgreSQL, and kept unless something has changed meanwhile."""
        revision = self.revision
        try:
            instances = await self._read_prepared(series)
        except (CannotConnect, TimedOut) as error:
            self.breaker.failed(error)
            raise
        self.breaker.succeeded()
        if self.keeps and revision == self.revision:
            for one, instance in zip(series, instances, strict=True):
                if isinstance(instance, Window):
                    self._kept[one.site, one.metric] = instance
        return instances

    async def _read_prepared(self, series: Sequence[SeriesCard]) -> list[Window | DataError]:
        """Waits for the update where nothing was ever read, or the site is new to forecasting.daily."""
        self.breaker.check()
        with suppress(MissingTable):
            instances = await self._read_named(series)
            if self._has_read or not any(isinstance(one, UnknownSite) for one in instances):
                return instances
        await self._wait_for_update()
        if not self._has_read and self.trouble:
            raise Unavailable(self.trouble)
        return await self._read_named(series)

    async def _read_named(self, series: Sequence[SeriesCard]) -> list[Window | DataError]:
        """Of a version's only site under the card's name, whatever the database calls it: without a `site` column it
        has the database's name, which another database with the same data has not.
        """
        if len(self._card.by_site) > 1:
            return await self._ask(partial(self._fetch, series=series, called=None))
        [site] = self._card.by_site
        names = dict.fromkeys((self._known_as or site, site, self._config.read_from.name))
        first: list[Window | DataError] = []
        for name in names:
            instances = await self._ask(partial(self._fetch, series=series, called=name))
            if not all(isinstance(one, UnknownSite) for one in instances):
                self._known_as = name
                return instances
            first = first or instances
        return first

    async def _fetch(
        self, connection: Connection, series: Sequence[SeriesCard], called: str | None
    ) -> list[Window | DataError]:
        data = self._config.data
        keys = [(called or one.site, one.metric) for one in series]
        with translate_errors("reading forecasting.daily"), translate_missing_schema(data):
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                origin = await find_origin(connection, data)
                page = await read_last_days(
                    connection,
                    keys,
                    today=origin.today(data),
                    num_days=self._card.context_length + SPARE_DAYS,
                    masked=self._config.verdicts.masked,
                )
                unknown = [key for key, count in zip(keys, page.counts, strict=True) if not count]
                reasons = iter(await explain_missing(connection, unknown, source=origin.source) if unknown else ())
        instances = cut_windows(page, series, context_length=self._card.context_length, missing=data.missing)
        return [instance if count else next(reasons) for instance, count in zip(instances, page.counts, strict=True)]

    async def _ask(self, question: Callable[[Connection], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Its answer, within the deadline. Asked again over a new connection where the first one turns out to be cut,
        as idle ones are by firewalls and by a server that is started again.
        """
        deadline = min(self._config.serving.deadline_seconds, seconds or math.inf)
        try:
            async with asyncio.timeout(deadline):
                async with self._opening:
                    pool = self._pool = self._pool or await open_pool(self._own, max_size=POOL_SIZE)
                async with _lend(pool) as connection:
                    with suppress(CannotConnect):
                        return await question(connection)
                await pool.expire_connections()  # whatever cut the one has cut the others
                async with _lend(pool) as connection:
                    return await question(connection)
        except TimeoutError as error:
            raise TimedOut(f"PostgreSQL did not answer within {deadline:g} s. Try again later.") from error


async def _close(pool: Pool | None) -> None:
    if pool is None:
        return
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()
    except (TimeoutError, *CONNECTION_ERRORS):
        pool.terminate()


@asynccontextmanager
async def _lend(pool: Pool) -> AsyncIterator[Connection]:
    with translate_errors("connecting"):
        connection = await pool.acquire()
    try:
        yield connection
    finally:
        # One that cannot be reset is closed by the pool; what was read over it is none the worse.
        with suppress(WarehouseError, TimeoutError), translate_errors("giving a connection back"):
            await pool.release(connection, timeout=RELEASE_SECONDS)


async def _read_revision(connection: Connection, *, config: Config) -> Revision:
    with translate_errors("seeing whether days have changed"), translate_missing_schema(config.data):
        return await read_revision(connection, config.data)
