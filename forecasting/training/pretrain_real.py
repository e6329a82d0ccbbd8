"""Real series for pretraining: after millions of made sites, the noise and the habits of some hundred real ones."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from forecasting.artifact import hash_file
from forecasting.model.forecaster import Forecaster
from forecasting.panel import Panel, to_date
from forecasting.settings.schema import Config
from forecasting.training.augmentation import WithMade
from forecasting.training.data_module import Batch, Block, DeviceData, Windows, steps_a_block
from forecasting.training.fit import run_trainer
from forecasting.training.lightning_module import ForecastModule

CHUNK = 32_768  # windows; an epoch


class Chunk:
    """An epoch: windows drawn from all of the panels', each with the same chance."""

    def __init__(self, windows: Sequence[Windows], index: Int[Tensor, "windows 3"], *, batch_size: int) -> None:
        self._windows = windows
        self._index = index  # panel, series, first target day
        self._batch_size = batch_size
        self._steps_a_block = steps_a_block(batch_size, index.device)

    def __len__(self) -> int:
        return math.ceil(CHUNK / (self._steps_a_block * self._batch_size))

    def __iter__(self) -> Iterator[Block]:
        steps_left = math.ceil(CHUNK / self._batch_size)
        while steps_left > 0:
            steps = min(self._steps_a_block, steps_left)
            places = torch.randint(len(self._index), (steps * self._batch_size,), device=self._index.device)
            yield Block(self._gather(self._index[places]), [self._batch_size] * steps)
            steps_left -= steps

    def _gather(self, drawn: Int[Tensor, "batch 3"]) -> Batch:
        places = [torch.nonzero(drawn[:, 0] == panel)[:, 0] for panel in range(len(self._windows))]
        parts = [windows.gather(drawn[of, 1:]) for windows, of in zip(self._windows, places, strict=True)]
        return Batch.join(parts).take(torch.cat(places).argsort())


class RealData(DeviceData):
    """All windows of some panels, on the trainer's device."""

    def __init__(self, panels: Sequence[Panel], config: Config) -> None:
        super().__init__()
        self.panels = panels
        self.config = config

    def train_dataloader(self) -> WithMade:
        windows = [Windows(panel, self.config.model, self.device) for panel in self.panels]
        found = [one.find(0, panel.num_days) for one, panel in zip(windows, self.panels, strict=True)]
        index = [torch.cat([torch.full_like(one[:, :1], place), one], 1) for place, one in enumerate(found)]
        chunk = Chunk(windows, torch.cat(index), batch_size=self.config.pretraining.batch_size)
        return WithMade(chunk, self.config, batch_size=self.config.pretraining.batch_size)


def go_on_with(panels: Sequence[Panel], forecaster: Forecaster, config: Config) -> tuple[Forecaster, int]:
    """The Forecaster trained further on real series, and on how many of their windows. Ctrl-C ends it after a chunk."""
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


def describe_files(files: Sequence[str], panels: Sequence[Panel]) -> list[dict[str, Any]]:  # Any: json's own types
    """What model.json says of the real series that a base has seen."""
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
