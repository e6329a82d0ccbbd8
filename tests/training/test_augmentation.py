"""Synthetic and augmented windows: what varies, and what does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from forecasting.model.rollout import COUNT, RATE
from forecasting.panel import Panel
from forecasting.settings.schema import Config
from forecasting.training import augmentation
from forecasting.training.augmentation import FineTuningData, augment, count_last_days_in_part, sample_synthetic_windows
from forecasting.training.data_module import Batch, TrafficDataModule
from forecasting.training.fit import training_data
from tests.panels import make_panel


def make_batch(num_windows: int, kind: int) -> Batch:
    values = torch.rand(num_windows, 63, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    first_day = torch.full((num_windows,), 19_000)
    return Batch(values[:, :56], first_day, torch.full((num_windows,), kind), values[:, 56:])


def test_augmented_counts_keep_their_shape_and_weekday() -> None:
    torch.manual_seed(0)
    batch = make_batch(500, COUNT)
    augmented = augment(batch)
    factors = augmented.target / batch.target
    torch.testing.assert_close(factors, factors[:, :1].expand(-1, 7))
    known = augmented.history.isfinite()
    known[:, -1] = False  # the last day, which may be counted in part
    torch.testing.assert_close(augmented.history[known], (batch.history * factors[:, :1])[known])
    assert np.std(np.log(factors[:, 0].numpy())) == pytest.approx(1.0, abs=0.1)
    shift = augmented.first_day - batch.first_day
    assert (shift % 7 == 0).all()
    assert (int(shift.min()), int(shift.max())) == (-7 * 26, 7 * 26)
    truncated = ~known[:, 0]
    assert 0.1 < truncated.float().mean() < 0.2
    assert known[:, -28:-1].all()


def test_a_last_day_counted_in_part_changes_nothing_else() -> None:
    torch.manual_seed(0)
    batch = make_batch(4000, COUNT)
    batch = batch._replace(history=(1000 * batch.history).round())
    partial = count_last_days_in_part(batch)
    share = partial.history[:, -1] / batch.history[:, -1]
    is_partial, is_unknown = share < 1, share.isnan()
    assert is_unknown.float().mean().item() == pytest.approx(augmentation.MASKED_SHARE, abs=0.007)
    assert is_partial.float().mean().item() == pytest.approx(augmentation.PARTIAL_SHARE, abs=0.01)
    assert 0.28 < share[is_partial].min() < 0.4
    assert 0.7 < share[is_partial].max() < 0.82
    assert (share[~is_partial & ~is_unknown] == 1).all()
    assert torch.equal(partial.history[:, :-1], batch.history[:, :-1])
    assert torch.equal(partial.target, batch.target)
    rates = make_batch(500, RATE)
    assert torch.equal(count_last_days_in_part(rates).history, rates.history)


def test_rates_are_not_multiplied() -> None:
    batch = make_batch(50, RATE)
    torch.testing.assert_close(augment(batch).target, batch.target)


def test_fine_tuning_changes_training_windows_alone(quick: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = make_panel(116)
    plain, tuning = TrafficDataModule(panel, quick), FineTuningData(panel, quick)
    monkeypatch.setattr(augmentation, "RESCALING_SPREAD", 0.0)
    monkeypatch.setattr(augmentation, "MAX_SHIFT_WEEKS", 0)
    monkeypatch.setattr(augmentation, "TRUNCATED_SHARE", 0.0)
    real = {tuple(row) for block in plain.train_dataloader() for row in block.windows.target.nan_to_num().tolist()}
    seen = [tuple(row) for block in tuning.train_dataloader() for row in block.windows.target.nan_to_num().tolist()]
    assert real <= set(seen)
    share = sum(row not in real for row in seen) / len(seen)
    assert share == pytest.approx(augmentation.SYNTHETIC_SHARE, abs=0.03)
    for expected, other in zip(plain.val_dataloader(), tuning.val_dataloader(), strict=True):
        torch.testing.assert_close(expected.windows.history, other.windows.history, equal_nan=True)


def test_batches_grow_with_the_data(quick: Config) -> None:
    config = replace(quick, data=replace(quick.data, days_back=2000))
    sizes = [FineTuningData(make_panel(days, num_series=4), config).batch_size for days in (60, 400, 1900)]
    assert sizes[0] == config.training.batch_size == 32
    assert sizes[0] < sizes[1] < sizes[2] == 256


def test_without_a_base_windows_are_not_augmented(panel: Panel, quick: Config) -> None:
    assert type(training_data(panel, quick, None)) is TrafficDataModule


def test_about_as_many_synthetic_windows_as_requested(quick: Config) -> None:
    torch.manual_seed(0)
    windows = sample_synthetic_windows(quick, 4000, device=torch.device("cpu"))
    assert 3500 < len(windows.target) <= 4000
    least = augmentation.MIN_TRUNCATED_DAYS - 1  # the last day is hidden in some afterwards
    assert (windows.history.isfinite().sum(1) >= least).all()


def test_sixty_days_of_one_series_always_get_synthetic_windows(quick: Config) -> None:
    """Some synthetic sites start too late for any window; with few sites this could be all of them."""
    data = FineTuningData(make_panel(60, num_series=1), quick)
    for seed in range(40):
        torch.manual_seed(seed)
        assert sum(sum(block.sizes) for block in data.train_dataloader()) > len(data.train_index)


def test_windows_of_a_site_of_thirty_days_are_all_trained_on(quick: Config) -> None:
    data = FineTuningData(make_panel(30, num_series=1), quick)
    known = data.windows.gather(data.train_index, stop=data.train_end).history.isfinite().sum(1)
    assert known.max() < augmentation.MIN_TRUNCATED_DAYS
    torch.manual_seed(0)
    (block,) = data.train_dataloader()
    history = block.windows.history[: len(known)]  # there is one step, with its real windows first
    torch.testing.assert_close(history.isfinite().sum(1).sort().values, known.sort().values)
