"""Windows made ready for training steps: all that the weights have no part in."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from forecasting.model.forecaster import Forecaster, Inputs
from forecasting.training.data_module import Batch, Block
from forecasting.training.distributed import num_ranks, sum_over_ranks


class Prepared(NamedTuple):
    """What the network reads of windows, and what it is to be told of its forecasts."""

    inputs: Inputs
    target: Float[Tensor, "windows horizon"]  # in the scaling's units; 0 where unknown
    weight: Float[Tensor, "windows horizon"]  # of each day in its step's loss; 0 where unknown

    def split(self, sizes: list[int]) -> "Iterator[Prepared]":
        parts = (torch.split(tensor, sizes) for tensor in (*self.inputs, self.target, self.weight))
        for steps, extra, target, weight in zip(*parts, strict=True):
            yield Prepared(Inputs(steps, extra), target, weight)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Prepared":
        return Prepared(Inputs(*(change(one) for one in self.inputs)), change(self.target), change(self.weight))

    def fill(self, part: "Prepared") -> None:
        """Puts a part's windows, of which there may be fewer, in the place of these; those beyond weigh nothing."""
        size = len(part.target)
        for mine, its in zip((*self.inputs, self.target), (*part.inputs, part.target), strict=True):
            mine[:size].copy_(its)
        self.weight.zero_()[:size].copy_(part.weight)


@torch.no_grad()
def prepare(forecaster: Forecaster, block: Block) -> Iterator[Prepared]:
    """The steps of a block, each with a window at least: an unknown one where other ranks have them all.

    Each rank's gradient is averaged over the ranks, so a step's weights sum to the number of ranks.
    """
    sizes = [max(1, size) for size in block.sizes]
    windows = block.windows if sizes == list(block.sizes) else _fill_empty_steps(block)
    inputs, scaled = forecaster.read_windows(windows.history, windows.first_day, windows.kind)
    target = forecaster.scaling.scale_target(windows.target, windows.kind, scaled)
    known = torch.isfinite(target)
    step = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).to(known.device)
    counts = torch.zeros(len(sizes), dtype=torch.int64, device=known.device).index_add_(0, step, known.sum(1))
    weight = num_ranks() / sum_over_ranks(counts).clamp(min=1)
    ready = Prepared(inputs, torch.where(known, target, 0.0), torch.where(known, weight[step, None], 0.0))
    return ready.split(sizes)


def _fill_empty_steps(block: Block) -> Batch:
    """With one window, whose days are all unknown, in each step that has none."""
    unknown = Batch(*(tensor.new_zeros(1, *tensor.shape[1:]) for tensor in block.windows))
    unknown = unknown._replace(target=torch.full_like(unknown.target, torch.nan))
    parts = zip(*(torch.split(tensor, list(block.sizes)) for tensor in block.windows), strict=True)
    return Batch.join([Batch(*part) if len(part[0]) else unknown for part in parts])
