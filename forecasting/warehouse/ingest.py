"""`forecasting.daily` brought up to date with a source: what is new, what came late, and nothing else.

A chunk of days is one transaction under one lock. So whatever ends this early leaves whole chunks, the next run goes on
from there, and of two at once each finds what the other has done.
"""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import asyncpg

from forecasting.domain import SourceName, to_day
from forecasting.errors import MissingTable, SchemaNotWritable, SettingError, SourceTooSlow
from forecasting.panel_building import duplicate_days
from forecasting.runtime import progress
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.catalog import Listing, list_source, local_day, timezone_of, write_listing
from forecasting.warehouse.connection import OwnConnection, connected, translate_errors
from forecasting.warehouse.daily import find_origin, has_rows
from forecasting.warehouse.queries import Connection, fetch, load_query
from forecasting.warehouse.schema import create_schema
from forecasting.warehouse.sources.source import Source, Span
from forecasting.warehouse.verdict_store import Rules, claim_new_sites, judge_anew, judge_incoming, read_rules

logger = logging.getLogger("forecasting.warehouse")

OWN_TIMEOUT_SECONDS = 3600.0  # of a statement on our own schema
FIRST_CHUNK_DAYS = 28  # then longer or shorter ones, by how long they take
CHUNK_SECONDS = (2.0, 8.0)  # that a chunk should take at least, and at most
CHUNKS_WAITING = 16  # of what COPY gives, between the source and our own schema

Advance = Callable[[int, int], object]
ReadRules = Callable[[], Awaitable[Rules]]


@dataclass(frozen=True)
class Updated:
    """What an update has done: rows that are new, changed or gone; None where forecasting.daily has no source."""

    num_rows: int | None
    database: DatabaseConfig  # where forecasting.daily is
    num_days: int = 0  # asked of the source
    notes: tuple[str, ...] = ()
    refusal: SchemaNotWritable | None = None  # why it is not in the database that was configured


async def update(
    config: Config,
    *,
    whole: bool = False,
    recent_days: int | None = None,
    now: dt.datetime | None = None,
    advance: Advance | None = None,
) -> Updated:
    """Reads the complete days that are new since the last update, and the last `data.reread_days` of those again; with
    `whole` every day that the source holds.

    Totals that others make may change on any day: of them all are read, or with `recent_days` the last ones. `advance`
    is told how many more days were read, of how many. Raises WarehouseError and DataError; chunks read before stay.
    """
    async with (
        connected(config.read_from, timeout_seconds=config.data.statement_timeout_seconds) as reading,
        _open_own(config) as (own, database, refusal),
    ):
        listing = await _list(config.data, reading, own)
        if listing is None:
            return Updated(None, database)
        num_rows, num_days, notes = await _follow(
            config,
            listing,
            reading,
            own,
            whole=whole,
            recent_days=recent_days,
            now=now or dt.datetime.now(dt.UTC),
            advance=advance,
        )
    return Updated(num_rows, database, num_days, (*listing.notes, *notes), refusal)


async def _list(data: DataConfig, reading: OwnConnection, own: Connection) -> Listing | None:
    """What the source has; None where there is none, but somebody has filled forecasting.daily himself."""
    try:
        with translate_errors(f"asking {data.source} what it has"):
            return await list_source(reading, data)
    except (MissingTable, SettingError) as error:
        origin = await find_origin(own, data)
        filled = isinstance(error, MissingTable) or not origin.source
        if filled and data.source is SourceName.siteanalytics and await has_rows(own):
            return None
        raise


async def _follow(
    config: Config,
    listing: Listing,
    reading: OwnConnection,
    own: OwnConnection,
    *,
    whole: bool,
    recent_days: int | None,
    now: dt.datetime,
    advance: Advance | None,
) -> tuple[int, int, list[str]]:
    """Makes our own schema say what the source says. How many rows that changed, how many days were read, and notes."""
    source, data = listing.source, config.data
    over = min(local_day(now, timezone_of(site, data)) for site in listing.sites) if listing.sites else now.date()

    async def read_current_rules() -> Rules:
        return await read_rules(own, config, source=source.name, starts_amid=source.quiet_is_zero, until=over)

    with translate_errors("bringing the schema forecasting up to date"):
        async with own.transaction():
            await fetch(own, "lock_forecasting")
            notes = await write_listing(own, listing, data, whole=whole)
            plan = await _plan(own, listing, data, whole=whole, recent_days=recent_days, now=now)
            await claim_new_sites(own, await read_current_rules())
    num_days = sum((task.span.until - task.span.first).days for task in plan)
    reader = _Reader(source, reading, own, read_current_rules, lambda days: advance and advance(days, num_days))
    num_rows = sum([await reader.read(task) for task in plan])
    with translate_errors("judging the days of forecasting.daily"):
        async with own.transaction():
            await fetch(own, "lock_forecasting")
            await judge_anew(own, await read_current_rules())
    return num_rows, num_days, notes


