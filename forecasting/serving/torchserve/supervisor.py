"""Keeps a TorchServe running: replaces one that has ended, has stopped answering, or serves an older version."""

import asyncio
import logging
import math
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from forecasting.errors import CannotStart
from forecasting.runtime.disk import explain_unwritable
from forecasting.runtime.memory import KillCounter, describe_end
from forecasting.serving.torchserve.logs import is_out_of_heap
from forecasting.serving.torchserve.process import MAX_HEAP, TorchServe

logger = logging.getLogger("forecasting.serving")

TICK_SECONDS = 0.2
RECENT_SECONDS = 1.0  # between a kill by the kernel and the end of Java: it was Java that the kernel ended
SILENT_SECONDS = 5.0  # without an answer; then Java itself has to show that it is alive
# Without an answer, whatever Java says. Until then TorchServe replaces hanging or dead workers by itself.
HUNG_SECONDS = 20.0
MAX_PAUSE_SECONDS = 30.0  # between two failed starts

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Start = Callable[[Callable[[], bool]], TorchServe]  # takes what says whether the start is cancelled
OnRestart = Callable[[TorchServe], object]


class Supervisor:
    """Owns every TorchServe that it starts. `watch` restarts the current one after a failure; `switch_to` makes another
    the current one. Leaving the context ends them all, also one that is still starting.
    """

    def __init__(self, start: Start) -> None:
        """Starts the first one. Raises CannotStart."""
        self._start = start
        self._is_ending = threading.Event()
        self._owned: list[TorchServe] = []
        self.torchserve = self._start_and_own(start)
        self.problem: str | None = None  # set while none is running
        self.num_restarts = 0
        self._kills = KillCounter()
        self._killed_at = -math.inf  # when the kernel last ended some process, by the monotonic clock
        self._answered_at = time.monotonic()
        self._threads = ThreadPoolExecutor(thread_name_prefix="supervisor")

    def report_answer(self, at: float | None = None) -> None:
        """The current TorchServe has answered: now, or `at` this time of the monotonic clock."""
        self._answered_at = max(self._answered_at, time.monotonic() if at is None else at)

    async def watch(self, on_restart: OnRestart) -> None:
        """Runs until it is cancelled, and calls `on_restart` with each new TorchServe."""
        while True:
            slept_at = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)
            if time.monotonic() - slept_at > SILENT_SECONDS:
                self.report_answer()  # our own process stood still, so nobody could report an answer
            failure = await self._find_failure()
            if self._kills.take_new():
                self._killed_at = time.monotonic()
            if failure:
                await self._replace(failure)
                on_restart(self.torchserve)

    async def start_second(self, start: Start) -> TorchServe:
        """Starts another one while the current one answers. Raises CannotStart."""
        return await self._in_thread(self._start_and_own, start)

    def switch_to(self, torchserve: TorchServe, start: Start) -> TorchServe:
        """Makes it the current one, which `start` restarts. Returns the previous one, which the caller ends."""
        previous, self.torchserve, self._start, self.problem = self.torchserve, torchserve, start, None
        self.report_answer()
        return previous

    async def end(self, torchserve: TorchServe) -> None:
        await self._in_thread(self._end, torchserve)

    async def _find_failure(self) -> str | None:
        """Why the current one has to be replaced; None if it has not."""
        silent = time.monotonic() - self._answered_at
        if not self.torchserve.is_running():
            return self._describe_end()
        if silent > HUNG_SECONDS:
            return f"TorchServe has not answered for {HUNG_SECONDS:.0f} s"
        if silent > SILENT_SECONDS and not await self._in_thread(TorchServe.pings, self.torchserve):
            return f"TorchServe has not answered for {silent:.0f} s, and neither has its Java"
        return None

    def _describe_end(self) -> str:
        """How Java ended, and what to do if memory was short."""
        code, num_kills = self.torchserve.process.returncode, self._kills.take_new()
        if num_kills is not None and time.monotonic() - self._killed_at < RECENT_SECONDS:
            num_kills += 1
        if is_out_of_heap(self.torchserve.log_dir):
            return f"TorchServe's Java used up its own memory ({MAX_HEAP})"
        failure = f"TorchServe {describe_end(code, num_kills)}"
        advice = "; give this server more memory, or fewer workers (serving.workers)"
        return failure + (advice if code == -signal.SIGKILL and num_kills != 0 else "")

    async def _replace(self, failure: str) -> None:
        """Restarts it, with increasing delays after repeated failures."""
        failed, pause = self.torchserve, 1.0
        self.problem = f"{failure}. It is being restarted."
        while True:
            logger.warning("%s", self.problem)
            await self.end(failed)
            try:
                started = await self.start_second(self._start)
            except CannotStart as error:
                cause = str(error)
            except OSError as error:  # a full disk, for example
                file = error.filename2 or error.filename or "TorchServe's files"
                cause = explain_unwritable(file, error, advice="set TMPDIR")
            else:
                break
            if self.torchserve is not failed:  # a promotion has switched to another
                return
            logger.warning("%s, and its restart failed: %s", failure, cause)
            summary = cause.partition("\n")[0]  # the following lines may be a worker's traceback
            self.problem = f"{failure}, and its restart failed. The next try is in {pause:.0f} s. {summary}"
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
        if self.torchserve is failed:
            self.switch_to(started, self._start)
            self.num_restarts += 1
            logger.info("TorchServe answers again on %s", started.inference_url)
        else:
            await self.end(started)

    def _start_and_own(self, start: Start) -> TorchServe:
        torchserve = start(self._is_ending.is_set)
        self._owned.append(torchserve)
        return torchserve

    def _end(self, torchserve: TorchServe) -> None:
        torchserve.stop()
        if torchserve in self._owned:
            self._owned.remove(torchserve)

    async def _in_thread(self, function: Callable[[Argument], Result], argument: Argument) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, argument)

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_ending.set()
        self._threads.shutdown()
        for torchserve in self._owned:
            torchserve.stop()
