"""What is refused in a data frame: each error names what was found and where, and says what to do."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from forecasting import TrafficForecaster
from forecasting.errors import DataError, DuplicateDays, SettingError, TooFewDays

DAYS = pd.date_range("2024-01-01", periods=40)
FRAME = pd.DataFrame({"unique_id": "blog", "ds": DAYS, "y": np.arange(40.0)})


@pytest.fixture(scope="module")
def model() -> TrafficForecaster:
    return TrafficForecaster()


def change(column: str, row: int, value: object) -> pd.DataFrame:
    """With a column of Python's own objects."""
    values = FRAME[column].astype(object)
    values[row] = value
    return FRAME.assign(**{column: values})


SHORT = (
    "Series 'blog' has 20 days with a value, 20 of them among the last 56; a forecast needs 30, and 28 among the last "
    "56. Add the missing days."
)
MONTHS = pd.date_range("2020-01-01", periods=40, freq="MS")
HOURS = pd.date_range("2024-01-01", periods=40, freq="h")
WRONG: list[tuple[Any, str]] = [
    (FRAME.rename(columns={"y": "views"}),
     "There is no column 'y'; the frame has: unique_id, ds, views. Name yours with target_col=."),
    (FRAME.drop(columns="ds"), "There is no column 'ds'; the frame has: unique_id, y. Name yours with time_col=."),
    (FRAME.set_index("ds"), "ds is in the frame's index, not a column. Make it one: df.reset_index()."),
    (FRAME.set_index(["unique_id", "ds"]), "ds is in the frame's index, not a column. Make it one: df.reset_index()."),
    (pd.DataFrame({"y": FRAME["y"].to_numpy()}, index=DAYS),
     "There is no column 'ds'; dates are in the frame's index. Make them a column: "
     "df.rename_axis('ds').reset_index()."),
    (FRAME.T.set_axis(pd.MultiIndex.from_product([["a"], range(40)]), axis=1),
     "The frame's columns are a MultiIndex. Give it one level: df.columns = ['_'.join(map(str, c)) for c in "
     "df.columns]."),
    (pd.concat([FRAME, FRAME[3:4]]),
     "Rows 3 and 40 (counted from 0) of series 'blog' are both of 2024-01-04. Keep one row a day."),
    (pd.concat([FRAME, FRAME[3:4]])[["ds", "y"]],
     "Rows 3 and 40 (counted from 0) are both of 2024-01-04. Keep one row a day, or name the column of the series with "
     "id_col=."),
    (FRAME.assign(ds=HOURS),
     "Row 1 (counted from 0; series 'blog'): ds is 2024-01-01 01:00:00, which is a time of day; forecasts are of whole "
     "days. Add up each day: df.groupby([\"unique_id\", df[\"ds\"].dt.normalize()]).sum(numeric_only=True)"
     ".reset_index()."),
    (FRAME.assign(ds=MONTHS),
     "The rows of series 'blog' are at least 28 days apart: they are weekly or monthly, but forecasts are of days. "
     "Give a row for each day."),
    (FRAME.assign(ds=DAYS.strftime("%m/%d/%Y")),
     "Row 0 (counted from 0; series 'blog'): ds is '01/01/2024', which is no date written as year-month-day. Write "
     "2024-01-31, or convert the column: pd.to_datetime(df[\"ds\"], format=...)."),
    (FRAME.assign(ds=[*DAYS.strftime("%Y-%m-%d")[:-1], "2024-02-30"]),
     "Row 39 (counted from 0; series 'blog'): ds is '2024-02-30', which is no date written as year-month-day. Write "
     "2024-01-31, or convert the column: pd.to_datetime(df[\"ds\"], format=...)."),
    (FRAME.assign(ds=range(40)),
     "Column ds has numbers (Int64), not days. Write dates, such as 2024-01-31: for example "
     "pd.to_datetime(df[\"ds\"], unit=\"D\")."),
    (FRAME.assign(ds=DAYS.where(DAYS[5] != DAYS)),
     "Row 5 (counted from 0; series 'blog'): ds is missing. Fill it, or drop the row."),
    (FRAME.assign(ds=[*DAYS[1:], pd.Timestamp("1924-01-01")]),
     "Row 39 (counted from 0; series 'blog'): ds is 1924-01-01, which is before 1990 or after 2200. Mend it."),
    (FRAME.assign(ds=DAYS.tz_localize("Europe/Berlin")),
     "Column ds has the time zone Europe/Berlin, but a day has none. Keep the local date: "
     "df[\"ds\"].dt.tz_localize(None)."),
    (pl.from_pandas(FRAME).with_columns(pl.col("ds").dt.replace_time_zone("UTC")),
     "Column ds has the time zone UTC, but a day has none. Keep the local date: "
     "pl.col(\"ds\").dt.replace_time_zone(None)."),
    (change("y", 7, "1,234"),
     "Row 7 (counted from 0; series 'blog', 2024-01-08): y is '1,234', which is text, not a number. Convert the "
     "column: df[\"y\"] = pd.to_numeric(df[\"y\"])."),
    (change("y", 7, True),
     "Row 7 (counted from 0; series 'blog', 2024-01-08): y is True, which is bool, not a number. Convert the column: "
     "df[\"y\"] = pd.to_numeric(df[\"y\"])."),
    (change("y", 7, -2.0).astype({"y": float}),
     "Row 7 (counted from 0; series 'blog', 2024-01-08): y is -2, but traffic is never negative. Mend it, leave it "
     "empty if the day is unknown, or pass kind=\"other\" if such values are right."),
    (change("y", 7, np.inf).astype({"y": float}),
     "Row 7 (counted from 0; series 'blog', 2024-01-08): y is infinite. Mend it, or leave it empty: the day is then "
     "unknown."),
    (change("unique_id", 7, None), "Row 7 (counted from 0): unique_id is missing. Fill it, or drop the row."),
    (FRAME[:20], SHORT),
    (FRAME[:0], "The frame has no rows; each series needs at least 30 days."),
    (pl.from_pandas(FRAME).lazy(),
     "A polars.LazyFrame is no data frame that can be read: collect() it first."),
    ({"ds": [1]},
     "A builtins.dict is no data frame that can be read: give one of pandas, Polars, Arrow, Spark, Dask or Ray."),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "text"), WRONG, ids=lambda part: part[:40] if isinstance(part, str) else "")
