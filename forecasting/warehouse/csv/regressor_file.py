"""Numbers that are known ahead from a CSV file: a row for each day, or for each day of each site."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forecasting.errors import DataError
from forecasting.known_days.regressors import ALL_SITES, RegressorRows
from forecasting.warehouse.csv.dates import decide_order, parse_date
from forecasting.warehouse.csv.numbers import UNMEASURED, NumberColumn, decide_decimal, parse_number
from forecasting.warehouse.csv.tables import Table, read_tables

DATE, SITE = "date", "site"


@dataclass(frozen=True)
class _Layout:
    """Places of the columns, and how dates and numbers are written."""

    date: int
    site: int | None
    names: Mapping[str, int]
    date_order: str
    decimal: str


def read_regressor_file(file: Path, *, decimal: str | None = None) -> list[RegressorRows]:
    """Raises DataError, naming the line."""
    table = read_tables(file, titles=frozenset({DATE}))[0]
    layout = _find_layout(file, table, decimal)
    by_site: dict[str, RegressorRows] = {}
    for line, row in table.rows:
        try:
            fields = table.fit(row)
            site = ALL_SITES if layout.site is None else fields[layout.site].strip()
            rows = by_site.setdefault(site, RegressorRows(site, tuple(layout.names)))
            rows.add(_parse_day(fields[layout.date], layout.date_order), _parse_values(fields, layout))
        except ValueError as error:
            raise DataError(f"{file}, line {line}: {error}") from error
    return list(by_site.values())


def _find_layout(file: Path, table: Table, decimal: str | None) -> _Layout:
    places = {title.lower(): place for place, title in enumerate(table.header)}
    if DATE not in places:
        raise DataError(
            f"{file} has no column {DATE}: its columns are {', '.join(table.header)}. Its first line must name date, "
            "site (if values differ by site), and the regressors."
        )
    names = {title: place for place, title in enumerate(table.header) if title.lower() not in (DATE, SITE)}
    if not names:
        raise DataError(f"{file} has no column of numbers beside date and site. Add one for each regressor.")
    columns = [NumberColumn(title, table.cells(place)) for title, place in names.items()]
    return _Layout(
        date=places[DATE],
        site=places.get(SITE),
        names=names,
        date_order=decide_order(str(file), table.cells(places[DATE])),
        decimal=decide_decimal(str(file), columns, setting=decimal),
    )


def _parse_day(text: str, order: str) -> int:
    try:
        return parse_date(text, order, timezone="UTC", as_written=True)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text.strip()!r} is not a date. Write it as 2026-11-27.") from error


def _parse_values(fields: Sequence[str], layout: _Layout) -> list[float]:
    """NaN where empty."""
    return [_parse_value(fields[place].strip(), title, layout.decimal) for title, place in layout.names.items()]


def _parse_value(text: str, title: str, decimal: str) -> float:
    if text.lower() in UNMEASURED:
        return float("nan")
    try:
        return parse_number(text, decimal)
    except ValueError as error:
        raise ValueError(f"{text!r} in column {title!r} is not a number. Leave it empty if it is not known.") from error
