"""`forecasting.messages` and `forecasting.deliveries`, our own tables: what people are told, and what reached whom."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forecasting.domain import MessageKind, Severity
from forecasting.warehouse.queries import Connection, fetch, in_transaction

NEWS_DAYS = 1  # so long a message waits for an address to be configured
GIVE_UP_DAYS = 4  # after which nobody needs it
CLAIM_SECONDS = 10.0  # a claim that nobody has locked by then was cut off


@dataclass(frozen=True)
class Message:
    """Told once a `day` for each `cause`."""

    kind: MessageKind
    cause: str
    day: dt.date
    title: str
    body: str
    sites: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    direction: str | None = None
    severity: Severity = Severity.major


@dataclass(frozen=True)
class Delivery:
    """An attempt to bring a message to an address."""

    message_id: int
    address: str
    num_attempts: int  # with this one
    is_unsure: bool  # an earlier attempt may have arrived
    message: Message
    written_at: dt.datetime
    database_id: str

    @property
    def key(self) -> str:
        """The same for each attempt, and for no other message."""
        return f"msg_{self.database_id.replace('-', '')[:12]}_{self.message_id}"


async def write_message(connection: Connection, message: Message) -> tuple[int, bool]:
    """Its id, and whether it is new: its cause may have been told that day."""
    parts = (message.kind, message.cause, message.day, message.sites, message.metrics)
    rest = (message.direction, message.severity, message.title, message.body)
    [row] = await fetch(connection, "write_message", *parts, *rest)
    return row["id"], row["is_new"]


async def read_unaddressed(connection: Connection) -> list[tuple[int, Message]]:
    """Must run in the transaction that writes their deliveries."""
    rows = await fetch(connection, "read_unaddressed", NEWS_DAYS)
    return [(row["id"], _make_message(row)) for row in rows]


async def write_deliveries(connection: Connection, ids: Sequence[int], pairs: Sequence[tuple[int, str]]) -> None:
    """`ids` are decided; `pairs` say which of them go to which addresses."""
    columns = [number for number, _ in pairs], [address for _, address in pairs]
    await fetch(connection, "write_deliveries", ids, *columns)


async def claim_delivery(connection: Connection, address: str) -> Delivery | None:
    """The next one that is due; None if there is none. From here on it counts as begun, whatever happens to us."""
    rows = await fetch(connection, "claim_delivery", address, CLAIM_SECONDS)
    return _make_delivery(rows[0], address) if rows else None


async def lock_delivery(connection: Connection, delivery: Delivery) -> bool:
    """Whether it is still ours. Must run in the transaction in which it is sent."""
    values = (delivery.message_id, delivery.address, delivery.num_attempts)
    return bool(await fetch(connection, "lock_delivery", *values))


async def end_delivery(
    connection: Connection,
    delivery: Delivery,
    *,
    status: str,
    answer: str = "",
    wait_seconds: float = 0.0,
    is_unsure: bool = False,
) -> None:
    values = (delivery.message_id, delivery.address, status, wait_seconds, answer, is_unsure)
    await fetch(connection, "end_delivery", *values)


async def find_next_due(connection: Connection, address: str) -> tuple[float, int]:
    """Seconds until the next attempt, and how many messages wait."""
    [row] = await fetch(connection, "find_next_due", address, CLAIM_SECONDS)
    return max(0.0, row["seconds"] or 0.0), row["num_waiting"]


async def give_up_old(connection: Connection) -> int:
    """How many deliveries count as failed from now on."""
    async with in_transaction(connection):
        return len(await fetch(connection, "give_up_deliveries", GIVE_UP_DAYS))


def _make_message(row: Any) -> Message:  # Any: PostgreSQL's row
    return Message(
        kind=MessageKind(row["kind"]),
        cause=row["cause"],
        day=row["day"],
        title=row["title"],
        body=row["body"],
        sites=tuple(row["sites"]),
        metrics=tuple(row["metrics"]),
        direction=row["direction"],
        severity=Severity(row["severity"]),
    )


def _make_delivery(row: Any, address: str) -> Delivery:  # Any: PostgreSQL's row
    return Delivery(
        message_id=row["message_id"],
        address=address,
        num_attempts=row["num_attempts"],
        is_unsure=row["is_unsure"],
        message=_make_message(row),
        written_at=row["written_at"],
        database_id=str(row["database_id"]),
    )


async def read_conditions(connection: Connection) -> dict[str, dt.datetime]:
    """What was found wrong and is not over: its cause, and when it was first told."""
    return {row["cause"]: row["began_at"] for row in await fetch(connection, "read_conditions")}


async def begin_condition(connection: Connection, cause: str) -> bool:
    """False if it is known already."""
    return bool(await fetch(connection, "begin_condition", cause))


async def end_condition(connection: Connection, cause: str) -> bool:
    """False if it was not known."""
    return bool(await fetch(connection, "end_condition", cause))
