"""PredictionService, which forecasts in this process, and what it shares with the shim, which asks TorchServe."""

import asyncio
import datetime as dt
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float

from forecasting.artifact import Artifact, Card, SeriesCard, load_artifact
from forecasting.errors import DataError
from forecasting.serving.forecasts import (
    Instance,
    check_days_ahead,
    find_each,
    find_series,
    let_naive_answer,
    next_instance,
    shape_answers,
)
from forecasting.serving.recent_windows import RecentWindows
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config

Answer = dict[str, Any]  # json's own types
T = TypeVar("T")
DEFAULT_METRIC = "page_visits"


@runtime_checkable
class Model(Protocol):
    """Whatever turns windows into quantiles: the program in this process, or TorchServe."""

    async def predict(self, instances: Sequence[Instance]) -> Float[np.ndarray, "instances horizon levels"]: ...


Read = Callable[[Sequence[SeriesCard]], Awaitable[list[Instance | DataError]]]


class Forecasts:
    """The documented answers of one version, from a history and a model."""

    def __init__(self, card: Card, model: Model, read: Read) -> None:
        self.card = card
        self._model = model
        self._read = read

    async def predict(self, *, metric: str = DEFAULT_METRIC, days_ahead: int = 7, site: str | None = None) -> Answer:
        series = find_series(self.card, metric=metric, site=site)
        [answer] = await self.answer([series], days_ahead)
        if isinstance(answer, DataError):
            raise answer
        return answer

    async def predict_multiple(
        self, *, metrics: Sequence[str], days_ahead: int = 7, site: str | None = None
    ) -> dict[str, Answer]:
        """An answer a metric; one that cannot be answered says why in its place. One request to the model for all."""
        found = find_each(self.card, metrics=metrics, site=site)
        answers = iter(await self.answer([one for one in found.values() if isinstance(one, SeriesCard)], days_ahead))
        told = {name: next(answers) if isinstance(one, SeriesCard) else one for name, one in found.items()}
        return {name: {"error": str(one)} if isinstance(one, DataError) else one for name, one in told.items()}

    async def answer(self, series: Sequence[SeriesCard], days_ahead: int) -> list[Answer | DataError]:
        """Of each series, or why there is none. Raises what the history and the model raise where a part is down."""
        check_days_ahead(days_ahead)
        read = await self._read(series)
        able = [(one, first) for one, first in zip(series, read, strict=True) if isinstance(first, Instance)]
        answers = iter(await self._forecast([one for one, _ in able], [first for _, first in able], days_ahead))
        return [next(answers) if isinstance(first, Instance) else first for first in read]

    async def _forecast(
        self, series: Sequence[SeriesCard], instances: Sequence[Instance], days_ahead: int
    ) -> list[Answer]:
        """All series in one request a horizon; the days after the first horizon by feeding the medians back."""
        if not series:
            return []
        first = instances
        cutoffs = [one.first_day + self.card.context_length - 1 for one in instances]
        blocks = []
        for step in range(1, -(-days_ahead // self.card.horizon) + 1):
            block = await self._model.predict(instances)
            blocks.append(block)
            if step * self.card.horizon < days_ahead:
                instances = [
                    next_instance(instance, quantiles, step=step, series=one, card=self.card)
                    for instance, quantiles, one in zip(instances, block, series, strict=True)
                ]
        quantiles = np.concatenate(blocks, axis=1)[:, :days_ahead]
        quantiles = let_naive_answer(quantiles, series, first, self.card)
        return shape_answers(quantiles, series, cutoffs, self.card, made_at=dt.datetime.now(dt.UTC))


class InProcessModel:
    """The exported program, called directly."""

    def __init__(self, artifact: Artifact) -> None:
        self._program = artifact.load_program()

    async def predict(self, instances: Sequence[Instance]) -> Float[np.ndarray, "instances horizon levels"]:
        import torch

        from forecasting.model.forecaster import KINDS

        with torch.no_grad():
            quantiles = self._program(
                torch.from_numpy(np.stack([one.history for one in instances])),
                torch.tensor([one.first_day for one in instances]),
                torch.tensor([KINDS[one.kind] for one in instances]),
                torch.from_numpy(np.stack([one.band_scale for one in instances])),
            )
        return np.asarray(quantiles.numpy())


class PredictionService:
    """Forecasts from Python, equal to the routes' answers. Thread-safe; `close` it, or use it in a `with`."""

    def __init__(self, config: Config | None = None) -> None:
        """Loads the version that `config` or the environment names, else the newest.

        Raises UnknownVersion, BrokenArtifact; CannotConnect only when a forecast is asked for.
        """
        config = config or load_config()
        artifact = load_artifact(config.model_dir, config.serving.model_version)
        model = InProcessModel(artifact)  # before the thread, which nobody would end if it failed
        self.card = artifact.card
        history = RecentWindows(config, artifact.card)
        self._forecasts = Forecasts(artifact.card, model, history.read)
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run_loop, args=(self._loop,), name="PredictionService", daemon=True)
        thread.start()
        self._end = weakref.finalize(self, _end_loop, self._loop, thread, history)

    def predict_page_visits(self, days_ahead: int = 7) -> Answer:
        return self.predict(days_ahead=days_ahead)

    def predict(self, metric: str = DEFAULT_METRIC, days_ahead: int = 7, site: str | None = None) -> Answer:
        return self._run(self._forecasts.predict(metric=metric, days_ahead=days_ahead, site=site))

    def predict_multiple(
        self, metrics: Sequence[str], days_ahead: int = 7, site: str | None = None
    ) -> dict[str, Answer]:
        return self._run(self._forecasts.predict_multiple(metrics=metrics, days_ahead=days_ahead, site=site))

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
