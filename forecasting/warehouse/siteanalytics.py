"""The documented backend's database as a source: `daily_metrics`, one row a day, every numeric column a metric."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from forecasting.config import DataConfig, Kind, MetricConfig
from forecasting.errors import MissingTable, TooFewDays, UnknownMetric, UnknownSite, WarehouseError
from forecasting.panel import Observations, Series, describe_series
from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.units import tell_units

NO_METRICS = ("id", "site")
COUNTS = ("smallint", "integer", "bigint")
MEASURES = ("real", "double precision", "numeric")
DATES = ("date", "timestamp without time zone", "timestamp with time zone")


@dataclass(frozen=True)
class Reading:
    """What was read, and what was odd about it, a sentence each."""

    observations: tuple[Observations, ...]
    notes: tuple[str, ...] = ()
    first_date: dt.date | None = None
    last_date: dt.date | None = None
    cutoff: int | None = None  # the last complete day with a value, of all shares' series


async def read_observations(
    connection: Connection,
    *,
    data: DataConfig,
    metrics: Mapping[str, MetricConfig],
    num_days: int | None,
    today: dt.date,
    share: tuple[int, int] = (0, 1),
) -> Reading:
    """The last `num_days` days up to the last complete one, of the metrics and sites that `data` names, and what is
    stored of today and later. The site is the `site` column's, else the database's name. Of the series, those in the
    `share` (which, of how many).

    Raises MissingTable, UnknownMetric, UnknownSite, TooFewDays where one of them has nothing on the days read or no
    series is in the share, and AmbiguousUnit where a rate that is asked for has no unit.
    """
    await _check_table(connection)
    types = await _read_types(connection, timezone=data.timezone)
    _refuse_unknown_columns(data.metrics, types=types)
    last_date, undated = await _read_extent(connection, today=today, sites=data.sites)
    first_date = first_date_of(last_date, num_days=num_days)
    rows = await _read_series(connection, data=data, types=types, first_date=first_date, share=share, today=today)
    if last_date is not None or data.sites:
        await _refuse_missing(connection, rows, data=data, types=types, first_date=first_date)
    found = [_observe(row, types=types, metrics=metrics) for row in rows if row["days"] is not None]
    if rows and not found:
        raise TooFewDays(
            f"None of the {len(rows)} series is in share {share[0]} of {share[1]}. Use fewer processes, or load more."
        )
    notes = [f"daily_metrics has {_rows(undated)} without a date: left out"] if undated else []
    observations = tell_units(found, metrics, named=data.metrics, notes=notes)
    cutoff = max((row["last_day"] for row in rows if row["last_day"] is not None), default=None)
    return Reading(observations, tuple(notes), first_date, last_date, cutoff)


async def list_series(connection: Connection, *, metrics: Mapping[str, MetricConfig]) -> list[Series]:
    """Every series that has a value on any day, rates without a unit among them. Reads the whole table."""
    await _check_table(connection)
    types = await _read_types(connection, timezone="UTC")
    rows = await fetch(connection, "list_series", list(types))
    return sorted(
        (_describe(row["site"], row["metric"], types[row["metric"]], metrics) for row in rows),
        key=lambda series: (series.site, list(types).index(series.metric)),
    )


async def is_missing(connection: Connection) -> bool:
    """Whether the database has no daily_metrics at all, in no schema."""
    (row,) = await fetch(connection, "find_daily_metrics")
    return not row["found"] and not row["schemas"]


async def list_metrics(connection: Connection, *, timezone: str) -> list[str]:
    """The columns that can be metrics. Until the transaction ends, days are days of `timezone`.

    Raises MissingTable, and WarehouseError where there is no column of days.
    """
    await _check_table(connection)
    return list(await _read_types(connection, timezone=timezone))


async def _check_table(connection: Connection) -> None:
    (row,) = await fetch(connection, "find_daily_metrics")
    database, reader = row["database"], row["reader"]
    if row["found"] and not row["readable"]:
        raise MissingTable(
            f"The user {reader} may not read daily_metrics in the database {database}. Let its owner run: "
            f'GRANT SELECT ON {row["found"]} TO "{reader}";'
        )
    if not row["found"] and row["schemas"]:
        schema = row["schemas"][0]
        raise MissingTable(
            f"The table daily_metrics of the database {database} is in the schema {schema}, where the user {reader} "
            f'does not look. Let its owner run: GRANT USAGE ON SCHEMA "{schema}" TO "{reader}"; '
            f'ALTER ROLE "{reader}" IN DATABASE "{database}" SET search_path = "{schema}", public;'
        )
    if not row["found"]:
        raise MissingTable(
            f"There is no table daily_metrics in the database {database}. Check DB_NAME, or create it: one row a day, "
            "a `date` column, and a numeric column for each metric."
        )


async def _read_types(connection: Connection, *, timezone: str) -> dict[str, str]:
    """The columns that can be metrics, in their order, with their types. Days are days of `timezone` from here on."""
    types = {row["name"]: row["type"] for row in await fetch(connection, "read_columns")}
    if "date" not in types:
        raise WarehouseError(
            f"daily_metrics has no column `date`. It has: {', '.join(types)}. Rename the one that holds the day, or "
            "make a view of that name."
        )
    if types["date"] not in DATES:
        raise WarehouseError(
            f"The column `date` of daily_metrics is of type {types['date']}, which holds no days. Change it: "
            "ALTER TABLE daily_metrics ALTER COLUMN date TYPE date USING date::date;"
        )
    if types["date"] == "timestamp with time zone":
        await connection.execute("select set_config('TimeZone', $1, true)", timezone)
    return {name: of for name, of in types.items() if of in COUNTS + MEASURES and name not in (*NO_METRICS, "date")}


async def _read_extent(connection: Connection, *, today: dt.date, sites: Sequence[str]) -> tuple[dt.date | None, int]:
    """The last complete day, if any, and the number of rows that have no day."""
    (row,) = await fetch(connection, "read_extent", today, list(sites))
    return row["last_day"], row["undated"]


async def _read_series(
    connection: Connection,
    *,
    data: DataConfig,
    types: Mapping[str, str],
    first_date: dt.date,
    share: tuple[int, int],
    today: dt.date,
) -> list[Any]:  # Any: PostgreSQL's rows
    """In the order of sites, then of columns; those of other shares without their days and values."""
    wanted = [name for name in types if not data.metrics or name in data.metrics]
    rows = await fetch(connection, "read_series", wanted, first_date, data.sites, *share, today)
    return sorted(rows, key=lambda row: (row["site"], wanted.index(row["metric"])))


def _observe(row: Any, *, types: Mapping[str, str], metrics: Mapping[str, MetricConfig]) -> Observations:
    """NULL as NaN."""
    series = _describe(row["site"], row["metric"], types[row["metric"]], metrics)
    return observe(series, np.array(row["days"], np.int64), np.array(row["values"], np.float64))


def observe(series: Series, days: Int[np.ndarray, " days"], values: Float[np.ndarray, " days"]) -> Observations:
    """Where values begin or end with NaN, the series itself begins later or ends before. Days in order, or reversed."""
    known = np.flatnonzero(~np.isnan(values))
    whole = slice(known[0], known[-1] + 1) if known.size else slice(None)
    return Observations(series, days[whole], values[whole])


def _describe(site: str, metric: str, column_type: str, metrics: Mapping[str, MetricConfig]) -> Series:
    by_type = Kind.count if column_type in COUNTS else Kind.other
    return describe_series(site, metric, metrics.get(metric, MetricConfig()), otherwise=by_type)


def first_date_of(last_date: dt.date | None, *, num_days: int | None) -> dt.date:
    """Of the last `num_days` days; the least date there is for all, or where there is no day."""
    if last_date is None or num_days is None:
        return dt.date.min
    return last_date - dt.timedelta(days=min(num_days, last_date.toordinal()) - 1)


def _refuse_unknown_columns(named: Sequence[str], *, types: Mapping[str, str]) -> None:
    for metric in named:
        if metric not in types:
            raise UnknownMetric(
                f"There is no metric {metric!r}: daily_metrics has no numeric column of that name. "
                f"There are: {', '.join(sorted(types))}."
            )


async def _refuse_missing(
    connection: Connection,
    found: Sequence[Any],  # Any: PostgreSQL's rows
    *,
    data: DataConfig,
    types: Mapping[str, str],
    first_date: dt.date,
) -> None:
    """Raises where a site or a metric that was asked for has no value on the days read."""
    sites, metrics = {row["site"] for row in found}, {row["metric"] for row in found}
    if sites.issuperset(data.sites) and metrics.issuperset(data.metrics):
        return
    rows = await fetch(connection, "list_series", list(types))
    known_sites, known_metrics = ({row[key] for row in rows} for key in ("site", "metric"))
    since = f" since {first_date}" if first_date > dt.date.min else ""
    for site in data.sites:
        if site not in known_sites:
            raise UnknownSite(f"There is no site {site!r}. There are: {', '.join(sorted(known_sites))}.")
        if site not in sites:
            raise TooFewDays(
                f"The site {site!r} has no value of {', '.join(data.metrics) or 'any metric'}{since}. "
                "Load newer days, or leave it out."
            )
    for metric in data.metrics:
        if metric not in known_metrics:
            raise UnknownMetric(
                f"The metric {metric!r} has no value on any day: its column is NULL throughout. "
                f"There are: {', '.join(sorted(known_metrics))}."
            )
        if metric not in metrics:
            raise TooFewDays(f"The metric {metric!r} has no value{since}. Load newer days, or leave it out.")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
