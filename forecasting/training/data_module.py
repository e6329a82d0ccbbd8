"""Windows of a panel, split in time: train, validation, test, and nothing of a later part in an earlier."""

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

from forecasting.errors import TooFewDays
from forecasting.model.forecaster import KINDS
from forecasting.panel import Panel, to_date
from forecasting.settings.schema import Config, ModelConfig
from forecasting.training.distributed import gather_from_ranks

TEST_SHARE, VALIDATION_SHARE = 0.20, 0.15
MIN_TRAIN_KNOWN_DAYS = 7  # of a window's history: on 30 days of data there is no more
BLOCK_WINDOWS, BLOCK_WINDOWS_CUDA = 4096, 65_536  # gathered at once: fits a processor's cache, keeps a GPU busy


class Batch(NamedTuple):
    """Windows as the Forecaster takes them, and what came after them."""

    history: Float[Tensor, "batch context"]
    first_day: Int[Tensor, " batch"]
    kind: Int[Tensor, " batch"]
    target: Float[Tensor, "batch horizon"]

    def take(self, windows: Tensor) -> "Batch":
        """Some of the windows, by their places or by a mask."""
        return Batch(*(tensor[windows] for tensor in self))

    @staticmethod
    def join(parts: Sequence["Batch"]) -> "Batch":
        return Batch(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


class Block(NamedTuple):
    """The windows of several training steps, one step's after another's: a batch to Lightning.

    So what there is nothing to learn in is made for many steps at once, and what Lightning costs is paid once for all.
    """

    windows: Batch
    sizes: Sequence[int]  # windows of each step; 0 where another rank has them all
    mine: Bool[Tensor, " all"] | None = None  # of the windows of all ranks in the block; None: all of them


@dataclass(frozen=True)
class Split:
    """Days of the panel whose values are targets: [train, validation), [validation, test), [test, end)."""

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
    """The last 20% of the days with targets test, the 15% before them validate, the rest train; a horizon at least.

    Raises TooFewDays where nothing would be left to train on.
    """
    horizon, end = model.prediction_horizon, panel.num_days
    num_days = min(days_back, end)
    test = end - max(horizon, 7, round(TEST_SHARE * num_days))
    validation = test - max(horizon, 7, round(VALIDATION_SHARE * num_days))
    train = end - num_days
    first_target = max(train, MIN_TRAIN_KNOWN_DAYS)
    if validation - first_target < horizon:
        raise TooFewDays(
            f"{num_days} days are too few for a horizon of {horizon}: after {end - test} days to test and "
            f"{test - validation} to validate, none is left to train on. "
            "Load more days, raise --days-back, or lower --prediction-horizon."
        )
    return Split(train, validation, test, end)


def steps_a_block(batch_size: int, device: torch.device) -> int:
    return max(1, (BLOCK_WINDOWS_CUDA if device.type == "cuda" else BLOCK_WINDOWS) // batch_size)


class Windows:
    """Every window of a panel, gathered where the panel lies: a batch costs one indexed copy and no loop."""

    def __init__(self, panel: Panel, model: ModelConfig, device: torch.device | str = "cpu") -> None:
        before = torch.full((len(panel.series), model.context_length), torch.nan)
        self._values = torch.cat([before, torch.from_numpy(panel.values)], 1).to(device)
        self._kind = torch.tensor([KINDS[series.kind] for series in panel.series], device=device)
        self._first_day = panel.first_day - model.context_length
        self.context_length = model.context_length
        self.horizon = model.prediction_horizon

    @property
    def device(self) -> torch.device:
        return self._values.device

    def to(self, device: torch.device) -> "Windows":
        """The same windows there."""
        moved = copy.copy(self)
        moved._values, moved._kind = self._values.to(device), self._kind.to(device)
        return moved

    def find(self, start: int, stop: int) -> Int[Tensor, "windows 2"]:
        """(series, first target day) of the windows with targets in [start, stop), in the order of series, then days.

        Those without a known target, or with too little history, are none.
        """
        days = torch.arange(start, stop - self.horizon + 1, device=self.device)
        known = functional.pad(self._values.isfinite().to(torch.int32), (1, 0)).cumsum(1, dtype=torch.int32)
        before, cutoff, end = (
            known[:, days + ahead] for ahead in (0, self.context_length, self.context_length + self.horizon)
        )
        series, place = torch.nonzero((cutoff - before >= MIN_TRAIN_KNOWN_DAYS) & (end > cutoff), as_tuple=True)
        return torch.stack([series, days[place]], 1)

    def gather(self, index: Int[Tensor, "batch 2"]) -> Batch:
        series, day = index[:, 0], index[:, 1]
        windows = self._values.unfold(1, self.context_length + self.horizon, 1)[series, day]
        history, target = windows[:, : self.context_length], windows[:, self.context_length :]
        return Batch(history, self._first_day + day, self._kind[series], target)


class Batches:
    """An epoch in blocks of steps, in a new order each time where `shuffle`, by the global generator.

    Among several ranks the steps are those that one would take alone: of each, a rank has the windows of its own
    series. `own` has the place in the `index` of every window of all ranks, -1 where it is another's.
    """

    def __init__(
        self,
        windows: Windows,
        index: Int[Tensor, "windows 2"],
        own: Int[Tensor, " all"],
        *,
        batch_size: int,
        shuffle: bool,
    ) -> None:
        self._windows = windows
        self._index = index.to(windows.device)
        self._own = own.to(windows.device)
        self._batch_size = batch_size
        self._steps_a_block = steps_a_block(batch_size, windows.device)
        self._shuffle = shuffle

    def __len__(self) -> int:
        return max(1, math.ceil(len(self._own) / (self._steps_a_block * self._batch_size)))  # an empty one, if none

    def __iter__(self) -> Iterator[Block]:
        own = self._own[torch.randperm(len(self._own), device=self._own.device)] if self._shuffle else self._own
        alone = len(self._own) == len(self._index)
        for part in torch.split(own, self._steps_a_block * self._batch_size):
            steps = torch.split(part, self._batch_size)
            if alone:
                yield Block(self._windows.gather(self._index[part]), [len(step) for step in steps])
                continue
            sizes = [int((step >= 0).sum()) for step in steps]
            mine = part >= 0
            yield Block(self._windows.gather(self._index[part[mine]]), sizes, mine)


def number_windows(panel: Panel, index: Int[Tensor, "windows 2"]) -> Int[Tensor, " all"]:
    """For each window of all ranks, by the names of their series and then by days: its place in this rank's index, or
    -1. So the order of training does not depend on who holds which series.
    """
    names = [(series.site, series.metric) for series in panel.series]
    counts = torch.bincount(index[:, 0].cpu(), minlength=len(names)).tolist()
    everywhere = sorted(one for part in gather_from_ranks(list(zip(names, counts, strict=True))) for one in part)
    ends = accumulate(count for _, count in everywhere)
    begins = {name: end - count for (name, count), end in zip(everywhere, ends, strict=True)}
    own = torch.full((sum(count for _, count in everywhere),), -1)
    for name, count, end in zip(names, counts, accumulate(counts), strict=True):
        own[begins[name] : begins[name] + count] = torch.arange(end - count, end)
    return own


class DeviceData(pl.LightningDataModule):
    """Batches that come into being where the trainer uses them."""

    @property
    def device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def transfer_batch_to_device(self, batch: Block, device: torch.device, dataloader_idx: int) -> Block:
        return batch


class TrafficDataModule(DeviceData):
    """The panel for Lightning. `refit`: all days train, none validate."""

    def __init__(self, panel: Panel, config: Config, *, refit: bool = False) -> None:
        super().__init__()
        self.panel = panel
        self.config = config
        self.split = split_days(panel, days_back=config.data.days_back, model=config.model)
        self.windows = Windows(panel, config.model)
        self.refit = refit
        self.batch_size = config.training.batch_size
        train_end = self.split.end if refit else self.split.validation
        self.train_index = self.windows.find(self.split.train, train_end)
        self.validation_index = self.windows.find(self.split.validation, self.split.test)
        self.test_index = self.windows.find(self.split.test, self.split.end)
        self.own = number_windows(panel, self.train_index)
        self._refuse_empty_parts()

    def _refuse_empty_parts(self) -> None:
        train, validation, _ = self.num_windows()
        for part, number in (("train on", train), ("validate", validation)):
            if not number:
                raise TooFewDays(
                    f"There is no window to {part}: {self.split.describe(self.panel)}, and the known days among these "
                    "are too few. Load the missing days, raise --days-back, or say data.missing=zero if they had no "
                    "traffic."
                )

    def num_windows(self) -> tuple[int, int, int]:
        """To train on, to validate, to test; of all ranks."""
        mine = (len(self.train_index), len(self.validation_index), len(self.test_index))
        train, validation, test = (sum(parts) for parts in zip(*gather_from_ranks(mine), strict=True))
        return train, validation, test

    def setup(self, stage: str) -> None:
        self.windows = self.windows.to(self.device)

    def teardown(self, stage: str) -> None:
        self.windows = self.windows.to(torch.device("cpu"))

    def train_dataloader(self) -> Batches:
        return Batches(self.windows, self.train_index, self.own, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> Batches:
        return self.in_order(self.validation_index)

    def in_order(self, index: Int[Tensor, "windows 2"]) -> Batches:
        """Windows of this rank alone, as they come."""
        return Batches(self.windows, index, torch.arange(len(index)), batch_size=4096, shuffle=False)
