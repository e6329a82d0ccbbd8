"""A disk without room, for this process or another one of ours: a limit on the size of files stands for it."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


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
