"""Files as a source: `data.csv` is CSV in any of the formats in `csv/formats.py`, Parquet, or a folder of these."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt64

from forecasting.domain import EARLIEST_DATE, Kind, Unit, to_date, to_day
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
from forecasting.warehouse.csv.files import read_files
from forecasting.warehouse.queries import Connection, Write
from forecasting.warehouse.sources.source import (
    BLOCK_DAYS,
    HASH_MODULUS,
    BlockHash,
    BlockKey,
    MetricDefinition,
    Site,
    Source,
    Span,
    site_of_days,
)  # fmt: skip


def open_source(data: DataConfig) -> "CsvFile":
    """Reads the file. Raises SettingError if none is set, and DataError naming lines."""
    if data.csv is None:
        raise SettingError(
            f"data.source={data.source} reads a file, or a folder of files. Set data.csv to its path, such as "
            f"data.csv=traffic.{data.source}."
        )
    content = read_files(data.csv, data=data)
    return CsvFile(name=data.source.value, data=data, observations=content.observations, notes=content.notes)


@dataclass(frozen=True, kw_only=True)
class CsvFile(Source):
    name: str = "csv"
    quiet_is_zero: bool = False
    data: DataConfig
    observations: Sequence[Observations]
    notes: Sequence[str] = ()

    async def find_warnings(self, connection: Connection) -> Sequence[str]:
        return self.notes

    async def list_metrics(self, connection: Connection) -> Sequence[MetricDefinition]:
        """As its first series in the file has it."""
        series = {row.series.metric: row.series for row in reversed(self.observations)}
        return [
            MetricDefinition(
                metric.metric,
                f"the metric in {self.data.csv}",
                kind=metric.kind,
                additive=metric.additive,
                unit=(Unit.percent if metric.unit_scale == 100 else Unit.fraction)
                if metric.kind is Kind.rate
                else None,
            )
            for metric in reversed(series.values())
        ]

    async def list_sites(self, connection: Connection) -> Sequence[Site]:
        days: dict[str, list[Int[np.ndarray, " days"]]] = {}
        latest = self.data.today() + dt.timedelta(days=1)  # which has begun in some time zone
        for row in self.observations:
            days.setdefault(row.series.site, []).append(row.days)
        return [
            site_of_days(_find_extent(site, np.unique(np.concatenate(series)), latest), self.data)
            for site, series in days.items()
        ]

    async def copy_days(self, connection: Connection, span: Span, *, write: Write) -> None:
        first, until = to_day(span.first), to_day(span.until)
        keys = set(span.keys)
        await write(HEADER)
        for row in self.observations:
            if row.series.site in keys:
                await write(_encode(row, (row.days >= first) & (row.days < until)))
        await write(TRAILER)

    async def hash_days(self, connection: Connection, span: Span, *, known_until: dt.date) -> dict[BlockKey, BlockHash]:
        first, until, keys = to_day(span.first), to_day(span.until), set(span.keys)
        sums: dict[tuple[str, int], list[int]] = {}
        for row in self.observations:
            if row.series.site not in keys:
                continue
            inside = (row.days >= first) & (row.days < until)
            for day, value in zip(row.days[inside].tolist(), _hash_rows(row)[inside].tolist(), strict=True):
                block = sums.setdefault((row.series.site, day // BLOCK_DAYS), [0, 0])
                block[day >= to_day(known_until)] += value
        return {
            (key, to_date(block * BLOCK_DAYS)): BlockHash(known % HASH_MODULUS, (known + added) % HASH_MODULUS)
            for (key, block), (known, added) in sums.items()
        }


def _hash_rows(observations: Observations) -> UInt64[np.ndarray, " days"]:
    """Of each day and its value, in a way that differs from metric to metric."""
    metric = observations.series.metric.encode()
    seed = np.frombuffer(hashlib.blake2b(metric, digest_size=8).digest(), np.uint64)
    days = _mix(observations.days.astype(np.uint64) + seed)
    values: UInt64[np.ndarray, " days"] = observations.values.astype(np.float64).view(np.uint64)
    return _mix(days ^ values)


def _mix(numbers: UInt64[np.ndarray, " days"]) -> UInt64[np.ndarray, " days"]:
    """Each bit of a number changes about half of the bits. Source: splitmix64, Steele, Lea & Flood (2014)."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    final: UInt64[np.ndarray, " days"] = mixed ^ (mixed >> np.uint64(31))
    return final


def _find_extent(site: str, days: Int[np.ndarray, " days"], latest: dt.date) -> dict[str, Any]:  # Any: of a row
    """What `site_of_days` needs to know about the sorted days of a site."""
    is_misdated = (days < to_day(EARLIEST_DATE)) | (days > to_day(latest))
    (first, last), (misdated_first, misdated_last) = (
        (to_date(part[0]), to_date(part[-1])) if part.size else (None, None)
        for part in (days[~is_misdated], days[is_misdated])
    )
    return {
        "key": site,
        "first_day": first,
        "last_day": last,
        "num_misdated": int(is_misdated.sum()),
        "misdated_first": misdated_first and str(misdated_first),
        "misdated_last": misdated_last and str(misdated_last),
    }


def _encode(observations: Observations, inside: Bool[np.ndarray, " days"]) -> bytes:
    series, days = observations.series, observations.days[inside]
    values = observations.values[inside] * series.unit_scale
    keys, metrics = (encode_texts([name] * days.size) for name in (series.site, series.metric))
    return encode_rows(keys, metrics, encode_dates(days), encode_doubles(values), encode_nulls(days.size))