async def update_shown(config: Config, *, whole: bool = False) -> Updated:
    """`update`, with its progress on a terminal."""
    with progress(f"reading {config.data.source}", None, of="days") as advance:
        return await update(config, whole=whole, advance=advance)


@dataclass(frozen=True)
class _Task:
    """Days to read."""

    span: Span
    known: dt.date  # days before it had been read when this was planned: they are read again, whoever else does so
    is_all: bool  # totals that others make, of every day: what is stored of an older one is wrong

    def says_all_of(self, chunk: Span, *, events: bool) -> tuple[dt.date, dt.date]:
        """Days from one to before another of which the source has only what is in the chunk."""
        ends = not events and chunk.until == self.span.until
        begins = self.is_all and chunk.first == self.span.first
        return dt.date.min if begins else chunk.first, dt.date.max if ends else chunk.until


async def _plan(
    own: Connection, listing: Listing, data: DataConfig, *, whole: bool, recent_days: int | None, now: dt.datetime
) -> list[_Task]:
    """What to read: sites that are read from the same day on together, those never read apart from the others."""
    source = listing.source
    read = {row["key"]: row["read_until"] for row in await fetch(own, "read_sites") if row["source"] == source.name}
    newest = _find_newest(listing, data, now=now)
    groups: dict[tuple[str, dt.date | None], list[tuple[str, dt.date, dt.date]]] = {}
    for site in listing.sites:
        if site.first is None or site.last is None:
            continue
        zone = timezone_of(site, data)
        first, until = local_day(site.first, zone), local_day(site.last, zone) + dt.timedelta(days=1)
        known = None if whole or not source.quiet_is_zero else read[site.key]
        if source.quiet_is_zero:
            until = local_day(now, zone)  # today is not over
            first = max(first, known - dt.timedelta(days=data.reread_days)) if known else first
        else:
            until = min(until, local_day(now, zone))
        if not source.quiet_is_zero and recent_days is not None:
            first = max(first, newest - dt.timedelta(days=recent_days - 1))
        if first < until:
            groups.setdefault((zone, known), []).append((site.key, first, until))
    plan = []
    for (zone, known), group in groups.items():
        keys, first, until = [key for key, *_ in group], min(one[1] for one in group), max(one[2] for one in group)
        if known is None:
            await fetch(own, "lower_sites", source.name, keys, first)
        is_all = not source.quiet_is_zero and recent_days is None
        plan.append(_Task(Span(keys, first, until, zone), known or first, is_all))
    return plan


def _find_newest(listing: Listing, data: DataConfig, *, now: dt.datetime) -> dt.date:
    """The last day of any site, since others may have ended long ago, that is not in the future."""
    lasts = [(moment, timezone_of(site, data)) for site in listing.sites for moment in (site.last,) if moment]
    return max((min(local_day(last, zone), local_day(now, zone)) for last, zone in lasts), default=dt.date.max)


