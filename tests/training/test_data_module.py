"""Windows and the split: the right values at the right position, and no later days in an earlier part."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from forecasting.errors import TooFewDays
from forecasting.model.forecaster import Forecaster
from forecasting.panel import Panel
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config
from forecasting.training.data_module import (
    MIN_TRAIN_KNOWN_DAYS,
    Batch,
    Batches,
    Block,
    TrafficDataModule,
    Windows,
    split_days,
)
from forecasting.training.step_inputs import prepare_steps
from tests.panels import make_panel


def test_documented_shares_of_60_days(panel: Panel, quick: Config) -> None:
    split = split_days(panel, days_back=60, model=quick.model)
    assert (split.train, split.validation, split.test, split.end) == (56, 95, 104, 116)  # 39, 9 and 12 days
    assert split.describe(panel) == (
        "train 2024-02-26..2024-04-04, validation 2024-04-05..2024-04-13, test 2024-04-14..2024-04-25"
    )


def test_thirty_days_are_enough_and_too_long_a_horizon_is_refused() -> None:
    panel = make_panel(30)
    config = load_config(["data.days_back=30"], environ={})
    data = TrafficDataModule(panel, config)
    assert all(num_windows > 0 for num_windows in data.num_windows())
    with pytest.raises(TooFewDays) as refusal:
        split_days(panel, days_back=60, model=replace(config.model, prediction_horizon=10))
    assert str(refusal.value) == (
        "30 days are too few for a horizon of 10: 10 days to test and 10 to validate leave none to train on. "
        "Load more days, raise --days-back, or lower --prediction-horizon."
    )


def test_gathered_windows_are_slices_of_the_panel(panel: Panel, quick: Config) -> None:
    """Against numpy slices. Days before and after the panel are unknown."""
    windows = Windows(panel, quick.model)
    context, horizon = quick.model.context_length, quick.model.prediction_horizon
    padded = np.pad(panel.values, ((0, 0), (0, quick.model.output_days)), constant_values=np.nan)
    index = windows.find(0, panel.num_days)
    batch = windows.gather(index, stop=panel.num_days)
    for row, (series, day) in enumerate(index.tolist()):
        expected = np.full(context, np.nan, np.float32)
        known = panel.values[series, max(0, day - context) : day]
        expected[context - known.size :] = known
        np.testing.assert_array_equal(batch.history[row].numpy(), expected)
        np.testing.assert_array_equal(batch.target[row].numpy(), padded[series, day : day + quick.model.output_days])
        assert batch.first_day[row] == panel.first_day + day - context
    starts = panel.num_days - horizon + 1 - MIN_TRAIN_KNOWN_DAYS
    assert len(index) == starts * len(panel.series)


def test_parts_share_no_target_day(panel: Panel, quick: Config) -> None:
    data = TrafficDataModule(panel, quick)
    days = [
        {day + ahead for _, day in index.tolist() for ahead in range(7)}
        for index in (data.train_index, data.validation_index, data.test_index)
    ]
    assert all(days)
    assert max(days[0]) < min(days[1])
    assert max(days[1]) < min(days[2])
    assert max(days[2]) == panel.num_days - 1


def test_days_after_the_horizon_are_targets_up_to_the_end_of_their_part(panel: Panel, quick: Config) -> None:
    """Of 21 days that one forward pass forecasts: as many as their part has. Windows are those of the horizon."""
    direct = replace(quick, model=replace(quick.model, direct_days=21))
    plain, data = TrafficDataModule(panel, quick), TrafficDataModule(panel, direct)
    split = data.split
    loaders = [
        (data.train_dataloader(), plain.train_index, split.validation),
        (data.val_dataloader(), plain.validation_index, split.test),
        (data.test_dataloader(), plain.test_index, split.end),
    ]
    for loader, index, stop in loaders:
        targets = torch.cat([block.windows.target for block in loader]).numpy()
        expected = np.full((len(index), 21), np.nan, np.float32)
        for row, (series, day) in enumerate(index.tolist()):
            values = panel.values[series, day : min(day + 21, stop)]
            expected[row, : values.size] = values
        order, expected_order = (np.lexsort(np.nan_to_num(part).T) for part in (targets, expected))
        np.testing.assert_array_equal(targets[order], expected[expected_order])
        assert np.isfinite(targets[:, :7]).all()
        assert np.isnan(targets).any()


def test_windows_without_a_known_target_are_skipped(panel: Panel, quick: Config) -> None:
    values = panel.values.copy()
    values[0, 100:] = np.nan
    index = Windows(replace(panel, values=values), quick.model).find(100, 116)
    assert set(index[:, 0].tolist()) == {1}


def test_every_window_trains_once_an_epoch_in_a_new_order(panel: Panel, quick: Config) -> None:
    loader = TrafficDataModule(panel, quick).train_dataloader()
    epochs = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        blocks = list(loader)
        assert len(blocks) == len(loader)
        epochs.append(torch.cat([windows.first_day * 2 + (windows.history[:, -1] > 300) for windows, _, _ in blocks]))
    assert not torch.equal(epochs[0], epochs[1])
    torch.testing.assert_close(epochs[0], epochs[2])
    torch.testing.assert_close(epochs[0].sort().values, epochs[1].sort().values)


def test_two_ranks_together_take_the_steps_of_one(panel: Panel, quick: Config) -> None:
    """With the global order that two ranks would compute: each step's windows are divided between them."""
    data = TrafficDataModule(panel, replace(quick, training=replace(quick.training, batch_size=8)))
    index, order = data.train_index, data.global_order
    first = index[:, 0] == 0
    orders = [torch.where(rows, rows.cumsum(0) - 1, -1)[order] for rows in (first, ~first)]
    steps = []
    for part, positions in ((index, order), (index[first], orders[0]), (index[~first], orders[1])):
        torch.manual_seed(4)
        batches = Batches(data.windows, part, positions, stop=data.train_end, batch_size=8, shuffle=True)
        blocks = list(batches)
        assert len(blocks) == len(batches)
        steps.append([windows.target.nansum(1).tolist() for block in blocks for windows in split(block)])
    assert max(len(step) for step in steps[0]) == 8
    for whole, first_rank, second_rank in zip(*steps, strict=True):
        assert sorted(whole) == sorted(first_rank + second_rank)


def split(block: Block) -> list[Batch]:
    parts = (torch.split(tensor, list(block.sizes)) for tensor in block.windows)
    return [Batch(*part) for part in zip(*parts, strict=True)]


def test_step_held_by_another_rank_has_weight_zero(panel: Panel, quick: Config) -> None:
    data = TrafficDataModule(panel, quick)
    windows = data.windows.gather(data.train_index[:5], stop=data.train_end)
    parts = list(prepare_steps(Forecaster(quick.model), Block(windows, [3, 0, 2])))
    assert [len(part.target) for part in parts] == [3, 1, 2]
    assert [part.weight.sum().item() for part in parts] == pytest.approx([1.0, 0.0, 1.0])
