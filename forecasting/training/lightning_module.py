"""ForecastModule: how the Forecaster learns, as Lightning sees it."""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from forecasting.model.forecaster import LEVELS, Forecaster
from forecasting.training.cuda_graph import GraphedStep, make_capturable
from forecasting.training.data_module import Batch, Block
from forecasting.training.distributed import num_ranks, sum_over_ranks
from forecasting.training.step_inputs import Prepared, prepare

WARMUP_SHARE = 0.05  # of the epochs
MAX_GRADIENT_NORM = 1.0


def pinball_loss(
    target: Float[Tensor, "batch horizon"], quantiles: Float[Tensor, "batch horizon levels"]
) -> Float[Tensor, ""]:
    """Mean over the known targets and the levels; at .5 it is half the absolute error.

    Source: Koenker & Bassett (1978), Econometrica 46(1).
    """
    known = torch.isfinite(target)
    return weighted_pinball_loss(torch.where(known, target, 0.0), quantiles, known / known.sum().clamp(min=1))


def weighted_pinball_loss(
    target: Float[Tensor, "batch horizon"],
    quantiles: Float[Tensor, "batch horizon levels"],
    weight: Float[Tensor, "batch horizon"],
) -> Float[Tensor, ""]:
    levels, error = _levels(target.device), target[..., None] - quantiles
    return (torch.maximum(levels * error, (levels - 1) * error).mean(-1) * weight).sum()


@cache
def _levels(device: torch.device) -> Float[Tensor, " levels"]:
    """Made once, since no number can come to a GPU while its steps are captured, and so that training can use it."""
    with torch.inference_mode(mode=False):
        return torch.tensor(LEVELS, device=device)


class ForecastModule(pl.LightningModule):
    """Adam with a short warm-up and a cosine to zero; validated by the same loss on days that it never saw.

    A batch of Lightning's is a Block of steps, so optimization is its manual one. Among several ranks a step's loss is
    the mean over the known days of all of them.
    """

    def __init__(
        self, forecaster: Forecaster, *, learning_rate: float, epochs: int, seed: int, use_graph: bool = True
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.forecaster = forecaster
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.seed = seed
        self.use_graph = use_graph
        self._graphed: GraphedStep | None = None
        self._losses: list[Tensor] = []
        self._validated: list[Tensor] = []

    def on_train_epoch_start(self) -> None:
        # Order and dropout follow from the seed and the epoch alone, so that a resumed run is the run it resumes.
        torch.manual_seed(self.seed * 1_000_003 + self.current_epoch)

    def training_step(self, block: Block, batch_idx: int) -> None:
        take_step = self._replay if self._graphs else partial(self._step, self._optimizer(), self.manual_backward)
        for part in prepare(self.forecaster, block):
            self._losses.append(take_step(part))
        if self.trainer.is_last_batch:  # not at the epoch's end, which is after callbacks have written checkpoints
            cast(LambdaLR, self.lr_schedulers()).step()

    def _step(
        self, optimizer: LightningOptimizer | Optimizer, backward: Callable[[Tensor], None], part: Prepared
    ) -> Tensor:
        loss = self.loss(part)
        optimizer.zero_grad()
        backward(loss)
        torch.nn.utils.clip_grad_norm_(self.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        return loss.detach()

    def _replay(self, part: Prepared) -> Tensor:
        """The same step as kernels alone, whose optimizer is none of Lightning's."""
        counted = self._optimizer()
        if self._graphed is None:
            make_capturable(counted.optimizer, self.device)
            self._graphed = GraphedStep(partial(self._step, counted.optimizer, Tensor.backward), part)
        loss = self._graphed(part)
        counted._on_before_step()  # what Lightning counts its steps by
        counted._on_after_step()
        return loss

    def _optimizer(self) -> LightningOptimizer:
        return cast(LightningOptimizer, self.optimizers())

    @property
    def _graphs(self) -> bool:
        return self.device.type == "cuda" and self.use_graph and num_ranks() == 1

    def on_fit_end(self) -> None:
        self._graphed = None  # and the memory that it holds

    def on_train_epoch_end(self) -> None:
        # Once an epoch: logging each of these small steps would cost a tenth of its time.
        self.log("train/loss", torch.stack(self._losses).mean(), sync_dist=True)
        self._losses.clear()

    def validation_step(self, block: Block, batch_idx: int) -> None:
        self._validated.append(self.sum_losses(block.windows))

    def on_validation_epoch_end(self) -> None:
        total, count = sum_over_ranks(torch.stack(self._validated).sum(0))
        self._validated.clear()
        self.log("val/loss", total / count.clamp(min=1), sync_dist=True)

    def sum_losses(self, windows: Batch) -> Float[Tensor, "2"]:
        """Of the known days of some windows: the sum of their losses, and their number."""
        if not len(windows.target):
            return torch.zeros(2, device=self.device)
        quantiles, scaled = self.forecaster.scaled_quantiles(windows.history, windows.first_day, windows.kind)
        target = self.forecaster.scaling.scale_target(windows.target, windows.kind, scaled)
        count = torch.isfinite(target).sum()
        return torch.stack([pinball_loss(target, quantiles) * count, count])

    def configure_optimizers(self) -> Any:  # Any: Lightning's own union of many types
        optimizer = torch.optim.Adam(self.parameters(), lr=self.learning_rate, fused=True, capturable=self._graphs)
        return [optimizer], [LambdaLR(optimizer, warmup_and_cosine(self.epochs))]

    def loss(self, part: Prepared) -> Tensor:
        return weighted_pinball_loss(part.target, self.forecaster.quantiles(part.inputs), part.weight)


def warmup_and_cosine(epochs: int) -> Callable[[int], float]:
    """Share of the peak learning rate, by epoch: up to 1 over the first 5%, then down to 0 at the end.

    Source: the cosine is that of Loshchilov & Hutter (2017), SGDR.
    """
    warmup = max(1.0, WARMUP_SHARE * epochs)

    def rate(epoch: int) -> float:
        return min(1.0, (epoch + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))

    return rate
