"""Notices changes of `forecasting.daily`, so that what was computed from it can be cached."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from forecasting.errors import MissingTable, TimedOut, WarehouseError
from forecasting.serving.circuit_breaker import CircuitBreaker
from forecasting.serving.database_client import DatabaseClient
from forecasting.settings.schema import Config, DataConfig
from forecasting.warehouse.connection import Connection, translate_errors
from forecasting.warehouse.origin import read_revision
from forecasting.warehouse.pages import Revision
from forecasting.warehouse.schema import translate_missing_schema

logger = logging.getLogger("forecasting.serving")

CHECK_SECONDS = 2.0  # for PostgreSQL to say whether anything has changed
RECONNECT_SECONDS = 10.0  # between checks on a new connection: after a fail-over, open ones may lead to the old server


class RevisionWatch:
    """The revision that the last `check` saw: PostgreSQL counts every change of `forecasting.daily`, and a new day in
    the source's time zone or another database is a new revision, too. `on_change` is called when cached days are no
    longer valid, `on_move` when the address leads to another database.
    """

    def __init__(
        self,
        client: DatabaseClient,
        config: Config,
        breaker: CircuitBreaker,
        *,
        on_change: Callable[[], object],
        on_move: Callable[[], object],
    ) -> None:
        self._client = client
        self._data = config.data
        self._refresh_seconds = config.serving.refresh_seconds
        self._breaker = breaker
        self._on_change = on_change
        self._on_move = on_move
        self._generation = 0
        self._reconnect_at = time.monotonic() + RECONNECT_SECONDS
        self.revision: Revision | None = None  # None before the first check
        self.is_current = False  # the last check has succeeded
        self.problem: str | None = None  # why it has not

    @property
    def is_cacheable(self) -> bool:
        """Whether anything computed from these days may be cached: their changes are counted, and no answer needs days
        that were read for it (refresh_seconds=0).
        """
        return self.revision is not None and self.revision.number is not None and bool(self._refresh_seconds)

    @property
    def is_empty(self) -> bool:
        """As far as is known, `forecasting.daily` has no day yet."""
        return self.revision is None or self.revision.number == 0

    async def check(self) -> None:
        try:
            revision = await self._read()
        except MissingTable:
            revision = None  # PostgreSQL answers; the next update creates the schema, or says why it cannot
        except (WarehouseError, TimedOut) as error:
            self.is_current, self.problem = False, str(error)
            self._breaker.report_failure(error)
            return
        await self._use(revision)
        self.is_current, self.problem = True, None
        self._breaker.report_success()

    def is_elsewhere(self, revision: Revision) -> bool:
        """Whether it is of another database than the one that the last check saw."""
        return self.revision is not None and self.revision.database != revision.database

    async def _read(self) -> Revision:
        query, is_due = partial(_read_revision, data=self._data), time.monotonic() >= self._reconnect_at
        if not is_due:
            return await self._client.run(query, max_seconds=CHECK_SECONDS)
        self._reconnect_at = time.monotonic() + RECONNECT_SECONDS
        return await self._client.run_anew(query, max_seconds=CHECK_SECONDS)

    async def _use(self, revision: Revision | None) -> None:
        known = self.revision
        revision = revision and replace(revision, generation=self._generation)
        if revision == known and revision is not None and revision.number is not None:
            return
        if revision is not None and self.is_elsewhere(revision):
            logger.warning(
                "PostgreSQL was restarted, or its address leads to another database: no forecast that was made before "
                "is current any more"
            )
            await self._client.renew()
            self._on_move()
        self._generation += 1
        self.revision = revision and replace(revision, generation=self._generation)
        self._on_change()

    def forget(self) -> None:
        """After a switch to another database."""
        self.revision = None
        self._on_change()


async def _read_revision(connection: Connection, *, data: DataConfig) -> Revision:
    with translate_errors("checking whether days have changed"), translate_missing_schema(data):
        return await read_revision(connection, data)
