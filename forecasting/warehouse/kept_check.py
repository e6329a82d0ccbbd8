"""Which stored days of daily totals the source no longer has, before an update has recorded it. Writes nothing."""

import datetime as dt
from collections.abc import Sequence

from forecasting.domain import EARLIEST_DATE, to_date
from forecasting.errors import SourceTooSlow
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.catalog import SourceCatalog
from forecasting.warehouse.changed_blocks import find_changed_blocks, join_blocks, read_blocks
from forecasting.warehouse.connection import OwnConnection, translate_errors
from forecasting.warehouse.copy_format import decode_dates, decode_texts, split_rows
from forecasting.warehouse.ingest_plan import Scope
from forecasting.warehouse.kept_days import KeptDays, find_kept_days
from forecasting.warehouse.queries import fetch
from forecasting.warehouse.sites import StoredSite
from forecasting.warehouse.sources.source import BLOCK_DAYS, BlockKey, Span, find_block

ALL_DAYS = Span((), EARLIEST_DATE, dt.date.max, "UTC")
DaysByKey = dict[str, set[dt.date]]


async def check_kept_days(
    connection: OwnConnection,
    own: OwnConnection,
    catalog: SourceCatalog,
    stored: Sequence[StoredSite],
    *,
    data: DataConfig,
    now: dt.datetime,
) -> list[str]:
    """A sentence about each kind of stored days that the source no longer has, and how to forget them."""
    try:
        days = await _find_days_of_sites(connection, own, catalog, stored, data=data, now=now)
    except SourceTooSlow as error:
        return [f"it is not known whether days that were read earlier are gone since. {error}"]
    with translate_errors("reading forecasting.daily"):
        return list(await find_kept_days(own, catalog, days_of_sites=days))


async def _find_days_of_sites(
    connection: OwnConnection,
    own: OwnConnection,
    catalog: SourceCatalog,
    stored: Sequence[StoredSite],
    *,
    data: DataConfig,
    now: dt.datetime,
) -> list[KeptDays]:
    """What an update would record of the sites' days."""
    missing: DaysByKey = {}
    checked: set[BlockKey] = set()
    for changes in await find_changed_blocks(connection, own, catalog, stored, data=data, scope=Scope(now)):
        gone: dict[dt.date, set[str]] = {}
        for key, first in changes.gone:
            gone.setdefault(first, set()).add(key)
        altered = [task.span for task in changes.tasks if task.span.until <= task.read_until]
        for span in (*join_blocks(gone, ALL_DAYS), *altered):
            checked |= {(key, first) for key in span.keys for first in _list_blocks(span)}
            for key, days in (await _find_missing(connection, own, catalog, span)).items():
                missing.setdefault(key, set()).update(days)
    names = {site.key: site.name for site in catalog.sites}
    kept = [KeptDays(names[key], len(days), min(days), max(days)) for key, days in missing.items() if key in names]
    for block in await read_blocks(own, catalog, EARLIEST_DATE):
        if (
            block.kept_first and block.kept_last and block.key in names
            and (block.key, block.first_day) not in checked
        ):  # fmt: skip
            kept.append(KeptDays(names[block.key], block.num_kept, block.kept_first, block.kept_last))
    return _add_up(kept)


def _list_blocks(span: Span) -> list[dt.date]:
    first = find_block(span.first)
    return [first + dt.timedelta(days=days) for days in range(0, (span.until - first).days, BLOCK_DAYS)]


async def _find_missing(connection: OwnConnection, own: OwnConnection, catalog: SourceCatalog, span: Span) -> DaysByKey:
    """The stored days of the span with a value of a metric that the source has no row of."""
    pieces: list[bytes] = []

    async def keep(piece: bytes) -> None:
        pieces.append(piece)

    metrics = [metric.metric for metric in catalog.metrics]
    with translate_errors(f"reading the days {span.first}..{span.until} from {catalog.source.name}"):
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await catalog.source.copy_days(connection, span, write=keep)
    keys, names, days, _, _ = split_rows(b"".join(pieces), num_fields=5)
    dates = (to_date(day) for day in decode_dates(days))
    present = set(zip(decode_texts(keys), decode_texts(names), dates, strict=True))
    missing: DaysByKey = {}
    with translate_errors("reading forecasting.daily"):
        values = (catalog.source.name, list(span.keys), span.first, span.until, metrics)
        rows = await fetch(own, "read_stored_days", *values)
    for key, metric, day in rows:
        if (key, metric, day) not in present:
            missing.setdefault(key, set()).add(day)
    return missing


def _add_up(kept: Sequence[KeptDays]) -> list[KeptDays]:
    """One row a site, in the order of their names."""
    sites: dict[str, list[KeptDays]] = {}
    for row in kept:
        sites.setdefault(row.name, []).append(row)
    return [
        KeptDays(
            name,
            sum(row.num_days for row in rows),
            min(row.first for row in rows),
            max(row.last for row in rows),
        )
        for name, rows in sorted(sites.items())
    ]
