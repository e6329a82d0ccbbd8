"""A circuit breaker: that a part does not answer is said at once, not found out by each asker's own deadline."""

import time
from collections.abc import Callable

from forecasting.errors import ForecastingError, Unavailable

FAILURES_TO_OPEN = 3  # in a row
PAUSE_SECONDS = 1.0


class CircuitBreaker:
    """Whoever calls a part reports each success and failure here.

    It opens with the third failure in a row, and calls `on_open`, which ends what still waits. Open, it lets one ask
    each second; it closes with the next success.
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
        self._last: ForecastingError | None = None

    @property
    def is_open(self) -> bool:
        return self._num_failures >= FAILURES_TO_OPEN

    def check(self) -> None:
        """Raises Unavailable while it is open, but to one a second."""
        if not self.is_open:
            return
        if self._clock() - self._tried_at < PAUSE_SECONDS:
            raise self._refusal()
        self._tried_at = self._clock()

    def succeeded(self) -> None:
        self._num_failures, self.succeeded_at = 0, self._clock()

    def failed(self, error: ForecastingError) -> None:
        was_open, self._last = self.is_open, error
        self._tried_at = self._clock()
        self._num_failures += 1
        if self.is_open and not was_open:
            self._on_open(self._refusal())

    def _refusal(self) -> Unavailable:
        return Unavailable(f"{self._last} It is asked again each second: try again then.")
