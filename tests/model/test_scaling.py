"""Scalings: round trip, hand-computed medians, and scikit-learn's own numbers."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler

from forecasting.model.rollout import COUNT, OTHER, RATE
from forecasting.model.scaling import MinMaxScaling, RobustScaling, WindowScaling, masked_mean


def kinds(kind: int, batch: int) -> torch.Tensor:
    return torch.full((batch,), kind)


@pytest.mark.parametrize(
    ("kind", "low", "high"), [(COUNT, 0.0, 1e6), (COUNT, 0.0, 9.0), (RATE, 0.0, 1.0), (OTHER, -500.0, 500.0)]
)
@pytest.mark.parametrize("scaling", [RobustScaling(), MinMaxScaling(2.0, 10.0)])
def test_unscale_undoes_scale(scaling: WindowScaling, kind: int, low: float, high: float) -> None:
    history = low + (high - low) * torch.rand(5, 56, generator=torch.Generator().manual_seed(1))
    scaled = scaling(history, kinds(kind, 5))
    inside = scaled.z.abs() < 15  # z beyond 15 is clamped on purpose
    back = scaling.unscale(scaled.z[..., None], kinds(kind, 5), scaled)[..., 0]
    torch.testing.assert_close(back[inside], history[inside], rtol=1e-4, atol=1e-4 * high)


def test_robust_level_is_the_median_of_the_last_four_weeks() -> None:
    history = torch.full((1, 56), 1000.0)
    history[0, -28:] = torch.arange(28.0)
    scaled = RobustScaling()(history, kinds(COUNT, 1))
    assert scaled.level.item() == pytest.approx(np.log1p(13))  # the lower one of 13 and 14


def test_spread_is_the_mean_of_deviation_and_weekly_change() -> None:
    """A series that alternates weekly between two values, so both parts can be computed by hand."""
    weeks = torch.tensor([10.0, 30.0] * 4).repeat_interleave(7)[None]
    scaled = RobustScaling()(weeks, kinds(OTHER, 1))
    away = (0 * 14 + 20 * 14) / 28  # the lower median of 10 and 30 is 10
    assert scaled.spread.item() == pytest.approx(0.5 * away + 0.5 * 20)


def test_unknown_days_change_nothing() -> None:
    history = 100 + 50 * torch.rand(1, 56, generator=torch.Generator().manual_seed(2))
    holes = history.clone()
    holes[0, :14] = torch.nan  # older than the four weeks of the level and the six of weekly changes
    whole, masked = RobustScaling()(history, kinds(COUNT, 1)), RobustScaling()(holes, kinds(COUNT, 1))
    torch.testing.assert_close(masked.level, whole.level)
    torch.testing.assert_close(masked.z[0, 14:] * masked.spread, whole.z[0, 14:] * whole.spread)
    assert (masked.z[0, :14] == 0).all()
    assert not masked.known[0, :14].any()


@pytest.mark.parametrize("value", [0.0, 5.0, 1e9])
def test_constant_history_has_a_positive_spread(value: float) -> None:
    scaled = RobustScaling()(torch.full((1, 56), value), kinds(COUNT, 1))
    assert scaled.spread.item() == pytest.approx(0.03)
    assert torch.isfinite(scaled.z).all()


def test_forecasts_stay_in_range() -> None:
    far = torch.tensor([-1e3, 0.0, 1e3]).expand(1, 1, 3)
    for kind, low, high in ((COUNT, 0.0, torch.finfo(torch.float32).max), (RATE, 0.0, 1.0)):
        scaled = RobustScaling()(torch.rand(1, 56), kinds(kind, 1))
        raw = RobustScaling().unscale(far, kinds(kind, 1), scaled)
        assert raw.min() >= low
        assert raw.max() <= high


def test_min_max_equals_scikit_learn() -> None:
    train = np.random.default_rng(3).normal(100, 20, (40, 1)).astype(np.float32)
    scaler = MinMaxScaler().fit(train)
    scaling = MinMaxScaling(float(scaler.data_min_[0]), float(scaler.data_range_[0]))
    later = np.random.default_rng(4).normal(100, 20, (1, 56)).astype(np.float32)
    scaled = scaling(torch.from_numpy(later), kinds(COUNT, 1))
    np.testing.assert_allclose(scaled.z.numpy()[0], scaler.transform(later.T)[:, 0], rtol=1e-5)


@pytest.mark.parametrize(("kind", "value", "spread"), [(RATE, 0.5, 0.01), (OTHER, -200.0, 0.2), (OTHER, 0.0, 1e-6)])
def test_spread_of_a_constant_history_is_by_its_kind(kind: int, value: float, spread: float) -> None:
    scaled = RobustScaling()(torch.full((1, 56), value), kinds(kind, 1))
    assert scaled.spread.item() == pytest.approx(spread, rel=1e-4)


def test_target_is_scaled_as_its_window_and_unknown_days_stay_unknown() -> None:
    """Weeks of 10 and 30 in turn have level 10 and spread 15."""
    scaling, kind = RobustScaling(), kinds(OTHER, 1)
    scaled = scaling(torch.tensor([10.0, 30.0] * 4).repeat_interleave(7)[None], kind)
    target = torch.tensor([[10.0, 25.0, -20.0, torch.nan, 10 + 15 * 14.9, 10 + 15 * 15.1, -1e6]])
    expected = torch.tensor([[0.0, 1.0, -2.0, torch.nan, 14.9, 15.0, -15.0]])
    torch.testing.assert_close(scaling.scale_target(target, kind, scaled), expected, equal_nan=True)


def test_spikes_are_cut_at_15_spreads() -> None:
    history = torch.full((1, 56), 100.0)
    history[0, [10, 20]] = torch.tensor([1e9, 0.0])  # spread 0.03 of a log: both are far away
    z = RobustScaling()(history, kinds(COUNT, 1)).z[0]
    assert (z[10].item(), z[20].item(), z[30].item()) == (15.0, -15.0, 0.0)


def test_level_and_spread_of_a_longer_history_are_those_of_its_last_eight_weeks() -> None:
    history = 100 + 50 * torch.rand(1, 84, generator=torch.Generator().manual_seed(6))
    history[0, [30, 60, 80]] = torch.nan
    whole, last = (RobustScaling()(days, kinds(COUNT, 1)) for days in (history, history[:, -56:]))
    torch.testing.assert_close((whole.level, whole.spread), (last.level, last.spread))


def test_history_without_a_known_day_is_level_zero() -> None:
    scaled = RobustScaling()(torch.full((1, 56), torch.nan), kinds(COUNT, 1))
    assert (scaled.level.item(), scaled.spread.item()) == (0.0, pytest.approx(0.03))
    assert (scaled.z == 0).all()


def test_masked_mean_by_hand() -> None:
    x = torch.tensor([[2.0, 4.0, 9.0], [1.0, 1.0, 1.0], [5.0, 7.0, 9.0]])
    known = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])
    assert masked_mean(x, known).flatten().tolist() == [3.0, 0.0, 7.0]


def test_min_max_scaling_changes_nothing_before_it_is_fitted() -> None:
    history = torch.linspace(-3, 3, 56)[None]
    torch.testing.assert_close(MinMaxScaling()(history, kinds(OTHER, 1)).z, history)
