"""Inputs of training steps: everything about their windows that does not depend on the weights."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from forecasting.model.forecaster import Forecaster, Inputs
from forecasting.training.data_module import Batch, Block
from forecasting.training.distributed import num_ranks, sum_over_ranks


class StepInputs(NamedTuple):
    """What the network reads of a step's windows, and what its loss compares the forecasts with."""

    inputs: Inputs
    target: Float[Tensor, "windows horizon"]  # in the scaling's units; 0 where unknown
    weight: Float[Tensor, "windows horizon"]  # of each day in the step's loss; 0 where unknown

    def split(self, sizes: list[int]) -> "Iterator[StepInputs]":
        """One StepInputs for each step, of `sizes` windows."""
        parts = (torch.split(tensor, sizes) for tensor in (*self.inputs, self.target, self.weight))
        for steps, extra, target, weight in zip(*parts, strict=True):
            yield StepInputs(Inputs(steps, extra), target, weight)

    def map(self, change: Callable[[Tensor], Tensor]) -> "StepInputs":
        return StepInputs(Inputs(*(change(tensor) for tensor in self.inputs)), change(self.target), change(self.weight))

    def fill(self, step: "StepInputs") -> None:
        """Copies the windows of another step, at most as many, into these tensors. Windows left over get weight 0."""
        size = len(step.target)
        for target, source in zip((*self.inputs, self.target), (*step.inputs, step.target), strict=True):
            target[:size].copy_(source)
        self.weight.zero_()[:size].copy_(step.weight)


def day_weights(num_days: int, device: torch.device) -> Float[Tensor, " days"]:
    """How much each day ahead counts in the loss: the first week once, each later one less, since people look at the
    next days most, and later days err more.
    """
    return 1.0 / (1 + torch.arange(num_days, device=device) // 7)


@torch.no_grad()
def prepare_steps(forecaster: Forecaster, block: Block) -> Iterator[StepInputs]:
    """The inputs of each step of a block. A step whose windows are all on other ranks gets one unknown window.

    DDP averages gradients over ranks, so a step's weights sum to the number of ranks.
    """
    sizes = [max(1, size) for size in block.sizes]
    windows = block.windows if sizes == list(block.sizes) else _fill_empty_steps(block)
    inputs, scaled = forecaster.read_windows(windows.history, windows.first_day, windows.kind)
    target = forecaster.scaling.scale_target(windows.target, windows.kind, scaled)
    known = torch.isfinite(target)
    step = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).to(known.device)
    of_days = torch.where(known, day_weights(known.shape[1], known.device), 0.0)
    total = torch.zeros(len(sizes), device=known.device).index_add_(0, step, of_days.sum(1))
    weight = num_ranks() / sum_over_ranks(total).clamp(min=1e-6)
    inputs_of_block = StepInputs(inputs, torch.where(known, target, 0.0), of_days * weight[step, None])
    return inputs_of_block.split(sizes)


def _fill_empty_steps(block: Block) -> Batch:
    """The block's windows, with one window of unknown days in each step that has none."""
    unknown = Batch(*(tensor.new_zeros(1, *tensor.shape[1:]) for tensor in block.windows))
    unknown = unknown._replace(target=torch.full_like(unknown.target, torch.nan))
    parts = zip(*(torch.split(tensor, list(block.sizes)) for tensor in block.windows), strict=True)
    return Batch.join([Batch(*part) if len(part[0]) else unknown for part in parts])
