"""The table of measures and the plot, on series made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from forecasting.known_days.regressors import RegressorEffect
from forecasting.model.forecaster import LEVELS, Forecaster
from forecasting.panel import Panel
from forecasting.predictor import Bands, usual_bands
from forecasting.settings.schema import Config
from forecasting.training.data_module import TrafficDataModule
from forecasting.training.fit import Fitted
from forecasting.training.held_out import HeldOutForecasts, forecast_test_part, measure_test_part, relative_error
from forecasting.training.lightning_module import EpochLoss
from forecasting.training.model_card import NextForecasts
from forecasting.training.report import (
    _draw_losses,
    describe_answerers,
    describe_bands,
    describe_regressors,
    format_table,
    plot_training,
)
from tests.panels import make_panel


def make_backtest(panel: Panel) -> HeldOutForecasts:
    """Two windows of one series: the forecast is 1 too high, repeating last week 2 too low."""
    actual = np.full((2, 7), 10, np.float32)
    return HeldOutForecasts(
        series=np.array([0, 0]),
        first_days=np.array([panel.cutoff - 13, panel.cutoff - 6]),
        actual=actual,
        quantiles=(actual + 1)[..., None] + np.float32([-3, -2, -1, 0, 1, 2, 3]),
        naive=actual - 2,
    )


def test_measures_and_table_by_hand(quick: Config) -> None:
    panel = make_panel(116, num_series=1)
    data = TrafficDataModule(panel, quick)
    measured = measure_test_part(make_backtest(panel), panel, data)
    assert (measured[0]["mae"], measured[0]["seasonal_naive"]["mae"], measured[0]["wape"]) == (1.0, 2.0, 0.1)
    assert measured[0]["coverage_80"] == 1.0
    assert relative_error(measured) == 0.5
    lines = format_table(panel.series, measured).splitlines()
    assert lines[0].split() == [
        "series",
        "forecast",
        "MSE",
        "MAE",
        "RMSE",
        "MAPE",
        "R2",
        "MASE",
        "WAPE",
        "80%",
        "band",
        "held",
    ]
    assert lines[1].split()[:6] == ["page_visits", "forecaster", "1.00", "1.00", "1.00", "10.0%"]
    assert lines[1].split()[6] == "undefined"  # R2 of a constant
    assert lines[2].split()[:5] == ["seasonal", "naive", "4.00", "2.00", "2.00"]


def test_rates_are_shown_with_three_digits(quick: Config) -> None:
    panel = make_panel(116, num_series=1)
    measured = measure_test_part(make_backtest(panel), panel, TrafficDataModule(panel, quick))
    measured[0] |= {"mae": 0.04567, "rmse": 0.1, "mse": 0.000123456, "mase": 0.4567}
    row = format_table(panel.series, measured).splitlines()[1].split()
    assert row[2:5] == ["0.000123", "0.0457", "0.100"]
    assert row[7] == "0.46"


def test_a_model_that_is_no_better_says_why_it_still_answers() -> None:
    panel = make_panel(116, num_series=2)
    fitted = Fitted(
        forecaster=Forecaster(Config().model), epochs=2, best_epoch=2, best_loss=0.1, interrupted=False, seconds=1.0,
        base_loss=0.2,
    )  # fmt: skip
    answers = ["forecaster", "forecaster"]
    says = "the fine-tuned model forecasts 2 of 2 series"
    assert describe_answerers(panel.series, answers, fitted, relative=0.96) == [says]
    assert describe_answerers(panel.series, answers, fitted, relative=1.04) == [
        says,
        "although its error is 1.04 times the seasonal naive forecast's: no series has 12 or more weeks over which it "
        "was worse by more than chance, nor was it 4 times worse in every window of one",
    ]


def test_days_without_a_seasonal_naive_forecast_are_not_measured(quick: Config) -> None:
    """A weekday without any earlier value. Its one value among the test days would make every measure NaN."""
    panel = make_panel(116, num_series=1)
    tested = make_backtest(panel)
    naive = tested.naive.copy()
    naive[:, 5] = np.nan
    [measured] = measure_test_part(replace(tested, naive=naive), panel, TrafficDataModule(panel, quick))
    assert (measured["mae"], measured["seasonal_naive"]["mae"]) == (1.0, 2.0)
    assert measure_test_part(replace(tested, naive=naive * np.nan), panel, TrafficDataModule(panel, quick)) == [
        {"num_cutoffs": 0}
    ]


def test_series_without_a_known_test_day_says_so(quick: Config) -> None:
    panel = make_panel(116)
    measured = measure_test_part(make_backtest(panel), panel, TrafficDataModule(panel, quick))
    assert measured[1] == {"num_cutoffs": 0}
    assert "no known test day" in format_table(panel.series, measured)


def test_backtest_equals_the_forecaster(quick: Config) -> None:
    """Against each window alone, cut from the panel's values."""
    import torch

    panel = make_panel(452)
    context, days = quick.model.context_length, quick.model.output_days
    forecaster = Forecaster(quick.model).eval()
    data = TrafficDataModule(panel, quick)
    tested = forecast_test_part(forecaster, data)
    for row, (series, day) in enumerate(data.test_index.tolist()):
        history = torch.from_numpy(panel.values[series, day - context : day])[None]
        first_day = torch.tensor([panel.first_day + day - context])
        with torch.no_grad():
            alone = forecaster(history, first_day, torch.tensor([0]), torch.ones(1, days))[0, :7]
        np.testing.assert_allclose(tested.quantiles[row], alone.numpy(), rtol=1e-4)
        np.testing.assert_array_equal(tested.naive[row], panel.values[series, day - 7 : day])
        assert tested.first_days[row] == panel.first_day + day


