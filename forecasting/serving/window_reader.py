"""Reads the latest windows of a version's series from `forecasting.daily`."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from forecasting.card import Card, SeriesCard
from forecasting.errors import DataError, MissingTable, TimedOut, UnknownSite, WarehouseError
from forecasting.predictor import Window
from forecasting.serving.database_client import DatabaseClient
from forecasting.serving.source_updates import SourceUpdates
from forecasting.settings.schema import Config
from forecasting.warehouse.connection import Connection, translate_errors
from forecasting.warehouse.daily import read_last_days
from forecasting.warehouse.inventory import explain_missing
from forecasting.warehouse.origin import find_origin, read_site_timezones
from forecasting.warehouse.schema import translate_missing_schema
from forecasting.warehouse.windows import SPARE_DAYS, cut_windows

logger = logging.getLogger("forecasting.warehouse")


class WindowReader:
    """Reads days as the version was trained on them: in its units, its time zone, and with its treatment of gaps."""

    def __init__(self, client: DatabaseClient, config: Config, card: Card, updates: SourceUpdates) -> None:
        self._client = client
        self._config = config
        self._card = card
        self._updates = updates
        self._name_in_database: str | None = None  # of the version's only site

    async def read(self, cards: Sequence[SeriesCard]) -> list[Window | DataError]:
        """The window up to each series' own last known day, or why there is none.

        Waits for an update if none has succeeded yet and there is no table, or no such site.
        """
        with suppress(MissingTable):
            windows = await self._read_by_name(cards)
            if self._updates.has_succeeded or not any(isinstance(window, UnknownSite) for window in windows):
                return windows
        await self._updates.wait_for_first()
        return await self._read_by_name(cards)

    async def list_sites(self) -> dict[str, str]:
        """The sites in the source and their time zones; empty if nothing has been read, or can be."""
        try:
            rows = await self._client.run(partial(read_site_timezones, source=self._config.data.source.value))
        except (WarehouseError, TimedOut) as error:
            logger.warning("the sites cannot be listed: %s", error)
            return {}
        names = {self._name_in_database: self._card.series[0].site} if self._name_in_database else {}
        return {names.get(site, site): timezone for site, timezone in rows.items()}

    async def _read_by_name(self, cards: Sequence[SeriesCard]) -> list[Window | DataError]:
        """A version's only site is found under any name: without a column `site` it has the name of the database, and a
        copy of the database may have another.
        """
        if len(self._card.by_site) > 1:
            return await self._client.run(partial(self._read, cards=cards, site=None))
        [site] = self._card.by_site
        names = dict.fromkeys((self._name_in_database or site, site, self._config.read_from.name))
        first: list[Window | DataError] = []
        for name in names:
            windows = await self._client.run(partial(self._read, cards=cards, site=name))
            if not all(isinstance(window, UnknownSite) for window in windows):
                self._name_in_database = name
                return windows
            first = first or windows
        return first

    async def _read(
        self, connection: Connection, cards: Sequence[SeriesCard], site: str | None
    ) -> list[Window | DataError]:
        """With `site` in place of the site that the cards name."""
        data = self._config.data
        keys = [(site or card.site, card.metric) for card in cards]
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
                missing = [key for key, count in zip(keys, page.counts, strict=True) if not count]
                reasons = iter(await explain_missing(connection, missing, source=origin.source) if missing else ())
        windows = cut_windows(page, cards, context_length=self._card.context_length, missing=data.missing)
        return [window if count else next(reasons) for window, count in zip(windows, page.counts, strict=True)]
