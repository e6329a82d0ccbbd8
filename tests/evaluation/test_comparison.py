"""When one forecaster counts as worse than another: weekly means worked by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from forecasting.evaluation.comparison import OVERWHELMING, find_p_value, is_far_worse, is_worse, tail_of_t


def weekly(means: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors and first days of one window a week; the other forecaster's errors are 1 on each of its 7 days."""
    first_days = 19_000 + 7 * np.arange(len(means))
    other = np.ones((len(means), 7))
    return other + np.array(means)[:, None], other, first_days


def alternating(mean: float, num_weeks: int) -> list[float]:
    return [mean + (1 if week % 2 else -1) for week in range(num_weeks)]


@pytest.mark.parametrize("num_weeks", [12, 20])
@pytest.mark.parametrize(("share", "worse"), [(0.99, False), (1.01, True)])
def test_difference_of_two_standard_errors_decides(num_weeks: int, share: float, worse: bool) -> None:
    """Differences of mean +- 1 in turn: their standard deviation is sqrt(n / (n - 1))."""
    two_errors = 2 * math.sqrt(num_weeks / (num_weeks - 1)) / math.sqrt(num_weeks)
    assert is_worse(*weekly(alternating(share * two_errors, num_weeks))) is worse


def test_twelve_weeks_are_needed() -> None:
    assert not is_worse(*weekly([1.0] * 5 + [1.1] * 6))
    assert is_worse(*weekly([1.0] * 6 + [1.1] * 6))


def test_lower_error_is_not_worse_and_neither_is_the_same() -> None:
    assert not is_worse(*weekly([-1.0] * 20))
    assert not is_worse(*weekly([0.0] * 20))


def test_windows_of_a_week_count_once() -> None:
    """84 windows, a day apart, are 12 weeks; 77 are 11."""
    for num_windows, worse in ((84, True), (77, False)):
        other = np.ones((num_windows, 7))
        assert (
            is_worse(other + 1 + 0.01 * np.arange(num_windows)[:, None], other, 19_003 + np.arange(num_windows))
            is worse
        )


def test_windows_of_a_week_are_averaged() -> None:
    """Differences of +9 and -8 in each week make +0.5; as single windows they would look like chance."""
    first_days = np.repeat(19_000 + 7 * np.arange(12), 2)
    other = np.full((24, 7), 10.0)
    difference = np.tile([9.0, -8.0], 12) + np.repeat(0.01 * np.arange(12), 2)
    assert is_worse(other + difference[:, None], other, first_days)


def test_unknown_days_are_skipped() -> None:
    error, other, first_days = weekly([1.0, 1.1] * 6)
    error[3, 1:] = other[5, :3] = np.nan
    assert is_worse(error, other, first_days)
    error[7] = np.nan  # a week without any known day: 11 are left
    assert not is_worse(error, other, first_days)
    assert not is_worse(np.full_like(error, np.nan), other, first_days)


@pytest.mark.parametrize(
    ("error", "other", "far_worse"),
    [
        ([[4.1, 4.1]], [[1.0, 1.0]], True),
        ([[4.0, 4.0]], [[1.0, 1.0]], False),
        ([[8.2, 0.0], [4.1, 4.1]], [[1.0, 1.0], [1.0, 1.0]], True),  # means of a window count, not single days
        ([[9.0, 9.0], [3.9, 3.9]], [[1.0, 1.0], [1.0, 1.0]], False),  # every window counts
        ([[0.1, 0.1]], [[0.0, 0.0]], True),
        ([[0.0, 0.0]], [[0.0, 0.0]], False),
        ([[5.0, math.nan]], [[1.0, 100.0]], True),
        ([[math.nan, 5.0], [math.nan, math.nan]], [[1.0, 1.0], [1.0, 1.0]], True),
        ([[math.nan]], [[1.0]], False),
    ],
)
def test_four_times_the_error_in_every_window_is_far_worse(
    error: list[list[float]], other: list[list[float]], far_worse: bool
) -> None:
    assert OVERWHELMING == 4
    assert is_far_worse(np.array(error), np.array(other)) is far_worse


def test_the_tail_of_t_is_scipys() -> None:
    for degrees in (1, 3, 7, 51):
        for statistic in (0.0, 0.3, 1.0, 2.5, 6.0):
            assert tail_of_t(statistic, degrees) == pytest.approx(2 * stats.t.sf(statistic, degrees), abs=1e-6)


def test_p_value_of_four_weeks_by_hand() -> None:
    weeks = np.array([1.0, 4.0, 2.0, 1.0])
    deviations = weeks - weeks.mean()
    lagged = deviations[1:] @ deviations[:-1]
    variance = (deviations @ deviations + lagged) / 4 / 4
    statistic = weeks.mean() / math.sqrt(variance) * math.sqrt((4 + 1 - 4 + 2 / 4) / 4)
    assert find_p_value(weeks) == pytest.approx(2 * stats.t.sf(statistic, 3), abs=1e-6)


@pytest.mark.parametrize(("dependence", "most"), [(0.0, 0.07), (0.5, 0.11)])
def test_equal_forecasters_differ_by_chance_in_few_cases(dependence: float, most: float) -> None:
    """Also where neighbouring weeks depend on each other, as overlapping forecasts make them."""
    noise = np.random.default_rng(5).normal(size=(2000, 13))
    weeks = noise[:, 1:] + dependence * noise[:, :-1]
    assert 0.01 < np.mean([find_p_value(row) < 0.05 for row in weeks]) < most
    assert np.mean([find_p_value(row + 2.0) < 0.05 for row in weeks]) > 0.95


def test_too_few_weeks_tell_nothing() -> None:
    assert find_p_value(np.array([1.0, 1.1, 0.9])) is None
    assert find_p_value(np.zeros(8)) == 1.0
    assert find_p_value(np.ones(8)) == 0.0