def test_wrong_frame(model: TrafficForecaster, frame: Any, text: str) -> None:
    with pytest.raises(DataError) as caught:
        model.forecast(frame)
    assert str(caught.value) == text


def test_one_short_series_among_others(model: TrafficForecaster) -> None:
    with pytest.raises(TooFewDays) as caught:
        model.forecast(pd.concat([FRAME, FRAME[:20].assign(unique_id="new")]))
    assert str(caught.value) == (
        "Series 'new' has 20 days with a value, 20 of them among the last 56; a forecast needs 30, and 28 among the "
        "last 56. Add the missing days, or leave such series out with drop_short=True."
    )


def test_kinds_of_errors(model: TrafficForecaster) -> None:
    with pytest.raises(DuplicateDays):
        model.forecast(pd.concat([FRAME, FRAME[3:4]]))
    with pytest.raises(TooFewDays):
        model.forecast(FRAME[:20])


def test_very_many_series_of_one_day(model: TrafficForecaster) -> None:
    number = 100_000
    frame = pd.DataFrame({"unique_id": np.arange(number), "ds": DAYS[0], "y": 1.0})
    with pytest.raises(TooFewDays) as caught:
        model.forecast(frame)
    assert str(caught.value) == (
        "Series '0' has 1 day with a value, 1 of them among the last 56; a forecast needs 30, and 28 among the last "
        "56. 100,000 of 100,000 series have too few: 0, 1, 10, 100, 1000 and 99,995 more. Add the missing days."
    )


def test_percentages_are_not_taken_for_rates(model: TrafficForecaster) -> None:
    with pytest.raises(DataError) as caught:
        model.forecast(FRAME, kind="rate")
    assert str(caught.value) == (
        "Row 2 (counted from 0; series 'blog', 2024-01-03): y is 2, but a rate lies between 0 and 1. Divide "
        "percentages by 100."
    )


def test_wrong_arguments(model: TrafficForecaster) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"kind": "counts"}, "kind is 'counts'; it must be count, rate, other, or a column that has these words."),
        ({"h": 31}, "h is 31; it must be a whole number of days, 1 to 30."),
        ({"h": 0}, "h is 0; it must be a whole number of days, 1 to 30."),
        ({"level": [80], "quantiles": [0.5]}, "level and quantiles are both given. Give one of them."),
        ({"level": [0.8, 100]}, "level has 100; write widths of bands in percent, such as level=[80, 95]."),
    ]  # fmt: skip
    for arguments, text in wrong:
        with pytest.raises(SettingError) as caught:
            model.forecast(FRAME, **arguments)
        assert str(caught.value) == text
    with pytest.raises(DataError) as refused:
        model.forecast(FRAME.assign(what="clicks"), kind="what")
    assert str(refused.value) == "Row 0 (counted from 0): what is 'clicks'; write count, rate or other."
