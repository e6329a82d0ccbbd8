"""A version as it is served: its answers, from history in PostgreSQL and quantiles of TorchServe, and how both are."""

import asyncio
import time
from typing import NamedTuple

from forecasting.artifact import Artifact
from forecasting.errors import ForecastingError
from forecasting.serving.forecast_cache import SERIES_AT_ONCE, ForecastCache
from forecasting.serving.forecast_service import ForecastService
from forecasting.serving.recent_windows import RecentWindows
from forecasting.serving.torchserve.client import TorchServeClient
from forecasting.serving.torchserve.configuration import num_workers
from forecasting.serving.torchserve.process import TorchServe
from forecasting.settings.schema import Config


class Troubles(NamedTuple):
    """A sentence for each part that does not answer, as it was last looked."""

    model: str | None = None
    days: str | None = None  # those that forecasts are made of
    source: str | None = None  # of new days; those of before are answered from

    def tell(self, *, in_full: bool = True) -> list[str]:
        """In full they name hosts, users and what programs have said, which is not for everybody."""
        if not in_full:
            names = {"TorchServe": self.model, "PostgreSQL": self.days, "The source of new days": self.source}
            return [f"{name} does not answer." for name, trouble in names.items() if trouble]
        return list(dict.fromkeys(one for one in self if one))

    @property
    def is_ready(self) -> bool:
        """Whether requests are answered."""
        return self.model is None and self.days is None


class ServedModel:
    """One of them while it answers, over a TorchServe that somebody else starts and ends. Used in one event loop."""

    def __init__(self, config: Config, artifact: Artifact, torchserve: TorchServe) -> None:
        card, serving = artifact.card, config.serving
        self._check_seconds = serving.check_seconds
        self.model = TorchServeClient(
            torchserve.inference_url,
            card.version,
            torchserve.key_file,
            serving.deadline_seconds,
            requests_at_once=2 * num_workers(serving),  # while one is computed, its worker's next one is on its way
        )
        self.history = RecentWindows(config, card)
        forecasts = ForecastService(card, self.model, self.history.read)
        self.answers = ForecastCache(
            forecasts, self.history, megabytes=serving.cache_mb / 2, stale_seconds=serving.stale_seconds
        )
        self._looking: asyncio.Task[None] | None = None
        self._looked_at: float | None = None
        self._model_trouble: str | None = None

    @property
    def troubles(self) -> Troubles:
        return Troubles(self._model_trouble, self.history.unanswered, self.history.trouble)

    async def find_troubles(self) -> Troubles:
        """As they were `serving.check_seconds` ago at most."""
        if self._looked_at is None or time.monotonic() - self._looked_at > self._check_seconds:
            await self.look()
        return self.troubles

    async def look(self) -> None:
        """Sees how the parts are, and whether what is kept still holds; once for all who ask meanwhile."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    async def prove(self) -> None:
        """Asks for forecasts, of some hundred series at most. Raises why there are none, where there is not one."""
        await self.history.bring_up_to_date()
        await self.look()
        told = await self.answers.find(self.answers.card.series[:SERIES_AT_ONCE], self.answers.card.horizon)
        failed = [one for one in told if isinstance(one, ForecastingError)]
        if failed and len(failed) == len(told):
            raise failed[0]

    def move(self, torchserve: TorchServe) -> None:
        """To one that was started instead."""
        self.model.move(torchserve.inference_url, torchserve.key_file)

    async def close(self) -> None:
        """After what is being computed."""
        await self.answers.finish()
        await self.model.close()
        await self.history.close()

    async def _look(self) -> None:
        try:
            self._model_trouble, _ = await asyncio.gather(self.model.find_trouble(), self.history.look())
            self._looked_at = time.monotonic()
        finally:
            self._looking = None
