"""Brings messages to people: at once, and again with growing delays where that fails.

Each attempt is noted before it begins, and its row stays locked until it has ended. A process that is killed in between
leaves the row unlocked, and another one sends the message again: none is lost. It may have arrived the first time, so
the second says so, and a webhook gets it under the same id.
"""

import asyncio
import datetime as dt
import logging
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from forecasting.alerts.chart import make_picture
from forecasting.alerts.outcome import Outcome
from forecasting.alerts.webhook import post_webhook
from forecasting.domain import MessageKind
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
DELAYS = (5.0, 30.0, 5 * 60.0, 30 * 60.0, 2 * 3600.0, 5 * 3600.0, 10 * 3600.0, 14 * 3600.0, 20 * 3600.0)
END_SECONDS = 5.0  # for an attempt that is under way when the program ends
OTHERS_SECONDS = 1.0  # between looks at what other programs are sending
PATIENCE_SECONDS = 60.0  # for the first attempts again, in a program that ends when it is done


def wants(address: AlertAddress, message: Message) -> bool:
    """Whether a message is for this address."""
    return (
        (not address.only or message.kind in address.only)
        and (not address.sites or not message.sites or bool({*address.sites} & {*message.sites}))
        and (not address.metrics or not message.metrics or bool({*address.metrics} & {*message.metrics}))
        and (address.direction is None or message.direction in (None, address.direction))
        and (message.kind is not MessageKind.unusual or message.severity.rank >= address.least.rank)
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
    senders = [_Sender(config, address, database, until) for address in config.addresses]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(sender.run()) for sender in senders]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
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
        self._is_first = True

    async def run(self) -> Counter[str]:
        async with connected(self._database, writable=True) as connection:
            with translate_errors("writing to forecasting.deliveries"):
                while await self._wait(connection):
                    if not await self._deliver_all(connection):
                        await asyncio.sleep(OTHERS_SECONDS)
        return self._counts

    async def _wait(self, connection: OwnConnection) -> bool:
        """Until the next attempt is due; False if that is too long, or nothing waits."""
        now = dt.datetime.now(ZoneInfo(self._config.data.timezone))
        seconds, num_waiting = await find_next_due(connection, self._address.name)
        if not num_waiting:
            return False
        seconds = max(seconds, (self._address.end_quiet(now) - now).total_seconds())
        is_first, self._is_first = self._is_first, False
        if time.monotonic() + seconds > self._until and not (is_first and seconds == 0):
            self._counts["waiting"] += num_waiting
            return False
        await asyncio.sleep(seconds)
        return True

    async def _deliver_all(self, connection: OwnConnection) -> int:
        """Those that are due. How many attempts that were; none if other programs are making them."""
        num_attempts = 0
        while delivery := await claim_delivery(connection, self._address.name):
            await _finish(self._deliver(connection, delivery))
            num_attempts += 1
        return num_attempts

    async def _deliver(self, connection: OwnConnection, delivery: Delivery) -> None:
        async with in_transaction(connection):
            if await lock_delivery(connection, delivery):
                outcome = await self._send(connection, delivery)
                await self._end(connection, delivery, outcome)

    async def _send(self, connection: OwnConnection, delivery: Delivery) -> Outcome:
        message = delivery.message

        async def draw() -> bytes | None:
            async with connection.transaction():  # within the other one, which an error here must not end
                return await make_picture(connection, message)

        try:
            return await self._courier.send(
                message, key=delivery.key, written_at=delivery.written_at, is_unsure=delivery.is_unsure, draw=draw
            )
        except Exception as error:  # noqa: BLE001 - other messages must go on; its text may have secrets
            place = "".join(traceback.format_tb(error.__traceback__))
            logger.error(  # noqa: TRY400
                "%s: message %d could not be sent: %s\n%s",
                *(self._address.name, delivery.message_id, type(error).__name__, place),
            )
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


async def _finish(attempt: Coroutine[Any, Any, None]) -> None:
    """Waits for an attempt, even if this program ends: it would have to be made again, and might arrive twice."""
    task = asyncio.ensure_future(attempt)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=END_SECONDS)
        raise


class Courier:
    """Brings messages to one address."""

    def __init__(self, address: AlertAddress) -> None:
        self._address = address
        self._service: "AppriseService | None" = None

    async def send(
        self,
        message: Message,
        *,
        key: str,
        written_at: dt.datetime,
        is_unsure: bool = False,
        draw: Callable[[], Awaitable[bytes | None]] | None = None,
    ) -> Outcome:
        """`key` is the same in each attempt. `is_unsure`: an earlier one may have arrived. `draw` makes a picture, for
        services that take one.
        """
        if self._address.is_webhook:
            now = dt.datetime.now(dt.UTC)
            return await post_webhook(self._address, message, key=key, written_at=written_at, now=now)
        if self._service is None:
            try:
                self._service = await asyncio.to_thread(_make_service, self._address)
            except SettingError as error:
                return Outcome(str(error))
        picture = await draw() if draw and self._service.takes_pictures else None
        return await asyncio.to_thread(self._service.send, message, picture=picture, is_unsure=is_unsure)


def _make_service(address: AlertAddress) -> "AppriseService":
    from forecasting.alerts.apprise_service import AppriseService  # 0.4 s, only where there is something to send

    return AppriseService(address)


def _write_seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.0f} h"
