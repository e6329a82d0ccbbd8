"""The rows of a CSV file as numbers by series and day, each with its line. One error names everything that is wrong."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from forecasting.domain import Kind, SeriesKey, to_date
from forecasting.errors import DataError, DuplicateDays
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.csv.cells import parse_duration, parse_percent
from forecasting.warehouse.csv.dates import all_midnights, decide_order, find_moments, find_odd_starts, parse_date
from forecasting.warehouse.csv.formats import LONG, PER_VISIT, VISITS, Column, Notation, detect_format, list_formats
from forecasting.warehouse.csv.layout import Layout, find_layout
from forecasting.warehouse.csv.numbers import NAMES, UNMEASURED, NumberColumn, decide_decimal, parse_number
from forecasting.warehouse.csv.tables import Table, read_tables
from forecasting.warehouse.csv.vocabulary import DAY_TITLES, translate

WEEK = 7  # days
MAX_SHOWN = 5  # bad rows that an error lists

ValuesByDay = dict[int, tuple[float, int]]  # of one series: day -> value, line
PARSERS: dict[Notation, Callable[[str, str], float]] = {
    Notation.number: parse_number,
    Notation.percent: parse_percent,
    Notation.duration: parse_duration,
}


@dataclass
class FileContent:
    """The values in a file's tables, the problems found by line, and notes for people."""

    is_long: bool = False
    series: dict[SeriesKey, ValuesByDay] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)  # by metric; none of a long table
    ignored: list[str] = field(default_factory=list)  # titles of columns of words
    bad_rows: list[tuple[int, str]] = field(default_factory=list)
    repeated_days: list[tuple[int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, site: str, metric: str, day: int, value: float, *, line: int) -> None:
        values = self.series.setdefault((site, metric), {})
        if day in values:
            first = values[day][1]
            problem = f"{metric} of {site} has a second value for {to_date(day)}; the first is on line {first}."
            self.repeated_days.append((line, problem))
        else:
            values[day] = (value, line)


def is_sparse(values: ValuesByDay) -> bool:
    """Whether the rows are a week or more apart: the days between them would count as days without traffic."""
    steps = np.diff(np.sort(np.fromiter(values, np.int64)))
    return bool(steps.size > 1 and steps.min() >= WEEK)


@dataclass(frozen=True)
class Conventions:
    """How the file writes numbers and dates."""

    decimal: str
    date_order: str
    days_as_written: bool  # a time with a zone is the midnight that begins the day
    odd_starts: Sequence[str]  # times of day that look like midnights of another zone than the site's


def read_content(file: Path, *, site: str, data: DataConfig) -> FileContent:
    """`site` names the site if the file has no column of sites. Raises DataError and DuplicateDays."""
    titles = {title.lower() for title in data.column_titles.values() if not title.isdecimal()}
    tables = read_tables(file, titles=frozenset(titles))
    chosen = [table for table in tables if titles <= {name.lower() for name in table.header}] or tables[:1]
    layouts = [layout for table in chosen if (layout := find_layout(file, table, data.column_titles))]
    if not layouts:
        raise _not_by_day(file, tables)
    content = FileContent(is_long=any(layout.format is LONG for layout in layouts))
    read = {layout.table.header_line for layout in layouts}
    content.notes += [_describe_skipped(file, table) for table in tables if table.header_line not in read]
    _refuse_mixed_units(file, layouts)
    conventions = _decide(file, layouts, data)
    if conventions.odd_starts and not conventions.days_as_written:
        content.notes.append(_describe_starts(file, conventions.odd_starts, data.timezone))
    for layout in layouts:
        part = _read_table(file, layout, conventions, site=site, data=data)
        _merge(file, content, part, layout.table, is_alone=len(layouts) == 1)
    _refuse_problems(file, content)
    if content.ignored:
        titles_ignored = ", ".join(dict.fromkeys(content.ignored))
        content.notes.append(f"{file.name}: columns without a metric are ignored: {titles_ignored}")
    _divide_by_visits(content)
    return content


def _refuse_mixed_units(file: Path, layouts: Sequence[Layout]) -> None:
    columns: dict[str, Column] = {}
    for layout in layouts:
        for index, column in layout.columns.items():
            if columns.setdefault(column.metric, column).properties != column.properties:
                line = next((line for line, _ in layout.cells(index)), layout.table.header_line)
                raise DataError(
                    f"{file}, line {line}: the column {layout.table.header[index]!r} has percent signs in one table "
                    "but not in another. Use one unit."
                )


def _read_table(file: Path, layout: Layout, conventions: Conventions, *, site: str, data: DataConfig) -> FileContent:
    part = FileContent(is_long=layout.format is LONG)
    if part.is_long:
        _read_long(layout, part, conventions, site=site, data=data)
    else:
        _read_wide(file, layout, part, conventions, site=site, data=data)
    return part


def _merge(file: Path, content: FileContent, part: FileContent, table: Table, *, is_alone: bool) -> None:
    """Adds a table's values to those of the tables above it.

    Of several tables, one that has several rows a day or only a row a week is not by day, and skipped. Where it repeats
    days of a table above with other values, as a report does in its cards, the first one stays.
    """
    is_by_week = bool(part.series) and all(is_sparse(values) for values in part.series.values())
    if not is_alone and not part.bad_rows and (is_by_week or (part.repeated_days and part.ignored)):
        content.notes.append(_describe_skipped(file, table))
        return
    content.columns |= part.columns
    content.ignored += part.ignored
    content.bad_rows += part.bad_rows
    content.repeated_days += part.repeated_days
    for key, values in part.series.items():
        known = content.series.setdefault(key, values)
        if any(repr(known[day][0]) != repr(values[day][0]) for day in known.keys() & values.keys()):  # NaN is NaN
            name = f"{key[1]} of {key[0]}"
            content.notes.append(
                f"{file.name}: the table on line {table.header_line} has other values of {name}, which are skipped"
            )
        else:
            content.series[key] = {**values, **known}


def _not_by_day(file: Path, tables: Sequence[Table]) -> DataError:
    header = tables[0].header
    if tables[0].below_comments or {translate(name) for name in header} & DAY_TITLES:
        known = detect_format(header, below_comments=tables[0].below_comments)
        return DataError(
            f"{file} has no table by day, only by {', '.join(repr(table.header[0]) for table in tables)}. Export one "
            f"row per day from {known.name}: {known.header}."
        )
    return DataError(
        f"{file} has an unknown header: {', '.join(header)}. Name its columns with data.columns, such as "
        f"data.columns=date=Day,value=Views, or use one of these:\n{list_formats()}"
    )


def _describe_skipped(file: Path, table: Table) -> str:
    return f"{file.name}: the table on line {table.header_line}, by {table.header[0]!r}, is not by day, and is skipped"


def _describe_starts(file: Path, starts: Sequence[str], timezone: str) -> str:
    return (
        f"{file.name}: every time is {' or '.join(starts)} in {timezone}: if that is where days begin at the site, set "
        "data.timezone to its zone, or the rows count for the day before"
    )


def _decide(file: Path, layouts: Sequence[Layout], data: DataConfig) -> Conventions:
    days = [cell for layout in layouts if not layout.counts_days for cell in layout.cells(layout.day)]
    moments = find_moments(text for _, text in days)
    usual = {layout.usual_decimal for layout in layouts}
    columns = [column for layout in layouts for column in _number_columns(layout)]
    return Conventions(
        decimal=decide_decimal(
            str(file), columns, setting=data.decimal_mark, usual=usual.pop() if len(usual) == 1 else None
        ),
        date_order=decide_order(str(file), days),
        days_as_written=any(layout.format.days_as_written for layout in layouts) or all_midnights(moments),
        odd_starts=find_odd_starts(moments, data.timezone),
    )


def _number_columns(layout: Layout) -> Iterator[NumberColumn]:
    """The columns whose cells may prove a decimal mark. A long table has one for each metric."""
    if layout.long:
        metric, value = layout.long
        cells: dict[str, list[tuple[int, str]]] = {}
        for line, row in layout.rows:
            if len(row) == len(layout.table.header):
                cells.setdefault(row[metric], []).append((line, row[value].strip()))
        title = layout.table.header[value]
        yield from (NumberColumn(title, values) for values in cells.values())
    for index, column in layout.columns.items():
        stripped = [(line, text.strip("% \u00a0\u202f")) for line, text in layout.cells(index)]
        kind = column.properties.kind
        adds_up = kind is None and bool(column.properties.additive)
        yield NumberColumn(
            layout.table.header[index],
            stripped,
            is_count=kind is Kind.count or adds_up,
            is_mean=kind in (Kind.other, Kind.rate),
        )


def _read_long(layout: Layout, content: FileContent, conventions: Conventions, *, site: str, data: DataConfig) -> None:
    """Reads one value per row."""
    metric, value = layout.long or (0, 0)
    for line, row in layout.rows:
        try:
            fields = layout.table.fit(row)
            row_site = site if layout.site is None else fields[layout.site]
            day = _parse_day(fields[layout.day], layout, conventions, timezone=data.timezone_of(row_site))
            text = fields[value].strip()
            number = _parse_value(
                text, Notation.number, conventions, f"is not {_describe_number(data)}, or leave the day out."
            )
        except ValueError as error:
            content.bad_rows.append((line, str(error)))
        else:
            content.add(row_site, fields[metric], day, number, line=line)


def _read_wide(
    file: Path, layout: Layout, content: FileContent, conventions: Conventions, *, site: str, data: DataConfig
) -> None:
    """Reads one value per row and metric."""
    content.columns |= {column.metric: column for column in layout.columns.values()}
    content.ignored += layout.ignored
    find_day = _day_finder(file, layout, conventions)
    for line, row in layout.rows:
        try:
            fields = layout.table.fit(row)
            row_site = site if layout.site is None else _parse_site(fields[layout.site])
            day = find_day(fields, data.timezone_of(row_site))
            values = [
                _parse_cell(fields[index], layout.table.header[index], column, conventions, data)
                for index, column in layout.columns.items()
            ]
        except ValueError as error:
            content.bad_rows.append((line, str(error)))
            continue
        for column, value in zip(layout.columns.values(), values, strict=True):
            content.add(row_site, column.metric, day, value, line=line)


def _day_finder(file: Path, layout: Layout, conventions: Conventions) -> Callable[[Sequence[str], str], int]:
    """A function that finds the day of a row in a time zone: by its date, or counted from the date in the comments."""
    table = layout.table
    if not layout.counts_days:
        return lambda fields, timezone: _parse_day(fields[layout.day], layout, conventions, timezone=timezone)
    if not table.dates:
        raise DataError(
            f"{file}, line {table.header_line}: no comment gives the day from which {table.header[layout.day]!r} "
            "counts. Write `# Start date: 20241231` above the table, or export it with Date."
        )
    try:
        first_day = parse_date(table.dates[0], "", timezone="UTC")
    except ValueError as error:
        raise DataError(f"{file}: the start date {table.dates[0]!r} in its comments is not a date.") from error
    title = table.header[layout.day]
    return lambda fields, _: first_day + _parse_number_of_day(fields[layout.day], title)


def _parse_day(text: str, layout: Layout, conventions: Conventions, *, timezone: str) -> int:
    try:
        return parse_date(text, conventions.date_order, timezone=timezone, as_written=conventions.days_as_written)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text.strip()!r} is not a date. {layout.format.day_hint}") from error


