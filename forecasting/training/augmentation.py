"""Windows of made sites: what pretraining learns from, and what keeps fine-tuning from forgetting it."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from forecasting.model.scaling import COUNT
from forecasting.panel import Panel
from forecasting.settings.schema import Config, ModelConfig
from forecasting.training.data_module import Batch, Block, TrafficDataModule
from forecasting.training.distributed import num_ranks, rank
from forecasting.training.synthetic import Traffic, known_tail, sample_traffic

WINDOWS_A_SITE = 8  # drawing a site costs as much as training on one window of it
SPARE_DAYS = 56  # that windows of one site begin apart, at most
YOUNG_DAYS, SHORT_SHARE = 14, 0.15  # known at least, of windows whose history is cut short, as a young site's is
POOL = 512  # made windows that an epoch draws from, at least: of as many sites as it takes
MADE_SHARE = 0.15  # of the windows of a batch of real ones: what those do not show is not forgotten
RESCALED = 1.0  # spread of the logarithm of what counts are multiplied by
STEPS_AN_EPOCH, MAX_BATCH = 16, 256  # of fine-tuning: batches grow with the data
MOVED_WEEKS = 26  # that dates are moved by, at most: the epidemic or the feast of one year is no season


@runtime_checkable
class RealBlocks(Protocol):
    """An epoch of windows of real series."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Block]: ...


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


def cut_short(batch: Batch, *, drop: bool = True, draw: "Draw | None" = None) -> Batch:
    """Some histories as short as a young site's. Windows that know too little by that, or no target, are dropped, or
    else stay as they came.
    """
    history = batch.history
    draw = draw or Draw(len(history), history.device)
    known = draw.integers(28, history.shape[1])
    whole = draw.uniform() >= SHORT_SHARE
    cut = known_tail(history, torch.where(whole, history.shape[1], known))
    enough = cut.isfinite().sum(1) >= YOUNG_DAYS
    if not drop:
        return batch._replace(history=torch.where(enough[:, None], cut, history))
    return batch._replace(history=cut).take(enough & batch.target.isfinite().any(1))


class Draw:
    """Random numbers, one a window. Of the windows of all ranks, `mine` are returned: so that what a window becomes
    does not depend on who holds it. Without a generator of their own they are the global one's.
    """

    def __init__(
        self,
        num_windows: int,
        device: torch.device,
        *,
        mine: Bool[Tensor, " all"] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self._mine = slice(None) if mine is None else mine
        self._shape = (num_windows if mine is None else len(mine),)
        self._of: dict[str, Any] = {"device": device, "generator": generator}  # Any: torch's own settings

    def normal(self) -> Float[Tensor, " windows"]:
        return torch.randn(self._shape, **self._of)[self._mine]

    def uniform(self) -> Float[Tensor, " windows"]:
        return torch.rand(self._shape, **self._of)[self._mine]

    def integers(self, low: int, high: int) -> Int[Tensor, " windows"]:
        """From `low` to below `high`."""
        return torch.randint(low, high, self._shape, **self._of)[self._mine]


class WithMade:
    """An epoch of real windows, varied in what does not matter, with windows of made sites in each step.

    Ranks share out the made windows.
    """

    def __init__(self, real: RealBlocks, config: Config, *, batch_size: int) -> None:
        self._real = real
        self._config = config
        self._batch_size = batch_size  # of the real ones, of all ranks

    def __len__(self) -> int:
        return len(self._real)

    def __iter__(self) -> Iterator[Block]:
        made: Batch | None = None
        generator: torch.Generator | None = None
        for block in self._real:
            device, steps = block.windows.target.device, self._steps_of_made(block)
            if made is None or generator is None:
                made = sample_windows(self._config, max(POOL, len(steps) * len(self)), device=device)
                # Of its own, since dropout draws as many numbers of the global one as a rank has windows.
                generator = torch.Generator(device).manual_seed(torch.initial_seed() + 1)
            drawn = torch.randint(len(made.target), (len(steps),), device=device, generator=generator)
            mine = slice(rank(), None, num_ranks())
            real = vary(block.windows, mine=block.mine, generator=generator)
            yield _mix(real, block.sizes, made.take(drawn[mine]), steps[mine])

    def _steps_of_made(self, block: Block) -> Int[Tensor, " made"]:
        """The step of each made window of a block: MADE_SHARE of every step's windows."""
        num_real = len(block.windows.target) if block.mine is None else len(block.mine)
        full, rest = divmod(num_real, self._batch_size)
        sizes = [self._batch_size] * full + [rest] * bool(rest)
        num_made = torch.tensor([math.ceil(MADE_SHARE / (1 - MADE_SHARE) * size) for size in sizes])
        return torch.arange(len(sizes)).repeat_interleave(num_made)


def _mix(real: Batch, sizes: Sequence[int], made: Batch, steps_of_made: Int[Tensor, " made"]) -> Block:
    """The windows of both, step by step."""
    steps = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    steps = torch.cat([steps, steps_of_made])
    order = steps.argsort(stable=True).to(real.target.device)
    return Block(Batch.join([real, made]).take(order), torch.bincount(steps, minlength=len(sizes)).tolist())


def vary(batch: Batch, *, mine: Bool[Tensor, " all"] | None = None, generator: torch.Generator | None = None) -> Batch:
    """Counts multiplied by a number of their own, dates moved by whole weeks, some histories cut short: so that what
    is learned is a shape.
    """
    draw = Draw(len(batch.target), batch.target.device, mine=mine, generator=generator)
    factor = torch.where(batch.kind == COUNT, torch.exp(RESCALED * draw.normal()), 1.0)[:, None]
    weeks = draw.integers(-MOVED_WEEKS, MOVED_WEEKS + 1)
    varied = Batch(batch.history * factor, batch.first_day + 7 * weeks, batch.kind, batch.target * factor)
    return cut_short(varied, drop=False, draw=draw)


class FineTuningData(TrafficDataModule):
    """The panel as training on from the base sees it; what validates and tests is as it came."""

    def __init__(self, panel: Panel, config: Config, *, refit: bool = False) -> None:
        super().__init__(panel, config, refit=refit)
        self.batch_size = max(self.batch_size, min(MAX_BATCH, len(self.own) // STEPS_AN_EPOCH))

    def train_dataloader(self) -> WithMade:  # type: ignore[override]  # iterated in the same way
        return WithMade(super().train_dataloader(), self.config, batch_size=self.batch_size)
