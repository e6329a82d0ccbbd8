"""The seasonal naive forecast and its quantiles, beside loops over single days."""

import math
from statistics import NormalDist, mean

import numpy as np
import pytest

from forecasting.baselines import seasonal_naive, seasonal_naive_quantiles, within_range
from forecasting.domain import KIND_CODES, Kind


def naive_by_loop(history: list[float], days_ahead: int, season: int) -> list[float]:
    """Each day ahead: the same day of the latest season that knows it, of whole seasons only."""
    num_seasons = len(history) // season
    forecast = []
    for ahead in range(days_ahead):
        known = [
            value
            for back in range(num_seasons)
            if math.isfinite(value := history[len(history) - season * (back + 1) + ahead % season])
        ]
        forecast.append(known[0] if known else math.nan)
    return forecast


def histories(num_days: int) -> np.ndarray:
    random = np.random.default_rng(num_days)
    values = random.uniform(10, 100, (20, num_days)).astype(np.float32)
    values[random.random(values.shape) < np.linspace(0, 0.9, 20)[:, None]] = np.nan
    return values


@pytest.mark.parametrize(("num_days", "season"), [(56, 7), (30, 7), (7, 7), (13, 7), (12, 4)])
@pytest.mark.parametrize("days_ahead", [1, 7, 8, 30])
def test_naive_equals_a_loop(num_days: int, season: int, days_ahead: int) -> None:
    values = histories(num_days)
    forecasts = seasonal_naive(values, days_ahead=days_ahead, season=season)
    expected = [naive_by_loop(row, days_ahead, season) for row in values.tolist()]
    np.testing.assert_allclose(forecasts, expected)


@pytest.mark.parametrize("season", [7, 4])
def test_quantiles_equal_a_loop(season: int) -> None:
    values, levels = histories(56), (0.05, 0.5, 0.8)
    values[0] = np.nan
    quantiles = seasonal_naive_quantiles(values, days_ahead=15, levels=levels, season=season)
    for row, history in enumerate(values.tolist()):
        known = [value for value in history if math.isfinite(value)]
        changes = [later - earlier for earlier, later in zip(history, history[season:], strict=False)]
        squares = [change**2 for change in changes if math.isfinite(change)]
        spread = math.sqrt(mean(squares)) if squares else 0.0
        for ahead, naive in enumerate(naive_by_loop(history, 15, season)):
            median = naive if math.isfinite(naive) else mean(known) if known else 0.0
            for column, level in enumerate(levels):
                expected = median + NormalDist().inv_cdf(level) * spread * math.sqrt(ahead // season + 1)
                assert quantiles[row, ahead, column] == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_season_is_a_week_unless_said_otherwise() -> None:
    values = histories(56)
    np.testing.assert_array_equal(seasonal_naive(values, days_ahead=9), seasonal_naive(values, days_ahead=9, season=7))
    np.testing.assert_array_equal(
        seasonal_naive_quantiles(values, days_ahead=9, levels=(0.1,)),
        seasonal_naive_quantiles(values, days_ahead=9, levels=(0.1,), season=7),
    )


def test_range_of_each_kind() -> None:
    quantiles = np.float32([[[-2.0, 0.5, 3.0]]] * 3)
    kinds = np.array([KIND_CODES[kind] for kind in (Kind.count, Kind.rate, Kind.other)])
    assert within_range(quantiles, kinds)[:, 0].tolist() == [[0.0, 0.5, 3.0], [0.0, 0.5, 1.0], [-2.0, 0.5, 3.0]]


def test_weekday_that_was_never_known_is_the_mean_of_the_days_that_were() -> None:
    single = np.full((1, 14), np.nan)
    single[0, 3] = 8.0
    quantiles = seasonal_naive_quantiles(single, days_ahead=7, levels=[0.5])
    np.testing.assert_array_equal(quantiles[0, :, 0], [8.0] * 7)
