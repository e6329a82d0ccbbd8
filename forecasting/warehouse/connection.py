"""Connections, to the embedded PostgreSQL or to the user's own, and what to do when there is none."""

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from forecasting.errors import CannotConnect, WarehouseError
from forecasting.settings.schema import CACHE_DATABASE, DatabaseConfig
from forecasting.warehouse.queries import Connection

__all__ = ["Connection", "OwnConnection", "Pool", "connect", "connected", "first_line", "open_pool", "translate_errors"]

if TYPE_CHECKING:  # generic in the stubs alone
    OwnConnection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    OwnConnection, Pool = asyncpg.Connection, asyncpg.Pool

logger = logging.getLogger("forecasting.warehouse")

CONNECT_TIMEOUT_SECONDS = 5.0
COMMAND_TIMEOUT_SECONDS = 60.0
GRACE_SECONDS = 5.0
APPLICATION_NAME = "website-traffic-forecasting"
AS_OWNER = {"user": "postgres", "password": "", "ssl": False}  # of the embedded server, which asks for no password
NOTHING_SAID = "none of DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD is set"

# Of a connection that ends, or a server that stops, starts or recovers. InternalClientError is what asyncpg raises when
# a connection ends between two of its own steps.
LOST = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
NOBODY = "nothing answers there. Check DB_HOST and DB_PORT, and that the server runs and listens there."
VARIABLES = re.compile(r"DB_[A-Z]+(?: and DB_[A-Z]+)?")  # in what is said below; where a URL says it all, that one
NOT_POSTGRESQL = "what answers there does not speak as PostgreSQL does. Check DB_PORT."
# What happened, and what to check; the first that fits is said, so that what is narrower comes before what is wider.
REASONS: tuple[tuple[type[Exception], str], ...] = (
    (
        TimeoutError,
        f"no answer within {CONNECT_TIMEOUT_SECONDS:.0f} s. Check DB_HOST and DB_PORT, and that no firewall stops it.",
    ),
    (socket.gaierror, "the host's name is not known. Check DB_HOST."),
    (asyncpg.InvalidPasswordError, "the password is not accepted. Check DB_USER and DB_PASSWORD."),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "the server does not let this user in ({error}). Check DB_USER, and pg_hba.conf on the server.",
    ),
    (asyncpg.InvalidCatalogNameError, "there is no such database. Check DB_NAME."),
    (
        asyncpg.InsufficientPrivilegeError,
        "the user may not use this database ({error}). Grant CONNECT on it, or check DB_NAME and DB_USER.",
    ),
    (asyncpg.CannotConnectNowError, "the server is not ready ({error}). Try again in a moment."),
    (
        asyncpg.TooManyConnectionsError,
        "all of the server's connections are taken. Close some, or raise its max_connections.",
    ),
    (asyncpg.PostgresConnectionError, NOT_POSTGRESQL),
    (ConnectionRefusedError, NOBODY),
    (ConnectionError, NOT_POSTGRESQL),
    (OSError, NOBODY),
    (Exception, "{error}."),
)


async def connect(
    config: DatabaseConfig, *, writable: bool = False, timeout_seconds: float = COMMAND_TIMEOUT_SECONDS
) -> OwnConnection:
    """An open connection, in UTC; read-only unless said. With `config.embedded` the server is started first.

    `timeout_seconds` is of each statement; the server ends one that takes longer. Raises CannotConnect, which never
    carries the password.
    """
    # The server ends it first, so that the connection is still good; the client does where the server cannot.
    own = timeout_seconds + GRACE_SECONDS
    return await _connect(config, writable=writable, timeout_seconds=timeout_seconds, command_timeout=own)


@asynccontextmanager
async def connected(
    config: DatabaseConfig, *, writable: bool = False, timeout_seconds: float = COMMAND_TIMEOUT_SECONDS
) -> AsyncIterator[OwnConnection]:
    """`connect`, and closed in the end."""
    connection = await connect(config, writable=writable, timeout_seconds=timeout_seconds)
    try:
        yield connection
    finally:
        await connection.close()


