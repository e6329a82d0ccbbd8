"""What differs when training starts from the base model: fewer epochs, a lower rate, and weights between the two.

A few weeks of data teach more noise than signal. So fine-tuning is short, and the weights kept lie between the base's
and the trained ones. EXPERIMENTS.md has the measurements.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from forecasting.model.forecaster import Forecaster
from forecasting.settings.schema import Config
from forecasting.training.data_module import TrafficDataModule
from forecasting.training.distributed import sum_over_ranks
from forecasting.training.lightning_module import ForecastModule

RATE_FACTOR = 0.1  # of training.learning_rate, for batches of training.batch_size
MAX_EPOCHS, MAX_WINDOWS = 20, 150_000  # whichever limit comes first
SHARES = (0.5, 0.75, 1.0)  # of the longest way from the base weights; validation chooses
# The longest way is days / (days + HALFWAY_DAYS): two months of data spoil the next week more often than they improve
# it, whatever validation says.
HALFWAY_DAYS = 365


def fine_tuning_epochs(data: TrafficDataModule, config: Config) -> int:
    """Passes over the training windows: at most MAX_EPOCHS, fewer if that is more than MAX_WINDOWS windows."""
    enough = -(-MAX_WINDOWS // len(data.global_order))
    return min(config.training.epochs, MAX_EPOCHS, enough)


def fine_tuning_rate(data: TrafficDataModule, config: Config) -> float:
    """The peak learning rate. Larger batches allow a higher rate: it grows with the square root of their size."""
    return config.training.learning_rate * (RATE_FACTOR * math.sqrt(data.batch_size / config.training.batch_size))


def choose_share(module: ForecastModule, data: TrafficDataModule, base: Forecaster) -> tuple[float, dict[float, float]]:
    """Moves the module to the share of the way from base to trained weights with the lowest validation loss.

    Returns that share (0: the base itself) and the loss of each share tried.
    """
    trained = {name: weights.clone() for name, weights in module.forecaster.state_dict().items()}
    num_days = data.split.end - data.split.train
    longest = num_days / (num_days + HALFWAY_DAYS)
    losses = {}
    for share in (0.0, *(longest * part for part in SHARES)):
        interpolate_weights(module, base, trained, share)
        losses[share] = validation_loss(module, data)
    best = min(losses, key=lambda share: losses[share])
    interpolate_weights(module, base, trained, best)
    return best, losses


def interpolate_weights(module: ForecastModule, base: Forecaster, trained: Mapping[str, Tensor], share: float) -> None:
    """Loads base + share * (trained - base). Averaging works because both descend from the same weights.

    Source: Wortsman et al. (2022), Robust fine-tuning of zero-shot models, CVPR.
    """
    weights = {name: torch.lerp(weights, trained[name], share) for name, weights in base.state_dict().items()}
    module.forecaster.load_state_dict(weights)


def validation_loss(module: ForecastModule, data: TrafficDataModule) -> float:
    """The module's mean loss over the known validation days of all ranks."""
    module.eval()
    with torch.no_grad():
        losses = [module.sum_losses(block.windows) for block in data.val_dataloader()]
        total, count = sum_over_ranks(torch.stack(losses).sum(0))
    module.train()  # Lightning does not change the mode it finds
    return float(total / count)
