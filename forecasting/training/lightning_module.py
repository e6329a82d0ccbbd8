"""ForecastModule: the Forecaster's loss, optimizer and schedule, as a Lightning module."""

import math
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any, NamedTuple, cast

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
from forecasting.training.step_inputs import StepInputs, day_weights, prepare_steps

WARMUP_SHARE = 0.05  # of all epochs
MAX_GRADIENT_NORM = 1.0


class EpochLoss(NamedTuple):
    """Mean losses of an epoch: of its steps as they were taken, and on the validation days after it."""

    train: float
    validation: float | None  # None if the run does not validate


class GradientLimit(NamedTuple):
    """How far a step's gradients may go: their joint norm, or each value."""

    value: float = MAX_GRADIENT_NORM
    algorithm: str = "norm"

    def apply(self, parameters: Iterable[Tensor]) -> None:
        if self.algorithm == "norm":
            torch.nn.utils.clip_grad_norm_(parameters, self.value)
        else:
            torch.nn.utils.clip_grad_value_(parameters, self.value)


def pinball_loss(
    target: Float[Tensor, "batch horizon"], quantiles: Float[Tensor, "batch horizon levels"]
) -> Float[Tensor, ""]:
    """Mean over the known targets and all levels. At level 0.5 it is half the absolute error.

    Source: Koenker & Bassett (1978), Econometrica 46(1).
    """
    known = torch.isfinite(target)
    return weighted_pinball_loss(torch.where(known, target, 0.0), quantiles, known / known.sum().clamp(min=1))


def weighted_pinball_loss(
    target: Float[Tensor, "batch horizon"],
    quantiles: Float[Tensor, "batch horizon levels"],
    weight: Float[Tensor, "batch horizon"],
) -> Float[Tensor, ""]:
    """Sum over days of each day's mean loss over the levels, times the day's weight."""
    levels, error = _levels(target.device), target[..., None] - quantiles
    return (torch.maximum(levels * error, (levels - 1) * error).mean(-1) * weight).sum()


@cache
def _levels(device: torch.device) -> Float[Tensor, " levels"]:
    """LEVELS on the device, created once: nothing can be copied to a GPU while a CUDA graph is captured.

    Created outside inference mode, because training cannot use inference tensors.
    """
    with torch.inference_mode(mode=False):
        return torch.tensor(LEVELS, device=device)


class ForecastModule(pl.LightningModule):
    """Adam with a short warm-up, then a cosine down to zero. Validation uses the same loss.

    A Lightning batch is a Block of several steps, so optimization is manual. With several ranks, a step's loss is the
    mean over the known days of all of them.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        *,
        learning_rate: float,
        epochs: int,
        seed: int,
        use_graph: bool = True,
        gradient_limit: GradientLimit | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.forecaster = forecaster
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.seed = seed
        self.use_graph = use_graph
        self.gradient_limit = gradient_limit or GradientLimit()
        self.losses: list[EpochLoss] = []  # of the epochs so far, those before a resumption too
        self._graphed_step: GraphedStep | None = None
        self._losses: list[Tensor] = []
        self._validation_sums: list[Tensor] = []

    def on_train_epoch_start(self) -> None:
        # Order and dropout depend on seed and epoch alone, so a resumed run repeats the run it resumes.
        torch.manual_seed((self.seed * 1_000_003 + self.current_epoch) % 2**63)  # torch's own limit

    def training_step(self, block: Block, batch_idx: int) -> None:
        take_step = self._replay if self._uses_graph else partial(self._step, self._optimizer(), self.manual_backward)
        for step in prepare_steps(self.forecaster, block):
            self._losses.append(take_step(step))
        if self.trainer.is_last_batch:  # the epoch's end would be too late: callbacks write checkpoints before it
            mean = sum_over_ranks(torch.stack(self._losses).mean()) / num_ranks()
            self._losses.clear()
            self.losses.append(EpochLoss(float(mean), None))
            cast(LambdaLR, self.lr_schedulers()).step()

    def _step(
        self, optimizer: LightningOptimizer | Optimizer, backward: Callable[[Tensor], None], step: StepInputs
    ) -> Tensor:
        loss = self.loss(step)
        optimizer.zero_grad()
        backward(loss)
        self.gradient_limit.apply(self.parameters())
        optimizer.step()
        return loss.detach()

    def _replay(self, step: StepInputs) -> Tensor:
        """The same step as a CUDA graph. It calls torch's optimizer and not Lightning's wrapper around it."""
        optimizer = self._optimizer()
        if self._graphed_step is None:
            make_capturable(optimizer.optimizer, self.device)
            self._graphed_step = GraphedStep(partial(self._step, optimizer.optimizer, Tensor.backward), step)
        loss = self._graphed_step(step)
        optimizer._on_before_step()  # Lightning counts its steps in these two
        optimizer._on_after_step()
        return loss

    def _optimizer(self) -> LightningOptimizer:
        return cast(LightningOptimizer, self.optimizers())

    @property
    def _uses_graph(self) -> bool:
        return self.device.type == "cuda" and self.use_graph and num_ranks() == 1

    def on_fit_end(self) -> None:
        self._graphed_step = None  # frees its memory

    def on_train_epoch_end(self) -> None:
        # Once an epoch: logging every step would add a tenth to its time.
        self.log("train/loss", self.losses[-1].train, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["losses"] = [tuple(losses) for losses in self.losses]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.losses = [EpochLoss(*losses) for losses in checkpoint["losses"]]

    def validation_step(self, block: Block, batch_idx: int) -> None:
        self._validation_sums.append(self.sum_losses(block.windows))

    def on_validation_epoch_end(self) -> None:
        total, count = sum_over_ranks(torch.stack(self._validation_sums).sum(0))
        self._validation_sums.clear()
        loss = float(total / count.clamp(min=1))
        self.losses[-1] = self.losses[-1]._replace(validation=loss)
        self.log("val/loss", loss, sync_dist=True)

    def sum_losses(self, windows: Batch) -> Float[Tensor, "2"]:
        """Sum of the losses over the known days of some windows, and of these days' weights."""
        if not len(windows.target):
            return torch.zeros(2, device=self.device)
        quantiles, scaled = self.forecaster.scaled_quantiles(windows.history, windows.first_day, windows.kind)
        target = self.forecaster.scaling.scale_target(windows.target, windows.kind, scaled)
        known = torch.isfinite(target)
        weight = torch.where(known, day_weights(known.shape[1], known.device), 0.0)
        return torch.stack([weighted_pinball_loss(torch.where(known, target, 0.0), quantiles, weight), weight.sum()])

    def configure_optimizers(self) -> Any:  # Any: Lightning's own union of many types
        optimizer = torch.optim.Adam(self.parameters(), lr=self.learning_rate, fused=True, capturable=self._uses_graph)
        return [optimizer], [LambdaLR(optimizer, warmup_and_cosine(self.epochs))]

    def loss(self, step: StepInputs) -> Tensor:
        return weighted_pinball_loss(step.target, self.forecaster.quantiles(step.inputs), step.weight)


def warmup_and_cosine(epochs: int) -> Callable[[int], float]:
    """Learning rate of each epoch as a share of the peak: linear up over the first 5%, then a cosine down to 0.

    Source of the cosine: Loshchilov & Hutter (2017), SGDR.
    """
    warmup = max(1.0, WARMUP_SHARE * epochs)

    def rate(epoch: int) -> float:
        return min(1.0, (epoch + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))

    return rate
