"""A file as a source: data.csv, in any format that csv_formats knows. Its sites and metrics are those of the file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from forecasting.domain import Kind, Unit, to_date, to_day
from forecasting.errors import SettingError
from forecasting.panel import Observations
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.copy_format import (
    HEADER,
    TRAILER,
    encode_dates,
    encode_doubles,
    encode_nulls,
    encode_rows,
    encode_texts,
)  # fmt: skip
from forecasting.warehouse.csv.observations import read_csv
from forecasting.warehouse.queries import Connection, Write
from forecasting.warehouse.sources.source import Definition, KnownEvent, Site, Span, site_of_days


def open_source(data: DataConfig) -> "CsvFile":
    """Reads the file. Raises SettingError where none is named, and DataError naming lines."""
    if data.csv is None:
        raise SettingError("data.source=csv reads a file: which one? Say data.csv=traffic.csv.")
    return CsvFile(data, read_csv(data.csv))


@dataclass(frozen=True)
class CsvFile:
    data: DataConfig
    observations: Sequence[Observations]
    name: str = "csv"
    quiet_is_zero: bool = False
    tables: Sequence[str] = ()

    async def list_metrics(self, connection: Connection) -> Sequence[Definition]:
        series = {one.series.metric: one.series for one in reversed(self.observations)}  # the first of each counts
        return [
            Definition(
                one.metric,
                f"as in {self.data.csv}",
                kind=one.kind,
                additive=one.additive,
                unit=(Unit.percent if one.unit_scale == 100 else Unit.fraction) if one.kind is Kind.rate else None,
            )
            for one in reversed(series.values())
        ]

    async def list_sites(self, connection: Connection) -> Sequence[Site]:
        days: dict[str, list[Int[np.ndarray, " days"]]] = {}
        for one in self.observations:
            days.setdefault(one.series.site, []).append(one.days)
        return [
            site_of_days(site, to_date(min(map(np.min, found))), to_date(max(map(np.max, found))), self.data)
            for site, found in days.items()
        ]

    async def list_events(self, connection: Connection, *, timezone: str) -> Sequence[KnownEvent]:
        return []

    async def find_oddities(self, connection: Connection) -> Sequence[str]:
        return []

    async def copy_days(self, connection: Connection, span: Span, *, write: Write) -> None:
        first, until = to_day(span.first), to_day(span.until)
        keys = set(span.keys)
        await write(HEADER)
        for one in self.observations:
            if one.series.site in keys:
                within = (one.days >= first) & (one.days < until)
                await write(_encode(one, within))
        await write(TRAILER)


def _encode(one: Observations, within: Bool[np.ndarray, " days"]) -> bytes:
    days, values = one.days[within], one.values[within] * one.series.unit_scale
    keys, metrics = (encode_texts([name] * days.size) for name in (one.series.site, one.series.metric))
    return encode_rows(keys, metrics, encode_dates(days), encode_doubles(values), encode_nulls(days.size))
