"""How a program ends, and its memory: exit codes, signals, garbage collection."""

import ctypes
import errno
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TypeVar

from forecasting.errors import ForecastingError, SettingError
from forecasting.runtime.disk import NO_ROOM, explain_unwritable
from forecasting.runtime.log import LOGGER
from forecasting.runtime.memory import KillCounter, describe_shortage
from forecasting.runtime.open_files import TOO_MANY, explain_too_many

Result = TypeVar("Result")
# Each would end Python at once, and leave behind what the program has made and started. SIGHUP comes when the terminal
# is closed, SIGQUIT with Ctrl-\\.
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
NO_TEMPORARY_FOLDER = "No usable temporary directory found"  # Python's own words
TORCH_OUT_OF_MEMORY = ("can't allocate memory", "out of memory")  # of the processor and of a GPU
LESS_MEMORY = (
    "Give this program more, or let it need less: fewer sites or metrics (data.sites, data.metrics), fewer days "
    "(--days-back), a smaller --batch-size."
)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def run(main: Callable[[], int | None]) -> NoReturn:
    """Ends the program with main's code. One of our errors exits with 1, a misuse with 2; their text goes to stderr."""
    for signum in heeded_signals():
        signal.signal(signum, _end)
    keep_freed_memory()
    kills = KillCounter()
    try:
        code = main() or 0
    except ForecastingError as error:
        LOGGER.debug("where it happened:", exc_info=True)
        LOGGER.error("%s", error)
        print(f"error: {error}", file=sys.stderr)
        code = 2 if isinstance(error, SettingError) else 1
    except (BrokenPipeError, KeyboardInterrupt) as ending:
        code = _end_early(ending)
    except Exception as error:
        if (reason := explain_shortage(error)) is None:
            LOGGER.exception("a bug in the program itself")  # for the log; Python prints it on stderr
            raise
        LOGGER.debug("where it happened:", exc_info=True)
        print(f"error: {reason}", file=sys.stderr)
        code = 1
    except SystemExit as ending:
        if ending.code in [128 + signum for signum in ENDING]:
            reason = f": the kernel has ended a process, because {describe_shortage()}" if kills.take_new() else ""
            with suppress(OSError):  # the terminal is gone
                print(f"ended{reason}", file=sys.stderr)  # torchrun, for one, ends the processes that are left
        raise
    gc.freeze()  # spares Python its last search for garbage: more than a second after torch and Lightning
    sys.exit(code)


def heeded_signals() -> list[signal.Signals]:
    """Those of ENDING that this process does not ignore: nohup ignores SIGHUP, so that closing the terminal ends
    nothing.
    """
    return [signum for signum in ENDING if signal.getsignal(signum) != signal.SIG_IGN]


def explain_shortage(error: Exception) -> str | None:
    """In words, if the disk, the memory or a limit is at fault, not the program."""
    if isinstance(error, OSError) and error.errno in TOO_MANY:
        return explain_too_many(error)
    if isinstance(error, OSError) and error.errno in (*NO_ROOM, errno.EROFS):
        file = error.filename2 or error.filename or "a file"  # of a copy, the second is the one that is written
        return explain_unwritable(file, error, advice="set MODEL_DIR or TMPDIR")
    if isinstance(error, FileNotFoundError) and NO_TEMPORARY_FOLDER in str(error):
        return f"{error.strerror}: they cannot be written, or their disks are full. Make room, or set TMPDIR."
    is_torchs = any(text in str(error) for text in TORCH_OUT_OF_MEMORY) and isinstance(error, RuntimeError)
    if isinstance(error, MemoryError) or is_torchs:
        text = str(error).partition("\n")[0].rstrip(".")
        quoted = f" ({text[:200]})" if text else ""
        return f"Memory ran out{quoted}. {LESS_MEMORY}"
    return None


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """asyncio.run, but a signal of ENDING cancels the work, which can then clean up."""
    import asyncio

    received: list[int] = []
    before = {signum: signal.getsignal(signum) for signum in heeded_signals()}

    async def cancellable() -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def end(signum: int) -> None:
            received.append(signum)
            if task is not None:
                task.cancel()

        for signum in before:
            loop.add_signal_handler(signum, end, signum)
        return await work

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        if not received:
            raise
        _end(received[0], None)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _end_early(reason: BaseException) -> int:
    if isinstance(reason, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        return 130
    # The reader of our output is gone (`| head`), so there is nobody to tell.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    """Ends a program by an exception, so that what it started is stopped."""
    sys.exit(128 + signum)


@contextmanager
def without_collection() -> Iterator[None]:
    """For imports: they make no garbage, and looking for it takes a quarter of their time. What they made is never
    searched again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def keep_freed_memory() -> None:
    """Tells glibc to keep up to 256 MiB of freed memory for the next allocations. Does nothing without glibc.

    Otherwise it may return the memory of an LSTM's gates to the system after each step and take it again for the next:
    thousands of page faults, which take up to half the time of training (scripts/bench/bench_training.py).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(parameter, 256 * 2**20)


def return_freed_memory() -> None:
    """Gives memory that was freed back to the system, which glibc alone does only at the end of its heaps. Does nothing
    without glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
