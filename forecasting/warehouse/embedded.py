"""The embedded PostgreSQL. The first process that needs it starts it; the last one that leaves stops it.

Two lock files beside the data coordinate this. Each process holds a shared lock on `users` while it uses the server,
and an exclusive lock on `lock` while it starts or stops it. The kernel releases both however a process ends. A killed
process is therefore never counted, and the next one that leaves stops the server.
"""

import asyncio
import atexit
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forecasting.errors import CannotConnect
from forecasting.warehouse.cluster import Cluster
from forecasting.warehouse.sample_database import create_database

logger = logging.getLogger("forecasting.warehouse")

LOCK_TIMEOUT_SECONDS = 120.0  # another process may run initdb, or recover after a crash


class EmbeddedServer:
    """This process's use of the server in a folder. Its methods block: do not call them in an event loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cluster = Cluster(folder)
        self._mutex = threading.Lock()
        self._users: int | None = None

    @property
    def in_use(self) -> bool:
        """Whether this process has joined. Then no other process stops the server, but it may have crashed."""
        return self._users is not None

    @property
    def socket_folder(self) -> Path:
        """To connect to as host. Only the server's account and root may enter it, so there is no password."""
        return self._cluster.socket_folder

    def join(self, database: str) -> None:
        """Returns when the server runs and the database exists. A new database holds the sample site.

        Raises CannotConnect if the server does not start.
        """
        with self._mutex, self._locked():
            users = _open(self.folder / "users")
            fcntl.flock(users, fcntl.LOCK_SH)  # does not wait: an exclusive lock is taken only while holding `lock`
            try:
                self._cluster.start()
                asyncio.run(create_database(self.socket_folder, database))
            except BaseException:
                _close(users)
                raise
            self._forget()
            self._users = users

    def leave(self) -> None:
        """Stops the server if no other process uses it."""
        if self._users is None or not self.folder.exists():
            return
        with self._mutex, self._locked():
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._cluster.stop()
            except BlockingIOError:
                pass
            self._forget()

    def _forget(self) -> None:
        if self._users is not None:
            _close(self._users)
        self._users = None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = _open(self.folder / "lock")
        except OSError as error:
            raise CannotConnect(
                f"The embedded PostgreSQL cannot be kept in {self.folder}: {error.strerror}. Set TRAFFIC_PGDATA to a "
                "writable folder, or DB_HOST to use your own server."
            ) from error
        try:
            _wait_for(lock, self.folder)
            yield
        finally:
            _close(lock)


_servers: dict[Path, EmbeddedServer] = {}
_servers_mutex = threading.Lock()
_descriptors: set[int] = set()  # of locked files


def find_server(folder: Path) -> EmbeddedServer:
    """The only object of this process for a folder."""
    folder = folder.expanduser().resolve()
    with _servers_mutex:
        return _servers.setdefault(folder, EmbeddedServer(folder))


@atexit.register
def leave_servers() -> None:
    """Stops every embedded server that this process used and no other process uses. Runs by itself at exit."""
    for server in tuple(_servers.values()):
        server.leave()


def _forget_parents_servers() -> None:
    global _servers_mutex  # noqa: PLW0603 - a thread of the parent, absent here, may hold the old one
    for descriptor in tuple(_descriptors):
        _close(descriptor)
    _servers.clear()
    _servers_mutex = threading.Lock()


# A forked child shares its parent's locks. Without this, it would keep the server up after the parent has left.
os.register_at_fork(after_in_child=_forget_parents_servers)


def _open(file: Path) -> int:
    """A descriptor to lock. Child programs do not inherit it."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    _descriptors.add(descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    _descriptors.discard(descriptor)
    os.close(descriptor)


def _wait_for(lock: int, folder: Path) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise CannotConnect(
                    f"Another process has been starting or stopping the embedded PostgreSQL in {folder} for "
                    f"{LOCK_TIMEOUT_SECONDS:.0f} s. End it, or set TRAFFIC_PGDATA to another folder."
                ) from error
            time.sleep(0.02)
