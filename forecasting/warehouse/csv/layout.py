"""Which column of a table is what: days, sites, metrics. By the titles, and by the cells if those tell nothing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from forecasting.errors import DataError
from forecasting.warehouse.csv.dates import can_be_date, read_date
from forecasting.warehouse.csv.formats import (
    GA4,
    LONG,
    SEARCH_CONSOLE,
    Column,
    Format,
    detect_format,
    find_column,
    interpret_column,
    name_metric,
)
from forecasting.warehouse.csv.numbers import COMMA, POINT, is_number, read_number
from forecasting.warehouse.csv.tables import Row, Table
from forecasting.warehouse.csv.vocabulary import (
    DAY_TITLES,
    NTH_DAY_TITLES,
    OTHER_NTH_TITLES,
    SITE_TITLES,
    TOTALS,
    is_foreign,
    is_total,
    translate,
)  # fmt: skip

MANY = 50  # cells that are looked at to tell what a column holds
UNNAMED = (
    "",
    "unnamed: 0",
    "index",
    "#",
    "no",
    "no.",
    "nr",
    "nr.",
    "id",
    "row",
)  # titles of a column that numbers the rows


@dataclass(frozen=True)
class Layout:
    """The columns of one table, by their index."""

    table: Table
    format: Format
    day: int
    counts_days: bool = False  # the column of days counts them from the table's first date
    site: int | None = None
    long: tuple[int, int] | None = None  # of a long table: the columns of the metric and of its value
    columns: Mapping[int, Column] = field(default_factory=dict)
    ignored: Sequence[str] = ()  # titles of columns of words

    @cached_property
    def rows(self) -> list[Row]:
        """Without those of totals: labelled so in place of a day, or without a day in a program's report."""
        return [(line, row) for line, row in self.table.rows if not _is_total_row(self, row)]

    def cells(self, index: int) -> list[tuple[int, str]]:
        """The cells of a column that are not empty, each with its line."""
        return [(line, row[index].strip()) for line, row in self.rows if len(row) > index and row[index].strip()]

    @property
    def usual_decimal(self) -> str | None:
        """The decimal mark of the language that the program wrote the header in; None if that tells nothing."""
        if not self.format.exported:
            return None
        if is_foreign(self.table.header):
            return COMMA
        return POINT if self.table.separator != ";" else None


def find_layout(file: Path, table: Table, roles: Mapping[str, str]) -> Layout | None:
    """None for a table that is not by day. `roles`: data.columns. Raises DataError naming the line."""
    if any(can_be_date(name) and not name.isdecimal() for name in table.header):
        table = _name_columns(file, table, roles)
    file_format = detect_format(table.header, below_comments=table.below_comments)
    positions = {role: _locate(file, table, title) for role, title in roles.items()}
    site = positions.get("site", find_column(table.header, SITE_TITLES))
    if {"metric", "value"} <= positions.keys() or (file_format is LONG and "value" not in positions):
        return _find_long(file, table, positions, site)
    day, counts_days = _find_day(table, positions)
    if day is None:
        return None
    if _is_search_console(table, day):
        table = _name_search_console(table)
        file_format = SEARCH_CONSOLE
    columns, ignored = _find_metrics(file, table, file_format, positions, taken={day, site})
    return Layout(table, file_format, day, counts_days, site, columns=columns, ignored=ignored)


def _name_columns(file: Path, table: Table, roles: Mapping[str, str]) -> Table:
    """A table whose first line is a day already: its columns are called 1, 2 and so on, if `roles` numbers them so."""
    if not roles or not all(title.isdecimal() for title in roles.values()):
        raise DataError(
            f"{file}, line {table.header_line}: {', '.join(table.header)} are no names of columns. Write a line with "
            "their names above it, such as date,page_visits, or number them: data.columns=date=1,page_visits=2."
        )
    names = tuple(str(number) for number, _ in enumerate(table.header, 1))
    return replace(table, header=names, rows=[(table.header_line, list(table.header)), *table.rows])


def _locate(file: Path, table: Table, title: str) -> int:
    """By its title, or by its number, from 1."""
    index = find_column(table.header, [title.lower()])
    if index is None and title.isdecimal() and 1 <= int(title) <= len(table.header):
        index = int(title) - 1
    if index is None:
        raise DataError(
            f"{file}, line {table.header_line}: data.columns names {title!r}, but the columns are "
            f"{', '.join(table.header)}."
        )
    return index


def _find_long(file: Path, table: Table, positions: Mapping[str, int], site: int | None) -> Layout:
    """One value per row; other columns are ignored."""
    indexes = {
        "series": site,
        "metric": positions.get("metric", find_column(table.header, ["metric"])),
        "date": positions.get("date", find_column(table.header, _day_titles(table))),
        "value": positions.get("value", find_column(table.header, ["value"])),
    }
    missing = [name for name, index in indexes.items() if index is None and not (positions and name == "series")]
    metric, day, value = (indexes[name] for name in ("metric", "date", "value"))
    if missing or metric is None or day is None or value is None:
        raise DataError(
            f"{file} has no column {', '.join(missing)}. Its first line must name {', '.join(indexes)}; it is: "
            f"{', '.join(table.header)}."
        )
    return Layout(table, LONG, day, site=site, long=(metric, value))


