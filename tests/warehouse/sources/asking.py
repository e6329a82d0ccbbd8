"""Runs a source on a database that scripts have prepared, as the cache does, and gives what it says."""

import asyncio
import datetime as dt
import math
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from forecasting.domain import to_date
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import OwnConnection, connect
from forecasting.warehouse.copy_format import DATES_SINCE, decode_texts, split_rows
from forecasting.warehouse.sites import name_sites
from forecasting.warehouse.sources.source import MetricDefinition, Site, Source, Span

T = TypeVar("T")
Days = dict[tuple[str, str, str], float]  # key, metric, day -> value


def prepare(config: DatabaseConfig, *scripts: str) -> None:
    async def run() -> None:
        connection = await connect(config, writable=True)
        try:
            for script in scripts:
                await connection.execute(script)
        finally:
            await connection.close()

    asyncio.run(run())


def ask(config: DatabaseConfig, question: Callable[[OwnConnection], Awaitable[T]], *, user: str | None = None) -> T:
    """What the question answers, over a read-only connection."""

    async def run() -> T:
        connection = await connect(replace(config, user=user, password="") if user else config)
        try:
            async with connection.transaction(readonly=True):
                return await question(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


def list_sites(config: DatabaseConfig, source: Source) -> list[Site]:
    """By the names that they get in our tables, where none has been read yet."""
    return list(name_sites(ask(config, source.list_sites), (), source=source.name).sites)


def list_metrics(config: DatabaseConfig, source: Source, *, user: str | None = None) -> list[MetricDefinition]:
    return list(ask(config, source.list_metrics, user=user))


def read_days(
    config: DatabaseConfig, source: Source, keys: Sequence[str], *, first: str, until: str, timezone: str = "UTC"
) -> Days:
    return {place: value for place, (value, _) in read_all(config, source, keys, first, until, timezone).items()}


def read_hours(
    config: DatabaseConfig, source: Source, keys: Sequence[str], *, first: str, until: str, timezone: str = "UTC"
) -> dict[tuple[str, str], set[int]]:
    """The local hours of each key's day in which something happened."""
    actual = read_all(config, source, keys, first, until, timezone)
    return {
        (key, day): {hour for hour in range(24) if hours >> hour & 1}
        for (key, _, day), (_, hours) in actual.items()
        if hours is not None
    }


def read_all(
    config: DatabaseConfig, source: Source, keys: Sequence[str], first: str, until: str, timezone: str
) -> dict[tuple[str, str, str], tuple[float, int | None]]:
    span = Span(keys, dt.date.fromisoformat(first), dt.date.fromisoformat(until), timezone)
    chunks: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        chunks.append(chunk)

    ask(config, lambda connection: source.copy_days(connection, span, write=keep))
    keys_, metrics, days, values, hours = split_rows(b"".join(chunks), num_fields=5)
    rows = list(zip(decode_texts(keys_), decode_texts(metrics), days, values, hours, strict=True))
    actual = {
        (key, metric, str(to_date(struct.unpack(">i", day)[0] + DATES_SINCE))): (
            math.nan if value is None else struct.unpack(">d", value)[0],
            None if hour is None else struct.unpack(">i", hour)[0],
        )
        for key, metric, day, value, hour in rows
    }
    assert len(actual) == len(rows)  # one row each key, metric and day
    return actual
