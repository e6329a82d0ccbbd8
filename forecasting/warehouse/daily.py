"""`forecasting.daily`, our own table: what the sources said, a row each day of a series; refreshed, read in bulk."""

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import asyncpg
import numpy as np
from jaxtyping import Float, Int

from forecasting.config import DataConfig, Kind, MetricConfig
from forecasting.errors import MissingTable, SchemaNotWritable, TooFewDays, UnknownMetric, UnknownSite
from forecasting.panel import describe_series, duplicate_days, to_day
from forecasting.warehouse import siteanalytics
from forecasting.warehouse.connect import translate_errors
from forecasting.warehouse.copy_format import decode_arrays, decode_texts, split_rows
from forecasting.warehouse.queries import Connection, fetch, load_query, read_out
from forecasting.warehouse.siteanalytics import Reading, first_date_of, observe
from forecasting.warehouse.units import tell_units

PAGE_SIZE = 4096  # series read at once where a whole panel is wanted

Key = tuple[str, str]  # site and metric


@dataclass(frozen=True)
class Wanted:
    """What to read: days before `today`, either from `first_date` on, or the last `num_days` rows of each series."""

    today: dt.date
    first_date: dt.date = dt.date.min
    num_days: int | None = None  # instead of `first_date`
    sites: Sequence[str] = ()
    metrics: Sequence[str] = ()
    share: tuple[int, int] = (0, 1)  # which share of the series, of how many


@dataclass(frozen=True)
class Page:
    """Some series, and the rows of one after those of another, each series' oldest or newest first; NaN where NULL."""

    keys: tuple[Key, ...]
    counts: Int[np.ndarray, " series"]  # rows of each
    days: Int[np.ndarray, " rows"]  # since 1970-01-01
    values: Float[np.ndarray, " rows"]


async def create_schema(connection: Connection) -> None:
    """Makes our own schema where it is missing. Raises SchemaNotWritable naming what its owner must run."""
    await fetch(connection, "lock_forecasting")
    (found,) = await fetch(connection, "find_forecasting")
    database, user = found["database"], found["reader"]
    if not found["has_tables"]:
        try:
            async with connection.transaction():
                await connection.execute(load_query("create_forecasting"))
        except asyncpg.InsufficientPrivilegeError as error:
            schema = f' GRANT USAGE, CREATE ON SCHEMA forecasting TO "{user}";' if found["has_schema"] else ""
            raise SchemaNotWritable(
                f"There is no schema forecasting with its tables in the database {database}, and the user {user} may "
                f'not make it. Let its owner run: GRANT CREATE ON DATABASE "{database}" TO "{user}";{schema}'
            ) from error
    elif not found["writable"]:
        raise SchemaNotWritable(
            f"The user {user} may not write to the schema forecasting of the database {database}. Let its owner run: "
            f'GRANT USAGE ON SCHEMA forecasting TO "{user}"; '
            f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA forecasting TO "{user}";'
        )


async def refresh(connection: Connection, *, timezone: str) -> int | None:
    """Makes forecasting.daily say what daily_metrics says, and returns how many rows did not; None where there is no
    daily_metrics, so that forecasting.daily is taken as it is. One transaction, one at a time.

    Raises SchemaNotWritable, MissingTable where neither table is there, DuplicateDays.
    """
    with translate_errors("bringing forecasting.daily up to date"):
        async with connection.transaction():
            await create_schema(connection)
            if await siteanalytics.is_missing(connection):
                if await has_rows(connection):
                    return None
                raise MissingTable(
                    "There is no table daily_metrics in this database, and no row in forecasting.daily. Check DB_NAME, "
                    "or fill one of them: README.md, 'Your own database'."
                )
            metrics = await siteanalytics.list_metrics(connection, timezone=timezone)
            await connection.execute(load_query("unfold_daily_metrics"), metrics)
            for row in await fetch(connection, "find_duplicates"):
                name = f"{row['metric']} of {row['site']}"
                raise duplicate_days(name, row["num_days"], to_day(row["first_day"]))
            (done,) = await fetch(connection, "refresh_daily")
            return int(done["num_rows"])


async def has_rows(connection: Connection) -> bool:
    """Whether there is anything to read, and it may be read."""
    (found,) = await fetch(connection, "find_forecasting")
    if not found["has_tables"] or not found["readable"]:
        return False
    (row,) = await fetch(connection, "has_daily_rows")
    return bool(row["has_rows"])


async def count_series(connection: Connection, wanted: Wanted) -> int:
    async with connection.transaction(readonly=True):
        await fetch(connection, "prefer_index")
        (row,) = await fetch(connection, "count_daily", wanted.sites, wanted.metrics, *wanted.share)
    return int(row["num_series"])


