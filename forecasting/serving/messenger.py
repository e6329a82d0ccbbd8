"""Sends messages to people while a version is served: what is new, what waits for another attempt or a quieter hour."""

import asyncio
import logging
import time
from collections.abc import Callable

from forecasting.alerts.sending import send_due
from forecasting.alerts.telling import tell_people
from forecasting.errors import ForecastingError
from forecasting.settings.schema import Config, DatabaseConfig

logger = logging.getLogger("forecasting.alerts")

PAUSE_SECONDS = 30.0  # between looks for messages that are due
NEWS_SECONDS = 3600.0  # between looks for news, without days that are judged: that none come is news, too

Place = tuple[Config, DatabaseConfig]  # the settings of the version that is served, and where our own schema is


class Messenger:
    """Works in the background: forecasts wait for no message, and what fails is tried again."""

    def __init__(self, find_place: Callable[[], Place | None]) -> None:
        """`find_place` returns None until the source was read once."""
        self._find_place = find_place
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
                await self._tell(*place)
            try:
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _tell(self, config: Config, database: DatabaseConfig) -> None:
        if time.monotonic() >= self._news_at:
            self._has_news = True
        try:
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
