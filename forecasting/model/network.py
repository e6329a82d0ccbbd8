"""The documented network: steps through a two-layer LSTM with dropout, then dense layers that give quantiles."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MEDIAN = LEVELS.index(0.5)
# Distances between neighbouring quantiles of a normal distribution with the spread of a typical week's errors: where
# training starts, so that its first steps are not spent on widening the bands.
INITIAL_GAPS = (0.44, 0.73, 0.81, 0.81, 0.73, 0.44)


class Network(nn.Module):
    """Steps in, quantiles out, both in the scaling's units; the quantiles never cross."""

    def __init__(
        self,
        *,
        num_features: int,
        num_extra: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        horizon: int,
    ) -> None:
        super().__init__()
        self.horizon = horizon
        self.lstm = nn.LSTM(
            num_features, hidden_size, num_layers, batch_first=True, dropout=dropout if num_layers > 1 else 0.0
        )
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(hidden_size + num_extra, hidden_size)
        self.head = nn.Linear(hidden_size, horizon * len(LEVELS))
        self._start_near_nothing()

    def _start_near_nothing(self) -> None:
        """The untrained network adds nothing to what it corrects, with bands as wide as INITIAL_GAPS."""
        nn.init.normal_(self.head.weight, std=1e-3)
        gaps = torch.tensor(INITIAL_GAPS)
        bias = torch.cat([torch.zeros(1), torch.log(torch.expm1(gaps))])  # the inverse of softplus
        with torch.no_grad():
            self.head.bias.copy_(bias.repeat(self.horizon))

    def forward(
        self, steps: Float[Tensor, "batch sequence features"], extra: Float[Tensor, "batch extra"]
    ) -> Float[Tensor, "batch horizon levels"]:
        """`extra` joins after the LSTM: what the dense layers should see unfiltered."""
        states, _ = self.lstm(steps)
        last = torch.cat([self.dropout(states[:, -1]), extra], 1)
        # In float32 from here on, whatever the layers computed in: differences of quantiles are small.
        out = self.head(functional.gelu(self.dense(last))).float().view(-1, self.horizon, len(LEVELS))
        median, gaps = out[..., :1], functional.softplus(out[..., 1:])
        below = median - gaps[..., :MEDIAN].flip(-1).cumsum(-1).flip(-1)
        above = median + gaps[..., MEDIAN:].cumsum(-1)
        return torch.cat([below, median, above], -1)
