"""The real PostgreSQL, in a temporary folder: one server a run, a database of its own for each test that asks."""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # what tests import of the package goes through jaxtyping, which is not ready yet
    from forecasting.config import DatabaseConfig

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A temporary folder of a short path, as a socket's must be; in memory where there is room: disks may be slow."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    folder = Path(tempfile.mkdtemp(prefix="pg", dir=memory if roomy else "/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def embedded(short_folder: Path) -> "Iterator[DatabaseConfig]":
    """The embedded server with the sample site, which stays as it is."""
    from forecasting.config import DatabaseConfig
    from forecasting.warehouse.embedded import find_server

    folder = short_folder / "embedded"
    find_server(folder).join("siteanalytics")
    host = str(find_server(folder).socket_folder)
    for statement in (
        "alter system set fsync = off",  # nothing here cuts the power
        "select pg_reload_conf()",
        "create database untouched template siteanalytics",  # to copy from, while others use the sample
    ):
        asyncio.run(_execute(host, statement))
    yield DatabaseConfig(embedded=True, pgdata=folder)
    find_server(folder).leave()


@pytest.fixture
def database(embedded: "DatabaseConfig") -> "Iterator[DatabaseConfig]":
    """A copy of the sample's database to change, reached as a server of the user's own would be."""
    from forecasting.config import DatabaseConfig
    from forecasting.warehouse.embedded import find_server

    name = f"copy_{next(NUMBERS)}"
    host = str(find_server(embedded.pgdata).socket_folder)
    asyncio.run(_execute(host, f"create database {name} template untouched"))
    yield DatabaseConfig(embedded=False, host=host, name=name)
    asyncio.run(_execute(host, f"drop database {name} with (force)"))


async def _execute(host: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(host=host, user="postgres", password="", database="postgres", ssl=False)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
