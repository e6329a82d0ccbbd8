"""Series from a data frame. Each error names the column, the row and the series, and says what to do."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from forecasting.domain import EARLIEST_DATE, MIN_DAYS, Kind, to_date, to_day
from forecasting.errors import AmbiguousUnit, DataError, DuplicateDays, SettingError, TooFewDays
from forecasting.frames.series_rows import SeriesRows

DEFAULT_ID = "unique_id"
ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]00:00(?::00(?:\.0+)?)?)?")
MIN_WEEKLY = 7  # days between rows of a series of which no two are closer: it is no daily one
LATEST_DATE = to_day(to_date(0).replace(year=2200))


@dataclass(frozen=True)
class Columns:
    """What the columns of a frame are called."""

    id: str = DEFAULT_ID
    time: str = "ds"
    target: str = "y"


@dataclass(frozen=True)
class FrameSeries:
    """The series of a frame, in the order in which they first appear."""

    rows: SeriesRows
    columns: Columns
    ids: "nw.Series[Any] | None"  # of each series, as the frame has them; None: the frame has no such column
    names: Sequence[str | None]  # the same as text
    kinds: Sequence[Kind | None]  # None: nobody has said
    days: "nw.Series[Any]"  # the column of days, whose type forecasts have too
    implementation: nw.Implementation

    def describe(self, series: int) -> str:
        """For errors."""
        name = self.names[series]
        return "the series" if name is None else f"series {name!r}"


def read_frame(frame: Any, columns: Columns, *, kind: str | None = None) -> FrameSeries:  # Any: pandas, Polars, Arrow
    """Rows in any order, with any index. `kind` is that of all series, or a column that has it.

    Raises DataError, DuplicateDays, AmbiguousUnit, SettingError.
    """
    table = _open(frame)
    names = {"id_col": columns.id, "time_col": columns.time, "target_col": columns.target}
    if columns.id == DEFAULT_ID and DEFAULT_ID not in table.columns:
        del names["id_col"]
    _check_columns(frame, table, names)
    if not len(table):
        raise TooFewDays(f"The frame has no rows; each series needs at least {MIN_DAYS} days.")
    codes, firsts, ids = number_series(table, names.get("id_col"))
    texts = [None] if ids is None else [str(each) for each in ids.to_list()]
    reader = RowReader(columns, codes, texts)
    days = reader.read_days(table[columns.time])
    values = reader.read_values(table[columns.target], days)
    kinds = _read_kinds(table, kind, firsts)
    reader.check_values(days, values, kinds)
    return FrameSeries(
        rows=reader.sort(days, values),
        columns=columns,
        ids=ids,
        names=texts,
        kinds=kinds,
        days=table[columns.time],
        implementation=table.implementation,
    )


def _open(frame: Any) -> "nw.DataFrame[Any]":  # Any: anything
    if isinstance(frame, pd.DataFrame) and isinstance(frame.columns, pd.MultiIndex):
        raise DataError(
            "The frame's columns are a MultiIndex. Give it one level: "
            "df.columns = ['_'.join(map(str, c)) for c in df.columns]."
        )
    try:
        return nw.from_native(frame, eager_only=True)
    except TypeError as error:
        kind = f"{type(frame).__module__.partition('.')[0]}.{type(frame).__qualname__}"
        advice = "give one of pandas, Polars, Arrow, Spark, Dask or Ray"
        advice = "collect() it first" if hasattr(frame, "collect") else advice
        raise DataError(f"A {kind} is no data frame that can be read: {advice}.") from error


def _check_columns(frame: Any, table: "nw.DataFrame[Any]", names: Mapping[str, str]) -> None:
    """`names` by the argument that gives them. Any: the user's own kind of frame."""
    index = getattr(frame, "index", None)
    in_index = [name for name in getattr(index, "names", ()) if name]
    for argument, name in names.items():
        if name in table.columns:
            continue
        if name in in_index:
            raise DataError(f"{name} is in the frame's index, not a column. Make it one: df.reset_index().")
        if isinstance(index, pd.DatetimeIndex) and argument == "time_col":
            raise DataError(
                f"There is no column {name!r}; dates are in the frame's index. Make them a column: "
                f"df.rename_axis({name!r}).reset_index()."
            )
        there = ", ".join(map(str, table.columns)) or "none"
        raise DataError(f"There is no column {name!r}; the frame has: {there}. Name yours with {argument}=.")


def number_series(
    table: "nw.DataFrame[Any]", id_name: str | None
) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " series"], "nw.Series[Any] | None"]:
    """Each row's series, each series' first row, and its id."""
    if id_name is None:
        return np.zeros(len(table), np.int64), np.zeros(1, np.int64), None
    column = table[id_name]
    codes = _factorize(column)
    if np.any(codes < 0):
        row = int(np.argmax(codes < 0))
        raise DataError(f"Row {row} (counted from 0): {id_name} is missing. Fill it, or drop the row.")
    firsts = np.full(int(codes.max()) + 1, len(codes), np.int64)
    np.minimum.at(firsts, codes, np.arange(len(codes)))
    return codes, firsts, column[firsts]


