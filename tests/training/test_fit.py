"""Fitting: repeatable, resumable, interruptible, blind to later days, and better than repeating last week."""

import logging
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler

from forecasting.domain import Scaling
from forecasting.errors import DataError, SettingError, TooFewDays
from forecasting.model.forecaster import Forecaster
from forecasting.model.scaling import MinMaxScaling
from forecasting.panel import Panel
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Accelerator, Config, Precision
from forecasting.training import callbacks, fine_tuning
from forecasting.training import data_module as datamodule
from forecasting.training import fit as fitting
from forecasting.training.data_module import TrafficDataModule
from forecasting.training.fine_tuning import fine_tuning_epochs, validation_loss
from forecasting.training.fit import Fitted, refit, training_data
from forecasting.training.held_out import forecast_test_part, measure_test_part, relative_error
from forecasting.training.lightning_module import ForecastModule, pinball_loss
from tests.full_disk import full_disk
from tests.panels import make_panel


def fit(panel: Panel, config: Config, **settings: Any) -> Fitted:
    return fitting.fit(training_data(panel, config, settings.get("base")), config, **settings)


def weights(fitted: Fitted) -> dict[str, torch.Tensor]:
    return fitted.forecaster.state_dict()


def assert_same_to_the_bit(first: Fitted, other: Fitted) -> None:
    for name, value in weights(first).items():
        assert torch.equal(value, weights(other)[name]), name


def test_pinball_loss_at_the_median_is_half_the_absolute_error() -> None:
    target = torch.tensor([[1.0, float("nan"), 3.0]])
    quantiles = torch.zeros(1, 3, 7)
    levels = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]
    expected = np.mean(
        [level * value for value in (1.0, 3.0) for level in levels]
    )  # by its definition, below the target
    assert pinball_loss(target, quantiles).item() == pytest.approx(expected, rel=1e-6)


def test_same_seed_same_weights_to_the_bit(panel: Panel, quick: Config) -> None:
    first, again = fit(panel, quick), fit(panel, quick)
    assert_same_to_the_bit(first, again)
    other = fit(panel, load_config(["training.epochs=3", "model.hidden_size=8", "training.seed=1"], environ={}))
    assert not torch.equal(weights(first)["network.head.weight"], weights(other)["network.head.weight"])