def _day_titles(table: Table) -> list[str]:
    """Titles of the header that name days, `date` and `day` first."""
    return ["date", "day", *(name.lower() for name in table.header if name.lower() in DAY_TITLES)]


def _find_day(table: Table, positions: Mapping[str, int]) -> tuple[int | None, bool]:
    """The column of days, and whether it counts them."""
    if "date" in positions:
        return positions["date"], False
    names = [translate(name) for name in table.header]
    titled = [index for index, name in enumerate(names) if name in DAY_TITLES]
    for index in sorted(titled, key=lambda index: names[index] != "date"):
        if not table.cells(index) or any(can_be_date(text) for _, text in table.cells(index)):
            return index, False
    for index, name in enumerate(names):
        if name in NTH_DAY_TITLES or (name not in OTHER_NTH_TITLES and _counts_days(table, index)):
            return index, True
    for index in range(len(names)):
        if _holds_dates(table, index):
            return index, False
    if titled and not (table.below_comments or table.title):  # the rows will say what is wrong with their dates
        return titled[0], False
    return None, False


def _counts_days(table: Table, index: int) -> bool:
    """Whether the cells are 0000, 0001 and so on, and count days between the dates above the table, not weeks."""
    numbers = [text for _, text in table.cells(index)]
    if index or len(table.dates) != 2 or not all(can_be_date(date) for date in table.dates):
        return False
    first, last = (read_date(date)[""].toordinal() for date in table.dates)
    if not numbers or not all(re.fullmatch(r"[0-9]{4}", text) for text in numbers):
        return False
    most = int(numbers[-1])
    is_increasing = all(before < after for before, after in pairwise(numbers))
    return is_increasing and (most == last - first or (last - first) // 7 + 1 < most < last - first)


def _holds_dates(table: Table, index: int) -> bool:
    """Whether the cells are dates without doubt: bare numbers are none."""
    texts = [text for _, text in table.cells(index) if not is_total(text)][:MANY]
    return bool(texts) and all(can_be_date(text) and not text.isdecimal() for text in texts)


def _is_search_console(table: Table, day: int) -> bool:
    """Clicks, impressions, their share and a position, in any language: the share is that of the two numbers."""
    rows = [row for _, row in table.rows if len(row) == len(table.header)][:MANY]
    if len(table.header) != 5 or day != 0 or len(rows) < 2:
        return False
    return all(_is_share(*row[1:4]) and is_number(row[4]) for row in rows)


def _is_share(part: str, whole: str, share: str) -> bool:
    if not (part.strip().isdecimal() and whole.strip().isdecimal() and "%" in share):
        return False
    text = share.strip("% \u00a0\u202f").replace(",", ".")
    if not is_number(text) or read_number(text).body.count(".") > 1:
        return False
    expected = 100 * int(part) / int(whole) if int(whole) else 0.0
    return abs(float(text) - expected) < 0.06


def _name_search_console(table: Table) -> Table:
    return replace(table, header=("Date", "Clicks", "Impressions", "CTR", "Position"))


def _find_metrics(
    file: Path, table: Table, file_format: Format, positions: Mapping[str, int], *, taken: set[int | None]
) -> tuple[dict[int, Column], list[str]]:
    """The columns that are metrics, by their index, and the titles of columns of words."""
    named = {index: role for role, index in positions.items() if role not in ("date", "site", "value", "metric")}
    chosen = {positions["value"], *named} if "value" in positions else set(named)
    columns: dict[int, Column] = {}
    titles: dict[str, str] = {}
    ignored = []
    for index, title in enumerate(table.header):
        if index in taken or (chosen and index not in chosen) or _numbers_rows(table, index):
            continue
        cells = [(line, text) for line, text in table.cells(index)]
        try:
            column = interpret_column(
                _rename_primary(table, title), [text for _, text in cells], file_format, metric=named.get(index, "")
            )
        except ValueError as error:
            line = cells[0][0] if cells else table.header_line
            raise DataError(f"{file}, line {line}: {error}") from error
        if column is None:
            ignored.append(title)
        elif column.metric in titles:
            raise DataError(
                f"{file}: the columns {titles[column.metric]!r} and {title!r} are both {column.metric}. Keep one."
            )
        else:
            columns[index], titles[column.metric] = column, title
    return columns, ignored


def _numbers_rows(table: Table, index: int) -> bool:
    """Whether it is a first column that only numbers the rows, as data frames write it."""
    if index or table.header[index].lower() not in UNNAMED:
        return False
    numbers = [text for _, text in table.cells(index)]
    if len(numbers) < 2 or not all(re.fullmatch(r"[0-9]{1,9}", text) for text in numbers):
        return False
    return all(int(after) - int(before) == 1 for before, after in pairwise(numbers))


def _rename_primary(table: Table, title: str) -> str:
    """Meta calls every column of numbers `Primary`; the line above the header says what it is."""
    return table.title if title.lower() == "primary" and name_metric(table.title) else title


def _is_total_row(layout: Layout, row: Sequence[str]) -> bool:
    day = row[layout.day].strip() if len(row) > layout.day else ""
    if day:
        return is_total(day)
    is_labelled = any(cell.strip().lower() in TOTALS for cell in row)
    return is_labelled or (layout.format is GA4 and any(cell.strip() for cell in row))