def _factorize(column: "nw.Series[Any]") -> Int[np.ndarray, " rows"]:
    """By first appearance; -1 for none."""
    native = column.to_native()
    values = native if isinstance(native, pd.Series) else pd.Series(column.to_arrow().to_pandas())
    return np.asarray(pd.factorize(values)[0]).astype(np.int64)


class RowReader:
    """What its errors need to name a row."""

    def __init__(self, columns: Columns, codes: Int[np.ndarray, " rows"], names: Sequence[str | None]) -> None:
        self._columns = columns
        self._codes = codes
        self._names = names

    def read_days(self, column: "nw.Series[Any]") -> Int[np.ndarray, " rows"]:
        """Days since 1970-01-01."""
        name = self._columns.time
        if isinstance(column.dtype, nw.Datetime) and column.dtype.time_zone is not None:
            raise DataError(
                f"Column {name} has the time zone {column.dtype.time_zone}, but a day has none. Keep the local date: "
                f"{_without_zone(column, name)}."
            )
        if column.dtype.is_numeric():
            raise DataError(
                f"Column {name} has numbers ({column.dtype}), not days. Write dates, such as 2024-01-31: "
                f'for example pd.to_datetime(df["{name}"], unit="D").'
            )
        moments = self._read_moments(column)
        days = moments.astype("datetime64[D]")
        self._check_days(moments, days)
        return np.asarray(days.astype(np.int64))

    def _read_moments(self, column: "nw.Series[Any]") -> Any:  # Any: an array of datetime64
        if isinstance(column.dtype, nw.Date | nw.Datetime):
            values = column.to_numpy()
            return values.astype("datetime64[D]") if values.dtype == object else values
        codes = _factorize(column)
        firsts = np.full(int(codes.max(initial=-1)) + 2, len(codes) - 1, np.int64)
        np.minimum.at(firsts, codes, np.arange(len(codes)))
        texts = column[firsts].to_list()  # the last is of those without any
        dates = [self._read_date(text, int(row)) for text, row in zip(texts[:-1], firsts[:-1], strict=True)]
        moments = np.array([*dates, np.datetime64("NaT")], "datetime64[us]")
        return moments[codes]

    def _read_date(self, date: Any, row: int) -> Any:  # Any: text, a date, or something else
        if isinstance(date, str):
            if ISO_DATE.fullmatch(date):
                try:
                    return np.datetime64(date[:10])
                except ValueError:
                    pass
            raise self._refuse(
                row,
                f"{self._columns.time} is {date!r}, which is no date written as year-month-day. Write 2024-01-31, or "
                f'convert the column: pd.to_datetime(df["{self._columns.time}"], format=...).',
            )
        try:
            return np.datetime64(date)
        except (ValueError, TypeError) as error:
            raise self._refuse(row, f"{self._columns.time} is {date!r}, which is no date. Write 2024-01-31.") from error

    def _check_days(self, moments: Any, days: Any) -> None:  # Any: arrays of datetime64
        name = self._columns.time
        if np.any(np.isnat(moments)):
            raise self._refuse(int(np.argmax(np.isnat(moments))), f"{name} is missing. Fill it, or drop the row.")
        if np.any(moments != days):
            row = int(np.argmax(moments != days))
            by = "" if self._names == [None] else f'"{self._columns.id}", '
            raise self._refuse(
                row,
                f"{name} is {str(moments[row])[:19].replace('T', ' ')}, which is a time of day; forecasts are of whole "
                f'days. Add up each day: df.groupby([{by}df["{name}"].dt.normalize()]).sum(numeric_only=True)'
                ".reset_index().",
            )
        numbers = days.astype(np.int64)
        impossible = (numbers < to_day(EARLIEST_DATE)) | (numbers > LATEST_DATE)
        if np.any(impossible):
            row = int(np.argmax(impossible))
            raise self._refuse(row, f"{name} is {days[row]}, which is before 1990 or after 2200. Mend it.")

    def read_values(self, column: "nw.Series[Any]", days: Int[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
        """NaN for none."""
        if column.dtype.is_numeric():
            return np.asarray(column.cast(nw.Float64).to_numpy(), np.float64)
        values = np.full(len(days), np.nan)
        for row, value in enumerate(column.to_list()):  # no numbers, so that one of them is refused
            if value is None or value is pd.NA:
                continue
            if isinstance(value, str | bool) or not hasattr(value, "__float__"):
                kind = "text" if isinstance(value, str) else type(value).__name__
                raise self._refuse(
                    row,
                    f"{self._columns.target} is {value!r}, which is {kind}, not a number. Convert the column: "
                    f'df["{self._columns.target}"] = pd.to_numeric(df["{self._columns.target}"]).',
                    days,
                )
            values[row] = float(value)
        return values

    def check_values(
        self, days: Int[np.ndarray, " rows"], values: Float[np.ndarray, " rows"], kinds: Sequence[Kind | None]
    ) -> None:
        name = self._columns.target
        if np.any(np.isinf(values)):
            row = int(np.argmax(np.isinf(values)))
            raise self._refuse(row, f"{name} is infinite. Mend it, or leave it empty: the day is then unknown.", days)
        never_negative = np.array([kind is not Kind.other for kind in kinds], bool)[self._codes]
        if np.any(never_negative & (values < 0)):
            row = int(np.argmax(never_negative & (values < 0)))
            raise self._refuse(
                row,
                f"{name} is {values[row]:g}, but traffic is never negative. Mend it, leave it empty if the day is "
                'unknown, or pass kind="other" if such values are right.',
                days,
            )
        is_rate = np.array([kind is Kind.rate for kind in kinds], bool)[self._codes]
        if np.any(is_rate & (values > 1)):
            row = int(np.argmax(is_rate & (values > 1)))
            raise self._fault(
                AmbiguousUnit,
                row,
                f"{name} is {values[row]:g}, but a rate lies between 0 and 1. Divide percentages by 100.",
                days,
            )

    def sort(self, days: Int[np.ndarray, " rows"], values: Float[np.ndarray, " rows"]) -> SeriesRows:
        """Raises DuplicateDays, and DataError for series that are not daily."""
        codes, places = self._codes, np.arange(len(days))
        steps = np.diff(codes) * 10**6 + np.diff(days)
        if np.any((steps <= 0) | (np.diff(codes) < 0)):
            places = np.lexsort((days, codes))
        codes, days, values = codes[places], days[places], values[places]
        gaps = np.diff(days)
        is_same = np.diff(codes) == 0
        if np.any(is_same & (gaps == 0)):
            self._refuse_duplicate(places, int(np.argmax(is_same & (gaps == 0))), days)
        counts = np.bincount(codes, minlength=len(self._names))
        self._check_daily(codes, gaps, is_same, counts)
        return SeriesRows(counts, days, values)

    def _refuse_duplicate(self, places: Int[np.ndarray, " rows"], place: int, days: Int[np.ndarray, " rows"]) -> None:
        first, second = sorted(int(row) for row in places[place : place + 2])
        has_ids = self._names != [None]
        advice = (
            "Keep one row a day" if has_ids else "Keep one row a day, or name the column of the series with id_col="
        )
        of = f" of series {self._names[self._codes[first]]!r}" if has_ids else ""
        raise DuplicateDays(
            f"Rows {first} and {second} (counted from 0){of} are both of {to_date(days[place])}. {advice}."
        )

    def _check_daily(
        self,
        codes: Int[np.ndarray, " rows"],
        gaps: Int[np.ndarray, " steps"],
        is_same: Bool[np.ndarray, " steps"],
        counts: Int[np.ndarray, " series"],
    ) -> None:
        least = np.full(len(counts), 10**6, np.int64)
        np.minimum.at(least, codes[1:][is_same], gaps[is_same])
        sparse = (least >= MIN_WEEKLY) & (counts >= 3)
        if np.any(sparse):
            series = int(np.argmax(sparse))
            name = self._names[series]
            who = "The rows" if name is None else f"The rows of series {name!r}"
            raise DataError(
                f"{who} are at least {least[series]} days apart: they are weekly or monthly, but forecasts are of "
                "days. Give a row for each day."
            )

    def _refuse(self, row: int, problem: str, days: Int[np.ndarray, " rows"] | None = None) -> DataError:
        return self._fault(DataError, row, problem, days)

    def _fault(
        self, error: type[DataError], row: int, problem: str, days: Int[np.ndarray, " rows"] | None = None
    ) -> DataError:
        name = self._names[self._codes[row]]
        parts = [] if name is None else [f"series {name!r}"]
        parts += [] if days is None else [str(to_date(days[row]))]
        where = f"; {', '.join(parts)}" if parts else ""
        return error(f"Row {row} (counted from 0{where}): {problem}")


def _without_zone(column: "nw.Series[Any]", name: str) -> str:
    if column.implementation.is_polars():
        return f'pl.col("{name}").dt.replace_time_zone(None)'
    return f'df["{name}"].dt.tz_localize(None)'


def _read_kinds(table: "nw.DataFrame[Any]", kind: str | None, firsts: Int[np.ndarray, " series"]) -> list[Kind | None]:
    if kind is None:
        return [None] * len(firsts)
    words = {each.value: each for each in Kind}
    if kind in words:
        return [words[kind]] * len(firsts)
    if kind not in table.columns:
        raise SettingError(f"kind is {kind!r}; it must be count, rate, other, or a column that has these words.")
    texts = [str(text) for text in table[kind][firsts].to_list()]
    for text, row in zip(texts, firsts.tolist(), strict=True):
        if text not in words:
            raise DataError(f"Row {row} (counted from 0): {kind} is {text!r}; write count, rate or other.")
    return [words[text] for text in texts]
