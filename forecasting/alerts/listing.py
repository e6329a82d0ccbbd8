"""The messages of the last days and what became of them, for people."""

import datetime as dt
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from forecasting.settings.schema import Config
from forecasting.warehouse.connection import translate_errors
from forecasting.warehouse.message_store import CLAIM_SECONDS
from forecasting.warehouse.queries import fetch
from forecasting.warehouse.schema import open_own_schema

SHOWN_DAYS = 30
MAX_ROWS = 500  # deliveries


async def list_messages(config: Config) -> str:
    """A line for each message, the newest last, and below it one for each address."""
    since = config.data.today() - dt.timedelta(days=SHOWN_DAYS)
    async with open_own_schema(config) as own:
        with translate_errors("reading forecasting.messages"):
            rows = await fetch(own.connection, "list_messages", since, MAX_ROWS)
    if not rows:
        return f"no message since {since}"
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row["id"])]
    now, has_addresses = dt.datetime.now(dt.UTC), bool(config.addresses)
    return "\n".join(
        line for group in reversed(groups) for line in describe_message(group, now=now, has_addresses=has_addresses)
    )


def describe_message(rows: Sequence[Any], *, now: dt.datetime, has_addresses: bool) -> list[str]:
    """`rows` are PostgreSQL's, of one message: one for each delivery, or one without an address."""
    head = rows[0]
    title = f"{_write_moment(head['written_at'])} {head['title']}"
    if head["address"] is not None:
        return [title, *(f"    {row['address']}: {_describe_delivery(row, now)}" for row in rows)]
    if head["addressed_at"] is not None:
        return [title, "    no address wants it"]
    return [title, "    waits to be sent" if has_addresses else "    waits for an address: ALERT_URLS is not set"]


def _describe_delivery(row: Any, now: dt.datetime) -> str:  # Any: PostgreSQL's row
    number = row["num_attempts"]
    if row["status"] == "sent":
        return f"sent {_write_moment(row['ended_at'])}{'' if number == 1 else f', by attempt {number}'}"
    if row["status"] == "failed":
        return f"given up after {number} {'attempt' if number == 1 else 'attempts'}: {row['answer']}"
    if number == 0:
        return "waits for its first attempt"
    is_late = row["due_at"] < now - dt.timedelta(seconds=CLAIM_SECONDS)
    when = "is due" if is_late else f"at {_write_moment(row['due_at'])}"
    return f"waits, attempt {number + 1} {when}: {row['answer'] or 'the last one is under way, or was cut short'}"


def _write_moment(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
