"""The first database of the embedded PostgreSQL: the documented backend's tables, filled with the sample site."""

import csv
import gzip
import io
from importlib.resources import files
from pathlib import Path

import asyncpg

from forecasting.settings.schema import CACHE_DATABASE
from forecasting.warehouse.cluster import PORT
from forecasting.warehouse.queries import Connection, load_query
from forecasting.warehouse.session import quote_name


async def create_database(socket_folder: Path, name: str) -> None:
    """Creates the database, unless one with that name exists, which is left as it is.

    It is filled under another name and then renamed, so that a database with the final name is always complete.
    """
    server = await _connect(socket_folder, "postgres")
    try:
        if await server.fetchval("select exists (select from pg_database where datname = $1)", name):
            return
        unfinished = f"{name}_unfinished"
        await server.execute(f"drop database if exists {quote_name(unfinished)}")
        await server.execute(f"create database {quote_name(unfinished)}")
        if not name.startswith(CACHE_DATABASE):  # such a database holds the days of other databases
            await _fill(socket_folder, unfinished)
        await server.execute(f"alter database {quote_name(unfinished)} rename to {quote_name(name)}")
    finally:
        await server.close()


async def _fill(socket_folder: Path, name: str) -> None:
    text = gzip.decompress((files("forecasting.warehouse") / "sample" / "daily_metrics.csv.gz").read_bytes())
    columns = next(csv.reader(io.StringIO(text.decode())))
    connection = await _connect(socket_folder, name)
    try:
        async with connection.transaction():
            await connection.execute(load_query("create_siteanalytics"))
            await connection.copy_to_table(
                "daily_metrics", source=io.BytesIO(text), columns=columns, format="csv", header=True
            )
    finally:
        await connection.close()


async def _connect(socket_folder: Path, database: str) -> Connection:
    return await asyncpg.connect(
        host=str(socket_folder), port=PORT, user="postgres", password="", database=database, ssl=False
    )
