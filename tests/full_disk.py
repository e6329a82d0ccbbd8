"""Disks without room: a limit on the size of files stands for one, and root can mount a small one."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest


@contextmanager
def full_disk(pid: int = 0, *, num_bytes: int = 0) -> Iterator[None]:
    """No file of the process may grow beyond that many bytes. Python ignores the signal, so it sees EFBIG."""
    process = psutil.Process(pid or None)
    soft, hard = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        process.rlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(folder: Path, *, num_bytes: int, read_only: bool = False) -> Iterator[Path]:
    """A disk of that size in memory, in an empty folder. Skips the test where nobody may mount one."""
    options = f"size={num_bytes},mode=755" + (",ro" if read_only else "")
    command = ["mount", "-t", "tmpfs", "-o", options, "small", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("only root may mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
