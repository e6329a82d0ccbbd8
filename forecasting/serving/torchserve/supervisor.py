"""Keeps a TorchServe running: one that ended, does not answer any more, or serves an older version is replaced."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from forecasting.errors import CannotStart
from forecasting.serving.torchserve.process import TorchServe

logger = logging.getLogger("forecasting.serving")

TICK_SECONDS = 0.2
SILENT_SECONDS = 5.0  # without an answer, after which Java itself has to say that it is there
HUNG_SECONDS = (
    20.0  # without one, whatever Java says: until then workers that hang or die are TorchServe's own business
)
MAX_PAUSE_SECONDS = 30.0  # between two starts that fail

T = TypeVar("T")
U = TypeVar("U")
Start = Callable[[Callable[[], bool]], TorchServe]  # is told whether it is given up
HasStarted = Callable[[TorchServe], object]


class Supervisor:
    """Owns the running TorchServe, and any other that it has started. `watch` replaces one that has failed, `take_over`
    one that another shall answer instead of; leaving the context ends all, and whatever is starting then.
    """

    def __init__(self, start: Start) -> None:
        """Starts it. Raises CannotStart."""
        self._start = start
        self._is_ending = threading.Event()
        self._owned: list[TorchServe] = []
        self.torchserve = self._begin(start)
        self.trouble: str | None = None  # while there is none that runs
        self.num_restarts = 0
        self._answered_at = time.monotonic()
        self._threads = ThreadPoolExecutor(thread_name_prefix="supervisor")

    def answered(self, at: float | None = None) -> None:
        """Told by whoever gets an answer from it; now, unless `at` says when, by the monotonic clock."""
        self._answered_at = max(self._answered_at, time.monotonic() if at is None else at)

    async def watch(self, has_started: HasStarted) -> None:
        """Until it is cancelled. `has_started` is told of each new one."""
        while True:
            slept_at = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)
            if time.monotonic() - slept_at > SILENT_SECONDS:
                self.answered()  # it was we who stood still, and heard nobody
            if failure := await self._find_failure():
                await self._replace(failure)
                has_started(self.torchserve)

    async def start_beside(self, start: Start) -> TorchServe:
        """Another one, while the running one answers. Raises CannotStart."""
        return await self._in_thread(self._begin, start)

    def take_over(self, torchserve: TorchServe, start: Start) -> TorchServe:
        """Makes it the one that is watched, and is started again with `start`. Gives the one before, to be ended."""
        before, self.torchserve, self._start, self.trouble = self.torchserve, torchserve, start, None
        self.answered()
        return before

    async def end(self, torchserve: TorchServe) -> None:
        """One that does not answer, or not any more."""
        await self._in_thread(self._end, torchserve)

    async def _find_failure(self) -> str | None:
        """Why it has to be replaced; None while it need not."""
        silent = time.monotonic() - self._answered_at
        if not self.torchserve.is_running():
            return f"TorchServe ended with {self.torchserve.process.returncode}"
        if silent > HUNG_SECONDS:
            return f"TorchServe has not answered for {HUNG_SECONDS:.0f} s"
        if silent > SILENT_SECONDS and not await self._in_thread(TorchServe.pings, self.torchserve):
            return f"TorchServe has not answered for {silent:.0f} s, nor has its Java"
        return None

    async def _replace(self, what: str) -> None:
        failed, pause = self.torchserve, 1.0
        self.trouble = f"{what}: it is being started again."
        while True:
            logger.warning("%s", self.trouble)
            await self.end(failed)
            try:
                started = await self.start_beside(self._start)
            except (CannotStart, OSError) as error:  # a full disk, say
                found: Exception = error
            else:
                break
            if self.torchserve is not failed:  # another has taken over
                return
            logger.warning("%s and cannot be started again: %s", what, found)
            reason = str(found).partition("\n")[0]  # what follows may be a worker's traceback
            self.trouble = f"{what} and cannot be started again; the next try is in {pause:.0f} s. {reason}"
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
        if self.torchserve is failed:
            self.take_over(started, self._start)
            self.num_restarts += 1
            logger.info("TorchServe answers again, on %s", started.inference_url)
        else:
            await self.end(started)

    def _begin(self, start: Start) -> TorchServe:
        torchserve = start(self._is_ending.is_set)
        self._owned.append(torchserve)
        return torchserve

    def _end(self, torchserve: TorchServe) -> None:
        torchserve.stop()
        if torchserve in self._owned:
            self._owned.remove(torchserve)

    async def _in_thread(self, do: Callable[[T], U], what: T) -> U:
        return await asyncio.get_running_loop().run_in_executor(self._threads, do, what)

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_ending.set()
        self._threads.shutdown()
        for torchserve in self._owned:
            torchserve.stop()
