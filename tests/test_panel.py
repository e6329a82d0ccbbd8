"""The panel: what each kind of day becomes, and what is refused, in which words."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.domain import Kind, Missing, Series, Verdict, to_date, to_day
from forecasting.errors import DuplicateDays, TooFewDays, UnknownMetric, UnknownSite
from forecasting.latest_windows import cut_latest_windows
from forecasting.panel import Observations, Panel
from forecasting.panel_building import build_panel
from tests.panels import last_days

FIRST = to_day(dt.date(2024, 1, 1))
TODAY = dt.date(2025, 1, 1)


def observe(
    values: list[float], *, metric: str = "page_visits", site: str = "blog", first: int = FIRST, kind: Kind = Kind.count
) -> Observations:
    return Observations(Series(site, metric, kind), np.arange(first, first + len(values)), np.array(values, np.float64))


def without(observed: Observations, *days: int) -> Observations:
    keep = ~np.isin(observed.days - FIRST, days)
    return Observations(observed.series, observed.days[keep], observed.values[keep])


def test_days_and_dates_are_each_others_inverse() -> None:
    assert to_day(dt.date(1970, 1, 1)) == 0
    assert to_day(dt.date(2000, 3, 1)) == 11017  # date -u -d 2000-03-01 +%s, over 86,400
    assert to_date(to_day(dt.date(2024, 2, 29))) == dt.date(2024, 2, 29)


def test_values_lie_on_their_days() -> None:
    panel = build_panel([observe(list(range(40)))], today=TODAY)
    assert (panel.first_day, panel.cutoff, panel.num_days) == (FIRST, FIRST + 39, 40)
    np.testing.assert_array_equal(panel.values, [np.arange(40, dtype=np.float32)])
    assert (panel.verdicts == Verdict.observed).all()
    assert panel.notes == ()


@given(st.permutations(range(35)))
def test_order_of_rows_does_not_matter(order: list[int]) -> None:
    sorted_rows = observe([float(value) for value in range(35)])
    shuffled = Observations(sorted_rows.series, sorted_rows.days[order], sorted_rows.values[order])
    np.testing.assert_array_equal(
        build_panel([shuffled], today=TODAY).values, build_panel([sorted_rows], today=TODAY).values
    )


@pytest.mark.parametrize(("missing", "value"), [(Missing.zero, 0.0), (Missing.mask, np.nan)])
def test_gap_is_zero_or_masked_and_said(missing: Missing, value: float) -> None:
    panel = build_panel([without(observe([5.0] * 40), 10, 11)], today=TODAY, missing=missing)
    np.testing.assert_array_equal(panel.values[0, 9:13], np.float32([5, value, value, 5]))
    assert list(panel.verdicts[0, 9:13]) == [Verdict.observed, Verdict.gap, Verdict.gap, Verdict.observed]
    how = "taken as zero" if missing is Missing.zero else "masked"
    assert panel.notes == (f"page_visits of blog: 2 days without data, {how}",)


@pytest.mark.parametrize(
    ("kind", "additive", "value"),
    [
        (Kind.rate, False, np.nan),  # a bounce rate
        (Kind.other, False, np.nan),  # a duration
        (Kind.other, True, 0.0),  # revenue
        (Kind.count, False, 0.0),  # people
    ],
)
def test_day_without_a_row_is_zero_only_where_that_has_a_meaning(kind: Kind, additive: bool, value: float) -> None:
    observed = observe([0.5] * 40)
    observed = replace(without(observed, 20, 21), series=Series("blog", "metric", kind, additive))
    panel = build_panel([observed], today=TODAY, missing=Missing.zero)
    np.testing.assert_array_equal(panel.values[0, 19:23], np.float32([0.5, value, value, 0.5]))
    how = "masked" if np.isnan(value) else "taken as zero"
    assert panel.notes == (f"metric of blog: 2 days without data, {how}",)
    sparse = replace(observed, days=observed.days[::2], values=observed.values[::2])
    if np.isnan(value):  # 19 values are not 30 days
        with pytest.raises(TooFewDays, match="metric of blog has 19 days of data"):
            build_panel([sparse], today=TODAY, missing=Missing.zero)
    windows = cut_latest_windows(
        np.array([38]), observed.days, observed.values, [kind], context_length=56, can_be_zero=[not np.isnan(value)]
    )
    np.testing.assert_array_equal(windows.history[0, -21:-17], np.float32([0.5, value, value, 0.5]))
    if kind is Kind.other and additive:  # by default counts alone can be zero
        return
    windows = cut_latest_windows(np.array([38]), observed.days, observed.values, [kind], context_length=56)
    np.testing.assert_array_equal(windows.history[0, -21:-17], np.float32([0.5, value, value, 0.5]))


def test_impossible_values_are_masked_and_named_whatever_gaps_become() -> None:
    values = [5.0] * 40
    values[3], values[7] = -1.0, np.inf
    panel = build_panel([observe(values)], today=TODAY)
    assert np.isnan(panel.values[0, [3, 7]]).all()
    assert list(panel.verdicts[0, [3, 7]]) == [Verdict.invalid, Verdict.invalid]
    assert panel.notes == ("page_visits of blog: 2 days with an impossible value, masked (2024-01-04..2024-01-08)",)


def test_day_in_its_row_without_a_value_is_masked_even_where_gaps_are_zero() -> None:
    values = [5.0] * 40
    values[10] = np.nan
    panel = build_panel([without(observe(values), 20)], today=TODAY, missing=Missing.zero)
    assert np.isnan(panel.values[0, 10])
    assert panel.values[0, 20] == 0
    assert list(panel.verdicts[0, [10, 20]]) == [Verdict.unmeasured, Verdict.gap]
    assert panel.notes == (
        "page_visits of blog: 1 day without a value in its row, masked (2024-01-11)",
        "page_visits of blog: 1 day without data, taken as zero",
    )


def test_sparse_rows_are_enough_days_where_a_missing_one_is_zero() -> None:
    sparse = without(observe([5.0] * 41), *[day for day in range(41) if day % 4])
    assert build_panel([sparse], today=TODAY, missing=Missing.zero).num_days == 41
    with pytest.raises(TooFewDays, match="has 11 days of data"):
        build_panel([sparse], today=TODAY, missing=Missing.mask)


def test_window_ends_on_the_series_own_last_day() -> None:
    panel = build_panel([observe([1.0] * 40), observe(list(range(35)), metric="ended")], today=TODAY)
    windows = panel.latest_windows(56)
    history, first_day = windows.history[1], windows.first_days[1]
    np.testing.assert_array_equal(history[21:], np.arange(35))
    assert np.isnan(history[:21]).all()
    assert first_day == FIRST - 21


@pytest.mark.parametrize("missing", Missing)
def test_windows_of_a_panel_are_its_last_days(missing: Missing) -> None:
    gaps = observe([float(day) for day in range(80)])
    gaps = replace(gaps, days=np.delete(gaps.days, [50, 60]), values=np.delete(gaps.values, [50, 60]))
    panel = build_panel([gaps, observe(list(range(35)), metric="ended")], today=TODAY, missing=missing)
    windows = panel.latest_windows(56)
    for row in range(2):
        history, first_day = last_days(panel, row, 56)
        np.testing.assert_array_equal(windows.history[row], history)
        assert windows.first_days[row] == first_day


def test_rate_above_one_cannot_be_and_other_values_may_be_negative() -> None:
    rate = observe([0.5] * 39 + [1.5], metric="bounce_rate", kind=Kind.rate)
    other = observe([-3.0] * 40, metric="balance", kind=Kind.other)
    panel = build_panel([rate, other], today=TODAY)
    assert np.isnan(panel.values[0, 39])
    assert not np.isnan(panel.values[1]).any()


def test_today_and_the_future_are_left_out_and_said() -> None:
    today = to_date(FIRST + 36)
    panel = build_panel([observe([5.0] * 40)], today=today)
    assert panel.cutoff == FIRST + 35
    assert panel.notes == (
        "2024-02-06 is not over: it is left out",
        "page_visits of blog: 3 days in the future left out (2024-02-07..2024-02-09; today is 2024-02-06)",
    )


def test_two_values_for_a_day_are_refused() -> None:
    observed = observe([5.0] * 40)
    twice = Observations(observed.series, np.append(observed.days, FIRST + 3), np.append(observed.values, 6.0))
    with pytest.raises(DuplicateDays) as refusal:
        build_panel([twice], today=TODAY)
    assert str(refusal.value) == (
        "page_visits of blog has more than one value for 1 day, the first on 2024-01-04. "
        "Keep one row a day, or add a `site` column if the rows are of different sites."
    )


def test_fewer_than_30_days_are_refused_with_their_number() -> None:
    with pytest.raises(TooFewDays) as refusal:
        build_panel([observe([5.0] * 29)], today=TODAY)
    assert str(refusal.value) == (
        "page_visits of blog has 29 days of data; at least 30 are needed. Wait for more, or load older days."
    )
    assert build_panel([observe([5.0] * 30)], today=TODAY).num_days == 30


def test_no_data_at_all_is_refused() -> None:
    for nothing in ([], [observe([])]):
        with pytest.raises(TooFewDays, match="There is no complete day of data; at least 30 are needed."):
            build_panel(nothing, today=TODAY)


def test_short_series_is_left_out_unless_it_was_asked_for() -> None:
    both = [observe([5.0] * 40), observe([5.0] * 12, metric="signups", first=FIRST + 28)]
    panel = build_panel(both, today=TODAY)
    assert [series.metric for series in panel.series] == ["page_visits"]
    assert panel.notes == ("signups of blog has 12 days of data; at least 30 are needed: it is left out",)
    with pytest.raises(TooFewDays, match="signups of blog has 12 days"):
        build_panel(both, today=TODAY, named=["signups"])


def test_days_before_a_series_and_after_its_end_are_unknown_not_zero() -> None:
    late = observe([5.0] * 30, metric="late", first=FIRST + 10)
    ended = observe([5.0] * 35, metric="ended")
    panel = build_panel([late, ended], today=TODAY)
    assert np.isnan(panel.values[0, :10]).all()
    assert (panel.verdicts[0, :10] == Verdict.before).all()
    assert np.isnan(panel.values[1, 35:]).all()
    assert "ended of blog ends on 2024-02-04: the days after it are unknown" in panel.notes


def two_sites() -> Panel:
    return build_panel([observe([1.0] * 30), observe([2.0] * 30, site="shop")], today=TODAY)


def test_a_series_is_found_by_metric_and_site() -> None:
    assert two_sites().find(metric="page_visits", site="shop") == 1
    assert build_panel([observe([1.0] * 30)], today=TODAY).find(metric="page_visits") == 0
    with pytest.raises(UnknownSite, match="There are 2 sites: say which, one of blog, shop."):
        two_sites().find(metric="page_visits")
    with pytest.raises(UnknownSite, match="There is no site 'x'. Sites: blog, shop."):
        two_sites().find(metric="page_visits", site="x")
    with pytest.raises(UnknownMetric, match="There is no metric 'x'. Metrics: page_visits."):
        two_sites().find(metric="x", site="shop")


def test_tail_keeps_the_cutoff() -> None:
    panel = build_panel([observe(list(range(40)))], today=TODAY)
    tail = panel.tail(10)
    assert (tail.cutoff, tail.num_days) == (panel.cutoff, 10)
    np.testing.assert_array_equal(tail.values[0], np.arange(30, 40))
    assert panel.tail(100).num_days == 40


@pytest.mark.parametrize("missing", Missing)
def test_windows_of_many_series_are_those_of_their_panels(missing: Missing) -> None:
    """Of ragged days with values that cannot be: each series by itself as a panel, or that it has too few days."""
    random = np.random.default_rng(0)
    days, values, kinds = [], [], []
    for number in range(300):
        length = random.integers(0, 91)
        chosen = np.flatnonzero(random.random(length) < random.choice([0.3, 0.8, 1.0]))
        odd = random.random(chosen.size) < random.choice([0.0, 0.1, 0.5])
        value = np.where(
            odd, random.choice([np.nan, np.inf, -1.0, 1e300], chosen.size), random.random(chosen.size) * 1.5
        )
        days.append(FIRST + random.permutation(chosen))
        values.append(value)
        kinds.append(list(Kind)[number % 3])
    windows = cut_latest_windows(
        np.array([len(some) for some in days]), np.concatenate(days), np.concatenate(values), kinds,
        context_length=56, missing=missing, can_be_zero=[kind is not Kind.rate for kind in kinds],
    )  # fmt: skip
    expected = [window_of_panel(*series, missing) for series in zip(days, values, kinds, strict=True)]
    np.testing.assert_array_equal(windows.enough, [window is not None for window in expected])
    assert 50 < windows.enough.sum() < 250
    for row, window in enumerate(expected):
        if window is not None:
            np.testing.assert_array_equal(windows.history[row], window[0])
            assert windows.cutoffs[row] == window[1] + 55


def window_of_panel(
    days: np.ndarray, values: np.ndarray, kind: Kind, missing: Missing
) -> tuple[np.ndarray, int] | None:
    """None where the panel or serving would refuse it. NaN at either end is no value, as readers take it."""
    order = np.argsort(days)
    known = np.flatnonzero(~np.isnan(values[order]))
    whole = order[known[0] : known[-1] + 1] if known.size else order[:0]
    observed = Observations(Series("blog", "m", kind), days[whole], values[whole])
    try:
        history, first_day = last_days(build_panel([observed], today=TODAY, missing=missing), 0, 56)
    except TooFewDays:
        return None
    return (history, first_day) if np.isfinite(history).sum() >= 28 else None
