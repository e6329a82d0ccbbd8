"""A file as a source: long-format CSV, plain or gzip, a row a day and series; what is absent is missing."""

import csv
import datetime as dt
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from forecasting.config import MIN_DAYS, Config, Kind, MetricConfig
from forecasting.errors import DataError, DuplicateDays, UnknownMetric, UnknownSite
from forecasting.panel import Observations, Panel, Series, build_panel, describe_series, to_date, to_day

COLUMNS = ("series", "metric", "date", "value")
GZIP_MAGIC = b"\x1f\x8b"
Rows = dict[int, tuple[float, int]]  # of one series: day -> value, line


def read_csv_panel(file: Path, config: Config) -> Panel:
    """The panel of a file, as of a database: of all series, or of those that `data.metrics` and `data.sites` name."""
    observations = read_csv(file, metrics=config.metrics)
    kept = _select(observations, metrics=config.data.metrics, sites=config.data.sites)
    return build_panel(kept, today=config.data.today(), missing=config.data.missing, named=config.data.metrics)


def read_csv(file: Path, *, metrics: Mapping[str, MetricConfig] | None = None) -> list[Observations]:
    """Every series of the file, in the order of their first rows; the column `series` is the site.

    Dates are ISO 8601, with or without a time of day; a row without a value is a day that nobody measured, NaN;
    further columns are not read. Raises DataError and DuplicateDays naming the line.
    """
    found: dict[tuple[str, str], Rows] = {}
    for line, site, metric, date, value in _read_rows(file):
        day, number = _parse_day(file, line, date), _parse_value(file, line, value)
        rows = found.setdefault((site, metric), {})
        if day in rows:
            raise DuplicateDays(
                f"{file}, line {line}: {metric} of {site} has a second value for {to_date(day)}; the first is on line "
                f"{rows[day][1]}. Keep one row a day."
            )
        rows[day] = (number, line)
    if not found:
        raise DataError(f"{file} has no row below its first line. It must have one for each series and day.")
    return [_observe(site, metric, rows, metrics or {}) for (site, metric), rows in found.items()]


def _read_rows(file: Path) -> Iterator[tuple[int, str, str, str, str]]:
    """(line, series, metric, date, value) of each row, as text."""
    try:
        text = _read_text(file)
    except FileNotFoundError as error:
        raise DataError(f"There is no file {file}. Say another with --csv.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not text in UTF-8 ({error.reason}). Save it as CSV in UTF-8.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read ({error}). Say another with --csv.") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip() for name in next(reader, [])]
    lacking = [name for name in COLUMNS if name not in header]
    if lacking:
        raise DataError(
            f"{file} has no column {', '.join(lacking)}. Its first line must name {', '.join(COLUMNS)}; it is: "
            f"{', '.join(header) or 'empty'}."
        )
    places = [header.index(name) for name in COLUMNS]
    for row in _walk(file, reader):
        if len(row) == len(header):
            yield (reader.line_num, *(row[place] for place in places))  # type: ignore[misc]  # four places, as COLUMNS
        elif row:
            raise DataError(
                f"{file}, line {reader.line_num}: {len(row)} fields, but the first line names {len(header)}. "
                "Quote fields that contain a comma."
            )


def _walk(file: Path, reader: "Iterator[list[str]]") -> Iterator[list[str]]:
    line = 1
    try:
        for row in reader:
            yield row
            line = reader.line_num  # type: ignore[attr-defined]  # csv's reader has no public type
    except csv.Error as error:
        raise DataError(f"{file}, after line {line}: {error}. Look for a quote that is never closed.") from error


def _read_text(file: Path) -> str:
    content = file.read_bytes()
    return (gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content).decode("utf-8-sig")


def _parse_day(file: Path, line: int, date: str) -> int:
    try:
        return _to_day(date)
    except ValueError as error:
        raise DataError(f"{file}, line {line}: {date!r} is no date. Write it as 2024-12-31.") from error


@lru_cache(maxsize=65536)
def _to_day(date: str) -> int:
    return to_day(dt.datetime.fromisoformat(date.strip()).date())


def _parse_value(file: Path, line: int, value: str) -> float:
    try:
        return float(value.strip() or "nan")
    except ValueError as error:
        raise DataError(
            f"{file}, line {line}: the value {value!r} is no number. Write it as 1234.5, or leave a missing day out."
        ) from error


def _observe(site: str, metric: str, rows: Rows, metrics: Mapping[str, MetricConfig]) -> Observations:
    days = np.fromiter(rows, np.int64, len(rows))
    order = np.argsort(days, kind="stable")
    values = np.array([value for value, _ in rows.values()], np.float64)[order]
    series = _describe(site, metric, values, metrics.get(metric, MetricConfig()))
    return Observations(series, days[order], values / series.unit_scale)


def _describe(site: str, metric: str, values: "np.ndarray", said: MetricConfig) -> Series:
    """A metric called `*_rate` is one if its first 30 values are in 0..1; anything else counts, unless settings say.

    By the first days alone: a backtest must not learn from a later day what a series is.
    """
    first = values[np.isfinite(values)][:MIN_DAYS]
    by_name = metric.endswith("_rate") and bool(np.all((first >= 0) & (first <= 1)))
    return describe_series(site, metric, said, otherwise=Kind.rate if by_name else Kind.count)


def _select(
    observations: Sequence[Observations], *, metrics: Sequence[str], sites: Sequence[str]
) -> list[Observations]:
    known_metrics, known_sites = ({getattr(one.series, key) for one in observations} for key in ("metric", "site"))
    for metric in metrics:
        if metric not in known_metrics:
            raise UnknownMetric(f"There is no metric {metric!r}. There are: {', '.join(sorted(known_metrics))}.")
    for site in sites:
        if site not in known_sites:
            raise UnknownSite(f"There is no site {site!r}. There are: {', '.join(sorted(known_sites))}.")
    return [
        one
        for one in observations
        if (not metrics or one.series.metric in metrics) and (not sites or one.series.site in sites)
    ]
