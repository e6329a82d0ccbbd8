"""Errors by site, the worst days and few cutoffs, on two sites of three series whose errors are set by hand."""

import datetime as dt

import numpy as np
import pytest

from forecasting.domain import Series, Verdict, to_day
from forecasting.evaluation.report import describe_backtest
from forecasting.evaluation.rolling_origins import Rolling, RollingForecasts
from forecasting.evaluation.site_errors import site_errors
from forecasting.evaluation.worst_days import explain_day, find_worst_days, share_of_worst
from forecasting.panel import Panel

LEVELS = 7
FIRST = to_day(dt.date(2024, 1, 1))
NUM_DAYS, CUTOFFS = 60, [40, 47]


def make_rolling(*, days_ahead: int = 2) -> Rolling:
    values = np.full((3, NUM_DAYS), 100, np.float32)
    verdicts = np.full(values.shape, Verdict.observed, np.uint8)
    series = (Series("blog", "page_visits"), Series("blog", "visits"), Series("shop", "page_visits"))
    panel = Panel(series, values, FIRST, verdicts)
    return Rolling(panel, np.repeat([0, 1, 2], 2), np.array(CUTOFFS * 3), days_ahead, None)


def off_by(errors: list[list[float]], *, name: str = "made") -> RollingForecasts:
    """Forecasts that exceed 100 by this much, by origin and day ahead."""
    medians = 100 + np.array(errors, np.float32)
    return RollingForecasts(name, np.repeat(medians[..., None], LEVELS, axis=2), 1.0)


OWN = off_by([[1, 1], [1, 1], [4, 4], [4, 4], [2, 8], [2, 8]])
NAIVE = off_by([[2, 2], [2, 2], [2, 2], [2, 2], [4, 4], [4, 4]], name="seasonal naive")


def test_sites_are_weighted_alike_however_many_series_they_have() -> None:
    errors = site_errors(make_rolling(), OWN, NAIVE, [0, 1, 2])
    blog, shop = (0.5 * 2.0) ** 0.5, 10 / 8
    assert errors.relative() == pytest.approx((blog * shop) ** 0.5)
    assert errors.relative(slice(0, 1)) == pytest.approx((blog * 0.5) ** 0.5)
    assert errors.relative(slice(1, 2)) == pytest.approx((blog * 2.0) ** 0.5)


def test_series_that_naive_forecasts_without_error_is_left_out() -> None:
    exact = off_by([[0, 0], [0, 0], [2, 2], [2, 2], [4, 4], [4, 4]])
    errors = site_errors(make_rolling(), OWN, exact, [0, 1, 2])
    assert errors.relative() == pytest.approx((2.0 * 10 / 8) ** 0.5)
    assert site_errors(make_rolling(), OWN, exact, [0]).relative() is None


def test_influence_is_what_the_error_would_be_without_one_forecast() -> None:
    own = off_by([[1, 1], [1, 1], [2, 2], [2, 2], [4, 4], [36, 36]])
    errors = site_errors(make_rolling(), own, NAIVE, [0, 1, 2])
    blog = (0.5 * 1.0) ** 0.5
    assert errors.relative() == pytest.approx((blog * 80 / 16) ** 0.5)
    most = errors.influences()[0]
    assert (most.row, most.cutoff) == (2, 47)
    assert most.without == pytest.approx((blog * 1.0) ** 0.5)
    assert len(errors.influences()) == 6


def test_report_warns_where_few_cutoffs_carry_the_result() -> None:
    own = off_by([[1, 1], [1, 1], [2, 2], [2, 2], [4, 4], [36, 36]])
    lines = describe_backtest(make_rolling(), [own, NAIVE]).splitlines()
    assert lines[-7:-3] == [
        "note: only 2 cutoffs of some series: much of this is chance (more: --origins)",
        "note: all cutoffs fall on one weekday: those of --step 5 fall on all",
        "note: the error of sites weighted alike is 1.880, but 0.841 without one forecast of page_visits of shop, that "
        "from 2024-02-17",
        "",
    ]
    assert "relative error, by day ahead (sites weighted alike): day 1 1.88, day 2 1.88" in lines


def test_worst_days_are_named_and_explained() -> None:
    rolling = make_rolling()
    values = rolling.panel.values
    values[2, 48] = 350.0
    forecasts = off_by([[1, 1], [1, 1], [4, 4], [4, 4], [2, 8], [0, 8]])
    [worst, *_] = find_worst_days(rolling, forecasts, [0, 1, 2], most=3)
    assert (worst.name, worst.date) == ("page_visits of shop", "2024-02-18")
    assert worst.share == pytest.approx(250 / (250 + 2 + 8 + 8))
    assert worst.reason == "spike, 3.5 times the median of the 28 days before"
    [named] = find_worst_days(rolling, forecasts, [2], most=1, names_of=lambda site: {FIRST + 48: "Founders' Day"})
    assert named.reason == "Founders' Day"
    text = describe_backtest(rolling, [forecasts, NAIVE], names_of=lambda site: {FIRST + 48: f"Fair of the {site}"})
    assert "  2024-02-18, page_visits of shop: 93% of its error (Fair of the shop)\n" in text
    assert share_of_worst(rolling, forecasts, [2], worst=0.25) == pytest.approx(250 / 268)  # one day of four


def test_reasons_of_a_day() -> None:
    panel = make_rolling().panel
    assert explain_day(panel, 0, 50, {}) == "nothing that the data show"
    panel.values[0, 51] = 20.0
    assert explain_day(panel, 0, 51, {}) == "drop, 0.20 times the median of the 28 days before"
    panel.values[0, 45] = np.nan
    assert explain_day(panel, 0, 51, {}) == "after unknown days among the 7 before"


def test_days_ahead_that_were_never_known_are_left_out() -> None:
    rolling = make_rolling()
    for cutoff in CUTOFFS:
        rolling.panel.values[:, cutoff + 2] = np.nan
    rolling.panel.verdicts[np.isnan(rolling.panel.values)] = Verdict.partial
    text = describe_backtest(rolling, [OWN, NAIVE])
    assert "80% band held, by day ahead (mean over the series of the first table): day 1 0%\n" in text
    assert "relative error, by day ahead (sites weighted alike): day 1 0.71, day 2 undefined\n" in text
