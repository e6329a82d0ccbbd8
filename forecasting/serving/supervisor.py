"""Keeps a TorchServe running: one that ended, or does not answer any more, is replaced by a new one."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from forecasting.errors import CannotStart
from forecasting.serving.torchserve import TorchServe

logger = logging.getLogger("forecasting.serving")

LOOK_SECONDS = 0.2
HUNG_SECONDS = (
    20.0  # without an answer, after which it is killed: hung workers are TorchServe's own business until then
)
MAX_PAUSE_SECONDS = 30.0  # between two starts that fail

Start = Callable[[Callable[[], bool]], TorchServe]  # is told whether it is given up
HasStarted = Callable[[TorchServe], object]


class Supervisor:
    """Owns the running TorchServe. `watch` replaces it; leaving the context ends it, and whatever is starting then."""

    def __init__(self, start: Start) -> None:
        """Starts it. Raises CannotStart."""
        self._start = start
        self._is_ending = threading.Event()
        self.torchserve = start(self._is_ending.is_set)
        self.trouble: str | None = None  # while there is none that runs
        self.num_restarts = 0
        self._answered_at = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="supervisor")

    def answered(self) -> None:
        """Told by whoever gets an answer from it."""
        self._answered_at = time.monotonic()

    async def watch(self, has_started: HasStarted) -> None:
        """Until it is cancelled. `has_started` is told of each new one."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self.torchserve.is_running():
                what = f"TorchServe ended with {self.torchserve.process.returncode}"
            elif time.monotonic() - self._answered_at > HUNG_SECONDS:
                what = f"TorchServe has not answered for {HUNG_SECONDS:.0f} s"
            else:
                continue
            await self._replace(what)
            has_started(self.torchserve)

    async def _replace(self, what: str) -> None:
        pause = 1.0
        self.trouble = f"{what}: it is being started again."
        while True:
            logger.warning("%s", self.trouble)
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._start_again)
            except CannotStart as error:
                self.trouble = f"{what} and cannot be started again; the next try is in {pause:.0f} s. {error}"
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
                continue
            self.num_restarts += 1
            self.trouble = None
            self.answered()
            logger.info("TorchServe answers again, on %s", self.torchserve.inference_url)
            return

    def _start_again(self) -> None:
        self.torchserve.stop()
        self.torchserve = self._start(self._is_ending.is_set)

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_ending.set()
        self._thread.shutdown()
        self.torchserve.stop()
