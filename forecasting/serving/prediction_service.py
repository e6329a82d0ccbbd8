"""PredictionService: forecasts from Python, in this process."""

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from forecasting.artifact import load_artifact
from forecasting.domain import read_days_ahead
from forecasting.errors import ServiceClosed, SettingError
from forecasting.predictor import Predictor, Window, stack_windows
from forecasting.serving.forecast_service import DEFAULT_METRIC, ForecastService
from forecasting.serving.recent_windows import RecentWindows
from forecasting.serving.responses import Response
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config

T = TypeVar("T")
DaysAhead = int | float | str  # 7, 7.0 and "7", as the routes take them
CLOSED = "This PredictionService is closed. Make a new one."


class LocalModel:
    """A predictor in this process, asked as TorchServe is."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def predict(self, windows: Sequence[Window], days_ahead: int) -> Float[np.ndarray, "windows days levels"]:
        return self._predictor.roll_out(stack_windows(windows, days_ahead))


class PredictionService:
    """Forecasts from Python, equal to the routes' answers. Thread-safe; `close` it, or use it in a `with`.

    Each process needs its own, made after the fork (of gunicorn's preload, say): ServiceClosed says so.
    """

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
            artifact.card, model, history.read, find_sites=history.sites.find, find_age=history.find_present_age
        )
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run_loop, args=(self._loop,), name="PredictionService", daemon=True)
        thread.start()
        self._process = os.getpid()
        self._end = weakref.finalize(self, _end_loop, self._loop, thread, history, self._process)

    def predict_page_visits(self, days_ahead: DaysAhead = 7) -> Response:
        return self.predict(days_ahead=days_ahead)

    def predict(self, metric: str = DEFAULT_METRIC, days_ahead: DaysAhead = 7, site: str | None = None) -> Response:
        """`site` is a site's name, or an earlier one."""
        self._check_usable()
        return self._run(self._predict(metric, read_days_ahead(days_ahead), site))

    def predict_multiple(
        self, metrics: Sequence[str], days_ahead: DaysAhead = 7, site: str | None = None
    ) -> dict[str, Response]:
        """Raises SettingError for a bare string, which would be read letter by letter."""
        self._check_usable()
        if isinstance(metrics, str | bytes):
            raise SettingError(f"metrics is {metrics!r}, which is no list. Write [{metrics!r}].")
        return self._run(self._predict_multiple(metrics, read_days_ahead(days_ahead), site))

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

    def __reduce__(self) -> str:
        raise ServiceClosed("A PredictionService cannot be sent to another process. Make one in each process.")

    def _check_usable(self) -> None:
        """Raises ServiceClosed. A child gets neither the thread nor the database's connections of its parent."""
        if os.getpid() != self._process:
            raise ServiceClosed(
                f"This PredictionService belongs to process {self._process}, from which this one was forked. Make "
                "one in each process, after the fork."
            )
        if not self._end.alive:
            raise ServiceClosed(CLOSED)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError as error:  # another thread has closed the loop just now
            coroutine.close()
            raise ServiceClosed(CLOSED) from error
        try:
            return future.result()
        except CancelledError as error:
            raise ServiceClosed(CLOSED) from error


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        if tasks := asyncio.all_tasks(loop):  # requests of other threads, which would wait for ever
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks))
    finally:
        loop.close()


def _end_loop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, history: RecentWindows, process: int) -> None:
    if os.getpid() != process:  # the loop's thread runs in the parent, which still uses it
        return

    async def end() -> None:
        try:
            await history.close()
        finally:
            loop.stop()

    asyncio.run_coroutine_threadsafe(end(), loop)
    if threading.current_thread() is not thread:  # which may be the one that collects the garbage
        thread.join()