async def refuse_unknown(connection: Connection, wanted: Wanted) -> None:
    """Raises UnknownSite or UnknownMetric, naming those that there are, where one that was asked for has no value."""
    if not wanted.sites and not wanted.metrics:
        return
    rows = await fetch(connection, "list_daily")
    for error, what, asked in ((UnknownSite, "site", wanted.sites), (UnknownMetric, "metric", wanted.metrics)):
        known = {row[what] for row in rows}
        for name in asked:
            if name not in known:
                raise error(f"There is no {what} {name!r}. There are: {', '.join(sorted(known))}.")


async def read_pages(connection: Connection, wanted: Wanted, *, page_size: int) -> AsyncIterator[Page]:
    """All series by their keys, `page_size` of them at once, by binary COPY: memory is bounded here and there, and no
    statement lasts long. With `num_days` a series that has no such day comes without rows; else it does not come.
    """
    after = ("", "")
    while True:
        page = await _read_page(connection, wanted, after=after, page_size=page_size)
        if page.keys:
            yield page
        if len(page.keys) < page_size:
            return
        after = page.keys[-1]


async def read_observations(
    connection: Connection,
    *,
    data: DataConfig,
    metrics: Mapping[str, MetricConfig],
    num_days: int | None,
    today: dt.date,
    share: tuple[int, int] = (0, 1),
) -> Reading:
    """As siteanalytics.read_observations, of forecasting.daily: every metric a count unless its settings say else."""
    await fetch(connection, "plan_anew")
    (extent,) = await fetch(connection, "read_daily_extent", today, data.sites, data.metrics)
    last_date = extent["last_day"]
    first_date = first_date_of(last_date, num_days=num_days)
    wanted = Wanted(today, first_date, sites=data.sites, metrics=data.metrics, share=share)
    found = []
    async for page in read_pages(connection, wanted, page_size=PAGE_SIZE):
        ends = page.counts.cumsum()
        for (site, metric), start, end in zip(page.keys, ends - page.counts, ends, strict=True):
            if np.isfinite(page.values[start:end]).any():
                series = describe_series(site, metric, metrics.get(metric, MetricConfig()), otherwise=Kind.count)
                found.append(observe(series, page.days[start:end], page.values[start:end]))
    await _refuse_missing(connection, [one.series.site for one in found], [one.series.metric for one in found], wanted)
    if last_date is not None and not found:
        raise TooFewDays(f"No series is in share {share[0]} of {share[1]}. Use fewer processes.")
    notes: list[str] = []
    observations = tell_units(found, metrics, named=data.metrics, notes=notes)
    cutoff = None if last_date is None else to_day(last_date)
    return Reading(observations, tuple(notes), first_date, last_date, cutoff)


async def _read_page(connection: Connection, wanted: Wanted, *, after: Key, page_size: int) -> Page:
    query, last = ("read_last_days", wanted.num_days) if wanted.num_days else ("read_days", wanted.first_date)
    async with connection.transaction(readonly=True):
        await fetch(connection, "prefer_index")
        values = (*after, page_size, wanted.today, wanted.sites, wanted.metrics, *wanted.share, last)
        data = await read_out(connection, query, *values)
    sites, metrics, days, values_ = split_rows(data, num_fields=4)
    number, counts = decode_arrays(days, "i4")
    keys = zip(decode_texts(sites), decode_texts(metrics), strict=True)
    return Page(tuple(keys), counts, number.astype(np.int64), decode_arrays(values_, "f8")[0])


async def _refuse_missing(connection: Connection, sites: Sequence[str], metrics: Sequence[str], wanted: Wanted) -> None:
    """Raises where a site or a metric that was asked for has no value on the days read; another share may have it."""
    lacking_sites, lacking_metrics = set(wanted.sites) - set(sites), set(wanted.metrics) - set(metrics)
    if not lacking_sites and not lacking_metrics:
        return
    await refuse_unknown(connection, wanted)
    since = f" since {wanted.first_date}" if wanted.first_date > dt.date.min else ""
    for site in sorted(lacking_sites) if wanted.share[1] == 1 else ():
        raise TooFewDays(
            f"The site {site!r} has no value of {', '.join(wanted.metrics) or 'any metric'}{since}. "
            "Load newer days, or leave it out."
        )
    for metric in sorted(lacking_metrics) if wanted.share[1] == 1 else ():
        raise TooFewDays(f"The metric {metric!r} has no value{since}. Load newer days, or leave it out.")
