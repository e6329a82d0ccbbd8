"""What is new is written down, and people are told."""

import datetime as dt
import logging
from collections import Counter

from forecasting.alerts.sending import PATIENCE_SECONDS, send_due
from forecasting.alerts.trouble_watch import write_site_news
from forecasting.alerts.unusual import UnusualSeries, write_correction, write_new_level, write_unusual
from forecasting.alerts.weekly_watch import write_weekly
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import OwnConnection, connected, translate_errors
from forecasting.warehouse.message_store import write_message
from forecasting.warehouse.queries import fetch, in_transaction

logger = logging.getLogger("forecasting.alerts")

NEWS_DAYS = 14  # older days are no news: when a history is read for the first time, or a month later
NO_NEWS = 0  # in place of the id of a message


async def tell_people(
    config: Config, database: DatabaseConfig, *, patience_seconds: float = PATIENCE_SECONDS
) -> Counter[str]:
    """Writes messages about what is new, and sends those that are due: call it after days were judged, and again to
    send what waits. How many messages are new, and as send_due.

    `database` has our own schema. A message whose sending fails is tried again for `patience_seconds`, and later by the
    next call. Raises WarehouseError.
    """
    async with connected(database, writable=True) as connection:
        with translate_errors("writing to forecasting.messages"):
            num_new = await write_news(connection, config, today=config.data.today())
    counts = Counter(new=num_new) + await send_due(config, database, patience_seconds=patience_seconds)
    if num_new and not config.addresses:
        logger.info("%s; nobody is told: ALERT_URLS is not set", _count(num_new, "new message"))
    elif any(counts.values()):
        logger.info("%s", describe_counts(counts))
    return counts


async def write_news(connection: OwnConnection, config: Config, *, today: dt.date) -> int:
    """How many messages are new. One transaction: what is told of is marked together with the message about it."""
    async with in_transaction(connection):
        await fetch(connection, "lock_messages")
        writers = (_write_unusual, _write_later_news, write_site_news, write_weekly)
        return sum([await write(connection, config, today=today) for write in writers])


async def _write_unusual(connection: OwnConnection, config: Config, *, today: dt.date) -> int:
    rows = [UnusualSeries(**row) for row in await fetch(connection, "read_untold_anomalies")]
    since, num_new = today - dt.timedelta(days=NEWS_DAYS), 0
    await fetch(connection, "note_told", [row.id for row in rows if row.day < since], NO_NEWS)
    rows = [row for row in rows if row.day >= since]
    for message, ids in write_unusual(rows, page_url=config.alerts.page_url):
        number, is_new = await write_message(connection, message)
        await fetch(connection, "note_told", ids, number)
        num_new += is_new
    return num_new


async def _write_later_news(connection: OwnConnection, config: Config, *, today: dt.date) -> int:
    """New levels and corrections, each told once: the cause and the day are those of the unusual day."""
    since, url = today - dt.timedelta(days=NEWS_DAYS), config.alerts.page_url
    num_new = 0
    for row in await fetch(connection, "read_later_news", since):
        values = dict(row)
        before, is_withdrawn = values.pop("value_before"), values.pop("is_withdrawn")
        unusual = UnusualSeries(**values)
        corrected = write_correction(unusual, before, page_url=url) if is_withdrawn else None
        message = corrected or write_new_level(unusual, page_url=url)
        num_new += (await write_message(connection, message))[1]
    return num_new


def describe_counts(counts: Counter[str]) -> str:
    words = {"new": "new", "sent": "sent", "waiting": "waiting for another attempt", "failed": "given up"}
    return "messages: " + ", ".join(f"{counts[name]:,} {text}" for name, text in words.items() if counts[name])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
