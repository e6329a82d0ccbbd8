"""The panel that training and backtests read: from `forecasting.daily` alone."""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from forecasting.domain import EARLIEST_DATE, MASKABLE, MIN_DAYS, Kind, Series, Verdict, to_day
from forecasting.errors import TooFewDays
from forecasting.known_days.events import Events
from forecasting.panel import Observations, Panel, describe_series
from forecasting.panel_building import build_panel
from forecasting.settings.schema import Config, DataConfig, MetricConfig
from forecasting.warehouse.connection import connected, translate_errors
from forecasting.warehouse.daily import read_pages, read_verdicts
from forecasting.warehouse.event_store import read_known_events
from forecasting.warehouse.ingest import update_with_progress
from forecasting.warehouse.inventory import refuse_missing
from forecasting.warehouse.origin import find_origin, read_metric_settings, read_site_index
from forecasting.warehouse.pages import DailyHistory, DailyQuery
from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.schema import translate_missing_schema
from forecasting.warehouse.sites import SiteIndex
from forecasting.warehouse.sources.source import count_rows
from forecasting.warehouse.units import rates_as_fractions

PAGE_SIZE = 4096  # series read at a time
MANY_DAYS = 500  # from which on training on all of them is better


@dataclass(frozen=True)
class LoadedPanels:
    """Of the same series at the same moment."""

    recent: Panel  # of the days that were asked for
    whole: Panel | None  # of all days, if a site has a country or an event, or there are regressors
    events: Events


def load_panel(config: Config, *, num_days: int | None = None, share: tuple[int, int] = (0, 1)) -> Panel:
    """`read_panel` from the configured source, after updating our copy of it. Blocks: not for a running event loop."""
    return _load(config, [num_days], share)[0][0]


def load_panels(config: Config, *, num_days: int | None = None, share: tuple[int, int] = (0, 1)) -> LoadedPanels:
    """As `load_panel`, with what known days are learned from."""
    spans = [None] if num_days is None else [num_days, None]
    panels, events = _load(config, spans, share, whole_if_known=True)
    is_known = bool(events) or config.data.learns_from_all_days
    return LoadedPanels(panels[0], panels[-1] if is_known else None, events)


def _load(
    config: Config, spans: Sequence[int | None], share: tuple[int, int], *, whole_if_known: bool = False
) -> tuple[list[Panel], Events]:
    """A panel of each of the spans; of the first alone if `whole_if_known` and nothing is learned from all days."""

    async def load() -> tuple[list[Panel], Events]:
        result = await update_with_progress(config)
        async with connected(result.database) as connection:
            with translate_errors("reading forecasting.events"), translate_missing_schema(config.data):
                events = await read_known_events(connection, config.data.source.value)
            is_known = bool(events) or config.data.learns_from_all_days
            panels = await read_panels(
                connection,
                spans if is_known or not whole_if_known else spans[:1],
                data=config.data,
                metrics=config.metrics,
                masked=config.verdicts.masked,
                share=share,
            )
        return [replace(panel, notes=(*result.notes, *panel.notes)) for panel in panels], events

    return asyncio.run(load())


async def read_panel(
    connection: Connection,
    *,
    data: DataConfig,
    metrics: Mapping[str, MetricConfig],
    masked: Sequence[str] = MASKABLE,
    num_days: int | None = None,
    today: dt.date | None = None,
    share: tuple[int, int] = (0, 1),
) -> Panel:
    """The last `num_days` days (None: all) up to the last complete day, of the metrics and sites that `data` names, or
    of all. Values on days with a `masked` verdict become NaN.

    `today`, by default the current date at the sites, counts as incomplete. `share` is the share of the series to
    read, and of how many: together the shares make up the whole, and each has the cutoff of the whole.

    Raises DataError for problems with the data, WarehouseError for problems with PostgreSQL.
    """
    [panel] = await read_panels(
        connection, [num_days], data=data, metrics=metrics, masked=masked, today=today, share=share
    )
    return panel


async def read_panels(
    connection: Connection,
    spans: Sequence[int | None],
    *,
    data: DataConfig,
    metrics: Mapping[str, MetricConfig],
    masked: Sequence[str] = MASKABLE,
    today: dt.date | None = None,
    share: tuple[int, int] = (0, 1),
) -> list[Panel]:
    """As `read_panel`, of each number of days. The days are read once."""
    for num_days in spans:
        if num_days is not None and num_days < MIN_DAYS:
            raise TooFewDays(f"{num_days} days were asked for; at least {MIN_DAYS} are needed.")
    with translate_errors("reading forecasting.daily"), translate_missing_schema(data):
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            histories = await read_histories(
                connection, spans, data=data, metrics=metrics, masked=masked, today=today, share=share
            )
    return [_build(history, num_days, data, share) for history, num_days in zip(histories, spans, strict=True)]


def _build(history: DailyHistory, num_days: int | None, data: DataConfig, share: tuple[int, int]) -> Panel:
    try:
        panel = build_panel(
            history.observations,
            today=history.today,
            missing=data.missing,
            named=data.metrics,
            cutoff=history.cutoff if share[1] > 1 else None,
        )
    except TooFewDays as error:
        if num_days is None or history.last_date is None:
            raise
        span = f"{history.first_date}..{history.last_date}"
        raise TooFewDays(f"{error} Only the last {num_days} days were read, {span}.") from error
    return replace(panel, notes=(*history.notes, *_describe_left_out(history.num_days, num_days, data), *panel.notes))


