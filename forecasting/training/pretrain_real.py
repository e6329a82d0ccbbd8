"""Second part of pretraining: a few hundred real series, after millions of synthetic windows."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from forecasting.artifact import hash_file
from forecasting.domain import to_date
from forecasting.model.forecaster import Forecaster
from forecasting.panel import Panel
from forecasting.settings.schema import Config
from forecasting.training.augmentation import MixedBlocks
from forecasting.training.data_module import Batch, Block, DeviceData, Windows, steps_per_block
from forecasting.training.lightning_module import ForecastModule
from forecasting.training.synthetic import Traffic, sharpen_weeks
from forecasting.training.trainer import run_trainer

CHUNK = 32_768  # windows of one epoch


class RealChunk:
    """One epoch: windows drawn from all panels with equal probability, with replacement."""

    def __init__(self, windows: Sequence[Windows], index: Int[Tensor, "windows 3"], *, batch_size: int) -> None:
        self._windows = windows
        self._index = index  # panel, series, first target day
        self._batch_size = batch_size
        self._steps_per_block = steps_per_block(batch_size, index.device)

    def __len__(self) -> int:
        return math.ceil(CHUNK / (self._steps_per_block * self._batch_size))

    def __iter__(self) -> Iterator[Block]:
        steps_left = math.ceil(CHUNK / self._batch_size)
        while steps_left > 0:
            steps = min(self._steps_per_block, steps_left)
            drawn = torch.randint(len(self._index), (steps * self._batch_size,), device=self._index.device)
            yield Block(_sharpen(self._gather(self._index[drawn])), [self._batch_size] * steps)
            steps_left -= steps

    def _gather(self, drawn: Int[Tensor, "batch 3"]) -> Batch:
        """The windows in the order drawn, gathered panel by panel."""
        rows_by_panel = [torch.nonzero(drawn[:, 0] == panel)[:, 0] for panel in range(len(self._windows))]
        parts = [
            windows.gather(drawn[rows, 1:], stop=windows.num_days)
            for windows, rows in zip(self._windows, rows_by_panel, strict=True)
        ]
        return Batch.join(parts).take(torch.cat(rows_by_panel).argsort())


def _sharpen(batch: Batch) -> Batch:
    """Without sharp weeks among real windows, the network forgets those of the synthetic ones."""
    context_length = batch.history.shape[1]
    traffic = sharpen_weeks(Traffic(torch.cat([batch.history, batch.target], 1), batch.first_day, batch.kind))
    return batch._replace(history=traffic.values[:, :context_length], target=traffic.values[:, context_length:])


class RealData(DeviceData):
    """All windows of several panels, on the trainer's device."""

    def __init__(self, panels: Sequence[Panel], config: Config) -> None:
        super().__init__()
        self.panels = panels
        self.config = config

    def train_dataloader(self) -> MixedBlocks:
        windows = [Windows(panel, self.config.model, self.device) for panel in self.panels]
        indexes = [of_panel.find(0, panel.num_days) for of_panel, panel in zip(windows, self.panels, strict=True)]
        index = [torch.cat([torch.full_like(rows[:, :1], panel), rows], 1) for panel, rows in enumerate(indexes)]
        chunk = RealChunk(windows, torch.cat(index), batch_size=self.config.pretraining.batch_size)
        return MixedBlocks(chunk, self.config, batch_size=self.config.pretraining.batch_size)


def pretrain_on_real_series(panels: Sequence[Panel], forecaster: Forecaster, config: Config) -> tuple[Forecaster, int]:
    """Trains the Forecaster further on real series. Returns it and the number of windows drawn.

    Ctrl-C stops it after the current chunk.
    """
    settings = config.pretraining
    torch.manual_seed(settings.seed)
    epochs = math.ceil(settings.real_windows / CHUNK)
    module = ForecastModule(
        forecaster.train(), learning_rate=settings.real_learning_rate, epochs=epochs, seed=settings.seed
    )
    trainer, _ = run_trainer(
        module,
        RealData(panels, config),
        label="real series, in chunks of windows:",
        epochs=epochs,
        config=config,
        validate=False,
    )
    return module.forecaster.cpu().eval(), trainer.current_epoch * CHUNK


def describe_files(files: Sequence[str], panels: Sequence[Panel]) -> list[dict[str, Any]]:  # Any: JSON types
    """The files behind a base model, for its model.json: names and hashes, not where they are stored."""
    return [
        {
            "file": Path(file).name,
            "sha256": hash_file(Path(file)),
            "num_series": len(panel.series),
            "first_day": str(to_date(panel.first_day)),
            "last_day": str(to_date(panel.cutoff)),
        }
        for file, panel in zip(files, panels, strict=True)
    ]
