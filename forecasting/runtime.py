"""What every script shares: where its lines go, how it ends, and what its parts took."""

import ctypes
import gc
import logging
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from forecasting.errors import ForecastingError, SettingError, StoreNotWritable

if TYPE_CHECKING:
    from rich.table import Table

LOGGER = logging.getLogger("forecasting")
LOGGER.addHandler(logging.NullHandler())  # silent, as a library should be, until a script starts its log
TABLE_WIDTH = 160  # characters
LOSS_SECONDS = 60.0  # between complaints about lines that are lost
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class _Console(logging.StreamHandler[TextIO]):
    """Lets `| head` end the program, where logging would print an error for each further line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            raise  # noqa: PLE0704 - within the handler's except
        super().handleError(record)


class _LossyConsole(logging.StreamHandler[TextIO]):
    """Goes without the lines that cannot be written, and says so once a minute: logging would say 12 kB a line."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._num_lost = 0
        self._said_at = -math.inf

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._num_lost += 1
        if time.monotonic() - self._said_at >= LOSS_SECONDS:
            self._said_at = time.monotonic()
            with suppress(OSError):  # stderr may be where stdout is
                print(f"the log cannot be written ({error.strerror}): {self._num_lost} lines lost", file=sys.stderr)


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


@contextmanager
def progress(label: str, total: int | None, *, of: str = "forecasts") -> Iterator[Callable[..., None]]:
    """A line on stderr, if that is a terminal, while it lasts: what was done, time gone, time left.

    What it gives is called with how many more are done, and, where it was not known before, of how many.
    """
    if not sys.stderr.isatty():
        yield lambda count, of_all=None: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )  # fmt: skip

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(of),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total)

        def advance(count: int, of_all: int | None = None) -> None:
            bar.update(task, advance=count, total=of_all)  # None leaves it as it is

        yield advance


def render(table: "Table") -> str:
    """As text for a terminal or a file; names stay as they are, whatever emoji or markup they look like."""
    from rich.console import Console

    console = Console(width=TABLE_WIDTH, color_system=None, emoji=False, markup=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def start_log(file: Path | None, *, debug: bool, lossy: bool = False) -> None:
    """Lines of the package go to stdout as they are and, with their time, to `file`; tracebacks only with `debug`.

    With `lossy` the program goes on where nobody reads stdout any more, or it has no room: what serves, serves.
    """
    LOGGER.setLevel(logging.DEBUG if debug else logging.INFO)
    console = _LossyConsole(sys.stdout) if lossy else _Console(sys.stdout)
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


@contextmanager
def without_collection() -> Iterator[None]:
    """For imports: there is no garbage among what they make, and to look for it takes a quarter of their time. What is
    there by the end is not looked through again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def keep_freed_memory() -> None:
    """Tells glibc to keep what is freed, up to 256 MiB, for what is allocated next; elsewhere it does nothing.

    By itself it may give the memory of an LSTM's gates back to the system after each step and take it again for the
    next: thousands of page faults, in which training spends up to half its time (scripts/bench/bench_training.py).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(parameter, 256 * 2**20)


def num_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def describe_processor() -> str:
    """What a benchmark names: "2 cores of AMD EPYC"."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{num_cores()} cores of {models[0] if models else platform.processor() or 'an unknown processor'}"


def run(main: Callable[[], int | None]) -> NoReturn:
    """Ends the program with main's code; 1 for an error of ours, 2 for a misuse, its text on stderr."""
    signal.signal(signal.SIGTERM, _end)
    keep_freed_memory()
    try:
        code = main() or 0
    except ForecastingError as error:
        LOGGER.debug("where it happened:", exc_info=True)
        LOGGER.error("%s", error)  # noqa: TRY400 - the traceback is for those who debug
        print(f"error: {error}", file=sys.stderr)
        code = 2 if isinstance(error, SettingError) else 1
    except (BrokenPipeError, KeyboardInterrupt) as ended:
        code = _end_early(ended)
    except SystemExit as ended:
        if ended.code == 128 + signal.SIGTERM:
            print("ended", file=sys.stderr)
        raise
    except Exception:
        LOGGER.exception("a mistake in the program itself")  # for the log; stderr gets it as Python prints it
        raise
    gc.freeze()  # spares Python its last search for garbage, more than a second after torch and Lightning
    sys.exit(code)


def run_async(work: Coroutine[Any, Any, None]) -> None:
    """asyncio.run, in which SIGTERM too cancels the work instead of breaking into it: what it began, it ends."""
    import asyncio

    terminated = False

    async def cancellable() -> None:
        nonlocal terminated
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def end() -> None:
            nonlocal terminated
            terminated = True
            if task is not None:
                task.cancel()

        loop.add_signal_handler(signal.SIGTERM, end)
        await work

    before = signal.getsignal(signal.SIGTERM)
    try:
        asyncio.run(cancellable())
    except asyncio.CancelledError:
        if not terminated:
            raise
        _end(signal.SIGTERM, None)
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_early(reason: BaseException) -> int:
    if isinstance(reason, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        return 130
    # The reader of our output has left (`| head`): nobody is there to tell.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a program as an exception does, so that what it has started is stopped."""
    sys.exit(128 + signum)