def _describe_left_out(num_there: int, num_read: int | None, data: DataConfig) -> list[str]:
    if num_read is None or num_there < MANY_DAYS or data.days_back > num_there / 2:
        return []
    return [
        f"there are {num_there:,} days, of which --days-back {data.days_back} leaves out most. Training on all "
        "(--days-back all) takes longer and forecasts better: on five years of a site, 0.74 instead of 0.81 times the "
        "seasonal naive forecast's error"
    ]


async def read_histories(
    connection: Connection,
    spans: Sequence[int | None],
    *,
    data: DataConfig,
    metrics: Mapping[str, MetricConfig],
    masked: Sequence[str],
    today: dt.date | None,
    share: tuple[int, int] = (0, 1),
) -> list[DailyHistory]:
    """What `read_panels` makes panels from, including rows of today and later. A metric is a count unless its settings
    or its source say otherwise.

    Raises UnknownMetric, UnknownSite or TooFewDays if a requested series has no value on the days read, or the share
    is empty; AmbiguousUnit if a requested rate has no unit.
    """
    await fetch(connection, "plan_each_time")
    origin = await find_origin(connection, data)
    source, today = origin.source, today or origin.today(data)
    settings = await read_metric_settings(connection, metrics, source=source)
    index = await read_site_index(connection, source=source)
    requested = index.find_present_names(data.sites)
    (extent,) = await fetch(connection, "read_daily_extent", today, requested, source)
    last_date = extent["last_day"]
    dates = [_first_date(last_date, num_days=num_days) for num_days in spans]
    query = DailyQuery(
        today=dt.date.max,
        first_date=min(dates),
        sites=requested,
        metrics=data.metrics,
        source=source,
        masked=masked,
        share=share,
    )
    series = await _read_series(connection, query, settings, index)
    histories = []
    for first_date in dates:
        own = series if first_date == query.first_date else _cut(series, first_date)
        if last_date is not None or requested:
            keys = {(row.series.site, row.series.metric) for row in own}
            await refuse_missing(connection, replace(query, first_date=first_date), keys)
        if last_date is not None and not own:
            raise TooFewDays(
                f"No series is in share {share[0]} of {share[1]}. Use fewer processes, or load more series."
            )
        notes = _describe_misdated(extent["num_misdated"])
        observations = rates_as_fractions(own, settings, named=data.metrics, notes=notes)
        histories.append(
            DailyHistory(observations, today, first_date, last_date, tuple(notes), oldest_date=extent["first_day"])
        )
    return histories


def _cut(observations: Sequence[Observations], first_date: dt.date) -> list[Observations]:
    """As if only the days from `first_date` on had been read."""
    cut = []
    for observed in observations:
        inside = observed.days >= to_day(first_date)
        days, values = observed.days[inside], observed.values[inside]
        if not np.isnan(values).all():
            cut.append(_observe(observed.series, days, values, observed.verdicts))
    return cut


def _describe_misdated(num_rows: int) -> list[str]:
    if not num_rows:
        return []
    return [f"forecasting.daily has {count_rows(num_rows)} dated before {EARLIEST_DATE.year} or after 9999, left out"]


async def _read_series(
    connection: Connection, query: DailyQuery, settings: Mapping[str, MetricConfig], index: SiteIndex
) -> list[Observations]:
    """Sorted by site, then by metric in the order of the settings."""
    verdicts = await read_verdicts(connection, query)
    observations = []
    async for page in read_pages(connection, query, page_size=PAGE_SIZE):
        ends = page.counts.cumsum()
        for key, start, end in zip(page.keys, ends - page.counts, ends, strict=True):
            days, values = page.days[start:end], page.values[start:end]
            if not np.isnan(values).all():
                series = describe_series(*key, settings.get(key[1], MetricConfig()), otherwise=Kind.count)
                site = index.find_name(series.site)
                series = replace(series, site_key=site.key if site else None)
                observations.append(_observe(series, days, values, verdicts.get(key, {})))
    order = {metric: place for place, metric in enumerate(settings)}

    def place(row: Observations) -> tuple[str, int, str]:
        return row.series.site, order.get(row.series.metric, len(order)), row.series.metric

    return sorted(observations, key=place)


def _observe(
    series: Series,
    days: Int[np.ndarray, " days"],
    values: Float[np.ndarray, " days"],
    verdicts: Mapping[int, Verdict],
) -> Observations:
    """Without leading and trailing NaN: there the series has not begun, or has ended. Days sorted in either order."""
    known = np.flatnonzero(~np.isnan(values))
    inside = slice(known[0], known[-1] + 1) if known.size else slice(None)
    return Observations(series, days[inside], values[inside], verdicts)


def _first_date(last_date: dt.date | None, *, num_days: int | None) -> dt.date:
    """Of the last `num_days` days; the earliest possible date for all days, or if there are none."""
    if last_date is None or num_days is None:
        return dt.date.min
    return last_date - dt.timedelta(days=min(num_days, last_date.toordinal()) - 1)
