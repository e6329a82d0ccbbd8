"""The version that is served: its forecasts, and the health of TorchServe, PostgreSQL and the source behind them."""

import asyncio
import time
from collections.abc import Callable

from forecasting.artifact import Artifact
from forecasting.card import restore_settings
from forecasting.errors import ForecastingError
from forecasting.serving.day_judge import DayJudge
from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.forecast_keeper import ForecastKeeper
from forecasting.serving.forecast_service import MAX_SERIES, ForecastService
from forecasting.serving.health import Problems
from forecasting.serving.recent_windows import RecentWindows
from forecasting.serving.torchserve.client import TorchServeClient
from forecasting.serving.torchserve.configuration import num_workers
from forecasting.serving.torchserve.process import TorchServe
from forecasting.settings.schema import Config


class ServedModel:
    """Uses a TorchServe that somebody else starts and ends. Used in one event loop."""

    def __init__(
        self,
        config: Config,
        artifact: Artifact,
        torchserve: TorchServe,
        *,
        on_judged: Callable[[], None] | None = None,
    ) -> None:
        """`on_judged` as DayJudge has it."""
        self.card = card = artifact.card
        serving = config.serving
        self._check_seconds = serving.check_seconds
        self.client = TorchServeClient(
            torchserve.inference_url,
            card.version,
            torchserve.key_file,
            serving.deadline_seconds,
            max_running=2 * num_workers(serving),  # each worker has its next request at hand
        )
        self.config = restore_settings(card, config)
        self.judge = DayJudge(self.config, card, self.client, on_judged=on_judged)
        self.windows = RecentWindows(config, card, on_days=self.judge.start)
        self.keeper = ForecastKeeper(self.config, card.version, self.windows)
        self.forecast_cache = ForecastCache(
            ForecastService(
                card,
                self.client,
                self.windows.read,
                find_sites=self.windows.sites.find,
                find_age=self.windows.find_age,
                keep=self.keeper.add,
            ),
            self.windows.revisions,
            megabytes=serving.cache_mb / 2,
            stale_seconds=serving.stale_seconds,
            misses_days=self.windows.misses_days,
            find_kept=lambda: self.windows.updates.kept,
        )
        self._checking: asyncio.Task[None] | None = None
        self._checked_at: float | None = None
        self._model_problem: str | None = None

    @property
    def problems(self) -> Problems:
        return self.windows.problems._replace(model=self._model_problem)

    async def find_problems(self) -> Problems:
        """At most `serving.check_seconds` old."""
        if self._checked_at is None or time.monotonic() - self._checked_at > self._check_seconds:
            await self.check()
        return self.problems

    async def check(self) -> None:
        """Checks the parts, and whether cached forecasts are still valid; once for all who ask at the same time."""
        if self._checking is None:
            self._checking = asyncio.create_task(self._check())
        await asyncio.shield(self._checking)

    async def verify(self) -> None:
        """Computes forecasts of some hundred series at most. If all of them fail, raises the first one's error."""
        await self.windows.updates.refresh()
        await self.check()
        card = self.forecast_cache.card
        results = await self.forecast_cache.get(card.series[:MAX_SERIES], card.prediction_horizon)
        errors = [result for result in results if isinstance(result, ForecastingError)]
        if errors and len(errors) == len(results):
            raise errors[0]

    def switch_to(self, torchserve: TorchServe) -> None:
        """Uses this TorchServe from now on, after a restart."""
        self.client.switch_to(torchserve.inference_url, torchserve.key_file)

    async def close(self) -> None:
        """Waits for forecasts that are being computed."""
        await self.forecast_cache.finish()
        await self.keeper.close()
        await self.judge.close()
        await self.client.close()
        await self.windows.close()

    async def _check(self) -> None:
        try:
            self._model_problem, _ = await asyncio.gather(self.client.find_problem(), self.windows.check())
            self._checked_at = time.monotonic()
        finally:
            self._checking = None