def _parse_cell(text: str, title: str, column: Column, conventions: Conventions, data: DataConfig) -> float:
    """An empty cell is a day that nobody measured: NaN."""
    expected = _describe_number(data) if column.notation is Notation.number else column.notation.value
    return _parse_value(
        text.strip(), column.notation, conventions, f"in column {title!r} is not {expected}, or leave it empty."
    )


def _parse_value(text: str, notation: Notation, conventions: Conventions, problem: str) -> float:
    """Raises ValueError with the text and the problem."""
    if text.lower() in UNMEASURED:
        return float("nan")
    try:
        return PARSERS[notation](text, conventions.decimal)
    except ValueError as error:
        raise ValueError(f"{text!r} {problem}") from error


def _describe_number(data: DataConfig) -> str:
    if data.decimal_mark is None:
        return Notation.number.value
    return f"a number with data.decimal={NAMES[data.decimal_mark]}. Write it as 1234{data.decimal_mark}5"


def _parse_number_of_day(text: str, title: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,5}\s*", text):
        raise ValueError(f"{text!r} is not a number of days. {title!r} counts 0000, 0001, ... from the start date.")
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
    ignored = ", ".join(dict.fromkeys(content.ignored))
    if content.repeated_days:
        line, problem = content.repeated_days[0]
        hint = f" The columns {ignored} are ignored: export by day only." if ignored else ""
        raise DuplicateDays(f"{file}, line {line}: {problem} Keep one row per day.{hint}")
    if not content.series and ignored:
        raise DataError(f"{file} has no column of numbers, only of words: {ignored}.")
    if not content.series:
        each = "each series and day" if content.is_long else "each day"
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
