"""Step features against numpy loops and the standard library's calendar."""

import datetime as dt
import math

import numpy as np
import torch

from forecasting.domain import to_day
from forecasting.model.features import num_days, num_features, one_hot, step_features, window_features
from forecasting.model.rollout import COUNT, OTHER
from forecasting.model.scaling import RobustScaling

FIRST = dt.date(2024, 1, 3)
CONTEXT, LAGS, STEPS = 56, 7, 7
ROLLING_DAYS = (7, 14, 28)  # of which the trained weights know the means


def features(history: torch.Tensor, kind: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    """The features of one window, and its z with NaN where unknown."""
    kinds = torch.tensor([kind])
    scaled = RobustScaling()(history, kinds)
    next_day = torch.tensor([to_day(FIRST) + CONTEXT])
    window = window_features(scaled, kinds)
    steps = step_features(scaled.with_flags(), next_day, window, sequence_length=STEPS, weekly_lags=LAGS, horizon=7)
    z = np.where(scaled.known[0].numpy(), scaled.z[0].numpy(), np.nan)
    return steps[0].numpy(), z


def history_with_holes() -> torch.Tensor:
    history = 100 + 50 * torch.rand(1, CONTEXT, generator=torch.Generator().manual_seed(0))
    history[0, [3, 20, 41, 50, 55]] = torch.nan
    return history


def test_step_has_num_features_columns() -> None:
    steps, _ = features(history_with_holes())
    assert steps.shape == (STEPS, num_features(LAGS))


def test_lags_are_the_same_weekday_of_earlier_weeks() -> None:
    steps, z = features(history_with_holes())
    for step in range(STEPS):
        for lag in range(LAGS + 1):
            value = z[CONTEXT - STEPS + step - 7 * lag]
            expected = (0.0, 0.0) if np.isnan(value) else (value, 1.0)
            assert (steps[step, lag], steps[step, LAGS + 1 + lag]) == expected


def test_rolling_means_use_the_known_days_up_to_the_step() -> None:
    steps, z = features(history_with_holes())
    start = 2 * (LAGS + 1)
    for step in range(STEPS):
        end = CONTEXT - STEPS + step + 1
        for column, days in enumerate(ROLLING_DAYS):
            np.testing.assert_allclose(steps[step, start + column], np.nanmean(z[end - days : end]), atol=1e-5)


def test_weekday_and_season_match_the_calendar() -> None:
    steps, _ = features(history_with_holes())
    start = 2 * (LAGS + 1) + len(ROLLING_DAYS)
    for step in range(STEPS):
        date = FIRST + dt.timedelta(CONTEXT - STEPS + step)
        assert steps[step, start : start + 7].argmax() == date.weekday()
        assert steps[step, start : start + 7].sum() == 1
        angle = 2 * math.pi * (date.timetuple().tm_yday - 1) / 365.2425
        # The mean year is less than a day off the calendar's year.
        np.testing.assert_allclose(steps[step, start + 7 : start + 9], [math.sin(angle), math.cos(angle)], atol=0.02)


def test_kind_is_one_hot() -> None:
    assert features(history_with_holes(), OTHER)[0][0, -3:].tolist() == [0.0, 0.0, 1.0]


def test_rolling_mean_of_a_single_known_day_is_its_value_and_of_none_is_zero() -> None:
    history = history_with_holes()
    history[0, -12:] = torch.nan
    history[0, -3] = 120.0
    steps, z = features(history)
    column = 2 * (LAGS + 1)  # the mean of 7 days
    np.testing.assert_allclose(steps[:, column], [z[43], 0, 0, 0, z[53], z[53], z[53]], atol=1e-5)


def test_season_of_the_day_forecast_is_that_of_a_week_later() -> None:
    steps, _ = features(history_with_holes())
    season = 2 * (LAGS + 1) + len(ROLLING_DAYS) + 7
    for step in range(STEPS):
        days = (FIRST + dt.timedelta(CONTEXT - STEPS + step + 7) - dt.date(1970, 1, 1)).days
        angle = 2 * math.pi * days / 365.2425
        np.testing.assert_allclose(steps[step, season + 2 : season + 4], [math.sin(angle), math.cos(angle)], atol=1e-3)


def test_level_and_spread_of_the_window_are_in_every_step() -> None:
    """Weeks of 10 and 30 in turn: the lower median is 10, the mean deviation from it 10, the weekly change 20."""
    weeks = torch.tensor([10.0, 30.0] * 4).repeat_interleave(7)[None]
    steps, _ = features(weeks, OTHER)
    np.testing.assert_allclose(steps[:, -5:-3], [[10 / 10, math.log(15)]] * STEPS, rtol=1e-5)


def test_a_longer_window_of_steps_reads_the_days_that_it_says() -> None:
    """The days before the last `num_days` change nothing; a step whose means reach before the history has those of its
    known days.
    """
    generator = torch.Generator().manual_seed(0)
    days = torch.stack([torch.randn(2, 90, generator=generator), torch.ones(2, 90)], 1)
    sizes = {"sequence_length": 20, "weekly_lags": 3, "horizon": 7}
    next_day, window = torch.tensor([19_000, 19_001]), torch.zeros(2, 5)
    steps = step_features(days, next_day, window, **sizes)
    assert torch.equal(step_features(days[..., -num_days(20, 3) :], next_day, window, **sizes), steps)
    short = step_features(days[..., -41:], next_day, window, **sizes)
    np.testing.assert_allclose(short[:, 0, 10], days[:, 0, -41:-19].mean(1), atol=1e-6)  # the mean of 28 days: 22


def test_one_hot_is_torchs() -> None:
    x = torch.arange(12).view(3, 4) % 5
    assert torch.equal(one_hot(x, 5), torch.nn.functional.one_hot(x, 5).float())
