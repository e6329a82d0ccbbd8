"""`forecasting.daily`, our own table: what the sources said, a row each day of a series, read in bulk."""

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from forecasting.domain import MIN_DAYS, Kind, Series, SeriesKey, Unit, Verdict, to_day
from forecasting.errors import DataError, TooFewDays, UnknownMetric, UnknownSite, name_some
from forecasting.panel import Observations, describe_series
from forecasting.settings.schema import DataConfig, MetricConfig
from forecasting.warehouse.connection import translate_errors
from forecasting.warehouse.pages import DailyHistory, DailyQuery, Page, Revision, decode_page
from forecasting.warehouse.queries import Connection, fetch, read_out
from forecasting.warehouse.units import tell_units

PAGE_SIZE = 4096  # series read at once where a whole panel is wanted


async def has_rows(connection: Connection) -> bool:
    """Whether there is anything to read, and it may be read."""
    (found,) = await fetch(connection, "find_forecasting")
    if not found["has_tables"] or not found["readable"]:
        return False
    (row,) = await fetch(connection, "has_daily_rows")
    return bool(row["has_rows"])


async def count_series(connection: Connection, query: DailyQuery) -> int:
    async with connection.transaction(readonly=True):
        await fetch(connection, "prefer_index")
        (row,) = await fetch(connection, "count_daily", query.sites, query.metrics, *query.share, query.source)
    return int(row["num_series"])


async def refuse_unknown(connection: Connection, query: DailyQuery) -> None:
    """Raises UnknownSite or UnknownMetric, naming those that there are, where one that was asked for has no value."""
    if not query.sites and not query.metrics:
        return
    inventory = await _read_inventory(connection, query.source)
    for site in query.sites:
        inventory.refuse_site(site)
    for metric in query.metrics:
        inventory.refuse_metric(metric)


async def explain_missing(connection: Connection, keys: Sequence[SeriesKey], *, source: str) -> list[DataError]:
    """Of each series that has no day before today, why: UnknownSite, UnknownMetric or TooFewDays."""
    inventory = await _read_inventory(connection, source)
    return [inventory.explain(*key) for key in keys]


async def read_recent(
    connection: Connection, keys: Sequence[SeriesKey], *, today: dt.date, num_days: int, masked: Sequence[str]
) -> Page:
    """The last days before `today` of the series that are named; one that has none comes without rows."""
    async with connection.transaction(readonly=True):
        await fetch(connection, "prefer_index")
        sites, metrics = [site for site, _ in keys], [metric for _, metric in keys]
        rows = await fetch(connection, "read_recent_days", sites, metrics, today, num_days, masked)
    return Page(
        keys=tuple(keys),
        counts=np.array([len(row["days"]) for row in rows], np.int64),
        days=np.array([day for row in rows for day in row["days"]], np.int64),
        values=np.array([value for row in rows for value in row["values"]], np.float64),
    )


async def read_pages(connection: Connection, query: DailyQuery, *, page_size: int) -> AsyncIterator[Page]:
    """All series by their keys, `page_size` of them at once, by binary COPY: memory is bounded here and there, and no
    statement lasts long. With `num_days` a series that has no such day comes without rows; else it does not come.
    """
    after = ("", "")
    while True:
        page = await _read_page(connection, query, after=after, page_size=page_size)
        if page.keys:
            yield page
        if len(page.keys) < page_size:
            return
        after = page.keys[-1]


@dataclass(frozen=True)
class _Inventory:
    """Sites and metrics that have values, and metrics that have none."""

    sites: AbstractSet[str]
    metrics: AbstractSet[str]
    empty: AbstractSet[str]

    def refuse_site(self, site: str) -> None:
        if site not in self.sites:
            raise UnknownSite(f"There is no site {site!r}. There are: {name_some(self.sites)}.")

    def refuse_metric(self, metric: str) -> None:
        if metric not in self.metrics:
            no_value = metric in self.empty
            found = f"The metric {metric!r} has no value on any day." if no_value else f"There is no metric {metric!r}."
            raise UnknownMetric(f"{found} There are: {name_some(self.metrics)}.")

    def explain(self, site: str, metric: str) -> DataError:
        try:
            self.refuse_site(site)
            self.refuse_metric(metric)
        except (UnknownSite, UnknownMetric) as error:
            return error
        return TooFewDays(f"{metric} of {site} has no complete day of data; at least {MIN_DAYS} are needed.")


