"""The documented network: a two-layer LSTM with dropout, then dense layers that give quantiles."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MEDIAN = LEVELS.index(0.5)
# Distances between neighbouring quantiles of a normal distribution as wide as a typical week's errors. Training starts
# from them, so its first steps are not spent on widening the bands.
INITIAL_GAPS = (0.44, 0.73, 0.81, 0.81, 0.73, 0.44)


class Network(nn.Module):
    """Steps in, quantiles out, both in the scaling's units. Quantiles never cross: the network learns their gaps."""

    def __init__(
        self,
        *,
        num_features: int,
        num_extra: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        horizon: int,
        initial_logits: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.horizon = horizon
        self.lstm = nn.LSTM(
            num_features, hidden_size, num_layers, batch_first=True, dropout=dropout if num_layers > 1 else 0.0
        )
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(hidden_size + num_extra, hidden_size)
        self.num_outputs = len(LEVELS) + len(initial_logits)  # of a day
        self.head = nn.Linear(hidden_size, horizon * self.num_outputs)
        self._initialise_head(initial_logits)

    def _initialise_head(self, initial_logits: Sequence[float]) -> None:
        """An untrained network corrects nothing, and its bands are INITIAL_GAPS wide."""
        nn.init.normal_(self.head.weight, std=1e-3)
        gaps = torch.tensor(INITIAL_GAPS)
        bias = torch.cat(
            [torch.zeros(1), torch.log(torch.expm1(gaps)), torch.tensor(initial_logits)]
        )  # inverse of softplus
        with torch.no_grad():
            self.head.bias.copy_(bias.repeat(self.horizon))

    def summarise(self, steps: Float[Tensor, "batch sequence features"]) -> Float[Tensor, "batch hidden"]:
        if not steps.is_cuda:
            return self._run_lstm(steps)
        with torch.autocast("cuda", enabled=False):  # it would run cuDNN's LSTM in float16, not bfloat16
            return self._run_lstm(steps.float())

    def _run_lstm(self, steps: Float[Tensor, "batch sequence features"]) -> Float[Tensor, "batch hidden"]:
        """Training runs layer by layer: its dropout is faster than torch's, and CUDA graphs can replay it."""
        if not (self.training and self.dropout.p > 0):
            states: Tensor = self.lstm(steps)[0]
            return states[:, -1]
        states, zeros = steps, steps.new_zeros(1, len(steps), self.lstm.hidden_size)
        for layer, weights in enumerate(self.lstm.all_weights):
            states = self._drop(states) if layer else states
            states, _, _ = torch.lstm(states, (zeros, zeros), [*weights], True, 1, 0.0, True, False, True)
        return states[:, -1]

    def _drop(self, x: Tensor) -> Tensor:
        by_bytes = self.training and self.dropout.p > 0 and x.device.type == "cpu"
        dropped: Tensor = drop_by_bytes(x, self.dropout.p) if by_bytes else self.dropout(x)
        return dropped

    def forward(
        self, steps: Float[Tensor, "batch sequence features"], extra: Float[Tensor, "batch extra"]
    ) -> tuple[Float[Tensor, "batch horizon levels"], Float[Tensor, "batch horizon logits"]]:
        """Quantiles, and as many logits as there are initial ones. `extra` goes straight to the dense layers."""
        last = torch.cat([self._drop(self.summarise(steps)), extra], 1)
        # float32 from here on, even if the layers ran in bfloat16: gaps between quantiles are small.
        out: Tensor = self.head(functional.gelu(self.dense(last))).float().view(-1, self.horizon, self.num_outputs)
        median: Tensor = out[..., :1]
        gaps = functional.softplus(out[..., 1 : len(LEVELS)])
        above_lowest = functional.pad(gaps, (1, 0)).cumsum(-1)
        return median + (above_lowest - above_lowest[..., MEDIAN : MEDIAN + 1]), out[..., len(LEVELS) :]


def drop_by_bytes(x: Tensor, share: float) -> Tensor:
    """Dropout of `share` of the values, rounded to the nearest 256th.

    Draws eight random bytes at a time. torch draws one number a value, which takes a tenth of a training step.
    """
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    dropped = min(255, round(256 * share))
    is_kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return x * is_kept.to(x.dtype).mul_(256 / (256 - dropped))
