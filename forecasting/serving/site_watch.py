"""What the sites of a version are called now, as forecasting.sites has it."""

import asyncio
import logging
import math
import time
from dataclasses import replace
from functools import partial

from forecasting.card import Card
from forecasting.errors import MissingTable, TimedOut, WarehouseError
from forecasting.serving.database_client import DatabaseClient
from forecasting.serving.revision_watch import CHECK_SECONDS
from forecasting.settings.schema import Config
from forecasting.warehouse.connection import Connection, translate_errors
from forecasting.warehouse.origin import read_site_index
from forecasting.warehouse.schema import translate_missing_schema
from forecasting.warehouse.site_directory import SiteDirectory
from forecasting.warehouse.sites import SiteIndex

logger = logging.getLogger("forecasting.warehouse")


class SiteWatch:
    """The sites as of the last `refresh`; before the first, as they were when the version was trained."""

    def __init__(self, client: DatabaseClient, config: Config, card: Card) -> None:
        self._client = client
        self._config = config
        self._card = card
        self._logged: set[str] = set()
        self._refreshing = asyncio.Lock()
        self._refreshed_at = -math.inf  # by the monotonic clock
        self._could_say = False  # at that time
        self.directory = self._list_sites(SiteIndex(()))

    def find(self) -> SiteDirectory:
        return self.directory

    async def refresh(self, *, max_age_seconds: float = 0.0) -> bool:
        """Logs every change once. Whether PostgreSQL could say, now or at most `max_age_seconds` ago.

        Reading thousands of sites takes a tenth of a second: callers who ask at the same time share what is read.
        """
        async with self._refreshing:
            if time.monotonic() - self._refreshed_at > max_age_seconds:
                self._could_say = await self._refresh()
                self._refreshed_at = time.monotonic()
            return self._could_say

    async def _refresh(self) -> bool:
        try:
            index = await self._client.run(partial(_read_index, config=self._config), max_seconds=CHECK_SECONDS)
        except MissingTable:
            return False  # nothing has been read from the source yet
        except (WarehouseError, TimedOut) as error:
            logger.warning("the sites cannot be listed: %s", error)
            return False
        if index.sites != self.directory.index.sites:
            before, directory = self.directory.card, self._list_sites(index)
            # Caches compare cards: the same object is compared faster.
            self.directory = replace(directory, card=before) if directory.card == before else directory
            for change in self.directory.changes:
                if change not in self._logged:
                    logger.info("%s", change)
            self._logged = set(self.directory.changes)
        return True

    def _list_sites(self, index: SiteIndex) -> SiteDirectory:
        return SiteDirectory.of(self._card, index, unnamed=self._config.unnamed_site)


async def _read_index(connection: Connection, *, config: Config) -> SiteIndex:
    with translate_errors("reading forecasting.sites"), translate_missing_schema(config.data):
        return await read_site_index(connection, source=config.data.source.value)
