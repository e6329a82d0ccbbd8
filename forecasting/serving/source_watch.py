"""Notices within seconds that a source can no longer be read, or can be read again: updates may be rare."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from forecasting.errors import ForecastingError
from forecasting.settings.schema import Config
from forecasting.warehouse.source_state import SourceState, read_source_state

PAUSE_SECONDS = 5.0  # between two looks


class SourceWatch:
    """`on_change` is called when the source has become readable or unreadable, or one of its tables empty or filled."""

    def __init__(self, config: Config, on_change: Callable[[], object]) -> None:
        self._config = config
        self._on_change = on_change
        self._is_needed = config.serving.refresh_seconds > PAUSE_SECONDS
        self._again_at = 0.0  # by the monotonic clock
        self._states: list[SourceState | None] = []  # of the last look, if there was one; None: unreadable
        self._task: asyncio.Task[None] | None = None

    def start_look(self) -> None:
        """Unless the last one is recent, or still under way."""
        is_running = self._task is not None and not self._task.done()
        if self._is_needed and not is_running and time.monotonic() >= self._again_at:
            self._task = asyncio.create_task(self._look())

    async def wait_for_look(self) -> None:
        self.start_look()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _look(self) -> None:
        state: SourceState | None = None
        with suppress(ForecastingError):  # the update that follows says why
            state = await read_source_state(self._config)
        if self._states and self._states[-1] != state:
            self._on_change()
        self._states = [state]
        self._again_at = time.monotonic() + PAUSE_SECONDS
