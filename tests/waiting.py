"""Waiting for what another process does in its own time."""

import time
from collections.abc import Callable


def becomes(holds: Callable[[], object], *, seconds: float = 20) -> bool:
    """Whether it holds within that time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
