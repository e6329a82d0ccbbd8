"""Windows of made sites, and real ones among them: what is varied, and what is not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from forecasting.model.scaling import COUNT, RATE
from forecasting.panel import Panel
from forecasting.settings.schema import Config
from forecasting.training import augmentation as made
from forecasting.training.augmentation import FineTuningData, sample_windows, vary
from forecasting.training.data_module import Batch, TrafficDataModule
from forecasting.training.fit import training_data
from tests.panels import make_panel


def batch_of(num_windows: int, kind: int) -> Batch:
    values = torch.rand(num_windows, 63, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    first_day = torch.full((num_windows,), 19_000)
    return Batch(values[:, :56], first_day, torch.full((num_windows,), kind), values[:, 56:])


def test_varied_counts_keep_their_shape_and_their_weekday() -> None:
    torch.manual_seed(0)
    batch = batch_of(500, COUNT)
    varied = vary(batch)
    factors = varied.target / batch.target
    torch.testing.assert_close(factors, factors[:, :1].expand(-1, 7))
    known = varied.history.isfinite()
    torch.testing.assert_close(varied.history[known], (batch.history * factors[:, :1])[known])
    assert np.std(np.log(factors[:, 0].numpy())) == pytest.approx(1.0, abs=0.1)
    moved = varied.first_day - batch.first_day
    assert (moved % 7 == 0).all()
    assert (int(moved.min()), int(moved.max())) == (-7 * 26, 7 * 26)
    young = ~known[:, 0]
    assert 0.1 < young.float().mean() < 0.2
    assert known[:, -28:].all()


def test_rates_are_not_multiplied() -> None:
    batch = batch_of(50, RATE)
    torch.testing.assert_close(vary(batch).target, batch.target)


def test_fine_tuning_mixes_and_what_validates_is_as_it_came(quick: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = make_panel(116)
    plain, tuning = TrafficDataModule(panel, quick), FineTuningData(panel, quick)
    monkeypatch.setattr(made, "RESCALED", 0.0)
    monkeypatch.setattr(made, "MOVED_WEEKS", 0)
    monkeypatch.setattr(made, "SHORT_SHARE", 0.0)
    real = {tuple(row) for block in plain.train_dataloader() for row in block.windows.target.tolist()}
    seen = [tuple(row) for block in tuning.train_dataloader() for row in block.windows.target.tolist()]
    assert real <= set(seen)
    share = sum(row not in real for row in seen) / len(seen)
    assert share == pytest.approx(made.MADE_SHARE, abs=0.03)
    for one, other in zip(plain.val_dataloader(), tuning.val_dataloader(), strict=True):
        torch.testing.assert_close(one.windows.history, other.windows.history, equal_nan=True)


def test_batches_grow_with_the_data(quick: Config) -> None:
    config = replace(quick, data=replace(quick.data, days_back=2000))
    sizes = [FineTuningData(make_panel(days, num_series=4), config).batch_size for days in (60, 400, 1900)]
    assert sizes[0] == config.training.batch_size == 32
    assert sizes[0] < sizes[1] < sizes[2] == 256


def test_without_a_base_windows_are_as_they_are(panel: Panel, quick: Config) -> None:
    assert type(training_data(panel, quick, None)) is TrafficDataModule


def test_windows_of_made_sites_are_about_as_many_as_asked_for(quick: Config) -> None:
    torch.manual_seed(0)
    windows = sample_windows(quick, 4000, device=torch.device("cpu"))
    assert 3500 < len(windows.target) <= 4000
    assert (windows.history.isfinite().sum(1) >= made.YOUNG_DAYS).all()


def test_one_series_of_sixty_days_never_lacks_a_made_window(quick: Config) -> None:
    """Some made sites are born too late for any window: of few sites, all may be."""
    data = FineTuningData(make_panel(60, num_series=1), quick)
    for seed in range(40):
        torch.manual_seed(seed)
        assert sum(sum(block.sizes) for block in data.train_dataloader()) > len(data.train_index)


def test_windows_of_a_site_of_thirty_days_are_all_trained_on(quick: Config) -> None:
    data = FineTuningData(make_panel(30, num_series=1), quick)
    known = data.windows.gather(data.train_index).history.isfinite().sum(1)
    assert known.max() < made.YOUNG_DAYS
    torch.manual_seed(0)
    (block,) = data.train_dataloader()
    history = block.windows.history[: len(known)]  # of the only step: the real windows come first
    torch.testing.assert_close(history.isfinite().sum(1).sort().values, known.sort().values)
