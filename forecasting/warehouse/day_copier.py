"""Copies days from a source into `forecasting.daily`, in chunks that the source's server answers in a few seconds."""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

import asyncpg

from forecasting.domain import to_day
from forecasting.errors import SourceTooSlow
from forecasting.panel_building import duplicate_days
from forecasting.warehouse.connection import OwnConnection, translate_errors
from forecasting.warehouse.ingest_plan import ReadTask
from forecasting.warehouse.kept_days import describe_days, make_kept_days
from forecasting.warehouse.queries import fetch, load_query
from forecasting.warehouse.sources.rights import explain_denied
from forecasting.warehouse.sources.source import BLOCK_DAYS, BlockHash, BlockKey, Source, Span, find_block
from forecasting.warehouse.verdict_store import VerdictRules, judge_incoming

logger = logging.getLogger("forecasting.warehouse")

FIRST_CHUNK_DAYS = 28  # later chunks are longer or shorter, depending on how long they take
CHUNK_SECONDS = (2.0, 8.0)  # a chunk should take between these
COPY_QUEUE_SIZE = 16  # pieces of a COPY that wait between the source and our own schema

Hashes = dict[BlockKey, BlockHash]
ReadRules = Callable[[], Awaitable[VerdictRules]]


class DayCopier:
    def __init__(
        self,
        source: Source,
        source_connection: OwnConnection,
        own_connection: OwnConnection,
        *,
        read_rules: ReadRules,
        advance: Callable[[int], object],
    ) -> None:
        """`advance` is called with the number of days in each chunk read."""
        self._source = source
        self._source_connection = source_connection
        self._own = own_connection
        self._read_rules = read_rules
        self._advance = advance

    async def copy(self, task: ReadTask) -> int:
        """Returns how many rows changed. Daily totals are read as one chunk, events in several."""
        span = task.span
        num_rows, first = 0, span.first
        size = FIRST_CHUNK_DAYS if self._source.quiet_is_zero else (span.until - span.first).days
        while first < span.until:
            until = min(first + dt.timedelta(days=size), span.until)
            began = time.monotonic()
            try:
                num_rows += await self._copy_chunk(task, replace(span, first=first, until=until))
            except SourceTooSlow:
                if size == 1:
                    raise
                size = max(1, size // 4)
                continue
            size = _resize(size, seconds=time.monotonic() - began)
            self._advance((until - first).days)
            first = until
        return num_rows

    async def _copy_chunk(self, task: ReadTask, chunk: Span) -> int:
        """In one transaction, under the lock that all updates take."""
        own, source, keys = self._own, self._source, list(chunk.keys)
        with translate_errors("writing to forecasting.daily"):
            async with own.transaction():
                await fetch(own, "lock_forecasting")
                (progress,) = await fetch(own, "find_progress", source.name, keys)
                read_until = progress["read_until"]
                if read_until is None:
                    return 0  # another update has just deleted these sites
                is_final = source.quiet_is_zero or not task.from_start
                if is_final and task.read_until < chunk.until <= read_until:
                    return 0  # another update has just read these days
                hashes = await self._receive(chunk, context=self._read_context(task, chunk))
                to_delete = task.find_days_to_delete(chunk, events=source.quiet_is_zero)
                if task.is_all:
                    await self._announce_loss(keys, *to_delete)
                elif not source.quiet_is_zero:
                    await self._find_kept_blocks(task, chunk)
                (done,) = await fetch(own, "refresh_daily", source.name, keys, *to_delete, source.quiet_is_zero)
                if not source.quiet_is_zero:
                    await self._write_blocks(task, chunk, hashes)
                await judge_incoming(own, await self._read_rules())
                first_read = chunk.first if source.quiet_is_zero else dt.date.min
                await fetch(own, "advance_progress", source.name, keys, first_read, chunk.until)
                return int(done["num_rows"])

    async def _announce_loss(self, keys: Sequence[str], first: dt.date, until: dt.date) -> None:
        rows = await fetch(self._own, "find_missing_days", self._source.name, keys, first, until)
        if rows:
            days = describe_days([make_kept_days(row) for row in rows])
            logger.warning("%s no longer has %s: they are forgotten now", self._source.name, days)

    async def _find_kept_blocks(self, task: ReadTask, chunk: Span) -> None:
        await self._own.execute(load_query("create_kept_blocks"))
        first = _find_first_known(task, chunk)
        await fetch(self._own, "find_kept_blocks", self._source.name, list(chunk.keys), first, chunk.until)

    async def _write_blocks(self, task: ReadTask, chunk: Span, hashes: Hashes) -> None:
        source, keys, first = self._source, list(chunk.keys), _find_first_known(task, chunk)
        if task.is_all:
            await self._own.execute(load_query("create_kept_blocks"))
            await fetch(self._own, "delete_blocks", source.name, keys, *task.find_days_to_delete(chunk, events=False))
        blocks = [(key, day, block.total) for (key, day), block in hashes.items()]
        columns = [list(column) for column in zip(*blocks, strict=True)] or [[], [], []]
        await fetch(self._own, "write_blocks", source.name, keys, first, chunk.until, *columns)

    def _read_context(self, task: ReadTask, chunk: Span) -> dt.date | None:
        """The first day to read for a chunk of daily totals that go on after others; None if there are no others.

        Where days were altered, the days before tell whether a series has begun.
        """
        if self._source.quiet_is_zero or task.from_start:
            return None
        is_altered = chunk.until <= task.read_until
        return chunk.first - dt.timedelta(days=BLOCK_DAYS) if is_altered else chunk.first

    async def _receive(self, chunk: Span, *, context: dt.date | None) -> Hashes:
        """Fills the temporary table `incoming` with the source's days, complete and without duplicates. Returns the
        hashes of daily totals. If they go on after others, days come along that were left out when they were the last.
        """
        own, source = self._own, self._source
        await own.execute(load_query("create_incoming"))
        hashes = await self._copy_to_incoming(chunk, first=context or chunk.first)
        gaps = await fetch(own, "find_gaps", source.name, context) if context else []
        if gaps and context:
            keys, first = [row["key"] for row in gaps], min(row["first_day"] for row in gaps)
            await self._copy_to_incoming(Span(keys, first, context, chunk.timezone), first=first)
        await own.execute(load_query("index_incoming"))
        for row in await fetch(own, "find_duplicates", source.name):
            raise duplicate_days(f"{row['metric']} of {row['site']}", row["num_days"], to_day(row["first_day"]))
        if source.quiet_is_zero:
            await fetch(own, "drop_cut_days", source.name)
            await fetch(own, "fill_quiet_days", source.name, chunk.first)
        else:
            await fetch(own, "trim_incoming", source.name)
            await fetch(own, "drop_context", source.name, chunk.first)
        return hashes

    async def _copy_to_incoming(self, chunk: Span, *, first: dt.date) -> Hashes:
        """Streams the days from the first one on, a few pieces at a time. An error at the source ends the COPY here."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(COPY_QUEUE_SIZE)
        reading = asyncio.create_task(self._read_source(chunk, queue, first=first))
        try:
            pieces = _pieces(queue, reading)
            await self._own.copy_to_table("incoming", schema_name="pg_temp", source=pieces, format="binary")
            return reading.result()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)  # else its connection could not be closed

    async def _read_source(self, chunk: Span, queue: "asyncio.Queue[bytes]", *, first: dt.date) -> Hashes:
        """Returns the hashes of the chunk, taken in the same transaction: a moment earlier they may be others."""
        name, hashes = self._source.name, Hashes()
        days = f"{chunk.first}..{chunk.until - dt.timedelta(days=1)}"
        with translate_errors(f"reading the days {days} from {name} (days read earlier are kept)"):
            try:
                async with self._source_connection.transaction(isolation="repeatable_read", readonly=True):
                    if not self._source.quiet_is_zero:
                        hashes = await self._source.hash_days(self._source_connection, chunk, known_until=chunk.until)
                    days_to_copy = replace(chunk, first=first)
                    await self._source.copy_days(self._source_connection, days_to_copy, write=queue.put)
            except asyncpg.InsufficientPrivilegeError as error:
                raise await explain_denied(self._source_connection, name, self._source.tables, error) from error
            except (asyncpg.QueryCanceledError, TimeoutError) as error:
                raise SourceTooSlow(
                    f"{name} did not return the days {days} within data.statement_timeout_seconds. Days read earlier "
                    "are kept. Raise the timeout, and check that the table has an index on the time of events."
                ) from error
        return hashes


async def _pieces(queue: "asyncio.Queue[bytes]", reading: "asyncio.Task[Hashes]") -> AsyncIterator[bytes]:
    """What `reading` puts into the queue until it ends; raises its error."""
    while True:
        piece = asyncio.ensure_future(queue.get())
        try:
            await asyncio.wait({piece, reading}, return_when=asyncio.FIRST_COMPLETED)
            if piece.done():
                yield piece.result()
                continue
        finally:
            piece.cancel()
        while not queue.empty():
            yield queue.get_nowait()
        await reading
        return


def _find_first_known(task: ReadTask, chunk: Span) -> dt.date:
    """The first day of the chunk, or of its block where nothing is known of the days before it."""
    return find_block(chunk.first) if task.from_start and chunk.first == task.span.first else chunk.first


def _resize(num_days: int, *, seconds: float) -> int:
    """Of the next chunk, after one of `num_days` took this long."""
    if seconds < CHUNK_SECONDS[0]:
        return num_days * 2
    return max(1, num_days // 2) if seconds > CHUNK_SECONDS[1] else num_days