def test_resumed_training_is_the_training_that_was_killed(
    panel: Panel, quick: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after a checkpoint and resumed, against one uninterrupted run."""
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_SECONDS", 0.0)
    checkpoint = tmp_path / "run.ckpt"
    config = replace(quick, training=replace(quick.training, epochs=6))
    whole = fit(panel, config)

    def stop_after_three(trainer: object, module: object) -> None:
        if trainer.current_epoch == 3:  # type: ignore[attr-defined]
            raise RuntimeError("killed")

    with monkeypatch.context() as killed:
        killed.setattr(callbacks.Checkpoint, "on_train_epoch_start", staticmethod(stop_after_three), raising=False)
        with pytest.raises(RuntimeError, match="killed"):
            fit(panel, config, checkpoint=checkpoint)
    assert checkpoint.is_file()
    resumed = fit(panel, config, checkpoint=checkpoint, resume=True)
    assert (resumed.epochs, resumed.best_epoch, resumed.best_loss) == (whole.epochs, whole.best_epoch, whole.best_loss)
    assert_same_to_the_bit(resumed, whole)


def test_full_disk_costs_the_checkpoint_not_the_training(
    panel: Panel, quick: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_SECONDS", 0.0)
    checkpoint = tmp_path / "run.ckpt"
    with full_disk():
        fitted = fit(panel, quick, checkpoint=checkpoint)
    assert fitted.epochs == quick.training.epochs > 2
    assert list(tmp_path.iterdir()) == []
    assert caplog.messages == [
        f"training continues without a checkpoint: There is no room for {checkpoint} (File too large). Make room, or "
        "set training.checkpoint_dir to another place."
    ]


@pytest.mark.parametrize("moment", ["on_train_epoch_start", "setup"])
def test_interrupt_keeps_the_best_so_far(
    panel: Panel, quick: Config, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Ctrl-C during an epoch, and before Lightning has started."""
    config = replace(quick, training=replace(quick.training, epochs=100_000, patience=0))

    def interrupt(trainer: pl.Trainer, *_: object) -> None:
        if trainer.current_epoch in (0, 2):
            os.kill(os.getpid(), signal.SIGINT)
            monkeypatch.setattr(callbacks.EpochProgress, moment, staticmethod(lambda *_, **__: None))

    monkeypatch.setattr(callbacks.EpochProgress, moment, staticmethod(lambda *a, **_: interrupt(*a)))
    before = signal.getsignal(signal.SIGINT)
    fitted = fit(panel, config)
    assert fitted.interrupted
    assert 1 <= fitted.best_epoch <= fitted.epochs < 5
    assert "(interrupted: keeping the best so far)" in fitted.describe(max_epochs=100_000)
    assert signal.getsignal(signal.SIGINT) is before


def test_unreadable_checkpoint_is_logged_and_ignored(
    panel: Panel, quick: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(b"PK\x03\x04 half of it")
    with caplog.at_level(logging.INFO, logger="forecasting"):
        fitted = fit(panel, quick, checkpoint=cut, resume=True)
        fit(panel, quick, checkpoint=tmp_path / "none.ckpt", resume=True)
    assert fitted.epochs == 3
    assert f"cannot read {cut} (" in caplog.text
    assert "found no checkpoint of these settings and this data: training from the start" in caplog.text


def test_missing_device_is_refused(panel: Panel, quick: Config) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SettingError, match="training.accelerator=gpu is not available here"):
        fit(panel, replace(quick, training=replace(quick.training, accelerator=Accelerator.gpu)))


def test_part_without_known_days_is_refused(quick: Config) -> None:
    panel = make_panel(116)
    split = TrafficDataModule(panel, quick).split
    for part, start, stop in (("train on", split.train, split.validation), ("validate", split.validation, split.test)):
        values = panel.values.copy()
        values[:, start:stop] = np.nan
        with pytest.raises(TooFewDays, match=f"There is no window to {part}: train 2024-"):
            TrafficDataModule(replace(panel, values=values), quick)


def test_training_starts_from_the_base_and_keeps_it_if_nothing_is_better(panel: Panel, quick: Config) -> None:
    """A base that already fits this panel, then fine-tuned at a rate that can only make it worse."""
    good = fit(panel, replace(quick, training=replace(quick.training, epochs=60, learning_rate=0.01))).forecaster
    too_fast = replace(quick, training=replace(quick.training, epochs=2, learning_rate=0.9))
    kept = fit(panel, too_fast, base=good)
    assert (kept.best_epoch, kept.epochs) == (0, 2)
    for name, weights in good.state_dict().items():
        assert torch.equal(kept.forecaster.state_dict()[name], weights), name
    assert "without improving on the base model" in kept.describe(max_epochs=2)
    barely_moved = fit(panel, replace(quick, training=replace(quick.training, epochs=1, learning_rate=1e-9)), base=good)
    for name, weights in good.state_dict().items():
        torch.testing.assert_close(barely_moved.forecaster.state_dict()[name], weights, rtol=0, atol=1e-6)


def test_share_interpolates_between_base_and_trained_weights(panel: Panel, quick: Config) -> None:
    torch.manual_seed(3)
    base = Forecaster(quick.model)
    part, whole = (refit(panel, quick, epochs=2, base=base, share=share) for share in (0.75, 1.0))
    for name, start in base.state_dict().items():
        between = 0.25 * start + 0.75 * weights(whole)[name]
        torch.testing.assert_close(weights(part)[name], between, rtol=1e-5, atol=1e-7)
        assert name.startswith("scaling") or not torch.equal(weights(whole)[name], start)


def test_validation_chooses_the_share(panel: Panel, quick: Config) -> None:
    torch.manual_seed(3)
    base = Forecaster(quick.model)
    config = replace(quick, training=replace(quick.training, epochs=60, learning_rate=0.1))
    tuned = fit(panel, config, base=base)
    shares = [60 / (60 + 365) * part for part in fine_tuning.SHARES]  # 60 days allow a seventh of the way
    assert tuned.share in shares
    assert tuned.base_loss == pytest.approx(loss_of(base, panel, config))
    assert tuned.best_loss == pytest.approx(loss_of(tuned.forecaster, panel, config))
    assert tuned.best_loss < tuned.base_loss
    line = tuned.describe(max_epochs=60)
    assert f"moved {tuned.share:.0%} of the way from the base weights (validation loss {tuned.best_loss:.4f}, " in line
    assert line.endswith(f"base model {tuned.base_loss:.4f})")


def loss_of(forecaster: Forecaster, panel: Panel, config: Config) -> float:
    module = ForecastModule(forecaster, learning_rate=1.0, epochs=1, seed=0)
    return validation_loss(module, TrafficDataModule(panel, config))


def test_fine_tuning_takes_fewer_epochs_on_more_data(quick: Config) -> None:
    long = replace(quick, training=replace(quick.training, epochs=100), data=replace(quick.data, days_back=2000))
    few, many = (
        training_data(make_panel(days, num_series=series), long, None) for days, series in ((120, 1), (1500, 20))
    )
    assert fine_tuning_epochs(few, long) == 20
    assert fine_tuning_epochs(many, long) == -(-150_000 // len(many.train_index)) == 8
    assert fine_tuning_epochs(few, quick) == 3  # training.epochs is the limit


def test_early_stopping_stops_and_patience_0_does_not(panel: Panel, quick: Config) -> None:
    training = replace(quick.training, epochs=40, learning_rate=0.05, patience=2)
    assert fit(panel, replace(quick, training=training)).epochs < 40
    assert fit(panel, replace(quick, training=replace(training, patience=0))).epochs == 40


def change_after(panel: Panel, day: int) -> Panel:
    values = panel.values.copy()
    values[:, day:] = 10**6
    return replace(panel, values=values)


def test_training_does_not_see_the_test_part(panel: Panel, quick: Config) -> None:
    split = TrafficDataModule(panel, quick).split
    assert_same_to_the_bit(fit(panel, quick), fit(change_after(panel, split.test), quick))


@pytest.mark.parametrize("scaling", ["robust", "minmax"])
def test_training_steps_do_not_see_the_validation_part(quick: Config, scaling: str) -> None:
    """With one epoch validation has nothing to choose, so its days must not change the weights."""
    panel = make_panel(116, num_series=1)
    config = replace(
        quick,
        training=replace(quick.training, epochs=1),
        model=replace(quick.model, scaling=Scaling(scaling)),
    )
    split = TrafficDataModule(panel, config).split
    assert_same_to_the_bit(fit(panel, config), fit(change_after(panel, split.validation), config))


def test_min_max_is_fitted_on_the_training_days() -> None:
    panel = make_panel(116, num_series=1)
    config = load_config(["training.epochs=1", "model.hidden_size=8", "model.scaling=minmax"], environ={})
    split = TrafficDataModule(panel, config).split
    scaler = MinMaxScaler().fit(panel.values[0, split.train : split.validation, None])
    scaling = fit(panel, config).forecaster.scaling
    assert isinstance(scaling, MinMaxScaling)
    assert (scaling.data_min.item(), scaling.data_range.item()) == (scaler.data_min_[0], scaler.data_range_[0])
    with pytest.raises(DataError) as refusal:
        fit(make_panel(116), config)
    assert str(refusal.value) == (
        "model.scaling=minmax is for one series, but there are 2: page_visits of blog, metric_1 of blog. "
        "Choose one with data.metrics and data.sites."
    )


def test_refit_trains_on_all_days(panel: Panel, quick: Config) -> None:
    split = TrafficDataModule(panel, quick).split
    changed = change_after(panel, split.test)
    first, other = refit(panel, quick, epochs=2), refit(changed, quick, epochs=2)
    assert first.epochs == 2
    assert not torch.equal(weights(first)["network.head.weight"], weights(other)["network.head.weight"])


def test_beats_the_seasonal_naive_forecast_on_noisy_weeks() -> None:
    """With independent errors, repeating the last week is worse than the mean of n by sqrt(2) / sqrt(1 + 1/n)."""
    panel = make_panel(300, noise=0.2)
    config = load_config(["data.days_back=240", "training.epochs=30"], environ={})
    data = TrafficDataModule(panel, config)
    fitted = fit(panel, config)
    relative = relative_error(measure_test_part(forecast_test_part(fitted.forecaster, data), panel, data))
    assert relative is not None
    assert 1 / np.sqrt(2) * 0.9 < relative < 0.85


def test_thirty_days_train() -> None:
    panel = make_panel(30)
    config = load_config(["data.days_back=30", "training.epochs=2", "model.hidden_size=8"], environ={})
    data = TrafficDataModule(panel, config)
    measured = measure_test_part(forecast_test_part(fit(panel, config).forecaster, data), panel, data)
    assert [measures["num_cutoffs"] for measures in measured] == [1, 1]


@pytest.mark.parametrize("precision", list(Precision))
def test_blocks_of_any_size_take_the_same_steps(
    panel: Panel, quick: Config, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No state passes between steps of a block, such as cached bfloat16 weights: Lightning's autocast caches none."""
    training = replace(quick.training, batch_size=8, learning_rate=0.01, precision=precision)
    config = replace(quick, training=training, model=replace(quick.model, dropout=0.0))
    together = refit(panel, config, epochs=2)
    monkeypatch.setattr(datamodule, "BLOCK_WINDOWS", 8)
    apart = refit(panel, config, epochs=2)
    for name, value in weights(together).items():
        torch.testing.assert_close(weights(apart)[name], value, rtol=0, atol=2e-3, msg=name)
