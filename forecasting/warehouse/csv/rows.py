"""The rows of a CSV file as numbers by series and day, each with its line. One error names everything that is wrong."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

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
    Column,
    Format,
    detect_format,
    find_column,
    interpret_column,
    list_formats,
)
from forecasting.warehouse.csv.tables import Table, read_tables

T = TypeVar("T")

MAX_SHOWN = 5  # bad rows that an error lists
TOTALS = ("grand total", "total", "totals")  # labels of the row of totals in a Google Analytics exploration
NTH_DAY = "nth day"
NOT_A_NUMBER = "is not a number. Write it as 1234.5, or leave the day out."

ValuesByDay = dict[int, tuple[float, int]]  # of one series: day -> value, line


@dataclass
class FileContent:
    """The values in a file's tables, and the problems found by line."""

    format: Format
    series: dict[SeriesKey, ValuesByDay] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)  # by metric
    ignored: list[str] = field(default_factory=list)  # titles of columns of words
    bad_rows: list[tuple[int, str]] = field(default_factory=list)
    repeated_days: list[tuple[int, str]] = field(default_factory=list)

    def add(self, site: str, metric: str, day: int, value: float, *, line: int) -> None:
        values = self.series.setdefault((site, metric), {})
        if day in values:
            first = values[day][1]
            problem = f"{metric} of {site} has a second value for {to_date(day)}; the first is on line {first}."
            self.repeated_days.append((line, problem))
        else:
            values[day] = (value, line)


def read_content(file: Path, *, site: str) -> FileContent:
    """`site` names the site if the file has no column of sites. Raises DataError and DuplicateDays."""
    tables = read_tables(file)
    content = FileContent(_detect_format(file, tables))
    if content.format is LONG:
        for table in tables:
            _read_long(file, table, content)
    else:
        for table in _tables_by_day(file, tables, content.format):
            _read_columns(file, table, content, site=site)
    _refuse_problems(file, content)
    _divide_by_visits(content)
    return content


def _detect_format(file: Path, tables: Sequence[Table]) -> Format:
    header = tables[0].header
    file_format = detect_format(header, below_comments=tables[0].below_comments)
    if file_format is None:
        raise DataError(
            f"{file} has an unknown header: {', '.join(header)}. Use one of these, or export the days again:\n"
            f"{list_formats()}"
        )
    return file_format


def _tables_by_day(file: Path, tables: Sequence[Table], file_format: Format) -> list[Table]:
    """Those with a column of days. A report of Google Analytics has other tables too."""
    by_day = [table for table in tables if find_column(table.header, file_format.day_columns) is not None]
    if not by_day:
        raise DataError(
            f"{file} has no table by day, only by {', '.join(repr(table.header[0]) for table in tables)}. Export one "
            f"row per day from {file_format.name}: {file_format.header}."
        )
    return by_day


def _read_long(file: Path, table: Table, content: FileContent) -> None:
    """Reads one value per row; columns beside the four are ignored."""
    names = {"series": SITE_COLUMNS, "metric": ("metric",), "date": DAY_COLUMNS, "value": ("value",)}
    positions = {name: find_column(table.header, titles) for name, titles in names.items()}
    indexes = {name: index for name, index in positions.items() if index is not None}
    if missing := [name for name in names if name not in indexes]:
        raise DataError(
            f"{file} has no column {', '.join(missing)}. Its first line must name {', '.join(names)}; it is: "
            f"{', '.join(table.header)}."
        )
    site, metric, date, value = indexes.values()
    for line, row in table.rows:
        try:
            fields = table.fit(row)
            day = _parse_day(fields[date], content.format)
            number = _parse(float, fields[value].strip() or "nan", NOT_A_NUMBER)
        except ValueError as error:
            content.bad_rows.append((line, str(error)))
        else:
            content.add(fields[site], fields[metric], day, number, line=line)


def _read_columns(file: Path, table: Table, content: FileContent, *, site: str) -> None:
    """Reads one value per row and metric."""
    rows = [(line, row) for line, row in table.rows if content.format is not GA4 or not _is_total(row)]
    columns = _read_header(file, table, rows, content)
    find_day = _day_finder(file, table, content.format)
    site_index = find_column(table.header, SITE_COLUMNS)
    for line, row in rows:
        try:
            fields = table.fit(row)
            day = find_day(fields)
            values = [_parse_cell(fields[index], table.header[index], column) for index, column in columns.items()]
            row_site = site if site_index is None else _parse_site(fields[site_index])
        except ValueError as error:
            content.bad_rows.append((line, str(error)))
            continue
        for column, value in zip(columns.values(), values, strict=True):
            content.add(row_site, column.metric, day, value, line=line)


def _is_total(row: Sequence[str]) -> bool:
    """Whether it is the row of totals of an exploration, labelled in its first cell or behind its last."""
    return not row[0].strip()[:1].isdigit() and any(cell.strip().lower() in TOTALS for cell in row)


