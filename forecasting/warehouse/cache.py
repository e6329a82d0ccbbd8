"""`forecasting.daily` brought up to date with a source: what is new, what came late, and nothing else.

A chunk of days is one transaction under one lock. So whatever ends this early leaves whole chunks, the next run goes on
from there, and of two at once each finds what the other has done.
"""

import asyncio
import datetime as dt
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg

from forecasting.command import progress
from forecasting.config import CACHE_DATABASE, Config, DatabaseConfig, DataConfig, SourceName
from forecasting.errors import MissingTable, SchemaNotWritable, SourceTooSlow
from forecasting.panel import duplicate_days, to_day
from forecasting.warehouse.connect import OwnConnection, connect, translate_errors
from forecasting.warehouse.daily import has_rows
from forecasting.warehouse.judging import Rules, judge_anew, judge_incoming, read_rules
from forecasting.warehouse.listing import Listing, list_source, local_day, timezone_of, write_listing
from forecasting.warehouse.queries import Connection, fetch, load_query
from forecasting.warehouse.schema import create_schema
from forecasting.warehouse.sources.source import Source, Span

logger = logging.getLogger("forecasting.warehouse")

OWN_TIMEOUT_SECONDS = 3600.0  # of a statement on our own schema
FIRST_CHUNK_DAYS = 28  # then longer or shorter ones, by how long they take
CHUNK_SECONDS = (2.0, 8.0)  # that a chunk should take at least, and at most
CHUNKS_WAITING = 16  # of what COPY gives, between the source and our own schema

Advance = Callable[[int, int], object]


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
    data, now = config.data, now or dt.datetime.now(dt.UTC)
    async with (
        _connected(config.source_database or config.database, data.statement_timeout_seconds) as reading,
        open_own(config) as (own, database, refusal),
    ):
        try:
            with translate_errors(f"asking {data.source} what it has"):
                listing = await list_source(reading, data)
        except MissingTable:
            if data.source is SourceName.siteanalytics and await has_rows(own):
                return Updated(None, database)  # whoever has no other source may fill forecasting.daily
            raise
        with translate_errors("bringing the schema forecasting up to date"):
            async with own.transaction():
                await fetch(own, "lock_forecasting")
                notes = await write_listing(own, listing, data)
                spans = await _plan(own, listing, data, whole=whole, recent_days=recent_days, now=now)
                rules = await read_rules(
                    own, config, source=listing.source.name, starts_amid=listing.source.quiet_is_zero
                )
        num_days = sum((span.until - span.first).days for span in spans)
        reader = _Reader(listing.source, reading, own, rules, lambda days: advance and advance(days, num_days))
        num_rows = [await reader.read(span) for span in spans]
        with translate_errors("judging the days of forecasting.daily"):
            async with own.transaction():
                await judge_anew(own, rules)
    return Updated(sum(num_rows), database, num_days, (*listing.notes, *notes), refusal)


async def update_shown(config: Config, *, whole: bool = False) -> Updated:
    """`update`, with its progress on a terminal."""
    with progress(f"reading {config.data.source}", None, of="days") as advance:
        return await update(config, whole=whole, advance=advance)


async def _plan(
    own: Connection, listing: Listing, data: DataConfig, *, whole: bool, recent_days: int | None, now: dt.datetime
) -> list[Span]:
    """What to read: sites that are read from the same day on together, those never read apart from the others."""
    source = listing.source
    read = {row["key"]: row["read_until"] for row in await fetch(own, "read_sites") if row["source"] == source.name}
    groups: dict[tuple[str, bool, dt.date | None], list[tuple[str, dt.date, dt.date]]] = {}
    for site in listing.sites:
        if site.first is None or site.last is None:
            continue
        zone = timezone_of(site, data)
        first, until = local_day(site.first, zone), local_day(site.last, zone) + dt.timedelta(days=1)
        known = None if whole or not source.quiet_is_zero else read[site.key]
        if source.quiet_is_zero:
            until = local_day(now, zone)  # today is not over
            first = max(first, known - dt.timedelta(days=data.reread_days)) if known else first
        elif recent_days is not None:
            first = max(first, until - dt.timedelta(days=recent_days))
        if first < until:
            groups.setdefault((zone, known is None, known), []).append((site.key, first, until))
    spans = [
        Span([key for key, _, _ in group], min(first for _, first, _ in group), max(until for *_, until in group), zone)
        for (zone, _, _), group in groups.items()
    ]
    for span in spans:
        await fetch(own, "lower_sites", source.name, list(span.keys), span.first)
    return spans


