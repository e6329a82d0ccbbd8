"""Pretraining: synthetic windows, repeatable and resumable chunks, and the base on disk."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forecasting.artifact import CARD, WEIGHTS, load_base
from forecasting.domain import Init
from forecasting.errors import BrokenArtifact, SettingError, UnknownVersion
from forecasting.model.forecaster import Forecaster
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config, ModelConfig, ProcessConfig
from forecasting.training import callbacks
from forecasting.training import pretrain as pretraining
from forecasting.training.augmentation import cut_windows
from forecasting.training.base_model import find_base, save_base
from forecasting.training.synthetic import Traffic, sample_traffic


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Config:
    """Chunks of 256 windows, on a small network, in float32."""
    monkeypatch.setattr(pretraining, "BLOCK", 256)
    monkeypatch.setattr(pretraining, "BLOCKS_PER_CHUNK", 1)
    monkeypatch.setattr(pretraining, "CHUNK", 256)
    settings = ["pretraining.windows=1024", "pretraining.batch_size=64", "training.precision=fp32"]
    return load_config([*settings, "model.hidden_size=8", "model.dropout=0", "training.accelerator=cpu"], environ={})


def test_windows_are_slices_of_their_sites() -> None:
    """Sites whose values are day numbers, so a window's values show where it was cut."""
    first_day = torch.tensor([1000, 5000])
    model = ModelConfig()
    num_days = model.context_length + model.output_days
    values = (first_day[:, None] + torch.arange(num_days + 56)).float()
    traffic = Traffic(values, first_day, torch.tensor([0, 2]))
    torch.manual_seed(0)
    batch = cut_windows(traffic, model, windows_per_site=50)
    assert len(batch.target) == 100
    whole = torch.cat([batch.history, batch.target], 1)
    expected = batch.first_day[:, None] + torch.arange(num_days)
    known = whole.isfinite()
    torch.testing.assert_close(whole[known], expected.float()[known])
    assert known[:, -model.output_days - 28 :].all()  # the target, and at least 28 days before it
    assert not known.all()
    torch.testing.assert_close(batch.kind, torch.where(batch.first_day < 5000, 0, 2))


def test_same_seed_gives_the_same_base_and_so_does_resuming(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_SECONDS", 0.0)
    whole, windows, _ = pretraining.pretrain(tiny, checkpoint=tmp_path / "whole.ckpt")
    assert windows == 1024

    def stop_after_two(trainer: object, module: object) -> None:
        if trainer.current_epoch == 2:  # type: ignore[attr-defined]
            raise RuntimeError("killed")

    checkpoint = tmp_path / "killed.ckpt"
    with monkeypatch.context() as killed:
        killed.setattr(callbacks.Checkpoint, "on_train_epoch_start", staticmethod(stop_after_two), raising=False)
        with pytest.raises(RuntimeError, match="killed"):
            pretraining.pretrain(tiny, checkpoint=checkpoint)
    resumed, _, _ = pretraining.pretrain(tiny, checkpoint=checkpoint, resume=True)
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name]), name


def test_pretraining_improves_on_unseen_sites(tiny: Config, tmp_path: Path) -> None:
    config = replace(tiny, pretraining=replace(tiny.pretraining, windows=16_000))
    torch.manual_seed(0)
    before = pretraining.synthetic_loss(Forecaster(config.model).eval(), config, num_sites=2048)
    trained, _, _ = pretraining.pretrain(config, checkpoint=tmp_path / "run.ckpt")
    assert pretraining.synthetic_loss(trained, config, num_sites=2048) < 0.97 * before


def test_unknown_part_is_refused(tiny: Config, tmp_path: Path) -> None:
    config = replace(tiny, pretraining=replace(tiny.pretraining, without=["weekdays"]))
    with pytest.raises(
        SettingError,
        match="pretraining.without names an unknown part, 'weekdays'. Did you mean weekday",
    ):
        pretraining.pretrain(config, checkpoint=tmp_path / "run.ckpt")


def test_saved_base_loads_unchanged(tiny: Config, tmp_path: Path) -> None:
    forecaster = Forecaster(tiny.model).eval()
    save_base(tmp_path / "base", forecaster, tiny, {"windows": 7})
    loaded = load_base(tmp_path / "base")
    inputs = forecaster.example_inputs()
    torch.testing.assert_close(loaded(*inputs), forecaster(*inputs), rtol=0, atol=0)
    assert json.loads((tmp_path / "base" / CARD).read_text())["windows"] == 7


def test_missing_and_changed_base_are_refused(tiny: Config, tmp_path: Path) -> None:
    with pytest.raises(UnknownVersion) as refusal:
        load_base(tmp_path / "base")
    assert str(refusal.value) == (f"There is no base model in {tmp_path}/base. Make it: traffic-forecast pretrain")
    save_base(tmp_path / "base", Forecaster(tiny.model), tiny, {})
    (tmp_path / "base" / WEIGHTS).write_bytes(b"other")
    with pytest.raises(BrokenArtifact, match="is not the file that model.json describes. Pretrain again."):
        load_base(tmp_path / "base")


def test_base_is_used_if_it_fits(tiny: Config, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    assert find_base(tiny.model, folder) is None
    save_base(folder, Forecaster(tiny.model), tiny, {})
    assert find_base(tiny.model, folder) is not None
    assert find_base(replace(tiny.model, init=Init.scratch), folder) is None
    longer = replace(tiny.model, prediction_horizon=14)
    assert find_base(longer, folder) is None
    with pytest.raises(SettingError) as refusal:
        find_base(replace(longer, init=Init.base), folder)
    assert str(refusal.value) == (
        "The base model does not fit model.prediction_horizon=14: it has 7. Leave that out, or set model.init=scratch."
    )


def test_shipped_base_beats_repeating_last_week_on_new_sites() -> None:
    """A floor: on new synthetic sites, a tenth better than repeating the last week."""
    base = load_base()
    torch.manual_seed(99)
    context, days = base.settings.context_length, base.settings.output_days
    traffic = sample_traffic(2000, context + 7, without=("rates", "others", "births", "gaps"))
    history, target = traffic.values[:, :context], traffic.values[:, context:]
    with torch.no_grad():
        quantiles = base(history, traffic.first_day, traffic.kind, torch.ones(2000, days))[:, :7]
    ours = (quantiles[..., 3] - target).abs().mean(1)
    naive = (history[:, -7:] - target).abs().mean(1)
    busy = history[:, -56:].mean(1) > 5
    assert torch.exp(torch.log(ours[busy] / naive[busy].clamp(min=1e-9)).clamp(-5, 5).mean()) < 0.9


def test_several_processes_are_refused(tiny: Config, tmp_path: Path) -> None:
    several = replace(tiny, process=ProcessConfig(rank=0, world_size=2, local_world_size=2))
    with pytest.raises(SettingError) as refusal:
        pretraining.pretrain(several, checkpoint=tmp_path / "run.ckpt")
    assert str(refusal.value) == "Pretraining runs in one process. Start it without torchrun."
