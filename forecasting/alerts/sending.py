"""Brings messages to people: at once, and again with growing delays where that fails.

Each attempt is noted before it begins, and its row stays locked until it has ended. A process that is killed in between
leaves the row unlocked, and another one sends the message again: none is lost. It may have arrived the first time, so
the second says so, and a webhook gets it under the same id.
"""

import asyncio
import datetime as dt
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from forecasting.alerts.outcome import Outcome
from forecasting.alerts.webhook import post_webhook
from forecasting.errors import SettingError
from forecasting.settings.schema import AlertAddress, Config, DatabaseConfig
from forecasting.warehouse.connection import OwnConnection, connected, translate_errors
from forecasting.warehouse.message_store import (
    Delivery,
    Message,
    claim_delivery,
    end_delivery,
    find_next_due,
    give_up_old,
    lock_delivery,
    read_unaddressed,
    write_deliveries,
)
from forecasting.warehouse.queries import in_transaction

if TYPE_CHECKING:
    from forecasting.alerts.apprise_service import AppriseService

logger = logging.getLogger("forecasting.alerts")

# Seconds from each failed attempt to the next; after the last, a message is given up. As Standard Webhooks proposes.
DELAYS = (5, 30, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600)
PATIENCE_SECONDS = 60.0  # for the first attempts again, in a program that ends when it is done


def wants(address: AlertAddress, message: Message) -> bool:
    """Whether a message is for this address."""
    return (
        (not address.only or message.kind in address.only)
        and (not address.sites or not message.sites or bool({*address.sites} & {*message.sites}))
        and (not address.metrics or not message.metrics or bool({*address.metrics} & {*message.metrics}))
        and (address.direction is None or message.direction in (None, address.direction))
        and message.severity.rank >= address.least.rank
    )


async def send_due(config: Config, database: DatabaseConfig, *, patience_seconds: float) -> Counter[str]:
    """How many messages were sent, wait for another attempt, and were given up. Ends when nothing more is due within
    `patience_seconds` of its start. Addresses work at the same time: a slow one delays no other.
    """
    until = time.monotonic() + patience_seconds
    async with connected(database, writable=True) as connection:
        with translate_errors("writing to forecasting.deliveries"):
            await _address(connection, config.addresses)
            given_up = await give_up_old(connection)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_Sender(config, address, database, until).run()) for address in config.addresses]
    return sum((task.result() for task in tasks), Counter(failed=given_up))


async def _address(connection: OwnConnection, addresses: Sequence[AlertAddress]) -> None:
    """Decides who gets the messages that are new. Without any address they wait for a program that has some."""
    if not addresses:
        return
    async with in_transaction(connection):
        messages = await read_unaddressed(connection)
        pairs = [
            (number, address.name) for number, message in messages for address in addresses if wants(address, message)
        ]
        if messages:
            await write_deliveries(connection, [number for number, _ in messages], pairs)


class _Sender:
    """One address, one message after another."""

    def __init__(self, config: Config, address: AlertAddress, database: DatabaseConfig, until: float) -> None:
        self._config = config
        self._address = address
        self._database = database
        self._until = until  # by the monotonic clock
        self._courier = Courier(address)
        self._counts: Counter[str] = Counter()

    async def run(self) -> Counter[str]:
        async with connected(self._database, writable=True) as connection:
            with translate_errors("writing to forecasting.deliveries"):
                while await self._wait(connection):
                    while delivery := await claim_delivery(connection, self._address.name):
                        await self._deliver(connection, delivery)
        return self._counts

    async def _wait(self, connection: OwnConnection) -> bool:
        """Until the next attempt is due; False if that is too long, or nothing waits."""
        now = dt.datetime.now(ZoneInfo(self._config.data.timezone))
        seconds = await find_next_due(connection, self._address.name)
        if seconds is None:
            return False
        seconds = max(seconds, (self._address.end_quiet(now) - now).total_seconds())
        if time.monotonic() + seconds > self._until and seconds > 0:
            self._counts["waiting"] += 1
            return False
        await asyncio.sleep(seconds)
        return True

    async def _deliver(self, connection: OwnConnection, delivery: Delivery) -> None:
        async with in_transaction(connection):
            if await lock_delivery(connection, delivery):
                outcome = await self._send(delivery)
                await self._end(connection, delivery, outcome)

    async def _send(self, delivery: Delivery) -> Outcome:
        try:
            return await self._courier.send(delivery)
        except Exception as error:
            logger.exception("%s: message %d could not be sent", self._address.name, delivery.message_id)
            return Outcome(f"a bug in this program ({type(error).__name__}): its log says more", is_unsure=True)

    async def _end(self, connection: OwnConnection, delivery: Delivery, outcome: Outcome) -> None:
        delay = DELAYS[delivery.num_attempts - 1] if delivery.num_attempts <= len(DELAYS) else None
        status = "sent" if outcome.is_sent else "failed" if delay is None else "waiting"
        await end_delivery(
            connection,
            delivery,
            status=status,
            answer=outcome.answer,
            wait_seconds=delay or 0.0,
            is_unsure=outcome.is_unsure,
        )
        if not outcome.is_sent:
            after = f"next attempt in {_write_seconds(delay)}" if delay is not None else "it is given up"
            logger.warning("%s: %s; %s", self._address.name, outcome.answer, after)
        if status != "waiting":
            self._counts[status] += 1


class Courier:
    """Brings messages to one address."""

    def __init__(self, address: AlertAddress) -> None:
        self._address = address
        self._service: "AppriseService | None" = None

    async def send(self, delivery: Delivery) -> Outcome:
        message = delivery.message
        if self._address.is_webhook:
            now = dt.datetime.now(dt.UTC)
            return await post_webhook(self._address, message, key=delivery.key, written_at=delivery.written_at, now=now)
        if self._service is None:
            try:
                self._service = await asyncio.to_thread(_make_service, self._address)
            except SettingError as error:
                return Outcome(str(error))
        return await asyncio.to_thread(self._service.send, message, is_unsure=delivery.is_unsure)


def _make_service(address: AlertAddress) -> "AppriseService":
    from forecasting.alerts.apprise_service import AppriseService  # 0.4 s, only where there is something to send

    return AppriseService(address)


def _write_seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.0f} h"