def test_plot_is_drawn_for_more_series_than_it_shows(tmp_path: Path, quick: Config) -> None:
    panel = make_panel(116, num_series=8)
    forecaster = Forecaster(quick.model)
    tested = forecast_test_part(forecaster, TrafficDataModule(panel, quick))
    upcoming = NextForecasts(np.full(8, panel.cutoff + 1), np.full((8, 7, len(LEVELS)), 100, np.float32))
    fitted = Fitted(forecaster, 2, 2, 0.4, False, 1.0, losses=(EpochLoss(0.6, 0.5), EpochLoss(0.5, 0.4)))
    for number, drawn in enumerate((fitted, replace(fitted, losses=()))):
        plot_training(tmp_path / f"{number}.png", panel, tested, upcoming, drawn, title="v1")
        assert (tmp_path / f"{number}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with_losses, without = ((tmp_path / f"{number}.png").read_bytes()[16:24] for number in (0, 1))
    assert with_losses > without  # width, then height


def test_losses_are_drawn_beside_the_weights_kept() -> None:
    from matplotlib import pyplot

    losses = (EpochLoss(0.6, 0.5), EpochLoss(0.5, 0.4), EpochLoss(0.4, 0.45))
    fitted = Fitted(Forecaster(Config().model), 3, 2, 0.4, False, 1.0, losses=losses)
    canvas, axes = pyplot.subplots(1, 2)
    _draw_losses(axes[0], fitted)
    _draw_losses(axes[1], replace(fitted, base_loss=0.55, best_epoch=3))
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes[0].get_lines()}
    assert lines["training"] == ([1, 2, 3], [0.6, 0.5, 0.4])
    assert lines["validation"] == ([1, 2, 3], [0.5, 0.4, 0.45])
    assert lines["epoch kept"][0] == [2, 2]
    from_base = {line.get_label(): list(line.get_ydata()) for line in axes[1].get_lines()}
    assert from_base["validation, base model"] == [0.55, 0.55]
    assert from_base["validation, weights kept"] == [0.4, 0.4]
    pyplot.close(canvas)


def test_bands_are_described_by_the_days_of_the_horizon() -> None:
    """The days after the horizon grow from its last day, which no calibration of the trained bands explains."""
    calibrated = [Bands((0.8,) * 7 + (2.0,) * 23, 0.5, num_weeks=3), Bands((1.2,) * 7 + (2.5,) * 23, 0.5, num_weeks=9)]
    assert describe_bands(calibrated, horizon=7) == (
        "bands calibrated on 3 to 9 weeks of each series: 0.80 to 1.20 times as wide as trained"
    )
    assert describe_bands([usual_bands(7)], horizon=7) == (
        "bands not calibrated: no series has a week that training has not seen"
    )


def test_regressors_are_reported_with_what_they_gain() -> None:
    series = make_panel(116, num_series=3).series
    warm = RegressorEffect("temperature", 0.1, mean=15.0, spread=5.0, low=0.0, high=30.0, gain=0.25)
    price = RegressorEffect("price", -0.2, mean=3.0, spread=1.0, low=1.0, high=5.0, gain=0.25)
    used = [(warm, price), (replace(warm, gain=0.05),), ()]
    assert describe_regressors(series, used, ["price", "sun", "temperature"]) == [
        "regressors used: price by 1 series, temperature by 2 series of 3; they take 15% off the error of past weeks "
        "in the median, and the measures above are without them",
        "regressors not used, since they gain no more than chance: sun",
    ]
    assert describe_regressors(series, [(), (), ()], ["price", "sun"]) == [
        "regressors: price, sun; no series uses any: none took off more of the error than chance, over 12 weeks or more"
    ]
