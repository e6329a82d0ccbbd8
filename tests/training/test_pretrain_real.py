"""The second part of pretraining, on real series from files."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forecasting.errors import SettingError
from forecasting.model.forecaster import Forecaster
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config
from forecasting.training import pretrain_real as real
from forecasting.training.data_module import TrafficDataModule
from forecasting.training.fine_tuning import validation_loss
from forecasting.training.lightning_module import ForecastModule
from forecasting.training.pretrain_real import describe_files, pretrain_on_real_series
from tests.panels import make_panel


@pytest.fixture
def tiny(quick: Config, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(real, "CHUNK", 512)
    pretraining = replace(quick.pretraining, batch_size=64, real_windows=1000, real_learning_rate=0.01)
    return replace(quick, pretraining=pretraining)


def untrained(config: Config) -> Forecaster:
    torch.manual_seed(5)
    return Forecaster(config.model)


def test_unseen_series_of_the_same_kind_are_forecast_better(tiny: Config) -> None:
    tiny = replace(tiny, pretraining=replace(tiny.pretraining, real_windows=4096))
    seen = [make_panel(200, num_series=3, seed=1), make_panel(90, num_series=1, seed=2)]
    unseen = TrafficDataModule(make_panel(116, seed=3), tiny)

    def loss(forecaster: Forecaster) -> float:
        return validation_loss(ForecastModule(forecaster, learning_rate=1.0, epochs=1, seed=0), unseen)

    assert loss(pretrain_on_real_series(seen, untrained(tiny), tiny)[0]) < 0.9 * loss(untrained(tiny))


def test_same_seed_same_weights(tiny: Config) -> None:
    first, again = (pretrain_on_real_series([make_panel(116)], untrained(tiny), tiny)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_windows_drawn_are_counted_in_whole_chunks(tiny: Config) -> None:
    assert pretrain_on_real_series([make_panel(116)], untrained(tiny), tiny)[1] == 1024


def test_every_window_of_every_panel_is_drawn(tiny: Config) -> None:
    data = real.RealData([make_panel(70, num_series=1), make_panel(70, num_series=2)], tiny)
    targets = torch.cat([block.windows.target for block in data.train_dataloader()._real])  # type: ignore[attr-defined]
    assert len(targets) == 512
    levels = targets.mean(1)  # 200 and 400 a day at the peak of the week, in two of three series and in one
    assert (levels > 250).float().mean() == pytest.approx(1 / 3, abs=0.1)


def test_files_are_described_by_name_and_hash_without_their_folder(tmp_path: Path) -> None:
    file = tmp_path / "site.csv"
    file.write_text("series,metric,date,value\n")
    [description] = describe_files([str(file)], [make_panel(70)])
    assert description == {
        "file": "site.csv",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "num_series": 2,
        "first_day": "2024-01-01",
        "last_day": "2024-03-10",
    }


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingError, match=r"pretraining.real_windows \(--real-windows\) is 0; it must be at least 1."):
        load_config(["pretraining.real_windows=0"], environ={})
    with pytest.raises(SettingError, match="pretraining.real_learning_rate is 2.0; it must be above 0 and below 1."):
        load_config(["pretraining.real_learning_rate=2"], environ={})
