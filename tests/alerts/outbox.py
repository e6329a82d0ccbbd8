"""Writes messages into the real forecasting.messages, and looks at what became of them."""

import asyncio
import datetime as dt
from typing import Any

from forecasting.domain import MessageKind, Severity
from forecasting.settings.alert_urls import read_alert_addresses
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.message_store import Message, write_message

DAY = dt.date(2026, 11, 24)


def make_message(site: str = "shop", **changes: Any) -> Message:
    values: dict[str, Any] = {
        "kind": MessageKind.unusual,
        "cause": f"unusual/low/{site}",
        "day": DAY,
        "title": f"{site}: low",
        "body": f"Few visits of {site}.",
        "sites": (site,),
        "metrics": ("visits",),
        "direction": "low",
        "severity": Severity.major,
    }
    return Message(**values | changes)


def configure(database: DatabaseConfig, **environ: str) -> Config:
    return Config(database=database, addresses=read_alert_addresses(environ))


def write(database: DatabaseConfig, *messages: Message) -> None:
    async def insert() -> None:
        connection = await connect(database, writable=True)
        for message in messages:
            await write_message(connection, message)
        await connection.close()

    asyncio.run(insert())


def ask(database: DatabaseConfig, statement: str, *scripts: str) -> list[tuple[Any, ...]]:
    """The rows of the statement, after the scripts."""

    async def fetch() -> list[tuple[Any, ...]]:
        connection = await connect(database, writable=True)
        for script in scripts:
            await connection.execute(script)
        rows = await connection.fetch(statement)
        await connection.close()
        return [tuple(row) for row in rows]

    return asyncio.run(fetch())
