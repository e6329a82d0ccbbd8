"""Whether the kernel ended processes because memory ran out, and how a process ended, in words. Linux counts the kills;
elsewhere nobody knows.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

from forecasting.runtime.disk import show_size

UNLIMITED_BYTES = 2**60  # and above: what version 1 of the control groups writes where there is no limit
SHELL_OFFSET = 128  # a shell's exit code for a process that a signal ended


class KillCounter:
    """Counts the kernel's kills from when it was made."""

    def __init__(self, root: Path = Path("/")) -> None:
        """`root` has the folders `proc` and `sys`."""
        self._root = root
        self._before = count_kills(root)

    def take_new(self) -> int | None:
        """The kills since this was last called; None if nobody knows."""
        now, before = count_kills(self._root), self._before
        self._before = now
        return None if now is None or before is None else max(0, now - before)


def count_kills(root: Path = Path("/")) -> int | None:
    """Of this process's control group since it exists or, where that does not tell, of the whole machine."""
    for file in (*_group_files(root, "memory.events", "memory.oom_control"), root / "proc/vmstat"):
        for line in _read(file).splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill" and number.isdecimal():
                return int(number)
    return None


def find_limit(root: Path = Path("/")) -> int | None:
    """The bytes that this process's control group may use; None if there is no limit, or nobody knows."""
    for file in _group_files(root, "memory.max", "memory.limit_in_bytes"):
        text = _read(file).strip()
        if text.isdecimal():
            return int(text) if int(text) < UNLIMITED_BYTES else None
    return None


def describe_shortage(root: Path = Path("/")) -> str:
    limit = find_limit(root)
    return "memory ran out" + (f" (the limit is {show_size(limit)})" if limit is not None else "")


def describe_end(code: int, num_kills: int | None) -> str:
    """How a process ended, to follow its name. `num_kills` are the kernel's meanwhile; None if nobody knows."""
    number = -code if code < 0 else code - SHELL_OFFSET
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"exited with code {code}"
    if number != signal.SIGKILL:
        return f"was ended by {name}"
    if num_kills:
        return f"was ended by the kernel, because {describe_shortage()}"
    return f"was killed ({name})" + (", as the kernel does when memory runs out" if num_kills is None else "")


def _group_files(root: Path, second: str, first: str) -> Iterator[Path]:
    """The file of this process's control group, in version 2 and in version 1 of them. In a container, the group's
    folder may be the root.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield root / "sys/fs/cgroup" / path.lstrip("/") / second
            yield root / "sys/fs/cgroup" / second
        elif "memory" in controllers.split(","):
            yield root / "sys/fs/cgroup/memory" / path.lstrip("/") / first
            yield root / "sys/fs/cgroup/memory" / first


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
