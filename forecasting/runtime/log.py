"""Where the lines of the package go: stdout and a file."""

import logging
import math
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from forecasting.errors import StoreNotWritable
from forecasting.runtime.disk import explain_unwritable

LOGGER = logging.getLogger("forecasting")
LOGGER.addHandler(logging.NullHandler())  # a library is silent; a command starts its log
LOSS_SECONDS = 60.0  # between two reports of dropped lines
REPEAT_SECONDS = 10.0  # in which a warning is written once; an outage would fill the disk with one a request
MAX_WARNINGS = 100  # different ones whose repeats are counted; further ones are all written


class _Console(logging.StreamHandler[TextIO]):
    """Lets `| head` end the program; logging itself would print an error for each further line. A progress bar may
    stand in for stdout while it is shown, so that no line is glued to it.
    """

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, stream: TextIO) -> None: ...

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            raise  # noqa: PLE0704 - within the handler's except
        super().handleError(record)


class _ErrorConsole(_Console):
    """The same on stderr, for a command whose output is data."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None: ...


class Repeats:
    """Writes a warning once in REPEAT_SECONDS and counts those that follow, which the next line of the log tells."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}  # when each warning may be written again
        self._counts: dict[str, int] = {}  # how often it was not

    def choose(self, record: logging.LogRecord, now: float) -> list[logging.LogRecord]:
        """What to write: the counts that are due, and the record unless it repeats one. `now` is in seconds."""
        due = [text for text, end in self._ends.items() if end <= now]
        records = [_count_repeats(text, self._counts.pop(text)) for text in due if text in self._counts]
        for text in due:
            del self._ends[text]
        if record.levelno != logging.WARNING:
            return [*records, record]
        text = record.getMessage()
        if text in self._ends:
            self._counts[text] = self._counts.get(text, 0) + 1
            return records
        if len(self._ends) < MAX_WARNINGS:
            self._ends[text] = now + REPEAT_SECONDS
        return [*records, record]


def _count_repeats(text: str, count: int) -> logging.LogRecord:
    times = "once more" if count == 1 else f"{count:,} times more"
    message = f"{times} within {REPEAT_SECONDS:.0f} s: {text}"
    return logging.LogRecord(LOGGER.name, logging.WARNING, "", 0, message, (), None)


class _Lossy(logging.Handler):
    """Drops lines that cannot be written and reports them once a minute; logging itself would print 12 kB for each.
    Warnings that repeat are counted.
    """

    _num_lost = 0
    _reported_at = -math.inf

    def __init__(self, *arguments: Any, **settings: Any) -> None:  # Any: those of logging's handler
        super().__init__(*arguments, **settings)
        self._repeats = Repeats()

    def emit(self, record: logging.LogRecord) -> None:
        for line in self._repeats.choose(record, time.monotonic()):
            super().emit(line)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._num_lost += 1
        if time.monotonic() - self._reported_at >= LOSS_SECONDS:
            self._reported_at = time.monotonic()
            with suppress(OSError):  # stderr may be the same file as stdout
                print(f"the log cannot be written ({error.strerror}): {self._num_lost} lines lost", file=sys.stderr)


class _LossyConsole(_Lossy, logging.StreamHandler[TextIO]): ...


class _LossyFile(_Lossy, logging.FileHandler): ...


def start_log(file: Path | None, *, debug: bool, lossy: bool = False, to_stderr: bool = False) -> None:
    """Writes the package's lines to stdout and, with their time, to `file`; tracebacks only with `debug`.

    `to_stderr`: in place of stdout, which is for data.

    `lossy`: a server keeps running when nobody reads its stdout or the disk is full; it drops lines instead. Its
    warnings are written once in REPEAT_SECONDS.
    """
    LOGGER.setLevel(logging.DEBUG if debug else logging.INFO)
    _look_up_no_more_than_is_written()
    console = _LossyConsole(sys.stdout) if lossy else _ErrorConsole() if to_stderr else _Console(sys.stdout)
    console.addFilter(lambda record: record.levelno < logging.ERROR)  # errors end a program, and go to stderr
    LOGGER.handlers = [console]
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = _LossyFile(file, encoding="utf-8")
    except OSError as error:
        raise StoreNotWritable(explain_unwritable(file.absolute(), error)) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOGGER.addHandler(handler)


def _look_up_no_more_than_is_written() -> None:
    """Our lines name neither the thread nor the process nor the place in the code that wrote them, which take longer to
    find than the rest of a line. Source: Python's "Logging HOWTO", "Optimization".
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
