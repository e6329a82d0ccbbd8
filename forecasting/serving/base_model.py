"""The base, for sites that came after the version was trained: in this process, loaded when it is first needed."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from forecasting.artifact import load_base_predictor
from forecasting.predictor import Predictor, Window, stack_windows


class BaseModel:
    """Asked as TorchServe is. New sites are few until the next training, so no worker has to hold a second program."""

    def __init__(self) -> None:
        self._loading: asyncio.Task[Predictor] | None = None

    async def predict(self, windows: Sequence[Window], days_ahead: int) -> Float[np.ndarray, "windows days levels"]:
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(load_base_predictor))
        predictor = await asyncio.shield(self._loading)
        fitted = stack_windows([fit_window(window, predictor.context_length) for window in windows], days_ahead)
        return await asyncio.to_thread(predictor.roll_out, fitted)


def fit_window(window: Window, context_length: int) -> Window:
    """The window with as many days of history: the last ones, or with unknown ones before them."""
    more = context_length - len(window.history)
    if more == 0:
        return window
    history, effects = window.history[max(0, -more) :], window.effects
    history = np.pad(history, (max(0, more), 0), constant_values=np.nan)
    if effects is not None:
        effects = np.pad(effects[max(0, -more) :], (max(0, more), 0))
    return replace(window, history=history, first_day=window.first_day - more, effects=effects)
