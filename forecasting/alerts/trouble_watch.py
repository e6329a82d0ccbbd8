"""Looks at the feed of new days and at the sites of the source, and writes what is wrong into the outbox."""

import datetime as dt
from typing import Any

from forecasting.alerts.troubles import SiteState, find_troubles, write_troubles
from forecasting.domain import MessageKind
from forecasting.monitoring.data_age import SeriesAge
from forecasting.settings.schema import Config
from forecasting.warehouse.message_store import (
    Message,
    begin_condition,
    end_condition,
    read_conditions,
    write_message,
)
from forecasting.warehouse.queries import Connection, fetch, in_transaction


async def write_site_news(connection: Connection, config: Config, *, today: dt.date) -> int:
    """How many messages are new. Must run in a transaction that has locked the messages.

    Sources whose sites nobody has read, such as a forecasting.daily that another program fills, have no such news.
    """
    source = config.data.source.value
    sites = await _read_sites(connection, config, source)
    known = await read_conditions(connection)
    troubles = find_troubles(source, sites, known, max_age_days=config.serving.max_age_days)
    for trouble in troubles:
        await (begin_condition if trouble.is_wrong else end_condition)(connection, trouble.cause)
    messages = write_troubles(source, troubles, sites, today=today, page_url=config.alerts.page_url)
    return sum([(await write_message(connection, message))[1] for message in messages])


async def report_trouble(connection: Connection, config: Config, *, cause: str, title: str, text: str | None) -> bool:
    """Tells of something else that is wrong, such as a job that fails: `text` says what; None: it is over, as `title`
    says. Told when it begins and when it ends, however often this is called. Whether a message is new.
    """
    async with in_transaction(connection):
        is_news = await (begin_condition if text else end_condition)(connection, cause)
        if not is_news:
            return False
        message = Message(
            kind=MessageKind.trouble,
            cause=cause if text else f"{cause}/over",
            day=config.data.today(),
            title=title,
            body=text or "It works again.",
        )
        return (await write_message(connection, message))[1]


async def _read_sites(connection: Connection, config: Config, source: str) -> list[SiteState]:
    data = config.data
    today = data.today() + dt.timedelta(days=1)  # it may be tomorrow already where a site is
    rows = await fetch(connection, "read_site_ages", source, today)
    wanted = set(data.sites)
    return [
        SiteState(row["site"], row["key"], row["aliases"], row["is_gone"], _make_age(row, data.today(row["timezone"])))
        for row in rows
        if not wanted or wanted & {row["site"], *row["aliases"]}
    ]


def _make_age(row: Any, today: dt.date) -> SeriesAge | None:  # Any: PostgreSQL's row
    if row["newest"] is None:
        return None
    newest = min(row["newest"], today - dt.timedelta(days=1))
    return SeriesAge(row["site"], newest, (today - newest).days, tuple(row["arrivals"]))
