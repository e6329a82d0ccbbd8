"""Writes the forecasts that are answered to forecasting.forecasts, so that they can be held to account."""

import asyncio
import datetime as dt
import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from forecasting.card import SeriesCard
from forecasting.domain import SeriesKey
from forecasting.errors import ForecastingError
from forecasting.predictor import BY_THE_BASE
from forecasting.serving.recent_windows import RecentWindows
from forecasting.settings.schema import BASE_VERSION, Config
from forecasting.warehouse.connection import OwnConnection, connected
from forecasting.warehouse.forecast_writer import encode_forecasts, write_forecasts
from forecasting.warehouse.predictions_table import write_predictions

logger = logging.getLogger("forecasting.warehouse")

COLLECT_SECONDS = 1.0  # forecasts of this time are written together
RETRY_SECONDS = 60.0
CLOSE_SECONDS = 2.0  # to write the last ones
MAX_WAITING = 20_000  # series: below 20 MB; the oldest are dropped


class _Kept(NamedTuple):
    version: str
    cutoff: int
    quantiles: Float[np.ndarray, "days levels"]  # in the source's units


class ForecastKeeper:
    """Works in the background: no answer waits for it, and what cannot be written is tried again. Nothing is written
    before `start`: forecasts that only verify a version are nobody's until it is served.
    """

    def __init__(self, config: Config, version: str, windows: RecentWindows) -> None:
        self._config = config
        self._version = version
        self._windows = windows
        self._waiting: dict[SeriesKey, _Kept] = {}
        self._task: asyncio.Task[None] | None = None
        self._has_failed = False
        self._is_started = False

    def start(self) -> None:
        self._is_started = True
        self._begin()

    def add(
        self,
        cards: Sequence[SeriesCard],
        cutoffs: Sequence[int],
        quantiles: Float[np.ndarray, "series days levels"],
    ) -> None:
        """In the model's units. Of two forecasts from the same cutoff the longer one is kept."""
        directory = self._windows.sites.directory
        for card, cutoff, days in zip(cards, cutoffs, quantiles, strict=True):
            key = directory.stored_name_of(card.site), card.metric
            before = self._waiting.pop(key, None)
            version = BASE_VERSION if card.answered_by == BY_THE_BASE else self._version
            kept = _Kept(version, cutoff, np.asarray(days * np.float32(card.unit_scale), np.float32))
            is_longer = before is not None and before.cutoff == cutoff and len(before.quantiles) > len(days)
            self._waiting[key] = before if is_longer and before is not None else kept
        while len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._begin()

    async def finish(self) -> None:
        """Waits until everything is written, or cannot be."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._waiting and self._is_started:
            await self._write()

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.finish()
        except TimeoutError:
            logger.warning("the forecasts of %s series were not kept: PostgreSQL did not answer", len(self._waiting))

    def _begin(self) -> None:
        if self._is_started and self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(RETRY_SECONDS if self._has_failed else COLLECT_SECONDS)
            await self._write()

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, {}
        try:
            async with connected(self._windows.client.database, writable=True) as connection:
                for alike in sorted({(kept.version, len(kept.quantiles)) for kept in waiting.values()}):
                    part = {key: kept for key, kept in waiting.items() if (kept.version, len(kept.quantiles)) == alike}
                    await self._write_part(connection, part, version=alike[0])
                await write_predictions(connection, self._config)
        except (ForecastingError, asyncio.CancelledError) as error:
            self._waiting = waiting | self._waiting  # newer ones win
            if isinstance(error, asyncio.CancelledError):
                raise
            if not self._has_failed:
                logger.warning("forecasts are not kept at present: %s", error)
            self._has_failed = True
        else:
            if self._has_failed:
                logger.info("forecasts are kept again")
            self._has_failed = False

    async def _write_part(self, connection: OwnConnection, part: dict[SeriesKey, _Kept], *, version: str) -> None:
        """Of forecasts of as many days, all by this version."""
        quantiles = np.stack([kept.quantiles for kept in part.values()])
        cutoffs = np.array([kept.cutoff for kept in part.values()], np.int64)
        await write_forecasts(
            connection,
            encode_forecasts(list(part), cutoffs, quantiles),
            version=version,
            made_at=dt.datetime.now(dt.UTC),
            num_levels=quantiles.shape[2],
        )
