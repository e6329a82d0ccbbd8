"""Synthetic windows, and variations of real ones, for pretraining and fine-tuning."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from forecasting.domain import RECENT_DAYS
from forecasting.model.rollout import COUNT
from forecasting.panel import Panel
from forecasting.settings.schema import Config, ModelConfig
from forecasting.training.data_module import Batch, Block, TrafficDataModule
from forecasting.training.distributed import num_ranks, rank
from forecasting.training.synthetic import Traffic, keep_last_days, sample_traffic

WINDOWS_PER_SITE = 8  # drawing a synthetic site costs as much as training on one of its windows
SPARE_DAYS = 56  # windows of one site start at most this many days apart
TRUNCATED_SHARE, MIN_TRUNCATED_DAYS = 0.15, 14  # windows with a short history, as young sites have, and its known days
YOUNG_SHARE = 0.3  # of windows that may hold a year, those that hold less
PARTIAL_SHARE = 0.06  # windows whose last day was counted in part, as by an export at noon
PARTIAL_RANGE = (0.3, 0.8)  # of its visits that were counted
MASKED_SHARE = 0.02  # windows whose last day is unknown, as verdicts leave it
SYNTHETIC_POOL = 512  # synthetic windows that an epoch draws from, at least
SYNTHETIC_SHARE = 0.15  # of each batch, so that fine-tuning keeps what real windows do not show
RESCALING_SPREAD = 1.0  # standard deviation of the logarithm of the factor on counts
STEPS_PER_EPOCH, MAX_BATCH = 16, 256  # fine-tuning aims at this many steps, with batches up to this size
MAX_SHIFT_WEEKS = 26  # dates move by at most this much, so one year's events are not learned as a season


@runtime_checkable
class RealBlocks(Protocol):
    """One epoch of windows of real series."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Block]: ...


def sample_synthetic_windows(config: Config, num_windows: int, *, device: torch.device) -> Batch:
    """About `num_windows` windows of synthetic sites, shuffled. The few with too few known days are dropped."""
    num_days = config.model.context_length + config.model.output_days + SPARE_DAYS
    num_sites = math.ceil(num_windows / WINDOWS_PER_SITE)
    traffic = sample_traffic(num_sites, num_days, without=config.pretraining.without, device=device)
    windows = count_last_days_in_part(cut_windows(traffic, config.model, windows_per_site=WINDOWS_PER_SITE))
    return windows.take(torch.randperm(len(windows.target), device=device))


def cut_windows(traffic: Traffic, model: ModelConfig, *, windows_per_site: int) -> Batch:
    """Windows of synthetic series, each from a random position. Drops those with too little history or no target."""
    size = model.context_length + model.output_days
    starts = torch.randint(0, traffic.values.shape[1] - size + 1, (len(traffic.values), windows_per_site))
    starts = starts.to(traffic.values.device)
    cut = traffic.values.unfold(1, size, 1)
    site = torch.arange(len(starts), device=starts.device)[:, None].expand_as(starts)
    windows = cut[site, starts].flatten(0, 1)
    history, target = windows[:, : model.context_length], windows[:, model.context_length :]
    first_day = (traffic.first_day[:, None] + starts).flatten()
    return truncate_histories(Batch(history, first_day, traffic.kind[site.flatten()], target))


def count_last_days_in_part(batch: Batch, *, draw: "WindowRandom | None" = None) -> Batch:
    """Leaves a part of the last day's count in some windows of counts, and none in a few.

    So the network learns not to follow its fall, and to do without it.
    """
    draw = draw or WindowRandom(len(batch.history), batch.history.device)
    low, high = PARTIAL_RANGE
    share = low + (high - low) * draw.uniform()
    position = torch.where(batch.kind == COUNT, draw.uniform(), 0.5)
    last = batch.history[:, -1]
    partial = torch.where(position < PARTIAL_SHARE, (last * share).round(), last)
    history = batch.history.clone()
    history[:, -1] = torch.where(position > 1 - MASKED_SHARE, torch.nan, partial)
    return batch._replace(history=history)


def truncate_histories(batch: Batch, *, drop: bool = True, draw: "WindowRandom | None" = None) -> Batch:
    """Cuts some histories as short as a young site's.

    Windows that end up with too few known days, or have no target, are dropped; without `drop` they stay unchanged.
    """
    history = batch.history
    draw = draw or WindowRandom(len(history), history.device)
    known_days = draw.integers(28, RECENT_DAYS)
    unchanged = draw.uniform() >= TRUNCATED_SHARE
    if history.shape[1] > RECENT_DAYS:
        young_days = (RECENT_DAYS * (history.shape[1] / RECENT_DAYS) ** draw.uniform()).long()
        is_young = unchanged & (draw.uniform() < YOUNG_SHARE)
        known_days, unchanged = torch.where(is_young, young_days, known_days), unchanged & ~is_young
    cut = keep_last_days(history, torch.where(unchanged, history.shape[1], known_days))
    enough = cut[:, -RECENT_DAYS:].isfinite().sum(1) >= MIN_TRUNCATED_DAYS
    if not drop:
        return batch._replace(history=torch.where(enough[:, None], cut, history))
    return batch._replace(history=cut).take(enough & batch.target.isfinite().any(1))


