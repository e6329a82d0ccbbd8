"""The latest windows of a version's series: kept up to date with the source, read in batches, and cached."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

from cachetools import LRUCache

from forecasting.card import Card, SeriesCard, restore_settings
from forecasting.errors import CannotConnect, DataError, TimedOut
from forecasting.monitoring.data_age import AnswerAge
from forecasting.predictor import Window
from forecasting.serving.age_watch import AgeWatch
from forecasting.serving.circuit_breaker import CircuitBreaker
from forecasting.serving.database_client import DatabaseClient, close_pool
from forecasting.serving.health import DataState, Problems
from forecasting.serving.request_batcher import RequestBatcher
from forecasting.serving.revision_watch import RevisionWatch
from forecasting.serving.site_watch import SiteWatch
from forecasting.serving.source_updates import OnDays, SourceUpdates
from forecasting.serving.source_watch import SourceWatch
from forecasting.serving.window_reader import Snapshot, WindowReader
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.pages import Revision
from forecasting.warehouse.site_directory import SiteDirectory

MAX_RUNNING = 4  # queries at a time
MAX_SERIES = 1024  # in one query
MAX_CACHED = 65536  # windows of less than 1 kB each

CacheKey = tuple[str, str | None, str]  # site, its key, metric


class RecentWindows:
    """Windows stay cached while `check`, called every second, finds the same revision of the data. Without `check`
    nothing is cached. Used in one event loop.
    """

    def __init__(self, config: Config, card: Card, *, on_days: OnDays | None = None) -> None:
        """`on_days` as SourceUpdates has it."""
        trained = restore_settings(card, config)
        self._cache: LRUCache[CacheKey, Window] = LRUCache(MAX_CACHED)
        self._batcher = RequestBatcher(self._read_batch, max_items=MAX_SERIES, max_running=MAX_RUNNING)
        self.breaker = CircuitBreaker(self._batcher.fail_all)
        self.client = DatabaseClient(config.kept_in, deadline_seconds=config.serving.deadline_seconds)
        self.updates = SourceUpdates(trained, card, self._use_database, on_days=on_days)
        self.revisions = RevisionWatch(
            self.client, trained, self.breaker, on_change=self._cache.clear, on_move=self.updates.expire
        )
        self.sites = SiteWatch(self.client, trained, card)
        self.ages = AgeWatch(self.client, trained)
        self._data = trained.data
        self._named_at: Revision | None = None  # when the sites were last read
        self._aged_at: Revision | None = None  # when their ages were
        self._source_watch = SourceWatch(trained, self.updates.expire)
        self._reader = WindowReader(self.client, trained, card, self.updates)

    @property
    def problem(self) -> str | None:
        """Why no windows can be read: PostgreSQL does not answer, or there is no day yet."""
        return self.revisions.problem or (self.updates.problem if self.revisions.is_empty else None)

    @property
    def problems(self) -> Problems:
        return Problems(
            days=self.problem,
            source=self.updates.problem,
            sites=self.sites.directory.problem,
            age=self.ages.problem,
            no_day_ahead=self.ages.has_no_day_ahead,
        )

    @property
    def state(self) -> DataState:
        ages = self.ages.ages
        newest, oldest = (ages.newest, ages.oldest) if ages else (None, None)
        return DataState(
            source=self._data.source.value,
            data_until=newest.data_until if newest else None,
            data_age_days=newest.age_days if newest else None,
            oldest_age_days=oldest.age_days if oldest else None,
            num_late=len(ages.late) if ages else 0,
            source_read_at=self.updates.read_at,
            notes=self.updates.notes,
        )

    def misses_days(self, data_until: dt.date = dt.date.min) -> bool:
        """Whether a forecast from days up to this one lacks later days, because they cannot be read."""
        revision = self.revisions.revision
        return self.updates.misses_days(data_until, today=revision.today if revision else None)

    def find_present_age(self, card: SeriesCard, data_until: dt.date) -> AnswerAge:
        """As `find_age`; stale also if later days cannot be read at present."""
        age = self.find_age(card, data_until)
        return replace(age, is_stale=age.is_stale or self.misses_days(data_until))

    def find_age(self, card: SeriesCard, data_until: dt.date) -> AnswerAge:
        """Of an answer from days up to this one, in the time zone of its site."""
        directory = self.sites.directory
        today = self._data.today(directory.timezones.get(card.site))
        age_days = (today - data_until).days
        return AnswerAge.of(age_days, directory.arrivals_of(card.site))

    async def check(self) -> None:
        """Checks whether PostgreSQL answers, what the sites are called, how old their days are, and whether cached
        windows are still valid. Starts an update if one is due.
        """
        self._source_watch.start_look()
        await self.updates.refresh(wait=False)
        await self.revisions.check()
        revision = self.revisions.revision
        is_new = revision is not None and (revision != self._named_at or revision.number is None)
        if is_new and self.revisions.is_current and await self.sites.refresh():
            self._named_at = revision
        is_aged = revision is not None and revision == self._aged_at and revision.number is not None
        has_days = not self.revisions.is_empty and not self.updates.is_first
        if self.revisions.is_current and has_days and not is_aged and await self.ages.refresh(self.sites.directory):
            self._aged_at = revision

    async def look_at_source(self) -> None:
        """Notices whether the source can be read; later looks compare with this one."""
        await self._source_watch.wait_for_look()

    async def read(self, cards: Sequence[SeriesCard]) -> list[Window | DataError]:
        """The window up to each series' own last known day, or why there is none, whatever series it is read with.

        Raises WarehouseError, Unavailable, or TimedOut if PostgreSQL does not answer within the deadline.
        """
        if self.updates.before_each_answer:
            await self.updates.refresh()
            self.breaker.check()
            return (await self._reader.read(cards)).windows
        cached = [self._cache.get(_cache_key(card)) if self.revisions.is_current else None for card in cards]
        missing = [card for card, window in zip(cards, cached, strict=True) if window is None]
        if missing:
            await self.updates.refresh()
        read = iter(await self._batcher.submit(missing))
        return [window or next(read) for window in cached]

    async def list_sites(self, *, max_age_seconds: float = 0.0) -> SiteDirectory:
        """The sites as PostgreSQL has them now, or had them at most `max_age_seconds` ago, or as it last had them."""
        await self.updates.refresh()
        await self.sites.refresh(max_age_seconds=max_age_seconds)
        return self.sites.directory

    async def close(self) -> None:
        await self._source_watch.close()
        await self.updates.close()
        await self.client.close()

    async def _read_batch(self, cards: Sequence[SeriesCard]) -> list[Window | DataError]:
        """Caches the windows unless the data has changed meanwhile."""
        self.breaker.check()
        revision = self.revisions.revision
        try:
            snapshot = await self._read_here(cards)
        except (CannotConnect, TimedOut) as error:
            self.breaker.report_failure(error)
            raise
        self.breaker.report_success()
        if self.revisions.is_cacheable and revision is not None and revision == self.revisions.revision:
            self._keep(cards, snapshot, revision)
        return snapshot.windows

    async def _read_here(self, cards: Sequence[SeriesCard]) -> Snapshot:
        """From the database that was seen last. After a fail-over, pooled connections may still lead to the old one."""
        snapshot = await self._reader.read(cards)
        if not self.revisions.is_elsewhere(snapshot.revision):
            return snapshot
        await self.client.renew()
        return await self._reader.read(cards)

    def _keep(self, cards: Sequence[SeriesCard], snapshot: Snapshot, revision: Revision) -> None:
        if replace(snapshot.revision, generation=revision.generation) != revision:
            return
        for card, window in zip(cards, snapshot.windows, strict=True):
            if isinstance(window, Window):
                self._cache[_cache_key(card)] = window

    async def _use_database(self, database: DatabaseConfig) -> None:
        """Switches to the database that an update has found: open connections may lead to another."""
        if database != self.client.database:
            previous = await self.client.switch_to(database)
            self.revisions.forget()
            await close_pool(previous)
        await self.sites.refresh()


def _cache_key(card: SeriesCard) -> CacheKey:
    """With both the site's name and its key: two sites may exchange their names."""
    return card.site, card.site_key, card.metric
