"""`forecasting.daily`, our own table: what the sources said, a row each day of a series, read in bulk."""

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from forecasting.domain import MIN_DAYS, Kind, Unit
from forecasting.errors import DataError, TooFewDays, UnknownMetric, UnknownSite, name_some
from forecasting.panel import Observations, Series, Verdict, describe_series, to_day
from forecasting.settings.schema import DataConfig, MetricConfig
from forecasting.warehouse.connection import translate_errors
from forecasting.warehouse.copy_format import decode_arrays, decode_texts, split_rows
from forecasting.warehouse.queries import Connection, fetch, read_out
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
    source: str = ""  # whose sites; empty: whoever's
    masked: Sequence[str] = ()  # verdicts on days whose values are not to be believed: they come as infinite
    share: tuple[int, int] = (0, 1)  # which share of the series, of how many


@dataclass(frozen=True)
class Page:
    """Some series, and the rows of one after those of another, each series' oldest or newest first; NaN where NULL."""

    keys: tuple[Key, ...]
    counts: Int[np.ndarray, " series"]  # rows of each
    days: Int[np.ndarray, " rows"]  # since 1970-01-01
    values: Float[np.ndarray, " rows"]


@dataclass(frozen=True)
class Reading:
    """What was read, and what was odd about it, a sentence each."""

    observations: tuple[Observations, ...]
    today: dt.date  # which is not over
    first_date: dt.date
    last_date: dt.date | None  # complete
    notes: tuple[str, ...] = ()

    @property
    def cutoff(self) -> int | None:
        """The last complete day with a value, of all shares' series, in days since 1970-01-01."""
        return None if self.last_date is None else to_day(self.last_date)


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
        (row,) = await fetch(connection, "count_daily", wanted.sites, wanted.metrics, *wanted.share, wanted.source)
    return int(row["num_series"])


async def refuse_unknown(connection: Connection, wanted: Wanted) -> None:
    """Raises UnknownSite or UnknownMetric, naming those that there are, where one that was asked for has no value."""
    if not wanted.sites and not wanted.metrics:
        return
    inventory = await _read_inventory(connection, wanted.source)
    for site in wanted.sites:
        inventory.refuse_site(site)
    for metric in wanted.metrics:
        inventory.refuse_metric(metric)


async def explain_missing(connection: Connection, keys: Sequence[Key], *, source: str) -> list[DataError]:
    """Of each series that has no day before today, why: UnknownSite, UnknownMetric or TooFewDays."""
    inventory = await _read_inventory(connection, source)
    return [inventory.explain(*key) for key in keys]


async def read_recent(
    connection: Connection, keys: Sequence[Key], *, today: dt.date, num_days: int, masked: Sequence[str]
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
class Revision:
    """What forecasting.daily is: while two are equal, whatever is made of it is made alike."""

    number: int | None  # of changes so far; None where nobody counts them, so that nothing made of it may be kept
    today: dt.date  # which is not over


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
) -> Reading:
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
    wanted = Wanted(dt.date.max, first_date, None, data.sites, data.metrics, source, masked, share)
    found = await _read_series(connection, wanted, settings)
    if last_date is not None or data.sites:
        await _refuse_missing(connection, {one.series for one in found}, wanted)
    if last_date is not None and not found:
        raise TooFewDays(f"No series is in share {share[0]} of {share[1]}. Use fewer processes, or load more.")
    notes: list[str] = []
    observations = tell_units(found, settings, named=data.metrics, notes=notes)
    return Reading(observations, today, first_date, last_date, tuple(notes))


async def fetch_sites(connection: Connection, *, source: str) -> dict[str, str]:
    """A source's sites and their time zones."""
    with translate_errors("reading forecasting.sites"):
        rows = await fetch(connection, "read_sites")
    return {row["site"]: row["timezone"] for row in rows if row["source"] == source}


async def _read_series(
    connection: Connection, wanted: Wanted, settings: Mapping[str, MetricConfig]
) -> list[Observations]:
    """In the order of sites, then of metrics."""
    verdicts = await _read_verdicts(connection, wanted)
    found = []
    async for page in read_pages(connection, wanted, page_size=PAGE_SIZE):
        ends = page.counts.cumsum()
        for key, start, end in zip(page.keys, ends - page.counts, ends, strict=True):
            if not np.isnan(page.values[start:end]).all():
                series = describe_series(*key, settings.get(key[1], MetricConfig()), otherwise=Kind.count)
                found.append(_observe(series, page.days[start:end], page.values[start:end], verdicts.get(key, {})))
    order = {metric: place for place, metric in enumerate(settings)}
    return sorted(found, key=lambda one: (one.series.site, order.get(one.series.metric, len(order)), one.series.metric))


async def _read_verdicts(connection: Connection, wanted: Wanted) -> dict[Key, dict[int, Verdict]]:
    """Of the days that are not as usual."""
    verdicts: dict[Key, dict[int, Verdict]] = {}
    for row in await fetch(
        connection, "read_verdicts", wanted.first_date, wanted.sites, wanted.metrics, wanted.source, wanted.masked
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


async def _read_page(connection: Connection, wanted: Wanted, *, after: Key, page_size: int) -> Page:
    query, last = ("read_last_days", wanted.num_days) if wanted.num_days else ("read_days", wanted.first_date)
    async with connection.transaction(readonly=True):
        await fetch(connection, "prefer_index")
        named = (wanted.sites, wanted.metrics, *wanted.share)
        values = (*after, page_size, wanted.today, *named, last, wanted.source, wanted.masked)
        data = await read_out(connection, query, *values)
    sites, metrics, days, values_ = split_rows(data, num_fields=4)
    number, counts = decode_arrays(days, "i4")
    keys = zip(decode_texts(sites), decode_texts(metrics), strict=True)
    return Page(tuple(keys), counts, number.astype(np.int64), decode_arrays(values_, "f8")[0])


async def _refuse_missing(connection: Connection, found: AbstractSet[Series], wanted: Wanted) -> None:
    """Raises where a site or a metric that was asked for has no value on the days read; another share may have it."""
    lacking_sites = set(wanted.sites) - {one.site for one in found}
    lacking_metrics = set(wanted.metrics) - {one.metric for one in found}
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
