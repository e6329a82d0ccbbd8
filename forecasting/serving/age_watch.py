"""How old the days of a version's series are, as forecasting.daily has them."""

import datetime as dt
import logging
import time
from collections.abc import Sequence
from functools import partial

from forecasting.card import SeriesCard
from forecasting.domain import SeriesKey
from forecasting.errors import MissingTable, TimedOut, WarehouseError
from forecasting.monitoring.data_age import DataAges, SeriesAge
from forecasting.serving.database_client import DatabaseClient
from forecasting.settings.schema import Config, DataConfig
from forecasting.warehouse.connection import Connection, translate_errors
from forecasting.warehouse.queries import fetch
from forecasting.warehouse.schema import translate_missing_schema
from forecasting.warehouse.site_directory import SiteDirectory

logger = logging.getLogger("forecasting.serving")

PAUSE = 100  # times as long as reading them took: at most 1% of PostgreSQL's time goes into it


class AgeWatch:
    """The ages as of the last `refresh`. Logs when days are late, and when that is over."""

    def __init__(self, client: DatabaseClient, config: Config) -> None:
        self._client = client
        self._data = config.data
        self._max_age_days = config.serving.max_age_days
        self._again_at = 0.0  # by the monotonic clock
        self._logged: str | None = None
        self.ages: DataAges | None = None  # None before the first refresh
        self.is_empty = False  # forecasting.daily has no day of any series

    @property
    def problem(self) -> str | None:
        if self.is_empty:
            return (
                "forecasting.daily has no day of any series of this version. Check what fills it, and who has emptied "
                "it; an update reads again what the source has."
            )
        return self.ages.problem if self.ages else None

    @property
    def has_no_day_ahead(self) -> bool:
        return self.ages is not None and self.ages.has_no_day_ahead

    async def refresh(self, directory: SiteDirectory) -> bool:
        """Whether the ages are those of this moment."""
        if time.monotonic() < self._again_at:
            return False
        began = time.monotonic()
        cards = directory.list_present()
        series = [(directory.stored_name_of(card.site), card.metric) for card in cards]
        today = max([self._data.today(zone) for zone in directory.timezones.values()], default=self._data.today())
        try:
            days = await self._client.run(partial(_read_newest, series=series, today=today, data=self._data))
        except MissingTable:
            return False  # nothing has been read from the source yet
        except (WarehouseError, TimedOut) as error:
            logger.warning("it cannot be told how old the data are: %s", error)
            return False
        self._again_at = time.monotonic() + PAUSE * (time.monotonic() - began)
        self._use(directory, cards, days)
        return True

    def _use(self, directory: SiteDirectory, cards: Sequence[SeriesCard], days: Sequence[dt.date | None]) -> None:
        todays = {zone: self._data.today(zone) for zone in (None, *directory.timezones.values())}
        ages = [
            SeriesAge(
                card.name,
                day,
                (todays[directory.timezones.get(card.site)] - day).days,
                directory.arrivals_of(card.site),
            )
            for card, day in zip(cards, days, strict=True)
            if day is not None
        ]
        self.is_empty = bool(cards) and not ages
        self.ages = DataAges(self._data.source.value, tuple(ages), self._max_age_days)
        if self.problem and self.problem != self._logged:
            logger.warning("%s", self.problem)
        elif self._logged and not self.problem:
            logger.info("new days have come: the newest is %s", self.ages.newest and self.ages.newest.data_until)
        self._logged = self.problem


async def _read_newest(
    connection: Connection, *, series: Sequence[SeriesKey], today: dt.date, data: DataConfig
) -> list[dt.date | None]:
    columns = [site for site, _ in series], [metric for _, metric in series]
    with translate_errors("reading forecasting.daily"), translate_missing_schema(data):
        async with connection.transaction(readonly=True):
            await fetch(connection, "prefer_index")
            return [row["day"] for row in await fetch(connection, "read_newest_days", *columns, today)]
