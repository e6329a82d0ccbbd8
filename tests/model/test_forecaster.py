"""The Forecaster's contract: shapes, ranges, no crossing, and windows of a batch are independent."""

import pytest
import torch

from forecasting.domain import Scaling
from forecasting.model.forecaster import LEVELS, MEDIAN, Forecaster
from forecasting.model.network import INITIAL_GAPS, drop_by_bytes
from forecasting.settings.schema import ModelConfig


def make_forecaster(**settings: object) -> Forecaster:
    torch.manual_seed(0)
    forecaster = Forecaster(ModelConfig(**settings)).eval()  # type: ignore[arg-type]
    for parameter in forecaster.network.head.parameters():  # the initial head is nearly zero and would hide errors
        torch.nn.init.normal_(parameter, std=0.5)
    return forecaster


def forecast(forecaster: Forecaster, history: torch.Tensor, *, kind: int = 0, band: float = 1.0) -> torch.Tensor:
    batch, horizon = len(history), forecaster.settings.output_days
    with torch.no_grad():
        return forecaster(
            history, torch.full((batch,), 19000), torch.full((batch,), kind), torch.full((batch, horizon), band)
        )


def histories(batch: int = 4, context: int = ModelConfig().context_length) -> torch.Tensor:
    return 1000 * torch.rand(batch, context, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_quantiles_never_cross_and_stay_in_range(kind: int) -> None:
    history = histories(64) / (1000 if kind == 1 else 1) - (500 if kind == 2 else 0)
    quantiles = forecast(make_forecaster(), history, kind=kind)
    assert quantiles.shape == (64, ModelConfig().output_days, len(LEVELS))
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert torch.isfinite(quantiles).all()
    if kind != 2:
        assert (quantiles >= 0).all()
    if kind == 1:
        assert (quantiles <= 1).all()


def test_band_scale_moves_bands_and_not_the_median() -> None:
    forecaster, history = make_forecaster(), histories()
    plain, wide, collapsed = (forecast(forecaster, history, band=band) for band in (1.0, 2.0, 0.0))
    torch.testing.assert_close(wide[..., MEDIAN], plain[..., MEDIAN])
    assert (wide[..., -1] > plain[..., -1]).all()
    assert (wide[..., 0] < plain[..., 0])[plain[..., 0] > 0].all()
    torch.testing.assert_close(collapsed, plain[..., MEDIAN : MEDIAN + 1].expand_as(collapsed))


def test_windows_of_a_batch_do_not_affect_each_other() -> None:
    forecaster, history = make_forecaster(), histories()
    together = forecast(forecaster, history)
    alone = torch.cat([forecast(forecaster, window[None]) for window in history])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-2)


def test_counts_ten_times_as_high_are_forecast_ten_times_as_high() -> None:
    """In logarithms, far from zero, a factor is a shift. The scaling removes it; only the level feature sees it."""
    torch.manual_seed(0)
    forecaster = Forecaster(ModelConfig()).eval()  # untrained: forecasts the average of the last weeks
    low, high = (forecast(forecaster, factor * histories().clamp(min=100)) for factor in (1, 10))
    torch.testing.assert_close(high, 10 * low, rtol=0.03, atol=0)


def test_untrained_forecast_is_the_average_of_the_last_weeks() -> None:
    torch.manual_seed(0)
    week = torch.tensor([100.0, 120, 90, 80, 200, 300, 250])
    quantiles = forecast(Forecaster(ModelConfig(last_year=False)).eval(), week.repeat(8)[None])
    torch.testing.assert_close(quantiles[0, :, MEDIAN], week.repeat(4), rtol=0.02, atol=0)


def test_untrained_bands_have_the_shape_of_a_normal_distribution() -> None:
    """INITIAL_GAPS against scipy's normal quantiles, up to one factor."""
    from scipy.stats import norm

    steps = torch.tensor(norm.ppf(LEVELS)).diff()
    ratios = torch.tensor(INITIAL_GAPS) / steps
    torch.testing.assert_close(ratios, torch.full_like(ratios, ratios.mean().item()), rtol=0.03, atol=0)


def test_unknown_days_are_not_zeros_and_not_nan() -> None:
    forecaster = make_forecaster()
    unknown, zero = histories(), histories()
    unknown[:, -50:-30] = torch.nan
    zero[:, -50:-30] = 0
    with_unknown = forecast(forecaster, unknown)
    assert torch.isfinite(with_unknown).all()
    assert not torch.allclose(with_unknown, forecast(forecaster, zero))


@pytest.mark.parametrize(
    "settings",
    [
        {"sequence_length": 14, "prediction_horizon": 14},
        {"sequence_length": 3, "prediction_horizon": 1},
        {"sequence_length": 28, "prediction_horizon": 30},
        {"scaling": Scaling.minmax, "weekly_lags": 0, "seasonal_skip": False},
        {"sequence_length": 28, "prediction_horizon": 30, "learned_average": False, "last_year": False},
        {"direct_days": 0, "last_year": False},
    ],
)
def test_other_shapes_work(settings: dict[str, object]) -> None:
    forecaster = make_forecaster(**settings)
    quantiles = forecast(forecaster, histories(context=forecaster.settings.context_length))
    assert quantiles.shape == (4, forecaster.settings.output_days, len(LEVELS))
    assert (quantiles.diff(dim=-1) >= 0).all()


def test_dropout_by_bytes_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    for share in (0.1, 0.5, 0.999):
        dropped = drop_by_bytes(torch.ones(400, 7, 64), share)
        nearest = min(255, round(256 * share)) / 256
        assert (dropped == 0).float().mean().item() == pytest.approx(nearest, abs=0.005)
        assert dropped.mean().item() == pytest.approx(1.0, abs=0.05 / (1 - nearest) ** 0.5)
        assert len(dropped.unique()) == 2


def test_lstm_layer_by_layer_equals_the_lstm() -> None:
    """Training's code path, with a dropout so rare that nothing is dropped."""
    torch.manual_seed(0)
    network = Forecaster(ModelConfig(dropout=0.001)).network.train()
    network.lstm.dropout = 0.0  # for the reference call
    steps = torch.randn(8, 7, network.lstm.input_size)
    torch.testing.assert_close(network.summarise(steps), network.lstm(steps)[0][:, -1])
