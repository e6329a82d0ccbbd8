"""Pretraining on synthetic traffic; real.py may go on from there. Imports nothing of PostgreSQL or TorchServe."""

import difflib
import math
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from forecasting.errors import SettingError
from forecasting.model.forecaster import Forecaster
from forecasting.settings.schema import Config
from forecasting.training.augmentation import cut_windows, sample_windows
from forecasting.training.data_module import Block, DeviceData
from forecasting.training.distributed import refuse_several
from forecasting.training.fit import Checkpoint, find_resumable, run_trainer
from forecasting.training.lightning_module import ForecastModule, pinball_loss
from forecasting.training.synthetic import PARTS, sample_traffic

BLOCK = 32_768  # windows drawn at once
BLOCKS_A_CHUNK = 4
CHUNK = BLOCK * BLOCKS_A_CHUNK  # windows; a resumed run begins at the last whole one
VALIDATION_SEED = 1_000_000_007


class Chunk:
    """An epoch of pretraining: CHUNK windows of sites never seen before, by the global generator."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self._config = config
        self._device = device

    def __len__(self) -> int:
        return BLOCKS_A_CHUNK

    def __iter__(self) -> Iterator[Block]:
        size = self._config.pretraining.batch_size
        for _ in range(BLOCKS_A_CHUNK):
            windows = sample_windows(self._config, BLOCK, device=self._device)
            yield Block(windows, [len(step) for step in torch.split(windows.kind, size)])


class SyntheticData(DeviceData):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def train_dataloader(self) -> Chunk:
        return Chunk(self.config, self.device)


def check_parts(names: Collection[str]) -> None:
    """Raises SettingError for a name that is none of PARTS."""
    for name in names:
        if name not in PARTS:
            near = difflib.get_close_matches(name, PARTS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(PARTS)}."
            raise SettingError(f"There is no part {name!r} of the prior. {hint}")


def pretrain(config: Config, *, checkpoint: Path, resume: bool = False) -> tuple[Forecaster, int, float]:
    """The base model, the windows that it learned from, and the seconds of this run. Ctrl-C ends it after a chunk.

    `checkpoint` is written now and then; with `resume`, pretraining goes on from it.
    """
    settings = config.pretraining
    check_parts(settings.without)
    refuse_several(config.process, "Pretraining")
    torch.manual_seed(settings.seed)
    chunks = math.ceil(settings.windows / CHUNK)
    model = replace(config.model, dropout=0.0)  # no window comes twice: there is nothing to learn by heart
    module = ForecastModule(Forecaster(model), learning_rate=settings.learning_rate, epochs=chunks, seed=settings.seed)
    started = time.monotonic()
    trainer, _ = run_trainer(
        module,
        SyntheticData(config),
        label="pretraining, in chunks of windows:",
        epochs=chunks,
        config=config,
        callbacks=[Checkpoint(checkpoint)],
        validate=False,
        resumed=find_resumable(checkpoint) if resume else None,
    )
    return module.forecaster.cpu().eval(), trainer.current_epoch * CHUNK, time.monotonic() - started


def synthetic_loss(forecaster: Forecaster, config: Config, *, num_sites: int = 8192) -> float:
    """Pinball loss on sites that no training has seen, in the scaling's units."""
    torch.manual_seed(VALIDATION_SEED)
    num_days = config.model.context_length + config.model.prediction_horizon
    batch = cut_windows(sample_traffic(num_sites, num_days), config.model, windows_a_site=1)
    with torch.no_grad():
        quantiles, scaled = forecaster.scaled_quantiles(batch.history, batch.first_day, batch.kind)
    return float(pinball_loss(forecaster.scaling.scale_target(batch.target, batch.kind, scaled), quantiles))
