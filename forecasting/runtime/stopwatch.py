"""How long the parts of a run take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds of each part of a run, in the order in which the parts began."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.parts: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.parts[name] = self.parts.get(name, 0.0) + time.monotonic() - start

    def describe(self) -> str:
        total = time.monotonic() - self.started
        return f"{total:.1f} s in all: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.parts.items())
