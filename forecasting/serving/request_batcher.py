"""Many askers, few questions: what is asked while others are being answered waits, and goes out together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Waiter(Generic[Item, Result]):
    """What one asker waits for."""

    items: Sequence[Item]
    answered: "asyncio.Future[Sequence[Result]]"


class RequestBatcher(Generic[Item, Result]):
    """Asks `answer` for the items of all who wait, in their order, at most `max_items` at once: nobody waits for a
    batch to fill, since the first goes out alone, and those that came meanwhile follow together.

    `num_at_once` questions may be under way. A batch of several askers that fails with `alone` is asked again for each
    of them alone, so that what is wrong with one is not said to the others. Used in one event loop.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_items: int,
        num_at_once: int,
        alone: tuple[type[Exception], ...] = (),
    ) -> None:
        self._answer = answer
        self._max_items = max_items
        self._num_at_once = num_at_once
        self._alone = alone
        self._waiting: deque[_Waiter[Item, Result]] = deque()
        self._running: dict[asyncio.Task[None], list[_Waiter[Item, Result]]] = {}

    async def ask(self, items: Sequence[Item]) -> list[Result]:
        """The items' results, in their order; more than `max_items` go out in parts. Raises what `answer` raises."""
        loop = asyncio.get_running_loop()
        parts = [items[start : start + self._max_items] for start in range(0, len(items), self._max_items)]
        asked: list[_Waiter[Item, Result]] = [_Waiter(part, loop.create_future()) for part in parts]
        self._waiting.extend(asked)
        self._send()
        try:
            return [result for one in asked for result in await one.answered]
        finally:
            for one in asked:
                one.answered.cancel()  # of who gave up nothing more is asked
                if one.answered.done() and not one.answered.cancelled():
                    one.answered.exception()  # seen, though an earlier part's is what was raised

    def fail(self, error: Exception) -> None:
        """Ends what is under way or waits, with this for everybody."""
        for task, batch in list(self._running.items()):
            _refuse(batch, error)
            task.cancel()
        _refuse(self._waiting, error)
        self._waiting.clear()

    def _send(self) -> None:
        while self._waiting and len(self._running) < self._num_at_once:
            batch = self._gather()
            if batch:
                task = asyncio.ensure_future(self._run(batch))
                self._running[task] = batch
                task.add_done_callback(self._end)

    def _gather(self) -> list[_Waiter[Item, Result]]:
        batch: list[_Waiter[Item, Result]] = []
        num_items = 0
        while self._waiting and num_items + len(self._waiting[0].items) <= self._max_items:
            one = self._waiting.popleft()
            if not one.answered.done():
                batch.append(one)
                num_items += len(one.items)
        return batch

    def _end(self, task: "asyncio.Task[None]") -> None:
        _refuse(self._running.pop(task), asyncio.CancelledError())
        if not task.cancelled():
            task.result()  # a mistake of ours is not swallowed
        self._send()

    async def _run(self, batch: Sequence[_Waiter[Item, Result]]) -> None:
        try:
            results = await self._answer([item for one in batch for item in one.items])
        except self._alone as error:
            if len(batch) == 1:
                _refuse(batch, error)
            else:
                await asyncio.gather(*(self._run([one]) for one in batch))
            return
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked
            _refuse(batch, error)
            return
        start = 0
        for one in batch:
            end = start + len(one.items)
            if not one.answered.done():
                one.answered.set_result(results[start:end])
            start = end


def _refuse(batch: Sequence[_Waiter[Item, Result]] | deque[_Waiter[Item, Result]], error: BaseException) -> None:
    for one in batch:
        if one.answered.done():
            continue
        if isinstance(error, asyncio.CancelledError):
            one.answered.cancel()
        else:
            one.answered.set_exception(error)