class _Reader:
    """Copies spans of days from a source into forecasting.daily."""

    def __init__(
        self,
        source: Source,
        reading: OwnConnection,
        own: OwnConnection,
        read_rules: ReadRules,
        advance: Callable[[int], object],
    ) -> None:
        self._source = source
        self._read_rules = read_rules
        self._reading = reading
        self._own = own
        self._advance = advance

    async def read(self, task: _Task) -> int:
        """How many rows it changed. Events are read in chunks that the source's server answers in some seconds."""
        span = task.span
        num_rows, first = 0, span.first
        size = FIRST_CHUNK_DAYS if self._source.quiet_is_zero else (span.until - span.first).days
        while first < span.until:
            until = min(first + dt.timedelta(days=size), span.until)
            began = time.monotonic()
            try:
                num_rows += await self._read_chunk(task, replace(span, first=first, until=until))
            except SourceTooSlow:
                if size == 1:
                    raise
                size = max(1, size // 4)
                continue
            seconds = time.monotonic() - began
            if seconds < CHUNK_SECONDS[0]:
                size *= 2
            elif seconds > CHUNK_SECONDS[1]:
                size = max(1, size // 2)
            self._advance((until - first).days)
            first = until
        return num_rows

    async def _read_chunk(self, task: _Task, span: Span) -> int:
        source, own, keys = self._source, self._own, list(span.keys)
        with translate_errors("writing to forecasting.daily"):
            async with own.transaction():
                await fetch(own, "lock_forecasting")
                (progress,) = await fetch(own, "find_progress", source.name, keys)
                read_until = progress["read_until"]
                if read_until is None:
                    return 0  # somebody else has just forgotten these sites
                if source.quiet_is_zero and task.known < span.until <= read_until:
                    return 0  # somebody else has just done it
                await own.execute(load_query("create_incoming"))
                await self._copy(span)
                await own.execute(load_query("index_incoming"))
                await self._refuse_duplicates()
                if source.quiet_is_zero:
                    await fetch(own, "drop_cut_days", source.name)
                    await fetch(own, "fill_quiet_days", source.name, span.first)
                else:
                    await fetch(own, "trim_incoming", source.name)
                extent = task.says_all_of(span, events=source.quiet_is_zero)
                (done,) = await fetch(own, "refresh_daily", source.name, keys, *extent, source.quiet_is_zero)
                await judge_incoming(own, await self._read_rules())
                await fetch(own, "advance_sites", source.name, keys, span.first, span.until)
                return int(done["num_rows"])

    async def _copy(self, span: Span) -> None:
        """From the source into `incoming`, a little at a time. What fails there ends the copy here."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(CHUNKS_WAITING)
        reading = asyncio.create_task(self._read_source(span, queue))

        async def arriving() -> AsyncIterator[bytes]:
            while True:
                following = asyncio.ensure_future(queue.get())
                try:
                    await asyncio.wait({following, reading}, return_when=asyncio.FIRST_COMPLETED)
                    if following.done():
                        yield following.result()
                        continue
                finally:
                    following.cancel()
                while not queue.empty():
                    yield queue.get_nowait()
                await reading  # raises what ended it
                return

        try:
            await self._own.copy_to_table("incoming", schema_name="pg_temp", source=arriving(), format="binary")
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)  # or its connection could not be closed

    async def _read_source(self, span: Span, queue: asyncio.Queue[bytes]) -> None:
        name = self._source.name
        days = f"{span.first}..{span.until - dt.timedelta(days=1)}"
        with translate_errors(f"reading the days {days} of {name}. What was read before is kept"):
            try:
                async with self._reading.transaction(isolation="repeatable_read", readonly=True):
                    await self._source.copy_days(self._reading, span, write=queue.put)
            except (asyncpg.QueryCanceledError, TimeoutError) as error:
                raise SourceTooSlow(
                    f"{name} did not give the days {days} within data.statement_timeout_seconds. What was read before "
                    "is kept. Say a longer time, and see that the table's index on the time of events is there."
                ) from error

    async def _refuse_duplicates(self) -> None:
        for row in await fetch(self._own, "find_duplicates", self._source.name):
            name = f"{row['metric']} of {row['site']}"
            raise duplicate_days(name, row["num_days"], to_day(row["first_day"]))


@asynccontextmanager
async def _open_own(config: Config) -> AsyncIterator[tuple[OwnConnection, DatabaseConfig, SchemaNotWritable | None]]:
    """A connection to where our own schema is, made now if it is missing. Where the configured user may not make it, it
    is kept in the embedded PostgreSQL, unless CACHE_URL says where it should be: reading a site's analytics needs no
    right to write to their database.
    """
    database, refusal = config.kept_in, None
    try:
        async with connected(database, writable=True, timeout_seconds=OWN_TIMEOUT_SECONDS) as own:
            await _prepare(own)
            yield own, database, None
            return
    except SchemaNotWritable as error:
        if config.cache_database or config.database.embedded or config.database.pgdata == Path():
            raise
        refusal = error
    database = DatabaseConfig(embedded=True, pgdata=database.pgdata, name=config.read_from.cache_name)
    _say_once(f"the schema forecasting is kept in the embedded PostgreSQL in {database.pgdata}. {refusal}")
    async with connected(database, writable=True, timeout_seconds=OWN_TIMEOUT_SECONDS) as own:
        await _prepare(own)
        yield own, database, refusal


@cache
def _say_once(text: str) -> None:
    logger.info("%s", text)


async def _prepare(own: Connection) -> None:
    with translate_errors("making the schema forecasting"):
        async with own.transaction():
            await create_schema(own)
