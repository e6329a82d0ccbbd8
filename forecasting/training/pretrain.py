"""Pretraining on synthetic traffic; pretrain_real.py continues on real series. Needs no PostgreSQL or TorchServe."""

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
from forecasting.training.augmentation import cut_windows, sample_synthetic_windows
from forecasting.training.callbacks import Checkpoint
from forecasting.training.checkpoints import find_resumable
from forecasting.training.data_module import Block, DeviceData
from forecasting.training.distributed import require_single_process
from forecasting.training.lightning_module import ForecastModule, pinball_loss
from forecasting.training.synthetic import PARTS, sample_traffic
from forecasting.training.trainer import run_trainer

BLOCK = 32_768  # windows drawn at once
BLOCKS_PER_CHUNK = 4
CHUNK = BLOCK * BLOCKS_PER_CHUNK  # windows; a resumed run starts at the last complete chunk
VALIDATION_SEED = 1_000_000_007


class SyntheticChunk:
    """One epoch of pretraining: CHUNK windows of new sites, drawn with torch's global generator."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self._config = config
        self._device = device

    def __len__(self) -> int:
        return BLOCKS_PER_CHUNK

    def __iter__(self) -> Iterator[Block]:
        size = self._config.pretraining.batch_size
        for _ in range(BLOCKS_PER_CHUNK):
            windows = sample_synthetic_windows(self._config, BLOCK, device=self._device)
            yield Block(windows, [len(step) for step in torch.split(windows.kind, size)])


class SyntheticData(DeviceData):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def train_dataloader(self) -> SyntheticChunk:
        return SyntheticChunk(self.config, self.device)


def check_part_names(names: Collection[str]) -> None:
    """Raises SettingError for a name that is not in PARTS."""
    for name in names:
        if name not in PARTS:
            matches = difflib.get_close_matches(name, PARTS, n=1)
            hint = f"Did you mean {matches[0]}?" if matches else f"Choose from: {', '.join(PARTS)}."
            raise SettingError(f"pretraining.without names an unknown part, {name!r}. {hint}")


def pretrain(config: Config, *, checkpoint: Path, resume: bool = False) -> tuple[Forecaster, int, float]:
    """Returns the base model, the number of windows it learned from, and the seconds of this run.

    Ctrl-C stops it after the current chunk. Writes `checkpoint` every few seconds; with `resume`, continues from it.
    """
    settings = config.pretraining
    check_part_names(settings.without)
    require_single_process(config.process, "Pretraining")
    torch.manual_seed(settings.seed)
    chunks = math.ceil(settings.windows / CHUNK)
    model = replace(config.model, dropout=0.0)  # no window comes twice, so there is nothing to overfit
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
        resume_from=find_resumable(checkpoint) if resume else None,
    )
    return module.forecaster.cpu().eval(), trainer.current_epoch * CHUNK, time.monotonic() - started


def synthetic_loss(forecaster: Forecaster, config: Config, *, num_sites: int = 8192) -> float:
    """Pinball loss on synthetic sites kept out of training, in the scaling's units."""
    torch.manual_seed(VALIDATION_SEED)
    num_days = config.model.context_length + config.model.output_days
    batch = cut_windows(sample_traffic(num_sites, num_days), config.model, windows_per_site=1)
    with torch.no_grad():
        quantiles, scaled = forecaster.scaled_quantiles(batch.history, batch.first_day, batch.kind)
    return float(pinball_loss(forecaster.scaling.scale_target(batch.target, batch.kind, scaled), quantiles))
