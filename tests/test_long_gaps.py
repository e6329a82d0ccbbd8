"""Gaps too long to be days without traffic: on calendars whose missing days are known, and everywhere they matter."""

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.domain import Kind, Missing, Series, Verdict, to_day
from forecasting.evaluation.rolling_origins import roll
from forecasting.latest_windows import LatestWindows, cut_latest_windows
from forecasting.long_gaps import find_long_gaps, mark_long_gaps
from forecasting.panel import Observations, Panel
from forecasting.panel_building import build_panel
from forecasting.settings.schema import BacktestConfig

FIRST = to_day(dt.date(2024, 1, 1))
TODAY = dt.date(2030, 1, 1)
READ = 56 + 35  # rows that serving reads of each series


def long_gaps(has_row: np.ndarray) -> list[tuple[int, int]]:
    """The first day, and the day after the last, of one series' long gaps."""
    days = np.flatnonzero(has_row)
    _, begins, ends = find_long_gaps(np.zeros(days.size, np.int64), days)
    return list(zip(begins.tolist(), ends.tolist(), strict=True))


def without(num_days: int, *spans: tuple[int, int], every: int = 0) -> np.ndarray:
    """A row on each day but those from one to before the other, and every so many days."""
    has_row = np.ones(num_days, bool)
    for begin, end in spans:
        has_row[begin:end] = False
    if every:
        has_row[every - 1 :: every] = False
    return has_row


@pytest.mark.parametrize(("length", "is_long"), [(1, False), (7, False), (8, True), (29, True)])
def test_more_than_a_week_is_long_where_rows_are_daily(length: int, is_long: bool) -> None:
    span = (60, 60 + length)
    assert long_gaps(without(120, span)) == ([span] if is_long else [])


@pytest.mark.parametrize(
    ("share", "least"),
    [(1 / 2, 14), (2 / 3, 23), (4 / 5, 42)],
)
def test_what_is_long_depends_on_how_often_days_are_missing(share: float, least: int) -> None:
    """Chance makes a gap of n days with the probability share ** n: below 1 in 10,000 it is long. 28 rows show the
    share of missing days to within a hundredth or two, so this is known to a few days.
    """
    assert share**least < 1e-4 < share ** (least - 1)
    rows = np.arange(300) % round(1 / (1 - share)) == 0
    rows = rows[: int(np.flatnonzero(rows)[-1]) + 1]
    shorter, longer = (np.append(rows, [*[False] * (least + days), True]) for days in (-4, 2))
    assert long_gaps(shorter) == []
    assert long_gaps(longer) == [(rows.size, rows.size + least + 2)]


def test_weekends_without_rows_are_usual_and_a_month_is_not() -> None:
    weekdays = np.arange(210) % 7 < 5
    assert long_gaps(weekdays) == []
    weekdays[100:129] = False
    assert long_gaps(weekdays) == [(100, 129)]


def test_a_collector_that_runs_monthly_does_not_make_months_without_traffic_usual() -> None:
    """14 days are kept, and fetched every 43."""
    rows = np.arange(300) % 43 < 14
    assert long_gaps(rows) == [(43 * number + 14, 43 * number + 43) for number in range(6)]


def test_a_campaign_that_sends_once_a_month_is_usual() -> None:
    rows = np.zeros(900, bool)
    rows[np.cumsum([0, *[23, 25, 26, 32, 34, 30] * 5])] = True
    assert [gap for gap in long_gaps(rows) if gap[0] > 200] == []


def observe(has_row: np.ndarray, kind: Kind = Kind.count) -> Observations:
    days = np.flatnonzero(has_row)
    return Observations(Series("blog", "page_visits", kind), FIRST + days, np.full(days.size, 50.0))


def panel_of(has_row: np.ndarray, missing: Missing = Missing.zero) -> Panel:
    return build_panel([observe(has_row)], today=TODAY, missing=missing)


