"""When it opens, whom it lets through while open, and when it closes: by a clock that the test moves."""

from contextlib import nullcontext

import pytest

from forecasting.errors import ForecastingError, Unavailable
from forecasting.serving.circuit_breaker import CircuitBreaker


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def breaker_and_calls(clock: Clock) -> tuple[CircuitBreaker, list[Unavailable]]:
    calls: list[Unavailable] = []
    return CircuitBreaker(calls.append, clock=clock), calls


def test_third_failure_in_a_row_opens_it_and_is_announced_once() -> None:
    breaker, announced = breaker_and_calls(Clock(100.0))
    states = []
    for number in range(1, 6):
        breaker.report_failure(ForecastingError(f"Failure {number}."))
        states.append((breaker.is_open, len(announced)))
    assert states == [(False, 0), (False, 0), (True, 1), (True, 1), (True, 1)]
    assert str(announced[0]).startswith("Failure 3. ")


def test_success_starts_the_count_again() -> None:
    breaker, announced = breaker_and_calls(Clock(100.0))
    for _ in range(2):
        breaker.report_failure(ForecastingError("No."))
        breaker.report_failure(ForecastingError("No."))
        breaker.report_success()
    breaker.report_failure(ForecastingError("No."))
    breaker.check()
    assert not breaker.is_open
    assert not announced
    breaker.report_failure(ForecastingError("No."))
    assert not breaker.is_open
    breaker.report_failure(ForecastingError("No."))
    assert breaker.is_open


def test_open_it_lets_one_through_a_second() -> None:
    clock = Clock(100.0)
    breaker, _ = breaker_and_calls(clock)
    for _ in range(3):
        breaker.check()
        breaker.report_failure(ForecastingError("Nobody is there."))
    for now, let_through in (
        (100.0, False),
        (100.99, False),
        (101.0, True),
        (101.0, False),
        (101.99, False),
        (102.0, True),
        (103.5, True),
    ):
        clock.now = now
        with nullcontext() if let_through else pytest.raises(Unavailable, match="^Nobody is there. "):
            breaker.check()


def test_failed_attempt_starts_the_wait_again() -> None:
    clock = Clock(100.0)
    breaker, _ = breaker_and_calls(clock)
    for clock.now in (100.0, 100.1, 100.9):
        breaker.report_failure(ForecastingError("No."))
    clock.now = 101.5  # a second after the first failure, but not after the last
    with pytest.raises(Unavailable):
        breaker.check()
    clock.now = 101.95
    breaker.check()


def test_success_closes_it() -> None:
    clock = Clock(100.0)
    breaker, announced = breaker_and_calls(clock)
    for _ in range(3):
        breaker.report_failure(ForecastingError("No."))
    clock.now = 100.5
    breaker.report_success()
    assert not breaker.is_open
    breaker.check()
    breaker.report_failure(ForecastingError("No."))
    breaker.check()
    assert len(announced) == 1


def test_last_success_is_told_and_is_the_beginning_at_first() -> None:
    clock = Clock(100.0)
    breaker, _ = breaker_and_calls(clock)
    clock.now = 105.0
    breaker.report_failure(ForecastingError("No."))
    assert breaker.succeeded_at == 100.0
    breaker.report_success()
    assert breaker.succeeded_at == 105.0
