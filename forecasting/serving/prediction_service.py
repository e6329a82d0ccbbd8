"""PredictionService: forecasts from Python, in this process."""

import asyncio
import threading
import weakref
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from forecasting.artifact import load_artifact
from forecasting.predictor import Predictor, Window, stack_windows
from forecasting.serving.forecast_service import DEFAULT_METRIC, ForecastService
from forecasting.serving.recent_windows import RecentWindows
from forecasting.serving.responses import Response
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config

T = TypeVar("T")


class LocalModel:
    """A predictor in this process, asked as TorchServe is."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def predict(self, windows: Sequence[Window], days_ahead: int) -> Float[np.ndarray, "windows days levels"]:
        return self._predictor.roll_out(stack_windows(windows, days_ahead))


class PredictionService:
    """Forecasts from Python, equal to the routes' answers. Thread-safe; `close` it, or use it in a `with`."""

    def __init__(self, config: Config | None = None) -> None:
        """Loads the version that `config` or the environment names, else the newest.

        Raises UnknownVersion, BrokenArtifact; CannotConnect only when a forecast is asked for.
        """
        config = config or load_config()
        artifact = load_artifact(config.model_dir, config.model_version)
        model = LocalModel(artifact.load_predictor())  # before the thread starts: nobody would stop it on a failure
        self.card = artifact.card
        history = self._windows = RecentWindows(config, artifact.card)
        self._forecasts = ForecastService(
            artifact.card, model, history.read, find_sites=history.sites.find, misses_days=history.misses_days
        )
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run_loop, args=(self._loop,), name="PredictionService", daemon=True)
        thread.start()
        self._end = weakref.finalize(self, _end_loop, self._loop, thread, history)

    def predict_page_visits(self, days_ahead: int = 7) -> Response:
        return self.predict(days_ahead=days_ahead)

    def predict(self, metric: str = DEFAULT_METRIC, days_ahead: int = 7, site: str | None = None) -> Response:
        """`site` is a site's name, or an earlier one."""
        return self._run(self._predict(metric, days_ahead, site))

    def predict_multiple(
        self, metrics: Sequence[str], days_ahead: int = 7, site: str | None = None
    ) -> dict[str, Response]:
        return self._run(self._predict_multiple(metrics, days_ahead, site))

    async def _predict(self, metric: str, days_ahead: int, site: str | None) -> Response:
        await self._windows.list_sites()
        return await self._forecasts.predict(metric=metric, days_ahead=days_ahead, site=site)

    async def _predict_multiple(self, metrics: Sequence[str], days_ahead: int, site: str | None) -> dict[str, Response]:
        await self._windows.list_sites()
        return await self._forecasts.predict_multiple(metrics=metrics, days_ahead=days_ahead, site=site)

    def close(self) -> None:
        """Done by itself at the latest when the program ends, or nobody holds the service any more."""
        self._end()

    def __enter__(self) -> "PredictionService":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _end_loop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, history: RecentWindows) -> None:
    async def end() -> None:
        try:
            await history.close()
        finally:
            loop.stop()

    asyncio.run_coroutine_threadsafe(end(), loop)
    if threading.current_thread() is not thread:  # which may be the one that collects the garbage
        thread.join()