def test_long_gap_is_masked_and_told_though_missing_days_are_zero() -> None:
    panel = panel_of(without(120, (20, 22), (60, 89)))
    assert np.flatnonzero(panel.values[0] == 0).tolist() == [20, 21]
    assert np.flatnonzero(np.isnan(panel.values[0])).tolist() == list(range(60, 89))
    assert (panel.verdicts[0, 60:89] == Verdict.gap).all()
    assert panel.notes == (
        "page_visits of blog: 29 days without data, masked (2024-03-01..2024-03-29): no gap is usually so long here. "
        "Add rows of 0 if there was no traffic",
        "page_visits of blog: 2 days without data, taken as zero",
    )


def test_masked_missing_days_are_told_as_before() -> None:
    panel = panel_of(without(120, (20, 22), (60, 89)), Missing.mask)
    assert int(np.isnan(panel.values).sum()) == 31
    assert panel.notes == ("page_visits of blog: 31 days without data, masked",)


def test_long_gap_does_not_make_a_series_long_enough() -> None:
    """20 days, 29 without, 9 more: 29 days of data are one too few."""
    window = cut_of(observe(without(58, (20, 49))))
    assert window.enough.tolist() == [False]
    with pytest.raises(Exception, match="^page_visits of blog has 29 days of data; at least 30 are needed"):
        panel_of(without(58, (20, 49)))


def test_backtest_compares_no_forecast_with_a_long_gap() -> None:
    rolling = roll(panel_of(without(150, (70, 72), (100, 129))), BacktestConfig(origins=12, step=7))
    actual = {
        int(cutoff) + 1 + ahead: value
        for cutoff, row in zip(rolling.cutoffs, rolling.actual(), strict=True)
        for ahead, value in enumerate(row)
    }
    assert [actual[day] for day in (70, 71)] == [0.0, 0.0]
    assert all(np.isnan(value) == (100 <= day < 129) for day, value in actual.items())


@pytest.mark.parametrize(("length", "enough"), [(29, True), (42, True), (43, False)])
def test_a_long_gap_does_not_end_forecasts_for_weeks(length: int, enough: bool) -> None:
    """A day after it, 27, 14 and 13 days of the last 56 are known. Of years of data, 14 beside the gap are enough."""
    for missing in Missing:
        has_row = without(400, (399 - length, 399))
        window = cut_of(observe(has_row), missing=missing, num_rows=READ)
        assert window.enough.tolist() == panel_of(has_row, missing).latest_windows(56).enough.tolist() == [enough]
        assert window.num_needed.tolist() == [14]


def cut_of(*observed: Observations, missing: Missing = Missing.zero, num_rows: int | None = None) -> LatestWindows:
    parts = [(row.days[::-1][:num_rows], row.values[::-1][:num_rows]) for row in observed]
    return cut_latest_windows(
        np.array([days.size for days, _ in parts]),
        np.concatenate([days for days, _ in parts]),
        np.concatenate([values for _, values in parts]),
        [row.series.kind for row in observed],
        context_length=56,
        missing=missing,
    )


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 45)), min_size=3, max_size=14))
def test_serving_sees_the_same_gaps_in_the_rows_that_it_reads(parts: list[tuple[int, int]]) -> None:
    """Runs of rows, and of days without."""
    has_row = np.concatenate([np.repeat([True, False], part) for part in parts] + [np.ones(30, bool)])
    has_row = np.concatenate([np.ones(40, bool), has_row])
    panel = panel_of(has_row)
    window = cut_of(observe(has_row), num_rows=READ)
    np.testing.assert_array_equal(window.history[0], panel.values[0, -56:])


@given(st.lists(st.booleans(), min_size=2, max_size=200))
def test_marks_are_the_gaps_one_by_one(rows: list[bool]) -> None:
    has_row = np.array(rows)
    expected = np.zeros(has_row.size, bool)
    places = np.flatnonzero(has_row).tolist()
    for number in range(1, len(places)):
        begin, end = places[number - 1] + 1, places[number]
        first = places[max(0, number - 28)]
        seen = begin - first
        num_missing = seen - (number - max(0, number - 28))
        if end - begin > 7 and ((num_missing + 1) / (seen + 2)) ** (end - begin) < 1e-4:
            expected[begin:end] = True
    np.testing.assert_array_equal(mark_long_gaps(has_row[None])[0], expected)
