"""Pretraining: the base model, from synthetic traffic alone. Imports nothing of PostgreSQL or TorchServe."""

import difflib
import math
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from torch import Tensor

from forecasting.config import Config, ModelConfig
from forecasting.errors import SettingError
from forecasting.model.forecaster import Forecaster
from forecasting.training.datamodule import Batch
from forecasting.training.fit import Checkpoint, find_resumable, run_trainer
from forecasting.training.module import ForecastModule, pinball_loss
from forecasting.training.prior import PARTS, Traffic, known_tail, sample_traffic

SITES = 4096  # drawn at once
WINDOWS_A_SITE = 8  # drawing a site costs as much as training on one window of it
BLOCKS_A_CHUNK = 4
CHUNK = SITES * WINDOWS_A_SITE * BLOCKS_A_CHUNK  # windows; a resumed run begins at the last whole one
SPARE_DAYS = 56  # that windows of one site begin apart, at most
MIN_KNOWN_DAYS, SHORT_SHARE = 14, 0.15  # of windows whose history is cut short, as a young site's is
VALIDATION_SEED = 1_000_000_007


def cut_windows(traffic: Traffic, model: ModelConfig, *, windows_a_site: int) -> Batch:
    """Windows of made series, from places of their own in each; those with too little history or no target left out."""
    size = model.context_length + model.prediction_horizon
    starts = torch.randint(0, traffic.values.shape[1] - size + 1, (len(traffic.values), windows_a_site))
    starts = starts.to(traffic.values.device)
    cut = traffic.values.unfold(1, size, 1)
    site = torch.arange(len(starts), device=starts.device)[:, None].expand_as(starts)
    windows = cut[site, starts].flatten(0, 1)
    history, target = windows[:, : model.context_length], windows[:, model.context_length :]
    history = _cut_short(history)
    keep = (history.isfinite().sum(1) >= MIN_KNOWN_DAYS) & target.isfinite().any(1)
    first_day = (traffic.first_day[:, None] + starts).flatten()
    kind = traffic.kind[site.flatten()]
    return Batch(history[keep], first_day[keep], kind[keep], target[keep])


def _cut_short(history: Float[Tensor, "windows context"]) -> Float[Tensor, "windows context"]:
    context = history.shape[1]
    known = torch.randint(28, context, (len(history),), device=history.device)
    whole = torch.rand(len(history), device=history.device) >= SHORT_SHARE
    return known_tail(history, torch.where(whole, context, known))


class Chunk:
    """An epoch of pretraining: CHUNK windows of sites never seen before, by the global generator."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self._config = config
        self._device = device

    def __len__(self) -> int:
        return math.ceil(CHUNK / self._config.pretraining.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        size = self._config.pretraining.batch_size
        num_days = self._config.model.context_length + self._config.model.prediction_horizon + SPARE_DAYS
        for _ in range(BLOCKS_A_CHUNK):
            traffic = sample_traffic(SITES, num_days, without=self._config.pretraining.without, device=self._device)
            block = cut_windows(traffic, self._config.model, windows_a_site=WINDOWS_A_SITE)
            for part in torch.split(torch.randperm(len(block.target), device=self._device), size):
                yield Batch(*(tensor[part] for tensor in block))


class SyntheticData(pl.LightningDataModule):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def train_dataloader(self) -> Chunk:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return Chunk(self.config, device)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """It was made there."""
        return batch


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
        accelerator=config.training.accelerator,
        precision=settings.precision,
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
