"""Temporary folders of one process (mode 0700), removed when it ends; after a kill, the next start removes them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from forecasting.errors import CannotStart

MAX_SOCKET_PATH = 84  # a socket's path may have 103 characters, and TorchServe adds /tmp/.ts.sock.<port>
PREFIX = "forecaster."


def create_run_folder() -> Path:
    """A folder for one TorchServe. Raises CannotStart if its path is too long for sockets."""
    remove_abandoned(Path(tempfile.gettempdir()))
    folder = _create()
    if len(str(folder)) > MAX_SOCKET_PATH:
        shutil.rmtree(folder)
        raise CannotStart(
            f"{folder} is too long a path for TorchServe's sockets, which can have {MAX_SOCKET_PATH} characters. "
            "Set TMPDIR to a folder with a shorter path."
        )
    return folder


@contextmanager
def temporary_folder() -> Iterator[Path]:
    folder = _create()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Removes the folders of processes that were killed."""
    import psutil

    for folder in parent.glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition(".")[0]
        with suppress(FileNotFoundError):  # its owner is removing it right now
            if pid.isdecimal() and folder.lstat().st_uid == os.getuid() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def _create() -> Path:
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}."))
