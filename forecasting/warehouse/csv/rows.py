"""The rows of a CSV file's tables as numbers by series and day, each with its line; all that is wrong, in one error."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forecasting.domain import SeriesKey, to_date
from forecasting.errors import DataError, DuplicateDays
from forecasting.warehouse.csv.cells import parse_day
from forecasting.warehouse.csv.formats import (
    DAY_COLUMNS,
    GA4,
    LONG,
    PER_VISIT,
    SITE_COLUMNS,
    VISITS,
    Format,
    Meaning,
    find_column,
    list_formats,
    tell_format,
    tell_meaning,
)
from forecasting.warehouse.csv.tables import Table, read_tables

MAX_SHOWN = 5  # bad rows that an error names
TOTALS = ("grand total", "total", "totals")  # a row of an exploration in Google Analytics
NTH_DAY = "nth day"
Rows = dict[int, tuple[float, int]]  # of one series: day -> value, line


@dataclass
class Traffic:
    """What the tables of a file say, and what is wrong with them, by line."""

    known: Format
    series: dict[SeriesKey, Rows] = field(default_factory=dict)
    meanings: dict[str, Meaning] = field(default_factory=dict)  # of a metric
    unread: list[str] = field(default_factory=list)  # columns of words
    bad: list[tuple[int, str]] = field(default_factory=list)
    repeated: list[tuple[int, str]] = field(default_factory=list)

    def add(self, site: str, metric: str, day: int, value: float, *, line: int) -> None:
        rows = self.series.setdefault((site, metric), {})
        if day in rows:
            found = f"{metric} of {site} has a second value for {to_date(day)}; the first is on line {rows[day][1]}."
            self.repeated.append((line, found))
        else:
            rows[day] = (value, line)


def read_traffic(file: Path, *, site: str) -> Traffic:
    """All of the file, or DataError or DuplicateDays. `site` is the one of a file that has no column of sites."""
    tables = read_tables(file)
    known = _tell_format(file, tables)
    traffic = Traffic(known)
    for table in tables if known is LONG else _by_day(file, tables, known):
        if known is LONG:
            _gather_long(file, table, traffic)
        else:
            _gather_columns(file, table, traffic, site=site)
    _refuse(file, traffic)
    _divide_by_visits(traffic)
    return traffic


def _tell_format(file: Path, tables: Sequence[Table]) -> Format:
    known = tell_format(tables[0].header, reported=tables[0].reported)
    if known is None:
        raise DataError(
            f"{file} has a header that is not known: {', '.join(tables[0].header)}. Write one of these, or export the "
            f"days anew:\n{list_formats()}"
        )
    return known


def _by_day(file: Path, tables: Sequence[Table], known: Format) -> list[Table]:
    """The tables that have a column of days: a report of Google Analytics has others too."""
    kept = [table for table in tables if find_column(table.header, known.day_columns) is not None]
    if not kept:
        raise DataError(
            f"{file} has no table by day: it has {', '.join(repr(table.header[0]) for table in tables)}. "
            f"{known.name} must export one row a day: {known.shown}."
        )
    return kept


def _gather_long(file: Path, table: Table, traffic: Traffic) -> None:
    """Columns beside the four are not read."""
    names = {"series": SITE_COLUMNS, "metric": ("metric",), "date": DAY_COLUMNS, "value": ("value",)}
    places = {name: place for name, others in names.items() if (place := find_column(table.header, others)) is not None}
    if lacking := [name for name in names if name not in places]:
        raise DataError(
            f"{file} has no column {', '.join(lacking)}. Its first line must name {', '.join(names)}; it is: "
            f"{', '.join(table.header)}."
        )
    at_site, at_metric, at_date, at_value = places.values()
    for line, row in table.rows:
        try:
            fields = table.fit(row)
            day, value = _read_day(fields[at_date], traffic.known), _read_value(fields[at_value])
        except ValueError as error:
            traffic.bad.append((line, str(error)))
        else:
            traffic.add(fields[at_site], fields[at_metric], day, value, line=line)


def _gather_columns(file: Path, table: Table, traffic: Traffic, *, site: str) -> None:
    """A column a metric."""
    rows = [(line, row) for line, row in table.rows if traffic.known is not GA4 or not _is_total(row)]
    columns = _read_header(file, table, rows, traffic)
    find_day = _tell_days(file, table, traffic.known)
    at_site = find_column(table.header, SITE_COLUMNS)
    for line, row in rows:
        try:
            fields = table.fit(row)
            day = find_day(fields)
            values = [_read_cell(fields[at], table.header[at], meaning) for at, meaning in columns.items()]
            of = site if at_site is None else _read_site(fields[at_site])
        except ValueError as error:
            traffic.bad.append((line, str(error)))
            continue
        for meaning, value in zip(columns.values(), values, strict=True):
            traffic.add(of, meaning.metric, day, value, line=line)


def _is_total(row: Sequence[str]) -> bool:
    """The row of sums in an exploration, whose label stands in its first column or after its last."""
    return not row[0].strip()[:1].isdigit() and any(one.strip().lower() in TOTALS for one in row)


def _read_header(
    file: Path, table: Table, rows: Sequence[tuple[int, list[str]]], traffic: Traffic
) -> dict[int, Meaning]:
    """The places of the columns that are metrics, with what they mean."""
    columns: dict[int, Meaning] = {}
    titles: dict[str, str] = {}
    for at, title in enumerate(table.header):
        if title.lower() in (*traffic.known.day_columns, *SITE_COLUMNS):
            continue
        line, first = _first_cell(rows, at)
        try:
            meaning = tell_meaning(title, first, traffic.known)
        except ValueError as error:
            where = line or table.header_line
            raise DataError(f"{file}, line {where}: {error}") from error
        if meaning is None:
            traffic.unread.append(title)
        elif meaning.metric in titles:
            raise DataError(
                f"{file}: the columns {titles[meaning.metric]!r} and {title!r} are both {meaning.metric}. Keep one."
            )
        elif traffic.meanings.setdefault(meaning.metric, meaning).says != meaning.says:
            raise DataError(
                f"{file}, line {line}: the column {title!r} has a percent sign in one table and none in another. "
                "Write it in one unit."
            )
        else:
            columns[at], titles[meaning.metric] = meaning, title
    return columns


def _first_cell(rows: Sequence[tuple[int, list[str]]], at: int) -> tuple[int, str]:
    """The first that is not empty, with its line."""
    found = ((line, row[at].strip()) for line, row in rows if len(row) > at and row[at].strip())
    return next(found, (0, ""))


def _tell_days(file: Path, table: Table, known: Format) -> Callable[[Sequence[str]], int]:
    """What finds the day of a row: by its date, or counted from the start date in the comments."""
    at_date = find_column(table.header, [name for name in known.day_columns if name != NTH_DAY])
    if at_date is not None:
        return lambda fields: _read_day(fields[at_date], known)
    at_number = find_column(table.header, (NTH_DAY,)) or 0
    if table.start_date is None:
        raise DataError(
            f"{file}, line {table.header_line}: 'Nth day' counts from a day that no comment tells. Write "
            "`# Start date: 20241231` above the table, or export it with Date."
        )
    try:
        first_day = parse_day(table.start_date)
    except ValueError as error:
        raise DataError(f"{file}: the start date {table.start_date!r} in its comments is no date.") from error
    return lambda fields: first_day + _read_number(fields[at_number])


def _read_number(text: str) -> int:
    if not re.fullmatch(r"\s*\d{1,5}\s*", text):
        raise ValueError(f"{text!r} is no number of days. 'Nth day' counts 0000, 0001, ... from the start date.")
    return int(text)


def _read_site(text: str) -> str:
    if not text.strip():
        raise ValueError("the site is empty. Name it in every row, or leave that column out.")
    return text.strip()


def _read_day(text: str, known: Format) -> int:
    try:
        return known.parse_day(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no date. {known.day_hint}") from error


def _read_value(text: str) -> float:
    try:
        return float(text.strip() or "nan")
    except ValueError as error:
        raise ValueError(f"the value {text!r} is no number. Write it as 1234.5, or leave a missing day out.") from error


def _read_cell(text: str, title: str, meaning: Meaning) -> float:
    try:
        return meaning.parse(text.strip()) if text.strip() else float("nan")
    except ValueError as error:
        raise ValueError(f"{text!r} in column {title!r} is not {meaning.wanted}, or leave it empty.") from error


def _refuse(file: Path, traffic: Traffic) -> None:
    if len(traffic.bad) == 1:
        line, found = traffic.bad[0]
        raise DataError(f"{file}, line {line}: {found}")
    if traffic.bad:
        shown = "".join(f"\n  line {line}: {found}" for line, found in traffic.bad[:MAX_SHOWN])
        more = f"\n  and {len(traffic.bad) - MAX_SHOWN} more" if len(traffic.bad) > MAX_SHOWN else ""
        raise DataError(f"{file} has {len(traffic.bad)} rows that cannot be read:{shown}{more}")
    if traffic.repeated:
        line, found = traffic.repeated[0]
        words = f" The columns {', '.join(traffic.unread)} are not read: export by day alone." if traffic.unread else ""
        raise DuplicateDays(f"{file}, line {line}: {found} Keep one row a day.{words}")
    if not traffic.series and traffic.unread:
        raise DataError(f"{file} has no column of numbers: {', '.join(traffic.unread)} are words.")
    if not traffic.series:
        what = "each series and day" if traffic.known is LONG else "each day"
        raise DataError(f"{file} has no row below its first line. It must have one for {what}.")


def _divide_by_visits(traffic: Traffic) -> None:
    """Sums over a day's visits become means, where the file has no column of the means; NaN where nobody came."""
    for total, each in PER_VISIT:
        for site in [site for site, metric in traffic.series if metric == total.metric]:
            totals = traffic.series.pop((site, total.metric))
            visits = traffic.series.get((site, VISITS.metric), {})
            if (site, each.metric) in traffic.series or not visits:
                continue
            traffic.meanings[each.metric] = each
            traffic.series[site, each.metric] = {
                day: (value / visits[day][0] if visits[day][0] else float("nan"), line)
                for day, (value, line) in totals.items()
            }
