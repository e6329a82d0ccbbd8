"""A test message to each address, and what came back."""

import asyncio
import datetime as dt
import uuid

from forecasting.alerts.sending import Courier
from forecasting.alerts.unusual import join_lines
from forecasting.domain import MessageKind, Severity
from forecasting.settings.schema import AlertAddress, Config
from forecasting.warehouse.message_store import Message

EXAMPLE = (
    "1,204 visits on Tuesday, 3,480 were expected (2,900 to 4,020). About once in 80 days.",
    "All four metrics fell alike; 9 hours are missing: the tracker may have stopped.",
)


async def send_tests(config: Config) -> tuple[list[str], int]:
    """A line for each address, and how many of them did not accept it."""
    now, day = dt.datetime.now(dt.UTC), config.data.today()
    message = Message(
        kind=MessageKind.unusual,
        cause="test",
        day=day,
        title="Test: messages about your traffic arrive here",
        body=join_lines(["So it looks when a day is unusual:", *EXAMPLE, config.alerts.page_url or ""]),
    )
    key = f"msg_test_{uuid.uuid4().hex}"
    outcomes = await asyncio.gather(
        *(Courier(address).send(message, key=key, written_at=now) for address in config.addresses)
    )
    lines = [
        f"{address.name}: {'accepted' if outcome.is_sent else outcome.answer}. {describe_filters(address)}"
        for address, outcome in zip(config.addresses, outcomes, strict=True)
    ]
    return lines, sum(not outcome.is_sent for outcome in outcomes)


def describe_filters(address: AlertAddress) -> str:
    """Which messages an address gets, as a sentence."""
    parts = [
        f"of {', '.join(address.sites)}" if address.sites else "",
        f"about {', '.join(address.metrics)}" if address.metrics else "",
        f"only of {address.direction} days" if address.direction else "",
        f"{address.least} ones{' or worse' if address.least is Severity.major else ''}" if address.least.rank else "",
        f"none between {address.quiet[0]:%H:%M} and {address.quiet[1]:%H:%M}" if address.quiet else "",
    ]
    chosen = [part for part in parts if part]
    kinds = f"{' and '.join(address.only)} messages" if address.only else "messages" if chosen else "all messages"
    return f"It gets {', '.join([kinds, *chosen])}."
