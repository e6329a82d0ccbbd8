"""Many requests at once: few batches, each caller gets its own results, and a faulty request fails alone."""

import asyncio
import gc
from collections.abc import Sequence

import pytest

from forecasting.errors import BadAnswer, Unavailable
from forecasting.serving.circuit_breaker import CircuitBreaker
from forecasting.serving.request_batcher import RequestBatcher


class Doubler:
    """Doubles numbers after a moment; refuses 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.at_once = self.most_at_once = 0

    async def answer(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0.01)
        finally:
            self.at_once -= 1
        if 13 in numbers:
            raise BadAnswer("Thirteen is unlucky.")
        return [2 * number for number in numbers]


def test_whoever_comes_while_a_batch_runs_goes_out_together() -> None:
    doubler = Doubler()

    async def run() -> None:
        batcher = RequestBatcher(doubler.answer, max_items=50, max_running=1)
        first = asyncio.create_task(batcher.submit([1]))
        while not doubler.batches:  # noqa: ASYNC110 - two turns of the event loop
            await asyncio.sleep(0)
        later = [asyncio.create_task(batcher.submit([2]))]
        await asyncio.sleep(0)
        later.append(asyncio.create_task(batcher.submit([3])))
        await asyncio.gather(first, *later)

    asyncio.run(run())
    assert doubler.batches == [[1], [2, 3]]


def test_whoever_comes_at_once_goes_out_together() -> None:
    doubler = Doubler()

    async def run() -> list[list[int]]:
        batcher = RequestBatcher(doubler.answer, max_items=50, max_running=2)
        return await asyncio.gather(*(batcher.submit([number]) for number in range(20, 120)))

    assert asyncio.run(run()) == [[2 * number] for number in range(20, 120)]
    assert doubler.batches == [list(range(20, 70)), list(range(70, 120))]
    assert doubler.most_at_once == 2


def test_long_question_goes_out_in_parts_and_comes_back_in_order() -> None:
    doubler = Doubler()

    async def run() -> tuple[list[int], list[int]]:
        batcher = RequestBatcher(doubler.answer, max_items=8, max_running=2)
        numbers, nothing = await asyncio.gather(batcher.submit(range(100, 130)), batcher.submit([]))
        return numbers, nothing

    assert asyncio.run(run()) == ([2 * number for number in range(100, 130)], [])
    assert max(map(len, doubler.batches)) == 8


def test_what_is_wrong_with_one_is_not_said_to_the_others() -> None:
    async def run(alone: tuple[type[Exception], ...]) -> list[list[int] | BaseException]:
        batcher = RequestBatcher(Doubler().answer, max_items=50, max_running=1, retry_alone=alone)
        asking = (batcher.submit([number]) for number in (1, 12, 13, 14))
        return await asyncio.gather(*asking, return_exceptions=True)

    first, *together = asyncio.run(run((BadAnswer,)))
    assert first == [2]
    assert [together[0], together[2]] == [[24], [28]]
    assert str(together[1]) == "Thirteen is unlucky."
    _, *together = asyncio.run(run(()))
    assert {str(error) for error in together} == {"Thirteen is unlucky."}


def test_who_leaves_is_not_asked_for_and_hurts_nobody() -> None:
    doubler = Doubler()

    async def run() -> list[int]:
        batcher = RequestBatcher(doubler.answer, max_items=50, max_running=1)
        first, leaving, staying = (asyncio.create_task(batcher.submit([number])) for number in (1, 2, 3))
        await asyncio.sleep(0)
        leaving.cancel()
        await first
        return await staying

    assert asyncio.run(run()) == [6]
    assert doubler.batches == [[1, 3]]


def test_opened_breaker_ends_what_waits_and_lets_one_ask_a_second() -> None:
    now = 0.0

    async def run() -> list[list[int] | BaseException]:
        batcher = RequestBatcher(Doubler().answer, max_items=1, max_running=1)
        breaker = CircuitBreaker(batcher.fail_all, clock=lambda: now)
        waiting = [asyncio.create_task(batcher.submit([number])) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        for _ in range(3):
            breaker.check()
            breaker.report_failure(Unavailable("Nobody is there."))
        breakers.append(breaker)
        return await asyncio.gather(*waiting, return_exceptions=True)

    breakers: list[CircuitBreaker] = []
    text = "Nobody is there. It is tried again every second."
    assert [str(error) for error in asyncio.run(run())] == [text] * 3
    [breaker] = breakers
    with pytest.raises(Unavailable) as refusal:
        breaker.check()
    assert str(refusal.value) == text
    now = 1.5
    breaker.check()
    with pytest.raises(Unavailable):
        breaker.check()
    breaker.report_success()
    breaker.check()
    assert not breaker.is_open


def test_error_of_a_later_part_is_not_reported_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    """The caller hears of the first part's error. asyncio logs an error that nobody took."""

    async def run() -> None:
        batcher = RequestBatcher(Doubler().answer, max_items=1, max_running=2)
        with pytest.raises(BadAnswer):
            await batcher.submit([13, 13])

    asyncio.run(run())
    gc.collect()
    assert caplog.messages == []


def test_all_that_wait_are_ended_though_one_has_left() -> None:
    async def run() -> list[list[int] | BaseException]:
        batcher = RequestBatcher(Doubler().answer, max_items=50, max_running=1)
        tasks = [asyncio.create_task(batcher.submit([number])) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        batcher.fail_all(Unavailable("Nobody is there."))
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, left, last = asyncio.run(run())
    assert str(first) == str(last) == "Nobody is there."
    assert isinstance(left, asyncio.CancelledError)