class _Reader:
    """Copies spans of days from a source into forecasting.daily."""

    def __init__(
        self,
        source: Source,
        reading: OwnConnection,
        own: OwnConnection,
        rules: Rules,
        advance: Callable[[int], object],
    ) -> None:
        self._source = source
        self._rules = rules
        self._reading = reading
        self._own = own
        self._advance = advance

    async def read(self, span: Span) -> int:
        """How many rows it changed. Events are read in chunks that the source's server answers in some seconds."""
        num_rows, first = 0, span.first
        size = FIRST_CHUNK_DAYS if self._source.quiet_is_zero else (span.until - span.first).days
        while first < span.until:
            until = min(first + dt.timedelta(days=size), span.until)
            began = time.monotonic()
            try:
                num_rows += await self._read_chunk(replace(span, first=first, until=until))
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

    async def _read_chunk(self, span: Span) -> int:
        source, own, keys = self._source, self._own, list(span.keys)
        with translate_errors("writing to forecasting.daily"):
            async with own.transaction():
                await fetch(own, "lock_forecasting")
                (progress,) = await fetch(own, "find_progress", source.name, keys)
                if source.quiet_is_zero and progress["read_until"] >= span.until:
                    return 0  # somebody else has just done it
                await own.execute(load_query("create_incoming"))
                await self._copy(span)
                await self._refuse_duplicates()
                if source.quiet_is_zero:
                    await fetch(own, "drop_cut_days", source.name)
                    await fetch(own, "fill_quiet_days", source.name, span.first)
                else:
                    await fetch(own, "trim_incoming", source.name)
                (done,) = await fetch(
                    own, "refresh_daily", source.name, keys, span.first, span.until, source.quiet_is_zero
                )
                await judge_incoming(own, self._rules)
                await fetch(own, "advance_sites", source.name, keys, span.until)
                return int(done["num_rows"])

    async def _copy(self, span: Span) -> None:
        """From the source into `incoming`, a little at a time. What fails there ends the copy here."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(CHUNKS_WAITING)
        reading = asyncio.create_task(self._read_source(span, queue))

        async def arriving() -> AsyncIterator[bytes]:
            while True:
                following = asyncio.ensure_future(queue.get())
                await asyncio.wait({following, reading}, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    yield following.result()
                    continue
                following.cancel()
                while not queue.empty():
                    yield queue.get_nowait()
                await reading  # raises what ended it
                return

        try:
            await self._own.copy_to_table("incoming", schema_name="pg_temp", source=arriving(), format="binary")
        finally:
            reading.cancel()

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
async def open_own(config: Config) -> AsyncIterator[tuple[OwnConnection, DatabaseConfig, SchemaNotWritable | None]]:
    """A connection to where our own schema is, made now if it is missing. Where the configured user may not make it, it
    is kept in the embedded PostgreSQL, unless CACHE_URL says where it should be: reading a site's analytics needs no
    right to write to their database.
    """
    database, refusal = config.cache_database or config.database, None
    try:
        async with _connected(database, OWN_TIMEOUT_SECONDS, writable=True) as own:
            await _prepare(own)
            yield own, database, None
            return
    except SchemaNotWritable as error:
        if config.cache_database or config.database.embedded:
            raise
        refusal = error
    database = _elsewhere(database)
    logger.info("%s Until then it is kept in the embedded PostgreSQL in %s.", refusal, database.pgdata)
    async with _connected(database, OWN_TIMEOUT_SECONDS, writable=True) as own:
        await _prepare(own)
        yield own, database, refusal


async def _prepare(own: Connection) -> None:
    with translate_errors("making the schema forecasting"):
        async with own.transaction():
            await create_schema(own)


def _elsewhere(database: DatabaseConfig) -> DatabaseConfig:
    """A database of the embedded PostgreSQL for what is known of this one alone."""
    known_as = hashlib.sha256(f"{database.host}:{database.port}/{database.name}".encode()).hexdigest()[:12]
    return DatabaseConfig(embedded=True, pgdata=database.pgdata, name=f"{CACHE_DATABASE}_{known_as}")


@asynccontextmanager
async def _connected(
    database: DatabaseConfig, timeout_seconds: float, *, writable: bool = False
) -> AsyncIterator[OwnConnection]:
    connection = await connect(database, writable=writable, timeout_seconds=timeout_seconds)
    try:
        yield connection
    finally:
        await connection.close()
