"""A circuit breaker: once a part has failed several times, requests to it fail at once instead of after a deadline."""

import time
from collections.abc import Callable

from forecasting.errors import ForecastingError, Unavailable

FAILURES_TO_OPEN = 3  # in a row
PAUSE_SECONDS = 1.0


class CircuitBreaker:
    """Callers of the part call `check` first and report each success and failure.

    After the third failure in a row it opens: `check` raises, except once a second, and `on_open` is called, which ends
    the requests that still wait. The next success closes it.
    Source: Nygard (2007), Release It!, chapter 5.
    """

    def __init__(
        self, on_open: Callable[[Unavailable], object], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_open = on_open
        self._clock = clock
        self._tried_at = 0.0
        self.succeeded_at = clock()
        self._num_failures = 0
        self._last_error: ForecastingError | None = None

    @property
    def is_open(self) -> bool:
        return self._num_failures >= FAILURES_TO_OPEN

    def check(self) -> None:
        """Raises Unavailable while it is open, except for one caller a second."""
        if not self.is_open:
            return
        if self._clock() - self._tried_at < PAUSE_SECONDS:
            raise self._describe()
        self._tried_at = self._clock()

    def report_success(self) -> None:
        self._num_failures, self.succeeded_at = 0, self._clock()

    def report_failure(self, error: ForecastingError) -> None:
        was_open, self._last_error = self.is_open, error
        self._tried_at = self._clock()
        self._num_failures += 1
        if self.is_open and not was_open:
            self._on_open(self._describe())

    def _describe(self) -> Unavailable:
        return Unavailable(f"{self._last_error} It is tried again every second.")
