"""Whether a source of daily totals has a site whose last day was counted only in part. Reads weeks, stores nothing."""

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from forecasting.data_quality.last_day import find_partial_last_days
from forecasting.data_quality.trailing_days import CONTEXT
from forecasting.domain import Kind, to_day
from forecasting.settings.schema import DataConfig, MetricConfig
from forecasting.warehouse.catalog import SourceCatalog, local_day, timezone_of
from forecasting.warehouse.connection import OwnConnection, translate_errors
from forecasting.warehouse.copy_format import decode_dates, decode_doubles, decode_texts, split_rows
from forecasting.warehouse.sources.source import Site, Span

WINDOW = CONTEXT + 1


async def find_partial_last_day_warnings(
    connection: OwnConnection,
    catalog: SourceCatalog,
    data: DataConfig,
    metrics: Mapping[str, MetricConfig],
    *,
    now: dt.datetime,
) -> list[str]:
    """A sentence about each site whose last day looks half-counted. Sources of events have hours, which tell more."""
    if catalog.source.quiet_is_zero:
        return []
    kinds = {row.metric: metrics.get(row.metric, MetricConfig()).kind or row.kind for row in catalog.metrics}
    counts = [metric for metric, kind in kinds.items() if kind is Kind.count]
    groups: dict[tuple[str, dt.date], dict[str, Site]] = {}
    for site in catalog.sites:
        if site.last is not None:
            zone = timezone_of(site, data)
            until = min(local_day(site.last, zone) + dt.timedelta(days=1), local_day(now, zone))
            groups.setdefault((zone, until), {})[site.key] = site
    warnings: list[str] = []
    for (zone, until), sites in groups.items():
        span = Span(list(sites), until - dt.timedelta(days=WINDOW), until, zone)
        values = await _read_values(connection, catalog, span, counts)
        warnings += [
            _describe(site, day=until - dt.timedelta(days=1), counts=counts, values=rows[:, -1])
            for site, rows in zip(sites.values(), values, strict=True)
            if _ends_in_part(rows)
        ]
    return warnings


async def _read_values(
    connection: OwnConnection, catalog: SourceCatalog, span: Span, counts: Sequence[str]
) -> Float[np.ndarray, "sites series window"]:
    """NaN for no row, or one without a possible value."""
    pieces: list[bytes] = []

    async def keep(piece: bytes) -> None:
        pieces.append(piece)

    with translate_errors(f"reading the last days from {catalog.source.name}"):
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await catalog.source.copy_days(connection, span, write=keep)
    keys, metrics, days, numbers, _ = split_rows(b"".join(pieces), num_fields=5)
    places = {key: place for place, key in enumerate(span.keys)}
    series = {metric: place for place, metric in enumerate(counts)}
    decoded, columns = decode_doubles(numbers), decode_dates(days) - to_day(span.first)
    values = np.full((len(places), len(series), WINDOW), np.nan)
    for key, metric, column, value in zip(decode_texts(keys), decode_texts(metrics), columns, decoded, strict=True):
        if metric in series and 0 <= value < np.inf:
            values[places[key], series[metric], column] = value
    return values


def _ends_in_part(values: Float[np.ndarray, "series window"]) -> bool:
    last, sites = np.full(len(values), CONTEXT), np.zeros(len(values), np.int64)
    return bool(find_partial_last_days(values, last, sites).any())


def _describe(site: Site, *, day: dt.date, counts: Sequence[str], values: Float[np.ndarray, " series"]) -> str:
    known = [f"{metric} {value:,.6g}" for metric, value in zip(counts, values, strict=True) if np.isfinite(value)]
    return (
        f"the last day of {site.name}, {day}, looks half-counted ({', '.join(known)}). It is masked until the source "
        "has other values for it, or a later day"
    )
