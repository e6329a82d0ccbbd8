"""The embedded PostgreSQL: started by whoever needs it first, stopped by whoever leaves last.

Two locked files beside the data say who is there. `users` is locked shared by every process while it uses the server;
`lock` is locked by one at a time to start or stop it. The kernel drops both when a process dies, however it dies, so
that a killed one is never counted: the next to leave stops the server.
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

LOCK_TIMEOUT_SECONDS = 120.0  # somebody else's initdb, or recovery after a crash


class EmbeddedServer:
    """One process's use of the server in a folder, made on first use. Its methods block: keep them off a loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cluster = Cluster(folder)
        self._mutex = threading.Lock()
        self._users: int | None = None

    @property
    def in_use(self) -> bool:
        """Whether this process has started it, or joined: nobody else stops it then, but it may have crashed."""
        return self._users is not None

    @property
    def socket_folder(self) -> Path:
        """What to give as host. Only the server's account and root may enter it; no password is asked."""
        return self._cluster.socket_folder

    def join(self, database: str) -> None:
        """Returns when the server runs and the database is there, with the sample site where it is made now.

        Raises CannotConnect where it does not start.
        """
        with self._mutex, self._locked():
            users = _open(self.folder / "users")
            fcntl.flock(users, fcntl.LOCK_SH)  # at once: it is locked exclusively only under `lock`
            try:
                self._cluster.start()
                asyncio.run(create_database(self.socket_folder, database))
            except BaseException:
                _close(users)
                raise
            self._forget()
            self._users = users

    def leave(self) -> None:
        """Stops the server where no other process uses it."""
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
                "folder that can be written, or DB_HOST to use your own server."
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
    """This process's one object for a folder."""
    folder = folder.expanduser().resolve()
    with _servers_mutex:
        return _servers.setdefault(folder, EmbeddedServer(folder))


@atexit.register
def leave_servers() -> None:
    """Done at exit by itself: stops every embedded server that this process used and no other process uses."""
    for server in tuple(_servers.values()):
        server.leave()


def _forget_parents_servers() -> None:
    global _servers_mutex  # noqa: PLW0603 - the parent's may have been locked by a thread that is not here
    for descriptor in tuple(_descriptors):
        _close(descriptor)
    _servers.clear()
    _servers_mutex = threading.Lock()


# A forked child shares its parent's locks: without this, it would keep the server up after its parent left.
os.register_at_fork(after_in_child=_forget_parents_servers)


def _open(file: Path) -> int:
    """A descriptor to lock, which started programs do not inherit."""
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