class WindowRandom:
    """Random numbers, one per window, from `generator` or torch's global one.

    Draws for the windows of all ranks and returns those of `is_local`, so the numbers of a window do not depend on
    which rank holds it.
    """

    def __init__(
        self,
        num_windows: int,
        device: torch.device,
        *,
        is_local: Bool[Tensor, " all"] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self._local = slice(None) if is_local is None else is_local
        self._shape = (num_windows if is_local is None else len(is_local),)
        self._options: dict[str, Any] = {"device": device, "generator": generator}  # Any: torch's own settings

    def normal(self) -> Float[Tensor, " windows"]:
        return torch.randn(self._shape, **self._options)[self._local]

    def uniform(self) -> Float[Tensor, " windows"]:
        return torch.rand(self._shape, **self._options)[self._local]

    def integers(self, low: int, high: int) -> Int[Tensor, " windows"]:
        """From `low` up to, but not including, `high`."""
        return torch.randint(low, high, self._shape, **self._options)[self._local]


class MixedBlocks:
    """One epoch of augmented real windows, with SYNTHETIC_SHARE of synthetic windows in each step.

    Ranks divide the synthetic windows among them.
    """

    def __init__(self, real: RealBlocks, config: Config, *, batch_size: int) -> None:
        self._real = real
        self._config = config
        self._batch_size = batch_size  # real windows, of all ranks

    def __len__(self) -> int:
        return len(self._real)

    def __iter__(self) -> Iterator[Block]:
        pool: Batch | None = None
        generator: torch.Generator | None = None
        for block in self._real:
            device, steps = block.windows.target.device, self._steps_of_synthetic(block)
            if pool is None or generator is None:
                pool = sample_synthetic_windows(
                    self._config, max(SYNTHETIC_POOL, len(steps) * len(self)), device=device
                )
                # Not the global one: dropout draws from that as many numbers as a rank has windows.
                generator = torch.Generator(device).manual_seed(torch.initial_seed() + 1)
            drawn = torch.randint(len(pool.target), (len(steps),), device=device, generator=generator)
            local = slice(rank(), None, num_ranks())
            real = augment(block.windows, is_local=block.is_local, generator=generator)
            yield _mix(real, block.sizes, pool.take(drawn[local]), steps[local])

    def _steps_of_synthetic(self, block: Block) -> Int[Tensor, " synthetic"]:
        """The step that each synthetic window of a block belongs to: SYNTHETIC_SHARE of every step's windows."""
        num_real = len(block.windows.target) if block.is_local is None else len(block.is_local)
        full, rest = divmod(num_real, self._batch_size)
        sizes = [self._batch_size] * full + [rest] * bool(rest)
        num_synthetic = torch.tensor([math.ceil(SYNTHETIC_SHARE / (1 - SYNTHETIC_SHARE) * size) for size in sizes])
        return torch.arange(len(sizes)).repeat_interleave(num_synthetic)


def _mix(real: Batch, sizes: Sequence[int], synthetic: Batch, steps_of_synthetic: Int[Tensor, " synthetic"]) -> Block:
    """Real and synthetic windows, sorted by step."""
    steps = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    steps = torch.cat([steps, steps_of_synthetic])
    order = steps.argsort(stable=True).to(real.target.device)
    return Block(Batch.join([real, synthetic]).take(order), torch.bincount(steps, minlength=len(sizes)).tolist())


def augment(
    batch: Batch, *, is_local: Bool[Tensor, " all"] | None = None, generator: torch.Generator | None = None
) -> Batch:
    """Multiplies counts by a random factor, moves dates by whole weeks and truncates some histories.

    So the network learns shapes, and not levels or dates.
    """
    draw = WindowRandom(len(batch.target), batch.target.device, is_local=is_local, generator=generator)
    batch = count_last_days_in_part(batch, draw=draw)
    factor = torch.where(batch.kind == COUNT, torch.exp(RESCALING_SPREAD * draw.normal()), 1.0)[:, None]
    weeks = draw.integers(-MAX_SHIFT_WEEKS, MAX_SHIFT_WEEKS + 1)
    varied = Batch(batch.history * factor, batch.first_day + 7 * weeks, batch.kind, batch.target * factor)
    return truncate_histories(varied, drop=False, draw=draw)


class FineTuningData(TrafficDataModule):
    """The panel for fine-tuning: training windows are augmented, validation and test windows are not."""

    def __init__(self, panel: Panel, config: Config, *, refit: bool = False) -> None:
        super().__init__(panel, config, refit=refit)
        self.batch_size = max(self.batch_size, min(MAX_BATCH, len(self.global_order) // STEPS_PER_EPOCH))

    def train_dataloader(self) -> MixedBlocks:  # type: ignore[override]  # iterated the same way
        return MixedBlocks(super().train_dataloader(), self.config, batch_size=self.batch_size)
