"""The panel at the exact limits of its rules, by hand: enough days, verdicts of a source, kinds, known days."""

import datetime as dt

import numpy as np
import pytest

from forecasting.domain import Kind, Missing, Series, Unit, Verdict, to_day
from forecasting.latest_windows import cut_latest_windows, out_of_range
from forecasting.panel import Observations, Panel, describe_series
from forecasting.panel_building import build_panel
from forecasting.settings.schema import MetricConfig

FIRST = to_day(dt.date(2024, 1, 1))
TODAY = dt.date(2025, 1, 1)


@pytest.mark.parametrize(
    ("setting", "otherwise", "kind", "additive", "unit_scale"),
    [
        (MetricConfig(), Kind.count, Kind.count, True, 1.0),
        (MetricConfig(), Kind.rate, Kind.rate, False, 1.0),
        (MetricConfig(), Kind.other, Kind.other, False, 1.0),
        (MetricConfig(kind=Kind.other), Kind.count, Kind.other, False, 1.0),
        (MetricConfig(unit=Unit.percent), Kind.count, Kind.rate, False, 100.0),
        (MetricConfig(unit=Unit.fraction), Kind.count, Kind.rate, False, 1.0),
        (MetricConfig(kind=Kind.other, unit=Unit.percent), Kind.count, Kind.other, False, 1.0),
        (MetricConfig(additive=False), Kind.count, Kind.count, False, 1.0),
        (MetricConfig(kind=Kind.other, additive=True), Kind.count, Kind.other, True, 1.0),
    ],
)
def test_kind_of_a_series_is_its_settings_or_else_its_columns(
    setting: MetricConfig, otherwise: Kind, kind: Kind, additive: bool, unit_scale: float
) -> None:
    expected = Series("blog", "m", kind, additive=additive, unit_scale=unit_scale)
    assert describe_series("blog", "m", setting, otherwise=otherwise) == expected


def panel_of(values: list[float]) -> Panel:
    return Panel((Series("blog", "m"),), np.array([values], np.float32), FIRST, np.ones((1, len(values)), np.uint8))


def test_known_days_before_each_cutoff_are_counted() -> None:
    panel = panel_of([1.0, np.nan, 3.0, 4.0, np.nan, 6.0])
    cutoffs = np.array([0, 1, 2, 3, 4, 5])
    assert panel.count_known(0, cutoffs, 1).tolist() == [1, 0, 1, 1, 0, 1]
    assert panel.count_known(0, cutoffs, 3).tolist() == [1, 1, 2, 2, 2, 2]
    assert panel.count_known(0, cutoffs, 100).tolist() == [1, 1, 2, 3, 3, 4]


def observe(values: list[float], verdicts: dict[int, Verdict]) -> Observations:
    days = np.arange(FIRST, FIRST + len(values))
    return Observations(Series("blog", "visits"), days, np.array(values), verdicts)


def test_masked_values_carry_the_verdict_that_masked_them() -> None:
    """A day before the panel, or with a value, keeps what it is."""
    values = [np.inf] + [5.0] * 38 + [np.inf]
    verdicts = {FIRST: Verdict.bot, FIRST + 39: Verdict.outage, FIRST + 5: Verdict.partial}
    panel = build_panel([observe(values, verdicts | {FIRST - 1: Verdict.bot, FIRST + 40: Verdict.bot})], today=TODAY)
    expected = [Verdict.bot] + [Verdict.observed] * 38 + [Verdict.outage]
    assert panel.verdicts[0].tolist() == expected
    assert np.isnan(panel.values[0, [0, 39]]).all()
    assert panel.notes == (
        "visits of blog: 1 day of an outage, masked (2024-02-09)",
        "visits of blog: 1 day of suspected bots, masked (2024-01-01)",
    )
    counts = panel.count_verdicts()
    assert (counts[Verdict.observed], counts[Verdict.bot], counts[Verdict.outage], counts[Verdict.gap]) == (38, 1, 1, 0)


def test_later_cutoff_lengthens_the_panel_and_an_earlier_one_does_not_shorten_it() -> None:
    observed = observe([5.0] * 40, {})
    assert build_panel([observed], today=TODAY, cutoff=FIRST + 44).num_days == 45
    assert build_panel([observed], today=TODAY, cutoff=FIRST + 40).num_days == 41
    assert build_panel([observed], today=TODAY, cutoff=FIRST + 30).num_days == 40


@pytest.mark.parametrize("missing", Missing)
@pytest.mark.parametrize(
    ("num_days", "num_unknown", "enough"), [(30, 0, True), (29, 0, False), (56, 28, True), (56, 29, False)]
)
def test_windows_need_30_days_and_28_known_ones(
    missing: Missing, num_days: int, num_unknown: int, enough: bool
) -> None:
    """Impossible values are unknown, whatever missing days are; with `mask`, 30 known days are needed at all."""
    num_days += 30 if num_unknown and missing is Missing.mask else 0  # known days from before the window
    values = np.full(num_days, 5.0)
    values[num_days - 56 : num_days - 56 + num_unknown] = -1.0
    windows = cut_latest_windows(
        np.array([num_days]), FIRST + np.arange(num_days), values, [Kind.count], context_length=56, missing=missing
    )
    assert windows.enough.tolist() == [enough]
    assert windows.cutoffs.tolist() == [FIRST + num_days - 1]
    assert windows.first_days.tolist() == [FIRST + num_days - 56]


def test_rows_before_the_window_tell_a_gap_from_days_before_the_series() -> None:
    days, values = FIRST + np.arange(70), np.full(70, 5.0)
    for first_row, expected in ((13, 0.0), (20, np.nan)):  # the window begins on day 14, and lacks 14..19
        rows = np.r_[first_row, 20:70] if first_row == 13 else np.arange(20, 70)
        window = cut_latest_windows(
            np.array([rows.size]), days[rows], values[rows], [Kind.count], context_length=56
        ).history[0]
        np.testing.assert_array_equal(window[:7], [expected] * 6 + [5.0])


def test_impossible_values_are_negative_above_one_or_beyond_float32() -> None:
    values = np.array([-0.1, 0.0, 1.0, 1.1, np.finfo(np.float32).max, 3.5e38, -3.5e38, np.nan, np.inf])
    yes, no = np.array(True), np.array(False)
    beyond = [False] * 5 + [True] * 4
    assert out_of_range(values, no, no).tolist() == beyond
    assert out_of_range(values, yes, no).tolist() == [True, *beyond[1:]]
    assert out_of_range(values, yes, yes).tolist() == [True, False, False] + [True] * 6
