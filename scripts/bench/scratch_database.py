"""A database of a benchmark's own on the configured server, dropped at the end, however the benchmark ends."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import psutil

from forecasting.settings.loading import load_config
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import OwnConnection, connect
from forecasting.warehouse.embedded import find_server

NAME = f"bench_{os.getpid()}"


@contextmanager
def scratch_database() -> Iterator[DatabaseConfig]:
    server = load_config().database
    try:
        asyncio.run(execute(server, f"create database {NAME}"))
        yield _reach(server)
    finally:
        asyncio.run(execute(server, f"drop database if exists {NAME} with (force)"))


def _reach(server: DatabaseConfig) -> DatabaseConfig:
    if server.embedded:  # by its own name it would be filled with the sample site
        host = str(find_server(server.pgdata).socket_folder)
        return DatabaseConfig(embedded=False, host=host, name=NAME, password="")
    return replace(server, name=NAME)


@asynccontextmanager
async def connected(database: DatabaseConfig) -> AsyncIterator[OwnConnection]:
    connection = await connect(database, writable=True, timeout_seconds=600)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(database: DatabaseConfig, statement: str, *values: object) -> None:
    async with connected(database) as connection:
        await connection.execute(statement, *values)


async def read_server_version(connection: OwnConnection) -> str:
    return str(await connection.fetchval("select current_setting('server_version')"))


def find_postmaster(database: DatabaseConfig) -> psutil.Process | None:
    """None if the server is on another machine."""

    async def find() -> psutil.Process | None:
        async with connected(database) as connection:
            pid = connection.get_server_pid()
            return psutil.Process(pid).parent() if psutil.pid_exists(pid) else None

    return asyncio.run(find()) if database.host.startswith("/") else None