async def _read_inventory(connection: Connection, source: str) -> _Inventory:
    rows = await fetch(connection, "list_daily", source)
    described = {row["metric"] for row in await fetch(connection, "read_metrics", source)}
    return _Inventory({row["site"] for row in rows}, {row["metric"] for row in rows}, described)


@dataclass(frozen=True)
class Origin:
    """Where the rows come from: the configured source, or nobody's that has a name, who has filled the table."""

    source: str
    timezones: Sequence[str]  # of its sites

    def today(self, data: DataConfig) -> dt.date:
        """The first day that is over for none of the sites."""
        return max((data.today(zone) for zone in self.timezones), default=data.today())


async def find_origin(connection: Connection, data: DataConfig) -> Origin:
    (known,) = await fetch(connection, "read_timezones", data.source.value)
    return Origin(data.source.value if known["timezones"] else "", known["timezones"])


async def read_revision(connection: Connection, data: DataConfig) -> Revision:
    (found,) = await fetch(connection, "read_revision", data.source.value)
    return Revision(found["number"], Origin("", found["timezones"]).today(data))


async def read_settings(
    connection: Connection, metrics: Mapping[str, MetricConfig], *, source: str
) -> dict[str, MetricConfig]:
    """The metrics' settings, and where they are silent what the source says; its metrics first, in its order."""
    rows = {row["metric"]: row for row in await fetch(connection, "read_metrics", source)}
    told = {name: _fill_in(metrics.get(name, MetricConfig()), row) for name, row in rows.items()}
    return told | {name: said for name, said in metrics.items() if name not in told}


async def read_observations(
    connection: Connection,
    *,
    data: DataConfig,
    metrics: Mapping[str, MetricConfig],
    masked: Sequence[str],
    num_days: int | None,
    today: dt.date | None,
    share: tuple[int, int] = (0, 1),
) -> DailyHistory:
    """The last `num_days` days up to the last complete one, of the metrics and sites that `data` names, and what is
    stored of today and later. Of the series, those in the `share` (which, of how many). A metric is a count unless its
    settings or its source say else.

    Raises UnknownMetric, UnknownSite, TooFewDays where one of them has nothing on the days read or no series is in the
    share, and AmbiguousUnit where a rate that is asked for has no unit.
    """
    await fetch(connection, "plan_anew")
    origin = await find_origin(connection, data)
    source, today = origin.source, today or origin.today(data)
    settings = await read_settings(connection, metrics, source=source)
    (extent,) = await fetch(connection, "read_daily_extent", today, data.sites, source)
    last_date = extent["last_day"]
    first_date = _first_date_of(last_date, num_days=num_days)
    query = DailyQuery(dt.date.max, first_date, None, data.sites, data.metrics, source, masked, share)
    found = await _read_series(connection, query, settings)
    if last_date is not None or data.sites:
        await _refuse_missing(connection, {one.series for one in found}, query)
    if last_date is not None and not found:
        raise TooFewDays(f"No series is in share {share[0]} of {share[1]}. Use fewer processes, or load more.")
    notes: list[str] = []
    observations = tell_units(found, settings, named=data.metrics, notes=notes)
    return DailyHistory(observations, today, first_date, last_date, tuple(notes))


async def fetch_sites(connection: Connection, *, source: str) -> dict[str, str]:
    """A source's sites and their time zones."""
    with translate_errors("reading forecasting.sites"):
        rows = await fetch(connection, "read_sites")
    return {row["site"]: row["timezone"] for row in rows if row["source"] == source}