async def open_pool(
    config: DatabaseConfig,
    *,
    max_size: int,
    writable: bool = False,
    timeout_seconds: float = COMMAND_TIMEOUT_SECONDS,
) -> Pool:
    """A pool that connects when a connection is first asked for: `acquire` is what raises CannotConnect.

    So a server that is down, or crashes, does not need the pool to be opened again when it is back.
    """

    async def connect_one(*_: Any, **options: Any) -> OwnConnection:  # Any: the pool's own options
        return await _connect(config, writable=writable, **options)

    return await asyncpg.create_pool(
        min_size=0, max_size=max_size, command_timeout=timeout_seconds, connect=connect_one
    )


@contextmanager
def translate_errors(doing: str) -> Iterator[None]:
    """asyncpg's errors as WarehouseError. `doing` completes "while": "reading daily_metrics"."""
    try:
        yield
    except (TimeoutError, asyncpg.QueryCanceledError) as error:
        raise WarehouseError(f"PostgreSQL took too long while {doing}. Try again, or read fewer days.") from error
    except LOST as error:
        # Of a lost connection, leaving a transaction or a cursor is an error too, which says nothing of why.
        earlier = error.__context__ if isinstance(error, asyncpg.InterfaceError) else None
        first = earlier if isinstance(earlier, LOST) else error
        raise CannotConnect(
            f"The connection to PostgreSQL was lost while {doing}: {first_line(first)}. Try again."
        ) from error
    except asyncpg.PostgresError as error:
        raise WarehouseError(f"PostgreSQL failed while {doing}: {first_line(error)}.") from error


async def _connect(
    config: DatabaseConfig,
    *,
    writable: bool,
    timeout_seconds: float | None = None,
    **options: Any,  # Any: asyncpg's
) -> OwnConnection:
    settings = {"application_name": APPLICATION_NAME, "timezone": "UTC"}
    if timeout_seconds is not None:
        settings["statement_timeout"] = f"{timeout_seconds * 1000:.0f}"
    if not writable:
        settings["default_transaction_read_only"] = "on"
    options = {"timeout": CONNECT_TIMEOUT_SECONDS, "server_settings": settings, **options}
    try:
        if config.embedded:
            return await _connect_embedded(config, options)
        where = {"host": config.host, "port": config.port, "user": config.user, "password": config.password}
        where |= {"ssl": config.sslmode} if config.sslmode else {}
        return await _open(database=config.name, **where, **options)
    except (*LOST, asyncpg.PostgresError) as error:
        raise CannotConnect(f"{_place(config)}: {_explain(error, config)}") from error


async def _connect_embedded(config: DatabaseConfig, options: dict[str, Any]) -> OwnConnection:  # Any: asyncpg's
    # Imported here, since it registers hooks that run at exit and at a fork.
    from forecasting.warehouse.cluster import PORT
    from forecasting.warehouse.embedded import find_server

    server = find_server(config.pgdata)
    options = {**options, "host": str(server.socket_folder), "port": PORT, "database": config.name, **AS_OWNER}
    if server.in_use:
        try:
            return await _open(**options)
        except asyncpg.InvalidCatalogNameError:
            pass  # it runs, but this database is still to be made
        except LOST:
            logger.warning("the embedded PostgreSQL in %s does not answer: starting it again", config.pgdata)
    elif not config.name.startswith(CACHE_DATABASE):
        logger.info("%s: using the embedded PostgreSQL in %s", NOTHING_SAID, config.pgdata)
    await asyncio.to_thread(server.join, config.name)
    return await _open(**options)


async def _open(**options: Any) -> OwnConnection:  # Any: asyncpg's options, too many overloads for a dictionary
    connection: OwnConnection = await asyncpg.connect(**options)
    return connection


def _place(config: DatabaseConfig) -> str:
    if config.embedded:
        return f"Cannot connect to the embedded PostgreSQL in {config.pgdata}"
    return (
        f"Cannot connect to PostgreSQL at host {config.host}, port {config.port}, "
        f"database {config.name}, as user {config.user}"
    )


def _explain(error: Exception, config: DatabaseConfig) -> str:
    text = next(text for kind, text in REASONS if isinstance(error, kind))
    if config.variable:
        text = VARIABLES.sub(config.variable, text)
    return text.format(error=first_line(error))


def first_line(error: Exception) -> str:
    """Without the server's DETAIL and HINT."""
    return str(error).partition("\n")[0].rstrip(".")