def _read_header(
    file: Path, table: Table, rows: Sequence[tuple[int, list[str]]], content: FileContent
) -> dict[int, Column]:
    """The columns that are metrics, by their index."""
    columns: dict[int, Column] = {}
    titles: dict[str, str] = {}
    for index, title in enumerate(table.header):
        if title.lower() in (*content.format.day_columns, *SITE_COLUMNS):
            continue
        line, first = _first_cell(rows, index)
        try:
            column = interpret_column(title, first, content.format)
        except ValueError as error:
            raise DataError(f"{file}, line {line or table.header_line}: {error}") from error
        if column is None:
            content.ignored.append(title)
        elif column.metric in titles:
            raise DataError(
                f"{file}: the columns {titles[column.metric]!r} and {title!r} are both {column.metric}. Keep one."
            )
        elif content.columns.setdefault(column.metric, column).properties != column.properties:
            raise DataError(
                f"{file}, line {line}: the column {title!r} has percent signs in one table but not in another. Use one "
                "unit."
            )
        else:
            columns[index], titles[column.metric] = column, title
    return columns


def _first_cell(rows: Sequence[tuple[int, list[str]]], index: int) -> tuple[int, str]:
    """The first cell of a column that is not empty, with its line."""
    cells = ((line, row[index].strip()) for line, row in rows if len(row) > index and row[index].strip())
    return next(cells, (0, ""))


def _day_finder(file: Path, table: Table, file_format: Format) -> Callable[[Sequence[str]], int]:
    """A function that finds the day of a row: by its date, or counted from the start date in the comments."""
    date_index = find_column(table.header, [name for name in file_format.day_columns if name != NTH_DAY])
    if date_index is not None:
        return lambda fields: _parse_day(fields[date_index], file_format)
    number_index = find_column(table.header, (NTH_DAY,)) or 0
    if table.start_date is None:
        raise DataError(
            f"{file}, line {table.header_line}: no comment gives the day from which 'Nth day' counts. Write "
            "`# Start date: 20241231` above the table, or export it with Date."
        )
    try:
        first_day = parse_day(table.start_date)
    except ValueError as error:
        raise DataError(f"{file}: the start date {table.start_date!r} in its comments is not a date.") from error
    return lambda fields: first_day + _parse_number(fields[number_index])


def _parse(parse: Callable[[str], T], text: str, problem: str) -> T:
    """Raises ValueError with the text and the problem."""
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{text!r} {problem}") from error


def _parse_day(text: str, file_format: Format) -> int:
    return _parse(file_format.parse_day, text, f"is not a date. {file_format.day_hint}")


def _parse_cell(text: str, title: str, column: Column) -> float:
    """An empty cell is a day that nobody measured: NaN."""
    if not text.strip():
        return float("nan")
    return _parse(column.parse, text.strip(), f"in column {title!r} is not {column.expected}, or leave it empty.")


def _parse_number(text: str) -> int:
    if not re.fullmatch(r"\s*\d{1,5}\s*", text):
        raise ValueError(f"{text!r} is not a number of days. 'Nth day' counts 0000, 0001, ... from the start date.")
    return int(text)


def _parse_site(text: str) -> str:
    if not text.strip():
        raise ValueError("the site is empty. Name it in every row, or leave that column out.")
    return text.strip()


def _refuse_problems(file: Path, content: FileContent) -> None:
    if len(content.bad_rows) == 1:
        line, problem = content.bad_rows[0]
        raise DataError(f"{file}, line {line}: {problem}")
    if content.bad_rows:
        shown = "".join(f"\n  line {line}: {problem}" for line, problem in content.bad_rows[:MAX_SHOWN])
        more = f"\n  and {len(content.bad_rows) - MAX_SHOWN} more" if len(content.bad_rows) > MAX_SHOWN else ""
        raise DataError(f"{file} has {len(content.bad_rows)} rows that cannot be read:{shown}{more}")
    ignored = ", ".join(content.ignored)
    if content.repeated_days:
        line, problem = content.repeated_days[0]
        hint = f" The columns {ignored} are ignored: export by day only." if ignored else ""
        raise DuplicateDays(f"{file}, line {line}: {problem} Keep one row per day.{hint}")
    if not content.series and ignored:
        raise DataError(f"{file} has no column of numbers: {ignored} are words.")
    if not content.series:
        each = "each series and day" if content.format is LONG else "each day"
        raise DataError(f"{file} has no row below its first line. It must have one for {each}.")


def _divide_by_visits(content: FileContent) -> None:
    """Turns daily totals into means per visit, unless the file has those means. NaN on days without visits."""
    for total, mean in PER_VISIT:
        for site in [site for site, metric in content.series if metric == total.metric]:
            totals = content.series.pop((site, total.metric))
            visits = content.series.get((site, VISITS.metric), {})
            if (site, mean.metric) in content.series or not visits:
                continue
            content.columns[mean.metric] = mean
            content.series[site, mean.metric] = {
                day: (value / visits[day][0] if visits[day][0] else float("nan"), line)
                for day, (value, line) in totals.items()
            }
