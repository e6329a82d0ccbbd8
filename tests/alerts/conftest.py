"""Receivers of messages, and a database with our own schema alone."""

import asyncio
from collections.abc import Iterator
from email.message import Message as Mail

import pytest

from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.schema import load_schema
from tests.alerts.receivers import HttpReceiver, http_receiver, mail_receiver


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with http_receiver() as started:
        yield started


@pytest.fixture
def mailbox() -> Iterator[tuple[str, list[Mail]]]:
    with mail_receiver() as started:
        yield started


@pytest.fixture
def own(database: DatabaseConfig) -> DatabaseConfig:
    async def create() -> None:
        connection = await connect(database, writable=True)
        await connection.execute(f"drop table daily_metrics; {load_schema()}")
        await connection.close()

    asyncio.run(create())
    return database
