"""What was promised beside what came true: sentences and pooled figures, worked by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from forecasting.card import SeriesCard
from forecasting.domain import Kind
from forecasting.monitoring.accuracy import judge_series, judge_versions
from forecasting.warehouse.outcome_store import Outcomes

CARD = SeriesCard(
    "shop", "visits", Kind.count, True, 1.0, (1.0,) * 30, 0.5,
    metrics={"mae": 40.0, "coverage_80": 0.8, "seasonal_naive": {"mae": 50.0}},
)  # fmt: skip
WEEKS = 19_000 + 7 * np.arange(8)


def make_outcomes(errors: Sequence[float], *, site: str = "shop") -> Outcomes:
    """Of seven days a week, on each of which the seasonal naive forecast is off by 100."""
    days = np.full(len(errors), 7)
    naive = np.full(len(errors), 700.0)
    num_weeks = len(errors)
    return Outcomes("v1", site, "visits", WEEKS[:num_weeks], days, 7 * np.array(errors, np.float64), naive,
                    pinball=7.0 * sum(errors), inside_80=6 * num_weeks, inside_90=7 * num_weeks)  # fmt: skip


def test_a_version_that_keeps_its_word() -> None:
    accuracy = judge_series(make_outcomes([70, 90, 85, 75, 80, 85, 75, 80]), CARD)
    assert (accuracy.realised.error, accuracy.realised.naive_error) == (80.0, 100.0)
    assert accuracy.relative_errors == (0.8, 0.8)
    assert accuracy.realised.coverage_80 == 6 / 7
    assert accuracy.coverage_90 == 1.0
    assert accuracy.pinball == 80.0
    assert accuracy.p_value == pytest.approx(1.0)
    assert accuracy.verdict == (
        "The error was 0.80 times the seasonal naive forecast's, 0.80 was promised: no more than chance (p = 1.00)."
    )


def test_a_version_that_does_not() -> None:
    worse = judge_series(make_outcomes([110, 130, 125, 115, 120, 125, 115, 120]), CARD)
    assert worse.verdict == (
        "The error was 1.20 times the seasonal naive forecast's, 0.80 was promised: worse by more than chance "
        "(p = 0.001)."
    )
    better = judge_series(make_outcomes([50, 52, 48, 50, 50, 49, 51, 50]), CARD)
    assert better.verdict.endswith(": better by more than chance (p = 0.001).")


def test_what_cannot_be_compared_says_so() -> None:
    few = judge_series(make_outcomes([80, 90, 85]), CARD)
    assert few.p_value is None
    assert few.verdict == (
        "The error was 0.85 times the seasonal naive forecast's, 0.80 was promised. That is 3 weeks; 4 are needed to "
        "tell it from chance."
    )
    unknown = judge_series(make_outcomes([80, 90, 85, 85]), None)
    assert unknown.p_value is None
    assert unknown.verdict == "The error was 0.85 times the seasonal naive forecast's; nothing was promised."
    constant = replace(make_outcomes([1, 1, 1, 1]), naive_error=np.zeros(4))
    assert judge_series(constant, CARD).verdict == (
        "The seasonal naive forecast had no error: there is nothing to compare with."
    )


def test_series_are_weighted_alike_and_a_week_counts_once() -> None:
    first, second = make_outcomes([80] * 4 + [120] * 4), make_outcomes([20] * 4 + [30] * 4, site="blog")
    [pooled] = judge_versions([first, second], {"v1": {("shop", "visits"): CARD, ("blog", "visits"): CARD}})
    assert pooled.site is None
    assert (pooled.num_days, pooled.num_weeks) == (112, 8)
    assert pooled.relative_errors[1] == pytest.approx((1.0 * 0.25) ** 0.5)
    assert pooled.relative_errors[0] == pytest.approx(0.8)
    twice = judge_versions(
        [first, replace(first, site="blog")], {"v1": {(site, "visits"): CARD for site in ("shop", "blog")}}
    )
    assert twice[0].p_value == pytest.approx(judge_series(first, CARD).p_value)
    [without] = judge_versions([first], {})
    assert without.p_value is None
    assert without.verdict == "The error was 1.00 times the seasonal naive forecast's; nothing was promised."
