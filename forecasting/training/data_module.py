"""Windows of a panel, split in time into training, validation and test. No part sees days of a later one."""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import lightning.pytorch as pl
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from forecasting.domain import KIND_CODES, RECENT_DAYS, to_date
from forecasting.errors import TooFewDays
from forecasting.panel import Panel
from forecasting.settings.schema import Config, ModelConfig
from forecasting.training.distributed import gather_from_ranks

TEST_SHARE, VALIDATION_SHARE = 0.20, 0.15
MIN_TRAIN_KNOWN_DAYS = 7  # in a window's history; 30 days of data leave no more
BLOCK_WINDOWS, BLOCK_WINDOWS_CUDA = 4096, 65_536  # per block: fits a CPU's cache, keeps a GPU busy


class Batch(NamedTuple):
    """Windows as the Forecaster takes them, and the values that followed."""

    history: Float[Tensor, "batch context"]
    first_day: Int[Tensor, " batch"]
    kind: Int[Tensor, " batch"]
    target: Float[Tensor, "batch horizon"]

    def take(self, windows: Tensor) -> "Batch":
        """Some of the windows, by index or by mask."""
        return Batch(*(tensor[windows] for tensor in self))

    @staticmethod
    def join(parts: Sequence["Batch"]) -> "Batch":
        return Batch(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


class Block(NamedTuple):
    """The windows of several training steps, step after step. Lightning sees a block as one batch.

    Features are computed for many steps at once, and Lightning's overhead is paid once a block.
    """

    windows: Batch
    sizes: Sequence[int]  # windows of each step; 0 if other ranks hold them all
    is_local: Bool[Tensor, " all"] | None = None  # which of all ranks' windows of the block are here; None: all


@dataclass(frozen=True)
class Split:
    """Target days by index in the panel: [train, validation), [validation, test), [test, end)."""

    train: int
    validation: int
    test: int
    end: int

    def describe(self, panel: Panel) -> str:
        def span(start: int, stop: int) -> str:
            return f"{to_date(panel.first_day + start)}..{to_date(panel.first_day + stop - 1)}"

        return (
            f"train {span(self.train, self.validation)}, validation {span(self.validation, self.test)}, "
            f"test {span(self.test, self.end)}"
        )


def split_days(panel: Panel, *, days_back: int, model: ModelConfig) -> Split:
    """Splits the last `days_back` days: 20% test, the 15% before them validate, the rest train.

    Test and validation have at least a horizon and a week each. Raises TooFewDays if no training days are left.
    """
    horizon, end = model.prediction_horizon, panel.num_days
    num_days = min(days_back, end)
    test = end - max(horizon, 7, round(TEST_SHARE * num_days))
    validation = test - max(horizon, 7, round(VALIDATION_SHARE * num_days))
    train = end - num_days
    first_target = max(train, MIN_TRAIN_KNOWN_DAYS)
    if validation - first_target < horizon:
        raise TooFewDays(
            f"{num_days} days are too few for a horizon of {horizon}: {end - test} days to test and "
            f"{test - validation} to validate leave none to train on. "
            "Load more days, raise --days-back, or lower --prediction-horizon."
        )
    return Split(train, validation, test, end)


def steps_per_block(batch_size: int, device: torch.device, *, all_seen: bool = False) -> int:
    """`all_seen`: one, since callbacks, a profiler or a limit on batches take a batch for a step, as Lightning does."""
    if all_seen:
        return 1
    return max(1, (BLOCK_WINDOWS_CUDA if device.type == "cuda" else BLOCK_WINDOWS) // batch_size)


class Windows:
    """All windows of a panel, on its device: gathering a batch is one indexed copy, without a loop."""

    def __init__(self, panel: Panel, model: ModelConfig, device: torch.device | str = "cpu") -> None:
        self.context_length = model.context_length
        self.horizon, self.output_days = model.prediction_horizon, model.output_days
        around = (model.context_length, model.output_days - model.prediction_horizon)
        self._values = functional.pad(torch.from_numpy(panel.values), around, value=torch.nan).to(device)
        self._kind = torch.tensor([KIND_CODES[series.kind] for series in panel.series], device=device)
        self._first_day = panel.first_day - model.context_length

    @property
    def num_days(self) -> int:
        """Of the panel."""
        return self._values.shape[1] - self.context_length - (self.output_days - self.horizon)

    @property
    def device(self) -> torch.device:
        return self._values.device

    def to(self, device: torch.device) -> "Windows":
        """The same windows on another device."""
        moved = copy.copy(self)
        moved._values, moved._kind = self._values.to(device), self._kind.to(device)
        return moved

    def find(self, start: int, stop: int) -> Int[Tensor, "windows 2"]:
        """(series, first target day) of the windows whose horizon lies in [start, stop), sorted by series, then day.

        Windows without a known day in it, or with too few among their RECENT_DAYS, are skipped.
        """
        days = torch.arange(start, stop - self.horizon + 1, device=self.device)
        known = functional.pad(self._values.isfinite().to(torch.int32), (1, 0)).cumsum(1, dtype=torch.int32)
        before, cutoff, end = (
            known[:, days + self.context_length + ahead] for ahead in (-RECENT_DAYS, 0, self.horizon)
        )
        series, column = torch.nonzero((cutoff - before >= MIN_TRAIN_KNOWN_DAYS) & (end > cutoff), as_tuple=True)
        return torch.stack([series, days[column]], 1)

    def gather(self, index: Int[Tensor, "batch 2"], *, stop: int) -> Batch:
        """Targets have all days that one forward pass forecasts; those from day `stop` of the panel on are unknown."""
        series, day = index[:, 0], index[:, 1]
        windows = self._values.unfold(1, self.context_length + self.output_days, 1)[series, day]
        history, target = windows[:, : self.context_length], windows[:, self.context_length :]
        is_ours = day[:, None] + torch.arange(self.output_days, device=day.device) < stop
        target = torch.where(is_ours, target, torch.nan)
        return Batch(history, self._first_day + day, self._kind[series], target)


class Batches:
    """One epoch in blocks of steps. `shuffle` draws a new order each time, from torch's global generator.

    Targets from day `stop` of the panel on, which belong to a later part, are unknown.

    Several ranks take the same steps as one process would: each rank holds the windows of its own series. For every
    window of all ranks, `global_order` has its position in `index`, or -1 if another rank holds it.
    """

    def __init__(
        self,
        windows: Windows,
        index: Int[Tensor, "windows 2"],
        global_order: Int[Tensor, " all"],
        *,
        stop: int,
        batch_size: int,
        shuffle: bool,
        all_seen: bool = False,
    ) -> None:
        self._windows = windows
        self._stop = stop
        self._index = index.to(windows.device)
        self._global_order = global_order.to(windows.device)
        self._batch_size = batch_size
        self._steps_per_block = steps_per_block(batch_size, windows.device, all_seen=all_seen)
        self._shuffle = shuffle

    def __len__(self) -> int:
        return max(
            1, math.ceil(len(self._global_order) / (self._steps_per_block * self._batch_size))
        )  # one empty block if there are none

    def __iter__(self) -> Iterator[Block]:
        order = self._global_order
        if self._shuffle:
            order = order[torch.randperm(len(order), device=order.device)]
        all_local = len(order) == len(self._index)
        for part in torch.split(order, self._steps_per_block * self._batch_size):
            steps = torch.split(part, self._batch_size)
            if all_local:
                yield Block(self._windows.gather(self._index[part], stop=self._stop), [len(step) for step in steps])
                continue
            sizes = [int((step >= 0).sum()) for step in steps]
            is_local = part >= 0
            yield Block(self._windows.gather(self._index[part[is_local]], stop=self._stop), sizes, is_local)


def order_across_ranks(panel: Panel, index: Int[Tensor, "windows 2"]) -> Int[Tensor, " all"]:
    """For each window of all ranks, its position in this rank's index, or -1 if another rank holds it.

    Sorted by site, metric and day, so the order of training does not depend on which rank holds which series.
    """
    names = [series.key for series in panel.series]
    counts = torch.bincount(index[:, 0].cpu(), minlength=len(names)).tolist()
    counts_of_ranks = gather_from_ranks(list(zip(names, counts, strict=True)))
    all_counts = sorted(named_count for rank_counts in counts_of_ranks for named_count in rank_counts)
    ends = accumulate(count for _, count in all_counts)
    starts = {name: end - count for (name, count), end in zip(all_counts, ends, strict=True)}
    order = torch.full((sum(count for _, count in all_counts),), -1)
    for name, count, end in zip(names, counts, accumulate(counts), strict=True):
        order[starts[name] : starts[name] + count] = torch.arange(end - count, end)
    return order


class DeviceData(pl.LightningDataModule):
    """Batches that are made on the trainer's device, so Lightning does not move them."""

    @property
    def device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def transfer_batch_to_device(self, batch: Block, device: torch.device, dataloader_idx: int) -> Block:
        return batch


class TrafficDataModule(DeviceData):
    """The panel as Lightning's data module. With `refit`, all days train and none validate."""

    def __init__(self, panel: Panel, config: Config, *, refit: bool = False) -> None:
        super().__init__()
        self.panel = panel
        self.config = config
        self.split = split_days(panel, days_back=config.data.days_back, model=config.model)
        self.windows = Windows(panel, config.model)
        self.refit = refit
        self.batch_size = config.training.batch_size
        self.train_end = self.split.end if refit else self.split.validation
        self.train_index = self.windows.find(self.split.train, self.train_end)
        self.validation_index = self.windows.find(self.split.validation, self.split.test)
        self.test_index = self.windows.find(self.split.test, self.split.end)
        self.global_order = order_across_ranks(panel, self.train_index)
        self._refuse_empty_parts()

    def _refuse_empty_parts(self) -> None:
        train, validation, _ = self.num_windows()
        for part, num_windows in (("train on", train), ("validate", validation)):
            if not num_windows:
                raise TooFewDays(
                    f"There is no window to {part}: {self.split.describe(self.panel)}, and too few of these days are "
                    "known. Load the missing days, raise --days-back, or set data.missing=zero if they had no traffic."
                )

    def num_windows(self) -> tuple[int, int, int]:
        """Training, validation and test windows of all ranks."""
        local = (len(self.train_index), len(self.validation_index), len(self.test_index))
        train, validation, test = (sum(parts) for parts in zip(*gather_from_ranks(local), strict=True))
        return train, validation, test

    def setup(self, stage: str) -> None:
        self.windows = self.windows.to(self.device)

    def teardown(self, stage: str) -> None:
        self.windows = self.windows.to(torch.device("cpu"))

    def train_dataloader(self) -> Batches:
        return Batches(
            self.windows,
            self.train_index,
            self.global_order,
            stop=self.train_end,
            batch_size=self.batch_size,
            shuffle=True,
            all_seen=self.config.training.sees_each_step,
        )

    def val_dataloader(self) -> Batches:
        return self._in_order(self.validation_index, stop=self.split.test)

    def test_dataloader(self) -> Batches:
        return self._in_order(self.test_index, stop=self.split.end)

    def _in_order(self, index: Int[Tensor, "windows 2"], *, stop: int) -> Batches:
        """This rank's windows in the order of the index."""
        order = torch.arange(len(index))
        return Batches(self.windows, index, order, stop=stop, batch_size=4096, shuffle=False)
