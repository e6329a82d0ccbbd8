"""Combines requests that arrive while others are being answered."""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Request(Generic[Item, Result]):
    items: Sequence[Item]
    results: "asyncio.Future[Sequence[Result]]"


class RequestBatcher(Generic[Item, Result]):
    """Passes items to `process` in batches of at most `max_items`, at most `max_running` batches at a time.

    Nobody waits for a batch to fill: a batch has what arrived in one turn of the event loop, or while the previous ones
    were running. If a batch of several requests raises one of `retry_alone`, each of them is processed again by itself,
    so that a faulty request fails alone. Used in one event loop.
    """

    def __init__(
        self,
        process: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_items: int,
        max_running: int = sys.maxsize,
        retry_alone: tuple[type[Exception], ...] = (),
    ) -> None:
        self._process = process
        self._max_items = max_items
        self._max_running = max_running
        self._retry_alone = retry_alone
        self._waiting: deque[_Request[Item, Result]] = deque()
        self._running: dict[asyncio.Task[None], list[_Request[Item, Result]]] = {}

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """Results in the order of the items; more than `max_items` are split. Raises what `process` raises."""
        loop = asyncio.get_running_loop()
        parts = [items[start : start + self._max_items] for start in range(0, len(items), self._max_items)]
        requests: list[_Request[Item, Result]] = [_Request(part, loop.create_future()) for part in parts]
        if not self._waiting:
            loop.call_soon(self._start_batches)  # once everybody who arrives in this turn of the event loop has done so
        self._waiting.extend(requests)
        try:
            return [result for request in requests for result in await request.results]
        finally:
            for request in requests:
                request.results.cancel()  # if the caller gave up, waiting parts are skipped
                if request.results.done() and not request.results.cancelled():
                    request.results.exception()  # marks it as retrieved: an earlier part's error was raised

    def fail_all(self, error: Exception) -> None:
        """Ends everything that runs or waits with this error."""
        for task, batch in list(self._running.items()):
            _fail(batch, error)
            task.cancel()
        _fail(self._waiting, error)
        self._waiting.clear()

    def _start_batches(self) -> None:
        while self._waiting and len(self._running) < self._max_running:
            batch = self._next_batch()
            if batch:
                task = asyncio.ensure_future(self._run(batch))
                self._running[task] = batch
                task.add_done_callback(self._finish)

    def _next_batch(self) -> list[_Request[Item, Result]]:
        batch: list[_Request[Item, Result]] = []
        num_items = 0
        while self._waiting and num_items + len(self._waiting[0].items) <= self._max_items:
            request = self._waiting.popleft()
            if not request.results.done():
                batch.append(request)
                num_items += len(request.items)
        return batch

    def _finish(self, task: "asyncio.Task[None]") -> None:
        _fail(self._running.pop(task), asyncio.CancelledError())
        if not task.cancelled():
            task.result()  # raises if there is a bug in this class
        self._start_batches()

    async def _run(self, batch: Sequence[_Request[Item, Result]]) -> None:
        try:
            results = await self._process([item for request in batch for item in request.items])
        except self._retry_alone as error:
            if len(batch) == 1:
                _fail(batch, error)
            else:
                await asyncio.gather(*(self._run([request]) for request in batch))
            return
        except Exception as error:  # noqa: BLE001 - raised again in `submit`
            _fail(batch, error)
            return
        start = 0
        for request in batch:
            end = start + len(request.items)
            if not request.results.done():
                request.results.set_result(results[start:end])
            start = end


def _fail(requests: Iterable[_Request[Item, Result]], error: BaseException) -> None:
    for request in requests:
        if request.results.done():
            continue
        if isinstance(error, asyncio.CancelledError):
            request.results.cancel()
        else:
            request.results.set_exception(error)
