"""Connections to the embedded PostgreSQL or to the user's own, and the errors when a connection fails."""

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from forecasting.errors import CannotConnect, WarehouseError
from forecasting.runtime.open_files import TOO_MANY, explain_too_many
from forecasting.settings.schema import CACHE_DATABASE, DatabaseConfig
from forecasting.warehouse.queries import Connection
from forecasting.warehouse.session import Session, make_limits

__all__ = ["Connection", "OwnConnection", "Pool", "connect", "connected", "first_line", "open_pool", "translate_errors"]

OwnConnection = Session
if TYPE_CHECKING:  # only the stubs are generic
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Pool = asyncpg.Pool

logger = logging.getLogger("forecasting.warehouse")

CONNECT_TIMEOUT_SECONDS = 5.0
COMMAND_TIMEOUT_SECONDS = 60.0
CLIENT_GRACE_SECONDS = 5.0  # the client waits this much longer than the server
APPLICATION_NAME = "website-traffic-forecasting"
AS_OWNER = {"user": "postgres", "password": "", "ssl": False}  # of the embedded server, which needs no password
NO_VARIABLE_SET = "none of DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD is set"

# The connection ended, or the server stops, starts or recovers. asyncpg raises InternalClientError when a connection
# ends between two of its own steps.
CONNECTION_ERRORS = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
NO_SERVER = "no server answers. Check DB_HOST and DB_PORT, and that the server runs and listens there."
VARIABLES = re.compile(
    r"DB_[A-Z]+(?:, DB_[A-Z]+)*(?: and DB_[A-Z]+)?"
)  # in the texts below; replaced by the variable that holds a URL
NOT_POSTGRESQL = "the server that answers is not PostgreSQL. Check DB_PORT."
# What happened and what to check. The first match counts, so narrow errors come before wide ones.
SENT_BY_SERVER: tuple[tuple[type[Exception], str], ...] = (
    (asyncpg.InvalidPasswordError, "the password is wrong ({error}). Check DB_USER and DB_PASSWORD."),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "the server refuses this user ({error}). Check DB_USER, and pg_hba.conf on the server.",
    ),
    (asyncpg.InvalidCatalogNameError, "there is no such database ({error}). Check DB_NAME."),
    (
        asyncpg.InsufficientPrivilegeError,
        "the user may not use this database ({error}). Grant CONNECT on it, or check DB_NAME and DB_USER.",
    ),
    (asyncpg.CannotConnectNowError, "the server is not ready ({error}). Try again in a moment."),
    (
        asyncpg.TooManyConnectionsError,
        "the server has too many open connections ({error}). Close some, or raise its max_connections.",
    ),
    (Exception, "the server refuses the connection ({error}). Check DB_HOST, DB_PORT and DB_NAME, and its log."),
)
REASONS: tuple[tuple[type[Exception], str], ...] = (
    (
        TimeoutError,
        f"no answer within {CONNECT_TIMEOUT_SECONDS:.0f} s. Check DB_HOST and DB_PORT, and look for a firewall.",
    ),
    (socket.gaierror, "the host name is unknown. Check DB_HOST."),
    (UnicodeError, "there can be no such host name. Check DB_HOST."),
    (ssl.SSLCertVerificationError, "the server's certificate is not trusted ({error}). Check DB_HOST and sslmode."),
    (ssl.SSLError, "TLS fails ({error}). Check sslmode, and the server's settings of TLS."),
    (asyncpg.PostgresConnectionError, NOT_POSTGRESQL),
    (ConnectionRefusedError, NO_SERVER),
    (ConnectionError, NOT_POSTGRESQL),
    (OSError, NO_SERVER),
    (Exception, "{error}."),
)
# asyncpg gives these the same type as other errors.
WITHOUT_TLS = (
    "rejected SSL upgrade",
    "the server has no TLS, which sslmode={sslmode} demands. Turn it on there, leave sslmode out, or check DB_PORT.",
)
ERROR_BEFORE_TLS = (
    "error response during SSL exchange",
    "the server refuses the connection before TLS begins, so its reason is not shown. Look into its log.",
)


async def connect(
    config: DatabaseConfig, *, writable: bool = False, timeout_seconds: float = COMMAND_TIMEOUT_SECONDS
) -> OwnConnection:
    """An open connection whose transactions are in UTC, and read-only unless `writable`. With `config.embedded` the
    server is started first.

    The server ends any statement of a transaction that takes longer than `timeout_seconds`. Raises CannotConnect,
    which never contains the password.
    """
    # The server times out first, which keeps the connection usable. The client is for a server that cannot.
    client_timeout = timeout_seconds + CLIENT_GRACE_SECONDS
    return await _connect(config, writable=writable, timeout_seconds=timeout_seconds, command_timeout=client_timeout)


@asynccontextmanager
async def connected(
    config: DatabaseConfig, *, writable: bool = False, timeout_seconds: float = COMMAND_TIMEOUT_SECONDS
) -> AsyncIterator[OwnConnection]:
    """`connect`, closed at the end of the block."""
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
    """A pool that connects only when a connection is needed: `acquire` raises CannotConnect, not this function.

    The pool therefore stays usable when the server goes down and comes back.
    """

    async def connect_one(*_: Any, **options: Any) -> OwnConnection:  # Any: the pool's own options
        return await _connect(config, writable=writable, **options)

    return await asyncpg.create_pool(
        min_size=0,
        max_size=max_size,
        command_timeout=timeout_seconds,
        connect=connect_one,
        connection_class=Session,
    )


