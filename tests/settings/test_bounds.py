"""Numbers at the very limit of what a setting may be, and what is derived from two settings."""

import math

import pytest

from forecasting.errors import SettingError
from forecasting.settings.bounds import Bounds
from forecasting.settings.schema import BacktestConfig, ModelConfig


@pytest.mark.parametrize(
    ("bounds", "allowed", "refused", "text"),
    [
        (Bounds(least=2), [2, 3], [1, 1.9], "at least 2"),
        (Bounds(most=2), [2, -3], [3, 2.1], "at most 2"),
        (Bounds(above=2), [2.1, 3], [2, 1], "above 2"),
        (Bounds(below=2), [1.9, -3], [2, 3], "below 2"),
        (Bounds(least=0, most=0), [0], [-1, 1], "0 to 0"),
        (Bounds(least=0, below=1), [0, 0.5], [-0.1, 1], "at least 0 and below 1"),
        (Bounds(above=0, most=5), [0.1, 5], [0, 5.1], "above 0 and at most 5"),
        (Bounds(), [-1e300, 0, 1e300], [], ""),
    ],
)
def test_limit_itself_is_allowed_unless_it_is_above_or_below(
    bounds: Bounds, allowed: list[float], refused: list[float], text: str
) -> None:
    assert [bounds.allow(value) for value in allowed] == [True] * len(allowed)
    assert [bounds.allow(value) for value in [*refused, math.nan, math.inf, -math.inf]] == [False] * (len(refused) + 3)
    assert str(bounds) == text


def test_context_reaches_back_over_the_steps_and_their_weekly_lags() -> None:
    assert ModelConfig(sequence_length=7, weekly_lags=0, last_year=False).context_length == 56
    assert ModelConfig(sequence_length=7, weekly_lags=7, last_year=False).context_length == 56
    assert ModelConfig(sequence_length=7, weekly_lags=8, last_year=False).context_length == 63
    assert ModelConfig(sequence_length=14, weekly_lags=51, last_year=False).context_length == 371
    assert ModelConfig(sequence_length=7, weekly_lags=7).context_length == 392
    assert ModelConfig(sequence_length=14, weekly_lags=60).context_length == 434


def test_backtest_sees_at_least_30_days() -> None:
    assert BacktestConfig(history="30").history_days == 30
    assert BacktestConfig(history="all").history_days is None
    with pytest.raises(SettingError) as refusal:
        BacktestConfig(history="29")
    assert str(refusal.value) == "backtest.history (--history) is 29; it must be at least 30, or all."
