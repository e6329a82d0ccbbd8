"""How many requests a second are let through."""

import time
from collections.abc import Callable

MAX_NAMES = 10_000  # remembered; those who have not sent a request for the longest time are forgotten


class RateLimit:
    """Lets each name send `per_second` requests a second, and as many at once.

    The generic cell rate algorithm in its form of virtual scheduling (ITU-T I.371, annex A), which keeps one number for
    each name.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / per_second
        self._burst = max(1.0, self._interval) + 1e-9  # seconds that a name may be ahead of its rate
        self._clock = clock
        self._due: dict[str, float] = {}  # when the next request is due at this rate; the latest sender is last

    def wait(self, name: str) -> float:
        """Seconds until this name may send its next request. 0 lets it send one now, and counts it."""
        now = self._clock()
        due = max(self._due.pop(name, now), now)
        ahead = due + self._interval - now - self._burst
        self._due[name] = due if ahead > 0 else due + self._interval
        if len(self._due) > MAX_NAMES:
            del self._due[next(iter(self._due))]
        return max(ahead, 0.0)
