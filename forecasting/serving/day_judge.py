"""Judges the days that an update has brought, by the version that is served."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from forecasting.card import Card, SeriesCard
from forecasting.domain import SeriesKey
from forecasting.errors import ForecastingError
from forecasting.monitoring.daily_judge import Judge, describe_changes
from forecasting.predictor import Windows, let_naive_answer, split_windows
from forecasting.serving.forecast_service import Model
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import OwnConnection, connected, translate_errors
from forecasting.warehouse.event_store import read_known_events
from forecasting.warehouse.origin import find_origin, read_site_index
from forecasting.warehouse.site_directory import SiteDirectory

logger = logging.getLogger("forecasting.warehouse")

SERIES_AT_ONCE = 64  # read, judged and written in one transaction
WINDOWS_AT_ONCE = 64  # forecast in one request: those of people do not wait for more


class DayJudge:
    """Works in the background: nobody waits for it, and what fails is tried again after the next update."""

    def __init__(
        self, config: Config, card: Card, model: Model, *, on_judged: Callable[[], None] | None = None
    ) -> None:
        """`on_judged` is called when new days were judged."""
        self._on_judged = on_judged
        self._config = config
        self._card = card
        self._model = model
        self._task: asyncio.Task[None] | None = None
        self._is_due = True  # until all days have been judged once

    def start(self, database: DatabaseConfig, has_new_days: bool) -> None:
        """Begins, unless there is nothing new or it is at work."""
        self._is_due |= has_new_days
        if self._is_due and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(database))

    async def finish(self) -> None:
        """Waits for what it is doing."""
        if self._task is not None:
            await self._task

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self, database: DatabaseConfig) -> None:
        self._is_due = False
        try:
            async with connected(database, writable=True) as connection:
                with translate_errors("judging the days of forecasting.daily"):
                    changes = await self._judge(connection)
        except ForecastingError as error:
            self._is_due = True
            logger.warning("new days are not judged yet: %s", error)
            return
        if changes["series"]:
            logger.info("judged the new days of %s series: %s", f"{changes['series']:,}", describe_changes(changes))
            if self._on_judged is not None:
                self._on_judged()

    async def _judge(self, connection: OwnConnection) -> Counter[str]:
        card, data = self._card, self._config.data
        origin = await find_origin(connection, data)
        events = await read_known_events(connection, origin.source)
        judge = Judge(self._config, card.version, card.context_length, card.levels, self._predict, events)
        series = await self._find_series(connection, origin.source)
        changes: Counter[str] = Counter()
        for start in range(0, len(series), SERIES_AT_ONCE):
            part = series[start : start + SERIES_AT_ONCE]
            keys, cards = [key for key, _ in part], [card for _, card in part]
            changes += await judge.judge(connection, keys, cards, today=origin.today(data))
        return changes

    async def _find_series(self, connection: OwnConnection, source: str) -> list[tuple[SeriesKey, SeriesCard]]:
        """Those of the version, by the present names of their sites."""
        index = await read_site_index(connection, source=source)
        directory = SiteDirectory.of(self._card, index, unnamed=self._config.unnamed_site)
        return [((directory.stored_name_of(card.site), card.metric), card) for card in directory.list_present()]

    async def _predict(self, windows: Windows) -> Float[np.ndarray, "windows days levels"]:
        days = windows.band_scale.shape[1]
        parts = [np.empty((0, days, len(self._card.levels)), np.float32)]
        for start in range(0, len(windows), WINDOWS_AT_ONCE):
            part = windows.select(slice(start, start + WINDOWS_AT_ONCE))
            quantiles = await self._model.predict(split_windows(part), days)
            parts.append(let_naive_answer(quantiles, part, levels=self._card.levels))
        return np.concatenate(parts)
