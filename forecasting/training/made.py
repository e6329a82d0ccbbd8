"""Windows of made sites: what pretraining learns from, and what keeps fine-tuning from forgetting it."""

import math
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch

from forecasting.config import Config, ModelConfig
from forecasting.model.scaling import COUNT
from forecasting.panel import Panel
from forecasting.training.datamodule import Batch, TrafficDataModule
from forecasting.training.prior import Traffic, known_tail, sample_traffic

WINDOWS_A_SITE = 8  # drawing a site costs as much as training on one window of it
SPARE_DAYS = 56  # that windows of one site begin apart, at most
YOUNG_DAYS, SHORT_SHARE = 14, 0.15  # known at least, of windows whose history is cut short, as a young site's is
POOL = 512  # made windows that an epoch draws from, at least: of as many sites as it takes
MADE_SHARE = 0.15  # of the windows of a batch of real ones: what those do not show is not forgotten
RESCALED = 1.0  # spread of the logarithm of what counts are multiplied by
STEPS_AN_EPOCH, MAX_BATCH = 16, 256  # of fine-tuning: batches grow with the data
MOVED_WEEKS = 26  # that dates are moved by, at most: the epidemic or the feast of one year is no season


@runtime_checkable
class RealBatches(Protocol):
    """An epoch of windows of real series."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


def sample_windows(config: Config, num_windows: int, *, device: torch.device) -> Batch:
    """About so many windows of made sites, in no order; the few that know too little are left out."""
    num_days = config.model.context_length + config.model.prediction_horizon + SPARE_DAYS
    num_sites = math.ceil(num_windows / WINDOWS_A_SITE)
    traffic = sample_traffic(num_sites, num_days, without=config.pretraining.without, device=device)
    windows = cut_windows(traffic, config.model, windows_a_site=WINDOWS_A_SITE)
    return windows.take(torch.randperm(len(windows.target), device=device))


def cut_windows(traffic: Traffic, model: ModelConfig, *, windows_a_site: int) -> Batch:
    """Windows of made series, from places of their own in each; those with too little history or no target left out."""
    size = model.context_length + model.prediction_horizon
    starts = torch.randint(0, traffic.values.shape[1] - size + 1, (len(traffic.values), windows_a_site))
    starts = starts.to(traffic.values.device)
    cut = traffic.values.unfold(1, size, 1)
    site = torch.arange(len(starts), device=starts.device)[:, None].expand_as(starts)
    windows = cut[site, starts].flatten(0, 1)
    history, target = windows[:, : model.context_length], windows[:, model.context_length :]
    first_day = (traffic.first_day[:, None] + starts).flatten()
    return cut_short(Batch(history, first_day, traffic.kind[site.flatten()], target))


def cut_short(batch: Batch, *, drop: bool = True) -> Batch:
    """Some histories as short as a young site's. Windows that know too little by that, or no target, are dropped, or
    else stay as they came.
    """
    history, device = batch.history, batch.history.device
    num_windows, context = history.shape
    known = torch.randint(28, context, (num_windows,), device=device)
    whole = torch.rand(num_windows, device=device) >= SHORT_SHARE
    cut = known_tail(history, torch.where(whole, context, known))
    enough = cut.isfinite().sum(1) >= YOUNG_DAYS
    if not drop:
        return batch._replace(history=torch.where(enough[:, None], cut, history))
    return batch._replace(history=cut).take(enough & batch.target.isfinite().any(1))


class WithMade:
    """An epoch of real windows, varied in what does not matter, with windows of made sites in each batch.

    `drop`: without those whose history, cut short, knows too little; a site of 30 days has no others.
    """

    def __init__(self, real: RealBatches, config: Config, *, drop: bool = True) -> None:
        self._real = real
        self._config = config
        self._drop = drop

    def __len__(self) -> int:
        return len(self._real)

    def __iter__(self) -> Iterator[Batch]:
        made: Batch | None = None
        for batch in self._real:
            num_made = math.ceil(MADE_SHARE / (1 - MADE_SHARE) * len(batch.target))
            if made is None:
                made = sample_windows(self._config, max(POOL, num_made * len(self)), device=batch.target.device)
            drawn = torch.randint(len(made.target), (num_made,), device=batch.target.device)
            yield Batch.join([vary(batch, drop=self._drop), made.take(drawn)])


def vary(batch: Batch, *, drop: bool = True) -> Batch:
    """Counts multiplied by a number of their own, dates moved by whole weeks: so that what is learned is a shape."""
    num_windows, device = len(batch.target), batch.target.device
    factor = torch.exp(RESCALED * torch.randn(num_windows, 1, device=device))
    factor = torch.where(batch.kind[:, None] == COUNT, factor, 1.0)
    weeks = torch.randint(-MOVED_WEEKS, MOVED_WEEKS + 1, (num_windows,), device=device)
    varied = Batch(batch.history * factor, batch.first_day + 7 * weeks, batch.kind, batch.target * factor)
    return cut_short(varied, drop=drop)


class FineTuningData(TrafficDataModule):
    """The panel as training on from the base sees it; what validates and tests is as it came."""

    def __init__(self, panel: Panel, config: Config, *, refit: bool = False) -> None:
        super().__init__(panel, config, refit=refit)
        self.batch_size = max(self.batch_size, min(MAX_BATCH, len(self.train_index) // STEPS_AN_EPOCH))

    def train_dataloader(self) -> WithMade:  # type: ignore[override]  # iterated in the same way
        return WithMade(super().train_dataloader(), self.config, drop=False)
