"""Windows of a panel, split in time: train, validation, test, and nothing of a later part in an earlier."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import lightning.pytorch as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from forecasting.config import Config, ModelConfig
from forecasting.errors import TooFewDays
from forecasting.model.forecaster import KINDS
from forecasting.panel import Panel, to_date

TEST_SHARE, VALIDATION_SHARE = 0.20, 0.15
MIN_TRAIN_KNOWN_DAYS = 7  # of a window's history: on 30 days of data there is no more


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


class Windows:
    """Every window of a panel, gathered where the panel lies: a batch costs one indexed copy and no loop."""

    def __init__(self, panel: Panel, model: ModelConfig, device: torch.device | str = "cpu") -> None:
        values = torch.from_numpy(panel.values.copy()).to(device)
        before = torch.full((len(values), model.context_length), torch.nan, device=device)
        size = model.context_length + model.prediction_horizon
        self._windows = torch.cat([before, values], 1).unfold(1, size, 1)
        self._kind = torch.tensor([KINDS[series.kind] for series in panel.series], device=device)
        self._first_day = panel.first_day - model.context_length
        self.context_length = model.context_length

    def find(self, start: int, stop: int) -> Int[Tensor, "windows 2"]:
        """(series, first target day) of the windows with targets in [start, stop).

        Those without a known target, or with too little history, are none.
        """
        horizon = self._windows.shape[2] - self.context_length
        days = torch.arange(start, stop - horizon + 1)
        windows = self._windows[:, days]
        history, target = windows[..., : self.context_length], windows[..., self.context_length :]
        enough = history.isfinite().sum(-1) >= MIN_TRAIN_KNOWN_DAYS
        series, place = torch.nonzero(enough & target.isfinite().any(-1), as_tuple=True)
        return torch.stack([series, days[place.cpu()].to(series.device)], 1)

    def gather(self, index: Int[Tensor, "batch 2"]) -> Batch:
        series, day = index[:, 0], index[:, 1]
        windows = self._windows[series, day]
        history, target = windows[:, : self.context_length], windows[:, self.context_length :]
        return Batch(history, self._first_day + day, self._kind[series], target)


class Batches:
    """An epoch's batches, in a new order each time where `shuffle`, by the global generator."""

    def __init__(self, windows: Windows, index: Int[Tensor, "windows 2"], *, batch_size: int, shuffle: bool) -> None:
        self._windows = windows
        self._index = index
        self._batch_size = batch_size
        self._shuffle = shuffle

    def __len__(self) -> int:
        return math.ceil(len(self._index) / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        index = self._index[torch.randperm(len(self._index))] if self._shuffle else self._index
        for part in torch.split(index, self._batch_size):
            yield self._windows.gather(part)


class DeviceData(pl.LightningDataModule):
    """Batches that come into being where the trainer uses them."""

    @property
    def device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch


class TrafficDataModule(pl.LightningDataModule):
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
        """To train on, to validate, to test."""
        return len(self.train_index), len(self.validation_index), len(self.test_index)

    def train_dataloader(self) -> Batches:
        return self._batches(self.train_index, shuffle=True)

    def val_dataloader(self) -> Batches:
        return self._batches(self.validation_index, shuffle=False)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Lightning's own walks every batch to find its tensors: a tenth of a small step."""
        return batch if batch.history.device == device else Batch(*(tensor.to(device) for tensor in batch))

    def _batches(self, index: Int[Tensor, "windows 2"], *, shuffle: bool) -> Batches:
        size = self.batch_size if shuffle else 4096
        return Batches(self.windows, index, batch_size=size, shuffle=shuffle)
