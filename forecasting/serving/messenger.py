"""Sends messages to people while a version is served: what is new, what waits for another attempt or a quieter hour."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from forecasting.alerts.sending import send_due
from forecasting.alerts.telling import tell_people
from forecasting.alerts.trouble_watch import report_trouble
from forecasting.errors import ForecastingError
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import connected

logger = logging.getLogger("forecasting.alerts")

PAUSE_SECONDS = 30.0  # between looks for messages that are due
NEWS_SECONDS = 3600.0  # between looks for news, without days that are judged: that none come is news, too

SOURCE_SECONDS = 900.0  # after which people are told that the source cannot be read
SOURCE_TEXT = (
    "Forecasts go on from the days that were read before. GET /health and the log of the server say what is wrong."
)


class Place(NamedTuple):
    """What is served."""

    config: Config
    database: DatabaseConfig  # that has our own schema
    source_problem: str | None = None  # why new days cannot be read


class Messenger:
    """Works in the background: forecasts wait for no message, and what fails is tried again."""

    def __init__(self, find_place: Callable[[], Place | None], *, source_seconds: float = SOURCE_SECONDS) -> None:
        """`find_place` returns None until the source was read once."""
        self._find_place = find_place
        self._source_seconds = source_seconds
        self._failing_since: float | None = None  # of the source, by the monotonic clock
        self._is_reported: bool | None = None  # None: not known since the start
        self._logged: str | None = None
        self._has_news = True  # as far as is known, for the first look
        self._wake = asyncio.Event()
        self._news_at = 0.0  # of the next look for news, by the monotonic clock

    def note_news(self) -> None:
        """New days were judged."""
        self._has_news = True
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled; an attempt under way is finished first."""
        while True:
            self._wake.clear()
            if (place := self._find_place()) is not None:
                await self._tell(place)
            try:
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _tell(self, place: Place) -> None:
        config, database = place.config, place.database
        if time.monotonic() >= self._news_at:
            self._has_news = True
        try:
            await self._report_source(place)
            if self._has_news:
                self._has_news = False  # what comes meanwhile is for the next look
                self._news_at = time.monotonic() + NEWS_SECONDS
                await tell_people(config, database, patience_seconds=0.0)
            elif config.addresses:
                await send_due(config, database, patience_seconds=0.0)
            self._logged = None
        except ForecastingError as error:
            if str(error) != self._logged:
                logger.warning("messages wait: %s", error)
            self._logged, self._has_news = str(error), True
        except Exception:  # nobody waits for messages, so nobody else would hear of it
            logger.exception("messages wait: a bug in the program itself")

    async def _report_source(self, place: Place) -> None:
        """That it cannot be read, and that it can be read again. What exactly is wrong may name hosts and users."""
        now = time.monotonic()
        self._failing_since = None if place.source_problem is None else self._failing_since or now
        is_wrong = self._failing_since is not None and now - self._failing_since >= self._source_seconds
        if is_wrong is self._is_reported or (place.source_problem is not None and not is_wrong):
            return
        source = place.config.data.source.value
        async with connected(place.database, writable=True) as connection:
            await report_trouble(
                connection,
                place.config,
                cause=f"source/{source}",
                title=f"New days of {source} {'cannot be read' if is_wrong else 'can be read again'}",
                text=SOURCE_TEXT if is_wrong else None,
            )
        self._is_reported = is_wrong
