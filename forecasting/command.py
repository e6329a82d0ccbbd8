"""What every script shares: where its lines go, how it ends, and what its parts took."""

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from forecasting.errors import ForecastingError, SettingError, StoreNotWritable

LOGGER = logging.getLogger("forecasting")
LOGGER.addHandler(logging.NullHandler())  # silent, as a library should be, until a script starts its log


class Stopwatch:
    """Seconds of a run's parts, in the order in which they were begun."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.parts: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.parts[name] = self.parts.get(name, 0.0) + time.monotonic() - begun

    def describe(self) -> str:
        total = time.monotonic() - self.started
        return f"{total:.1f} s in all: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.parts.items())


def start_log(file: Path | None, *, debug: bool) -> None:
    """Lines of the package go to stdout as they are and, with their time, to `file`; tracebacks only with `debug`."""
    LOGGER.setLevel(logging.DEBUG if debug else logging.INFO)
    console = logging.StreamHandler(sys.stdout)
    console.addFilter(lambda record: record.levelno < logging.ERROR)  # what ends a program is said on stderr
    LOGGER.handlers = [console]
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise StoreNotWritable(
            f"{file.absolute()} cannot be written ({error.strerror}). Give this user the right, or set MODEL_DIR."
        ) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOGGER.addHandler(handler)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Ends the program with main's code; 1 for an error of ours, 2 for a misuse, its text on stderr."""
    signal.signal(signal.SIGTERM, _end)
    try:
        code = main() or 0
    except ForecastingError as error:
        LOGGER.debug("where it happened:", exc_info=True)
        LOGGER.error("%s", error)  # noqa: TRY400 - the traceback is for those who debug
        print(f"error: {error}", file=sys.stderr)
        code = 2 if isinstance(error, SettingError) else 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # The reader of our output has left (`| head`): nobody is there to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    gc.freeze()  # spares Python its last search for garbage, more than a second after torch and Lightning
    sys.exit(code)


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a program as an exception does, so that what it has started is stopped."""
    print("ended", file=sys.stderr)
    sys.exit(128 + signum)
