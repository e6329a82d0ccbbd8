"""Scalings: round trip, hand-computed medians, and scikit-learn's own numbers."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler

from forecasting.model.rollout import COUNT, OTHER, RATE
from forecasting.model.scaling import MinMaxScaling, RobustScaling, WindowScaling


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
