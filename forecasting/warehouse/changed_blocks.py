"""Finds blocks of daily totals that differ in the source from what was read: days that are new, corrected or gone.

The source hashes its own rows, and what it answered when a block was last read is kept in `forecasting.blocks`. So
nothing but hashes is fetched of what has not changed. Hashes of parts of a block add up: if all but its new days is as
it was, only the new days are read.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import asyncpg

from forecasting.domain import EARLIEST_DATE
from forecasting.errors import SourceTooSlow
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.catalog import SourceCatalog, local_day, timezone_of
from forecasting.warehouse.connection import OwnConnection, translate_errors
from forecasting.warehouse.ingest_plan import ReadTask, Scope, find_first_recent_day
from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.sites import StoredSite
from forecasting.warehouse.sources.source import BLOCK_DAYS, BlockHash, BlockKey, Span, find_block

MAX_TASKS = 20  # more spans of changed blocks are read as one


@dataclass(frozen=True)
class StoredBlock:
    """Days of a site as they were when they were last read."""

    key: str
    first_day: dt.date
    source_hash: int  # 0: the source had nothing of it any more
    num_kept: int  # days that the source no longer had
    kept_first: dt.date | None
    kept_last: dt.date | None


@dataclass(frozen=True)
class ChangedBlocks:
    tasks: Sequence[ReadTask]  # that read what is new or altered
    gone: Sequence[BlockKey]  # of which the source has nothing any more


async def find_changed_blocks(
    source_connection: OwnConnection,
    own: Connection,
    catalog: SourceCatalog,
    stored: Sequence[StoredSite],
    *,
    data: DataConfig,
    scope: Scope,
) -> list[ChangedBlocks]:
    """For each time zone: what has changed of the `stored` sites since they were read. Reads nothing but hashes.

    If the scope is recent days, older ones are compared that were read before, where the scope says so.
    """
    recent = find_first_recent_day(catalog, data, scope) or EARLIEST_DATE
    first = EARLIEST_DATE if scope.compare else recent
    known: dict[str, dict[dt.date, int]] = {}
    for block in await read_blocks(own, catalog, first):
        known.setdefault(block.key, {})[block.first_day] = block.source_hash
    changes = []
    for span, read_until in _group_sites(catalog, stored, data, scope, first=first):
        blocks = {(key, day): value for key in span.keys for day, value in known.get(key, {}).items()}
        # A first read that ended early has later blocks than it has days.
        newest = max((day for _, day in blocks), default=first)
        known_until = min(span.until, max(read_until, newest + dt.timedelta(days=1)))
        current = await _hash_days(source_connection, catalog, span, known_until)
        wanted = {block: hashed for block, hashed in current.items() if block[1] >= recent or block in blocks}
        changes.append(compare_blocks(span, known_until, wanted, blocks))
    return changes


async def read_blocks(own: Connection, catalog: SourceCatalog, first: dt.date) -> list[StoredBlock]:
    with translate_errors("reading forecasting.blocks"):
        return [StoredBlock(*row) for row in await fetch(own, "read_blocks", catalog.source.name, first)]


def _group_sites(
    catalog: SourceCatalog, stored: Sequence[StoredSite], data: DataConfig, scope: Scope, *, first: dt.date
) -> list[tuple[Span, dt.date]]:
    """The days of sites in the same time zone, and the day before which some of them have been read."""
    rows = {row.key: row for row in stored if row.source == catalog.source.name and row.read_until and not row.is_gone}
    groups: dict[str, list[tuple[str, dt.date, dt.date]]] = {}
    for site in catalog.sites:
        zone, row = timezone_of(site, data), rows.get(site.key)
        if site.last and row and row.read_until and row.timezone == zone:
            until = local_day(site.last, zone) + dt.timedelta(days=1)
            groups.setdefault(zone, []).append((site.key, until, row.read_until))
    spans = []
    for zone, group in groups.items():
        read_until = max(until for *_, until in group)
        until = min(local_day(scope.now, zone), max(read_until, *(until for _, until, _ in group)))
        spans.append((Span([key for key, *_ in group], first, until, zone), read_until))
    return spans


async def _hash_days(
    connection: OwnConnection, catalog: SourceCatalog, span: Span, known_until: dt.date
) -> Mapping[BlockKey, BlockHash]:
    """Of fewer days at a time if they take too long. Raises SourceTooSlow."""
    name, days = catalog.source.name, f"{span.first}..{span.until - dt.timedelta(days=1)}"
    with translate_errors(f"comparing the days {days} of {name}"):
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await catalog.source.hash_days(connection, span, known_until=known_until)
        except (SourceTooSlow, asyncpg.QueryCanceledError, TimeoutError) as error:
            middle = find_block(span.first + (span.until - span.first) / 2)
            if middle <= span.first:
                raise SourceTooSlow(
                    f"{name} did not compare the days {days} within data.statement_timeout_seconds. Raise the timeout, "
                    "and check that the table has an index on the day."
                ) from error
    parts = [replace(span, until=middle), replace(span, first=middle)]
    hashed = [await _hash_days(connection, catalog, part, known_until) for part in parts]
    return {**hashed[0], **hashed[1]}


def compare_blocks(
    span: Span, known_until: dt.date, current: Mapping[BlockKey, BlockHash], stored: Mapping[BlockKey, int]
) -> ChangedBlocks:
    """`stored`: the hash of each block of the span's sites when it was read, of its days before `known_until`."""
    altered: dict[dt.date, set[str]] = {}
    added: set[str] = set()
    for (key, first), block in current.items():
        if block.known != stored.get((key, first), 0):
            altered.setdefault(first, set()).add(key)
        if block.total != block.known:
            added.add(key)
    spans = join_blocks(altered, replace(span, until=known_until))
    tasks = [ReadTask(part, from_start=False, read_until=known_until, is_all=False) for part in spans]
    if added:
        new_days = replace(span, keys=sorted(added), first=known_until)
        tasks.append(ReadTask(new_days, from_start=False, read_until=known_until, is_all=False))
    gone = [block for block, value in stored.items() if value and block not in current]
    return ChangedBlocks(tasks, gone)


def join_blocks(blocks: Mapping[dt.date, set[str]], span: Span) -> list[Span]:
    """Spans that have these blocks: one for neighbouring blocks of the same sites, or one for all of them."""
    spans: list[Span] = []
    for first, keys in sorted(blocks.items()):
        until = min(first + dt.timedelta(days=BLOCK_DAYS), span.until)
        last = spans[-1] if spans else None
        if last and last.until == first and set(last.keys) == keys:
            spans[-1] = replace(last, until=until)
        else:
            spans.append(Span(sorted(keys), first, until, span.timezone))
    if len(spans) <= MAX_TASKS:
        return spans
    all_keys = sorted(set().union(*blocks.values()))
    return [Span(all_keys, spans[0].first, spans[-1].until, span.timezone)]
