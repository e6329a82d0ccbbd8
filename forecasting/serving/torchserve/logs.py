"""What TorchServe's logs say about a failure."""

import os
import re
import time
from pathlib import Path

POLL_SECONDS = 0.1
QUIET_SECONDS = 0.5  # without a new line: the log is complete
MAX_WAIT_SECONDS = 3.0
MAX_LINES = 60  # of a traceback
LAST_LINES = 20  # of a log without a traceback
FAILURE = re.compile(r"^.*(?=Backend worker process died|Invoking custom service failed)", re.MULTILINE)


WORKER_START = b"Torch worker started."
OUT_OF_HEAP = "Terminating due to java.lang.OutOfMemoryError"


class WorkerStarts:
    """Counts the starts of workers, reading each line of the log once."""

    def __init__(self, log_dir: Path) -> None:
        self._file = log_dir / "worker.log"
        self._position = 0

    def take_new(self) -> int:
        """Those since this was last called."""
        try:
            with self._file.open("rb") as log:
                size = os.fstat(log.fileno()).st_size
                log.seek(self._position if size >= self._position else 0)  # the log begins anew when it is long
                content = log.read()
                complete = content.rpartition(b"\n")[0]
                self._position = log.tell() - len(content) + len(complete)
        except FileNotFoundError:
            return 0
        return complete.count(WORKER_START)


def count_worker_starts(log_dir: Path) -> int:
    return _read(log_dir / "worker.log").count(WORKER_START.decode())


def is_out_of_heap(log_dir: Path) -> bool:
    """Whether Java ended because its own memory ran out."""
    return OUT_OF_HEAP in _read(log_dir / "console.log")


def explain_failure(log_dir: Path) -> str:
    """The last error in the logs: the handler's own, else TorchServe's warnings, else what Java printed."""
    failures = FAILURE.split(_read_when_complete(log_dir / "worker.log"))
    if len(failures) > 1:
        lines = [re.sub(r"^\S+ [A-Z ]{5} ", "", line) for line in failures[-1].splitlines()]
        shown = [line for line in lines if line.strip(" ^") and "<frozen importlib" not in line]
        return "\nIts worker printed:\n" + _indent(shown[:MAX_LINES])
    for name in ("torchserve.log", "console.log"):
        if lines := _read(log_dir / name).splitlines():
            return f"\n{name} ends with:\n" + _indent(lines[-LAST_LINES:])
    return ""


def _read_when_complete(file: Path) -> str:
    """Waits for half a second without a new line: Java writes a traceback line by line, after it has failed."""
    text, quiet_since, end = "", time.monotonic(), time.monotonic() + MAX_WAIT_SECONDS
    while time.monotonic() < min(quiet_since + QUIET_SECONDS, end):
        time.sleep(POLL_SECONDS)
        if (now := _read(file)) != text:
            text, quiet_since = now, time.monotonic()
    return text


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


def _indent(lines: list[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)
