"""Brings forecasting.daily up to date with events in Umami's tables, at a given time, and says what it holds."""

import asyncio
import datetime as dt
from dataclasses import replace
from typing import Any

import asyncpg

from forecasting.domain import SourceName
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig, VerdictConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.ingest import UpdateResult, update
from forecasting.warehouse.schema import create_schema
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import BLOG

# The source's table fails where it is read in a transaction that could write, or that could take forever.
GUARDED = """
alter table website_event rename to events;
create function guard() returns boolean language plpgsql as $$
    begin
        if current_setting('transaction_read_only') <> 'on' or current_setting('statement_timeout') <> '7s' then
            raise exception 'not guarded';
        end if;
        return true;
    end
$$;
create view website_event as select * from events where guard();
"""

HOURS = (8, 20)  # of the usual day


def events_of(database: DatabaseConfig, *, verdicts: VerdictConfig | None = None, **settings: Any) -> Config:
    """The configuration of Umami's tables there; `said` of data."""
    data = DataConfig(source=SourceName.umami, **settings)
    return Config(database=database, data=data, verdicts=verdicts or VerdictConfig())


def bring(config: Config, now: str, *scripts: str, **options: Any) -> UpdateResult:  # Any: of update
    """What an update says after the scripts have changed the source."""
    prepare(config.source_database or config.database, *scripts)
    moment = dt.datetime.fromisoformat(now)
    return asyncio.run(update(config, now=moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC), **options))


def views(moment: str, number: int = 1, *, site: str = BLOG, people: int | None = None) -> str:
    """Adds views at a moment, each of another person or all of `people`, each in one visit."""
    who = f"lpad(to_hex(number % {people or number}), 12, '0')"
    return f"""
        insert into website_event (website_id, session_id, visit_id, created_at)
            select '{site}', made.id, made.id, '{moment}'
            from generate_series(1, {number}) as number
            cross join lateral (select ('00000000-0000-4000-8000-' || {who})::uuid as id) as made;
    """  # noqa: S608 - ours


def days(first: str, last: str, *, site: str = BLOG, an_hour: int = 5, hours: tuple[int, int] = HOURS) -> str:
    """Adds usual days of UTC: so many people in each of the hours, each with one view."""
    return f"""
        insert into website_event (website_id, session_id, visit_id, created_at)
            select '{site}', made.id, made.id, day + hour * interval '1 hour' + number * interval '1 minute'
            from generate_series(timestamptz '{first} 00:00+00', '{last} 00:00+00', interval '1 day') as day
            cross join generate_series({hours[0]}, {hours[1] - 1}) as hour
            cross join generate_series(1, {an_hour}) as number
            cross join lateral (select gen_random_uuid() as id where hour + number > 0) as made;
    """  # noqa: S608 - ours


def make_schema(database: DatabaseConfig) -> None:
    """Our own schema, made or brought up to date."""

    async def run() -> None:
        connection = await connect(database, writable=True)
        try:
            async with connection.transaction():
                await create_schema(connection)
        finally:
            await connection.close()

    asyncio.run(run())


def ask_own(database: DatabaseConfig, statement: str, *values: Any) -> list[asyncpg.Record]:  # Any: PostgreSQL's types
    async def run() -> list[asyncpg.Record]:
        connection = await connect(database)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    return asyncio.run(run())


def stored(database: DatabaseConfig, metric: str = "page_visits", site: str = "Blog") -> dict[str, float | None]:
    """The days of a series and their values."""
    statement = "select day, value from forecasting.daily where metric = $1 and site = $2 order by day"
    return {str(row["day"]): row["value"] for row in ask_own(database, statement, metric, site)}


def judged(database: DatabaseConfig, metric: str = "page_visits", site: str = "Blog") -> dict[str, str]:
    """The days of a series that are not as usual."""
    statement = """
        select day, verdict from forecasting.daily
        where metric = $1 and site = $2 and verdict <> 'observed' order by day
    """
    return {str(row["day"]): row["verdict"] for row in ask_own(database, statement, metric, site)}


def contents(database: DatabaseConfig) -> list[tuple[Any, ...]]:  # Any: PostgreSQL's types
    """All that forecasting.daily says, but for when it was read."""
    statement = "select site, metric, day, value, verdict, hours from forecasting.daily order by site, metric, day"
    return [tuple(row) for row in ask_own(database, statement)]


def progress(database: DatabaseConfig, site: str = "Blog") -> str:
    """The day before which all of a site's days have been read."""
    return str(ask_own(database, "select read_until from forecasting.sites where site = $1", site)[0]["read_until"])


def anew(config: Config, now: str) -> list[tuple[Any, ...]]:  # Any: PostgreSQL's types
    """What is stored when everything is read by one update."""
    prepare(config.cache_database or config.database, "drop schema forecasting cascade")
    bring(config, now)
    return contents(config.cache_database or config.database)


def as_user(config: Config, user: str) -> Config:
    return replace(config, database=replace(config.database, user=user, password=""))
