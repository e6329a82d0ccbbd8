"""ForecastModule: how the Forecaster learns, as Lightning sees it."""

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from torch import Tensor

from forecasting.model.forecaster import LEVELS, Forecaster
from forecasting.training.datamodule import Batch

WARMUP_SHARE = 0.05  # of the epochs


def pinball_loss(
    target: Float[Tensor, "batch horizon"], quantiles: Float[Tensor, "batch horizon levels"]
) -> Float[Tensor, ""]:
    """Mean over the known targets and the levels; at .5 it is half the absolute error.

    Source: Koenker & Bassett (1978), Econometrica 46(1).
    """
    known = torch.isfinite(target)
    levels = torch.tensor(LEVELS, device=target.device)
    error = torch.where(known, target, 0.0)[..., None] - quantiles
    loss = torch.maximum(levels * error, (levels - 1) * error).mean(-1)
    return torch.where(known, loss, 0.0).sum() / known.sum().clamp(min=1)


class ForecastModule(pl.LightningModule):
    """Adam with a short warm-up and a cosine to zero; validated by the same loss on days that it never saw."""

    def __init__(self, forecaster: Forecaster, *, learning_rate: float, epochs: int, seed: int) -> None:
        super().__init__()
        self.forecaster = forecaster
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.seed = seed
        self._losses: list[Tensor] = []

    def on_train_epoch_start(self) -> None:
        # Order and dropout follow from the seed and the epoch alone, so that a resumed run is the run it resumes.
        torch.manual_seed(self.seed * 1_000_003 + self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self._losses.append(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        # Once an epoch: logging each of these small steps would cost a tenth of its time.
        self.log("train/loss", torch.stack(self._losses).mean())
        self._losses.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch), batch_size=len(batch.target))

    def configure_optimizers(self) -> Any:  # Any: Lightning's own union of many types
        # Lightning clips no gradients of a fused optimizer in mixed precision.
        fused = self.trainer.precision == "32-true"
        optimizer = torch.optim.Adam(self.parameters(), lr=self.learning_rate, fused=fused)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_and_cosine(self.epochs))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def loss(self, batch: Batch) -> Tensor:
        quantiles, scaled = self.forecaster.scaled_quantiles(batch.history, batch.first_day, batch.kind)
        target = self.forecaster.scaling.scale_target(batch.target, batch.kind, scaled)
        return pinball_loss(target, quantiles)


def warmup_and_cosine(epochs: int) -> Callable[[int], float]:
    """Share of the peak learning rate, by epoch: up to 1 over the first 5%, then down to 0 at the end.

    Source: the cosine is that of Loshchilov & Hutter (2017), SGDR.
    """
    warmup = max(1.0, WARMUP_SHARE * epochs)

    def rate(epoch: int) -> float:
        return min(1.0, (epoch + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))

    return rate