async def _read_series(
    connection: Connection, query: DailyQuery, settings: Mapping[str, MetricConfig]
) -> list[Observations]:
    """In the order of sites, then of metrics."""
    verdicts = await _read_verdicts(connection, query)
    found = []
    async for page in read_pages(connection, query, page_size=PAGE_SIZE):
        ends = page.counts.cumsum()
        for key, start, end in zip(page.keys, ends - page.counts, ends, strict=True):
            if not np.isnan(page.values[start:end]).all():
                series = describe_series(*key, settings.get(key[1], MetricConfig()), otherwise=Kind.count)
                found.append(_observe(series, page.days[start:end], page.values[start:end], verdicts.get(key, {})))
    order = {metric: place for place, metric in enumerate(settings)}
    return sorted(found, key=lambda one: (one.series.site, order.get(one.series.metric, len(order)), one.series.metric))


async def _read_verdicts(connection: Connection, query: DailyQuery) -> dict[SeriesKey, dict[int, Verdict]]:
    """Of the days that are not as usual."""
    verdicts: dict[SeriesKey, dict[int, Verdict]] = {}
    for row in await fetch(
        connection, "read_verdicts", query.first_date, query.sites, query.metrics, query.source, query.masked
    ):
        verdicts.setdefault((row["site"], row["metric"]), {})[to_day(row["day"])] = Verdict[row["verdict"]]
    return verdicts


def _observe(
    series: Series,
    days: Int[np.ndarray, " days"],
    values: Float[np.ndarray, " days"],
    verdicts: Mapping[int, Verdict],
) -> Observations:
    """Where values begin or end with NaN, the series itself begins later or ends before. Days in order, or reversed."""
    known = np.flatnonzero(~np.isnan(values))
    whole = slice(known[0], known[-1] + 1) if known.size else slice(None)
    return Observations(series, days[whole], values[whole], verdicts)


def _first_date_of(last_date: dt.date | None, *, num_days: int | None) -> dt.date:
    """Of the last `num_days` days; the least date there is for all, or where there is no day."""
    if last_date is None or num_days is None:
        return dt.date.min
    return last_date - dt.timedelta(days=min(num_days, last_date.toordinal()) - 1)


def _fill_in(said: MetricConfig, row: Any) -> MetricConfig:  # Any: PostgreSQL's row
    kind = said.kind or (Kind.rate if said.unit else Kind(row["kind"]))
    told = kind is Kind(row["kind"])
    unit = said.unit or (Unit(row["unit"]) if told and row["unit"] else None)
    return MetricConfig(kind, unit, row["additive"] if said.additive is None and told else said.additive)


async def _read_page(connection: Connection, query: DailyQuery, *, after: SeriesKey, page_size: int) -> Page:
    statement, limit = ("read_last_days", query.num_days) if query.num_days else ("read_days", query.first_date)
    async with connection.transaction(readonly=True):
        await fetch(connection, "prefer_index")
        named = (query.sites, query.metrics, *query.share)
        values = (*after, page_size, query.today, *named, limit, query.source, query.masked)
        data = await read_out(connection, statement, *values)
    return decode_page(data)


async def _refuse_missing(connection: Connection, found: AbstractSet[Series], query: DailyQuery) -> None:
    """Raises where a site or a metric that was asked for has no value on the days read; another share may have it."""
    lacking_sites = set(query.sites) - {one.site for one in found}
    lacking_metrics = set(query.metrics) - {one.metric for one in found}
    if not lacking_sites and not lacking_metrics:
        return
    await refuse_unknown(connection, query)
    since = f" since {query.first_date}" if query.first_date > dt.date.min else ""
    for site in sorted(lacking_sites) if query.share[1] == 1 else ():
        raise TooFewDays(
            f"The site {site!r} has no value of {', '.join(query.metrics) or 'any metric'}{since}. "
            "Load newer days, or leave it out."
        )
    for metric in sorted(lacking_metrics) if query.share[1] == 1 else ():
        raise TooFewDays(f"The metric {metric!r} has no value{since}. Load newer days, or leave it out.")
