"""Which connections stay open when there are more than there may be.

A new connection always comes in while another one waits for its client: the one that has waited longest makes room for
it, those whose callers have shown no valid API key first. So connections that do nothing lock nobody out. If all others
are being answered, it is kept in reserve: it may ask how the server is (OPEN_PATHS), and gets a 503 otherwise.
"""

import logging
import time
from enum import Enum
from typing import Protocol, runtime_checkable

logger = logging.getLogger("forecasting.serving")

RESERVE = 64  # connections beyond the limit
ADDRESS_SHARE = 4  # by default, one address may have a quarter of the connections
LOG_SECONDS = 60.0  # between two lines of the log about full limits


class Cause(Enum):
    """Why a connection is kept in reserve."""

    all = "Too many open connections (guard.max_connections). Try again later."
    address = (
        "Too many open connections of this address (guard.max_connections_per_address). Close some, or try again later."
    )


@runtime_checkable
class OpenConnection(Protocol):
    """What is known of a connection here. `address` is None for a trusted proxy's, which has no limit of its own."""

    address: str | None
    has_key: bool

    def evict(self) -> None:
        """Closes it, to make room for another one."""


class _Queue:
    """Connections that wait for their clients, in the order in which they are to go.

    By rank: without a key and idle, without a key within a request, with a key and idle, with a key within a request.
    In each rank, the one that has waited longest is first.
    """

    def __init__(self) -> None:
        self._ranks: tuple[dict[OpenConnection, None], ...] = ({}, {}, {}, {})

    def add(self, connection: OpenConnection, rank: int) -> None:
        self._ranks[rank][connection] = None

    def remove(self, connection: OpenConnection, rank: int) -> None:
        del self._ranks[rank][connection]

    def first(self) -> OpenConnection | None:
        return next((next(iter(rank)) for rank in self._ranks if rank), None)


class _Address:
    """The connections of one address that have shown no valid key; the others are limited by their key."""

    def __init__(self) -> None:
        self.num_strangers = 0
        self.waiting = _Queue()


class Admission:
    def __init__(self, limit: int, limit_per_address: int = 0) -> None:
        self.limit = limit
        self.limit_per_address = limit_per_address or max(1, limit // ADDRESS_SHARE)
        self.num_evicted = self.num_reserved = 0  # since the start
        self._open: set[OpenConnection] = set()
        self._reserve: dict[OpenConnection, None] = {}  # oldest first
        self._waiting = _Queue()
        self._ranks: dict[OpenConnection, int] = {}  # of those that wait
        self._addresses: dict[str, _Address] = {}
        self._next_log = 0.0

    @property
    def num_open(self) -> int:
        return len(self._open) + len(self._reserve)

    def enter(self, connection: OpenConnection) -> Cause | None:
        """Makes room for it and counts it; the cause if it is only kept in reserve."""
        cause = self._make_room(connection)
        if cause is None:
            self._open.add(connection)
            self._count_stranger(connection, 1)
        else:
            self.num_reserved += 1
            self._log(f"new connections get a 503: {cause.value}")
            if len(self._reserve) >= RESERVE:
                self._evict(next(iter(self._reserve)))
            self._reserve[connection] = None
        return cause

    def leave(self, connection: OpenConnection) -> None:
        """Once it is closed. May be called again."""
        self.note_working(connection)
        self._reserve.pop(connection, None)
        if connection in self._open:
            self._open.remove(connection)
            if not connection.has_key:
                self._count_stranger(connection, -1)

    def note_waiting(self, connection: OpenConnection, *, within_request: bool) -> None:
        """It is the client's turn: to send a request or the rest of one, or to read its answer."""
        self.note_working(connection)
        if connection in self._open:
            rank = self._ranks[connection] = 2 * connection.has_key + within_request
            self._waiting.add(connection, rank)
            if not connection.has_key and connection.address is not None:
                self._addresses[connection.address].waiting.add(connection, rank)

    def note_working(self, connection: OpenConnection) -> None:
        """It is the server's turn."""
        rank = self._ranks.pop(connection, None)
        if rank is not None:
            self._waiting.remove(connection, rank)
            if not connection.has_key and connection.address is not None:
                self._addresses[connection.address].waiting.remove(connection, rank)

    def note_key(self, connection: OpenConnection) -> None:
        """Its caller has shown a valid API key."""
        if not connection.has_key:
            self.note_working(connection)
            if connection in self._open:
                self._count_stranger(connection, -1)
            connection.has_key = True

    def _make_room(self, connection: OpenConnection) -> Cause | None:
        own = None if connection.address is None else self._addresses.get(connection.address)
        if own is not None and own.num_strangers >= self.limit_per_address and not self._evict(own.waiting.first()):
            return Cause.address
        if len(self._open) >= self.limit and not self._evict(self._waiting.first()):
            return Cause.all
        return None

    def _evict(self, connection: OpenConnection | None) -> bool:
        """Whether there was one to be closed."""
        if connection is None:
            return False
        self.num_evicted += 1
        self._log("idle connections are closed to make room for new ones")
        self.leave(connection)
        connection.evict()
        return True

    def _count_stranger(self, connection: OpenConnection, change: int) -> None:
        if connection.address is None:
            return
        address = self._addresses.setdefault(connection.address, _Address())
        address.num_strangers += change
        if not address.num_strangers:
            del self._addresses[connection.address]

    def _log(self, text: str) -> None:
        now = time.monotonic()
        if now >= self._next_log:
            self._next_log = now + LOG_SECONDS
            logger.warning("%d connections are open: %s", self.num_open, text)
