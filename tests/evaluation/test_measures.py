"""Error measures against scikit-learn, hand-computed numbers and closed forms."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from forecasting.baselines import seasonal_naive
from forecasting.errors import UndefinedMetric
from forecasting.evaluation import measures as metrics

RANDOM = np.random.default_rng(0)
ACTUAL = RANDOM.uniform(50, 150, (6, 7)).astype(np.float32)
FORECAST = (ACTUAL + RANDOM.normal(0, 20, (6, 7))).astype(np.float32)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (metrics.mse, sklearn_metrics.mean_squared_error),
        (metrics.rmse, sklearn_metrics.root_mean_squared_error),
        (metrics.mae, sklearn_metrics.mean_absolute_error),
        (metrics.mape, sklearn_metrics.mean_absolute_percentage_error),
        (metrics.r2, sklearn_metrics.r2_score),
    ],
)
def test_measures_equal_scikit_learn(ours: object, theirs: object) -> None:
    assert ours(ACTUAL, FORECAST) == pytest.approx(theirs(ACTUAL.ravel(), FORECAST.ravel()), rel=1e-5)  # type: ignore[operator]


def test_pinball_loss_equals_scikit_learn() -> None:
    levels = (0.05, 0.5, 0.9)
    quantiles = FORECAST[..., None] + np.float32([-10, 0, 15])
    theirs = [
        sklearn_metrics.mean_pinball_loss(ACTUAL.ravel(), quantiles[..., column].ravel(), alpha=level)
        for column, level in enumerate(levels)
    ]
    assert metrics.pinball(ACTUAL, quantiles, levels=levels) == pytest.approx(np.mean(theirs), rel=1e-6)


def test_wape_and_mase_by_hand() -> None:
    actual, forecast = np.float32([10, 20, 30]), np.float32([12, 18, 33])
    assert metrics.wape(actual, forecast) == pytest.approx((2 + 2 + 3) / 60)
    past = np.float32([1, 2, 3, 4, 5, 6, 7, 3, 4, 5, 6, 7, 8, 9, 0])  # changes over 7 days: 2 seven times, then 3
    assert metrics.mase(actual, forecast, past) == pytest.approx((7 / 3) / ((7 * 2 + 3) / 8))


def test_seasonal_naive_forecast_has_mase_one_on_its_past() -> None:
    past = RANDOM.uniform(0, 100, 70).astype(np.float32)
    assert metrics.mase(past[7:], past[:-7], past) == pytest.approx(1.0)


def test_unknown_days_are_skipped() -> None:
    actual = ACTUAL.copy()
    actual[0, :3] = np.nan
    known = np.isfinite(actual)
    assert metrics.mae(actual, FORECAST) == pytest.approx(np.abs(FORECAST - ACTUAL)[known].mean(), rel=1e-6)
    assert metrics.coverage(actual, FORECAST, FORECAST) == pytest.approx((FORECAST == ACTUAL)[known].mean())


def test_coverage_includes_the_ends_of_the_band() -> None:
    actual = np.float32([1, 2, 3, 4])
    assert metrics.coverage(actual, np.float32([1, 0, 4, 0]), np.float32([1, 2, 5, 3])) == 0.5


def test_pinball_is_the_mean_of_scikit_learn_s_over_levels() -> None:
    levels = (0.05, 0.3, 0.5, 0.9)
    quantiles = FORECAST[..., None] + np.float32([-30, -10, 5, 40])
    expected = [
        sklearn_metrics.mean_pinball_loss(ACTUAL.ravel(), quantiles[..., place].ravel(), alpha=level)
        for place, level in enumerate(levels)
    ]
    assert metrics.pinball(ACTUAL, quantiles, levels=levels) == pytest.approx(np.mean(expected), rel=1e-5)


def test_pinball_by_hand_on_known_days_alone() -> None:
    actual = np.float32([10, np.nan, 10])
    quantiles = np.float32([[6, 14], [0, 0], [12, 9]])
    # 4 above the 10% quantile costs 0.1 each, 4 below the 90% quantile too; then 2 below the one, 1 above the other
    expected = (0.1 * 4 + 0.1 * 4 + 0.9 * 2 + 0.9 * 1) / 4
    assert metrics.pinball(actual, quantiles, levels=(0.1, 0.9)) == pytest.approx(expected)


def test_pinball_and_coverage_without_a_known_day_are_undefined() -> None:
    unknown, quantiles = np.float32([np.nan, np.nan]), np.zeros((2, 1), np.float32)
    with pytest.raises(UndefinedMetric, match="^no actual value is known$"):
        metrics.pinball(unknown, quantiles, levels=(0.5,))
    with pytest.raises(UndefinedMetric, match="^no actual value is known$"):
        metrics.coverage(unknown, quantiles[:, 0], quantiles[:, 0])


def test_seasonal_error_needs_a_change_from_season_to_season() -> None:
    assert metrics.seasonal_error(np.float32([1, 2, 3, 4, 5, 6, 7, 9])) == 8.0
    assert metrics.seasonal_error(np.float32([1, 2, 4, 8]), season=2) == (3 + 6) / 2
    assert metrics.seasonal_error(np.float32([1, np.nan, 4, 8]), season=2) == 3.0
    for past in (np.float32([1, 2, 3, 4, 5, 6, 7]), np.float32([]), np.float32([1, 2, 3, 4, 5, 6, 7, np.nan])):
        with pytest.raises(UndefinedMetric):
            metrics.seasonal_error(past)


def test_undefined_measures_are_none_with_a_reason() -> None:
    constant = np.zeros((2, 7), np.float32)
    measures = metrics.measure(constant, constant + 1, np.zeros(30, np.float32))
    assert measures["mae"] == 1.0
    assert {name for name, value in measures.items() if value is None} == {"mape", "r2", "mase", "wape"}
    assert measures["mape_undefined"] == "14 of 14 actual values are 0"
    assert measures["r2_undefined"] == "all actual values are the same"
    assert measures["mase_undefined"] == "the past repeats every 7 days or is too short"
    assert measures["wape_undefined"] == "all actual values are 0"
    with pytest.raises(UndefinedMetric, match="no actual value is known"):
        metrics.mae(np.float32([np.nan]), np.float32([1]))


def test_squares_of_a_billion_visits_do_not_overflow() -> None:
    assert metrics.rmse(np.float32([1e9] * 4), np.float32([0] * 4)) == pytest.approx(1e9)


def test_seasonal_naive_repeats_the_last_week() -> None:
    history = np.arange(28, dtype=np.float32)[None]
    np.testing.assert_array_equal(seasonal_naive(history, days_ahead=10)[0], [21, 22, 23, 24, 25, 26, 27, 21, 22, 23])


def test_seasonal_naive_looks_one_week_further_back_for_an_unknown_day() -> None:
    history = np.arange(30, dtype=np.float32)[None]  # the oldest two of 30 days are not part of a whole week
    history[0, [24, 17]] = np.nan
    np.testing.assert_array_equal(seasonal_naive(history, days_ahead=7)[0], [23, 10, 25, 26, 27, 28, 29])
    history[0, :] = np.nan
    assert np.isnan(seasonal_naive(history, days_ahead=7)).all()
