"""Band widths from a series' own past, on noise whose truth is known."""

import math

import numpy as np
import pytest

from forecasting.training.calibration import day_correlation, widening

RANDOM = np.random.default_rng(0)


def test_independent_days_do_not_correlate() -> None:
    assert day_correlation(RANDOM.normal(100, 10, 20_000)) == pytest.approx(0.0, abs=0.03)


def test_steady_growth_is_an_error_that_all_days_share() -> None:
    """Changes from week to week are g plus the difference of two noises: pairs correlate by g^2 / (g^2 + 2 s^2)."""
    num_days, growth, noise = 20_000, 10.0, 10.0
    values = growth / 7 * np.arange(num_days) + RANDOM.normal(0, noise, num_days)
    assert day_correlation(values) == pytest.approx(growth**2 / (growth**2 + 2 * noise**2), abs=0.03)
    assert day_correlation(growth * np.arange(num_days)) == pytest.approx(1.0)


def test_random_walk_widens_as_the_square_root_of_the_weeks() -> None:
    walk = np.cumsum(RANDOM.normal(0, 1, 200_000))
    factors = widening(walk, horizon=7, num_horizons=5)
    np.testing.assert_allclose(factors, np.sqrt([1, 2, 3, 4, 5]), rtol=0.05)


def test_noise_around_a_fixed_week_does_not_widen() -> None:
    week = np.tile([10.0, 20, 30, 40, 50, 60, 70], 3000)
    np.testing.assert_allclose(
        widening(week + RANDOM.normal(0, 1, week.size), horizon=7, num_horizons=5), 1.0, rtol=0.03
    )


def test_factors_never_fall_and_start_at_one() -> None:
    factors = widening(RANDOM.uniform(0, 100, 60), horizon=7, num_horizons=5)
    assert factors[0] == 1.0
    assert list(factors) == sorted(factors)


@pytest.mark.parametrize("values", [np.zeros(60), np.full(60, np.nan), np.ones(8)])
def test_past_that_says_nothing_gives_the_widest(values: np.ndarray) -> None:
    assert day_correlation(values) == 1.0
    np.testing.assert_allclose(widening(values, horizon=7, num_horizons=3), [math.sqrt(k) for k in (1, 2, 3)])


def test_longer_horizons_widen_by_whole_weeks() -> None:
    walk = np.cumsum(RANDOM.normal(0, 1, 100_000))
    np.testing.assert_allclose(widening(walk, horizon=14, num_horizons=2), [1, math.sqrt(2)], rtol=0.05)