SHORTAGES = {  # of the server, and what to do about them
    asyncpg.DiskFullError: " Make room on the server's disk.",
    asyncpg.OutOfMemoryError: " Give the server more memory, or read fewer days or sites.",
}


@contextmanager
def translate_errors(doing: str) -> Iterator[None]:
    """asyncpg's errors as WarehouseError. `doing` completes a sentence, "while ...": "reading daily_metrics"."""
    try:
        yield
    except (TimeoutError, asyncpg.QueryCanceledError) as error:
        raise WarehouseError(f"PostgreSQL took too long while {doing}. Try again, or read fewer days.") from error
    except CONNECTION_ERRORS as error:
        # After a lost connection, leaving a transaction or a cursor raises another error, which hides the reason.
        earlier = error.__context__ if isinstance(error, asyncpg.InterfaceError) else None
        cause = earlier if isinstance(earlier, CONNECTION_ERRORS) else error
        raise CannotConnect(
            f"The connection to PostgreSQL was lost while {doing}: {first_line(cause)}. Try again."
        ) from error
    except asyncpg.PostgresError as error:
        advice = next((text for kind, text in SHORTAGES.items() if isinstance(error, kind)), "")
        raise WarehouseError(f"PostgreSQL failed while {doing}: {first_line(error)}.{advice}") from error


async def _connect(
    config: DatabaseConfig,
    *,
    writable: bool,
    timeout_seconds: float | None = None,
    **options: Any,  # Any: asyncpg's
) -> OwnConnection:
    options = {
        "timeout": CONNECT_TIMEOUT_SECONDS,
        "server_settings": {"application_name": APPLICATION_NAME},  # poolers refuse most others
        "connection_class": Session,
        **options,
    }
    try:
        connection = await (_connect_embedded if config.embedded else _connect_to_server)(config, options)
    except (*CONNECTION_ERRORS, UnicodeError, asyncpg.PostgresError) as error:
        raise CannotConnect(f"{_describe_server(config)}: {_explain(error, config)}") from error
    connection.limits = make_limits(writable=writable, timeout_seconds=timeout_seconds, schema=config.schema)
    return connection


async def _connect_to_server(config: DatabaseConfig, options: dict[str, Any]) -> OwnConnection:  # Any: asyncpg's
    options = {
        **options, "host": config.host, "port": config.port, "database": config.name,
        "user": config.user, "password": config.password,
    }  # fmt: skip
    if config.options:
        options["server_settings"] = {**options["server_settings"], "options": config.options}
    if config.sslmode:
        options["ssl"] = config.sslmode
    connection = await _open(**options)
    try:
        if await connection.is_direct():
            return connection
    except BaseException:
        connection.terminate()
        raise
    await connection.close()
    return await _open(**options, statement_cache_size=0)  # else it names prepared statements, which stay in a session


async def _connect_embedded(config: DatabaseConfig, options: dict[str, Any]) -> OwnConnection:  # Any: asyncpg's
    # Imported only where it is used: it registers hooks that run at exit and after a fork.
    from forecasting.warehouse.cluster import PORT
    from forecasting.warehouse.embedded import find_server

    server = find_server(config.pgdata)
    options = {**options, "host": str(server.socket_folder), "port": PORT, "database": config.name, **AS_OWNER}
    if server.in_use:
        try:
            return await _open(**options)
        except asyncpg.InvalidCatalogNameError:
            pass  # the server runs, but this database does not exist yet
        except CONNECTION_ERRORS:
            logger.warning("the embedded PostgreSQL in %s does not answer: restarting it", config.pgdata)
    elif not config.name.startswith(CACHE_DATABASE):
        logger.info("%s: using the embedded PostgreSQL in %s", NO_VARIABLE_SET, config.pgdata)
    await asyncio.to_thread(server.join, config.name)
    return await _open(**options)


async def _open(**options: Any) -> OwnConnection:  # Any: asyncpg's options, whose overloads a dictionary cannot match
    connection: OwnConnection = await asyncpg.connect(**options)
    return connection


def _describe_server(config: DatabaseConfig) -> str:
    if config.embedded:
        return f"Cannot connect to the embedded PostgreSQL in {config.pgdata}"
    return (
        f"Cannot connect to PostgreSQL at host {config.host}, port {config.port}, "
        f"database {config.name}, as user {config.user}"
    )


def _explain(error: Exception, config: DatabaseConfig) -> str:
    if isinstance(error, OSError) and error.errno in TOO_MANY:
        return explain_too_many(error)
    reasons = SENT_BY_SERVER if isinstance(error, asyncpg.PostgresError) and "severity" in error.as_dict() else REASONS
    text = next(text for kind, text in reasons if isinstance(error, kind))
    marked = [WITHOUT_TLS, ERROR_BEFORE_TLS] if config.sslmode else [ERROR_BEFORE_TLS]
    text = next((text for mark, text in marked if mark in str(error)), text)
    if config.variable:
        text = VARIABLES.sub(config.variable, text)
    return text.format(error=first_line(error), sslmode=config.sslmode)


def first_line(error: Exception) -> str:
    """Of the server's message, without DETAIL and HINT."""
    return str(error).partition("\n")[0].rstrip(".")
