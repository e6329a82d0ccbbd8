"""Synthetic daily traffic of websites, from which the base model learns first.

Each part of a site's traffic is a function, listed in PARTS, and can be left out. The parts in LEVEL_PARTS add up to
the logarithm of a day's expected traffic; those in DAY_PARTS then change single days. Everything is drawn on the
device, thousands of sites at once, with torch's global generator. Sizes and rates are our judgement of real websites'
traffic; EXPERIMENTS.md says what leaving each part out costs.
"""

import math
from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from forecasting.model.earlier_days import day_of_month
from forecasting.model.rollout import COUNT, OTHER, RATE

FIRST_DAYS = (14_600, 21_600)  # 2009-12-22 to 2029-02-20, in days since 1970-01-01
MAX_LOG_MEAN = 18.0  # exp of it: 65 million a day
STEADY_SHARE = 0.08
RATE_SHARE, OTHER_SHARE = 0.05, 0.02  # of all series; the rest are counts


class Traffic(NamedTuple):
    """Synthetic series, like the rows of a panel. Unknown days are NaN; `first_day` is in days since 1970-01-01."""

    values: Float[Tensor, "sites days"]
    first_day: Int[Tensor, " sites"]
    kind: Int[Tensor, " sites"]


class Sites:
    """A batch of sites: what their parts share, and random draws in their shape."""

    def __init__(
        self, num_sites: int, num_days: int, device: torch.device | str, *, first_day: Tensor | None = None
    ) -> None:
        self.shape = (num_sites, num_days)
        self.device = device
        drawn = torch.randint(*FIRST_DAYS, (num_sites,), device=device)
        self.first_day = drawn if first_day is None else first_day
        self.day = self.first_day[:, None] + torch.arange(num_days, device=device)
        self.weekday = (self.day + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
        self.calm = self.chance(0.5)  # half of the sites have stable weeks and little noise
        self.steady = self.chance(STEADY_SHARE)  # only LASTING_PARTS change these; all else is noise

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*(shape or (self.shape[0], 1)), device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*(shape or (self.shape[0], 1)), device=self.device)

    def chance(self, share: float | Tensor) -> Float[Tensor, "sites 1"]:
        """1 for about this share of the sites, 0 for the others."""
        return (self.uniform() < share).float()

    def log_uniform(self, low: float, high: float) -> Float[Tensor, "sites 1"]:
        return low * torch.exp(self.uniform() * math.log(high / low))

    def size(self, wild: tuple[float, float], calm: tuple[float, float]) -> Float[Tensor, "sites 1"]:
        """Log-uniform in the range `wild`, or in the range `calm` for calm sites."""
        return torch.where(self.calm > 0, self.log_uniform(*calm), self.log_uniform(*wild))

    def events(self, daily_rate: float | Tensor) -> Float[Tensor, "sites days"]:
        """1 on the days of an event, 0 on others."""
        return (self.uniform(*self.shape) < daily_rate).float()

    def since(self, start: Tensor) -> Float[Tensor, "sites days"]:
        """Days since the day with index `start`, [sites, 1]; negative before it."""
        return torch.arange(self.shape[1], device=self.device) - start.float()

    def random_day(self, margin: int = 0) -> Float[Tensor, "sites 1"]:
        """Index of a random day, or of one up to `margin` days before the first."""
        return (self.uniform() * (self.shape[1] + margin)).floor() - margin


def autoregression(noise: Float[Tensor, "sites days"], memory: Float[Tensor, "sites 1"]) -> Float[Tensor, "sites days"]:
    """x[t] = memory * x[t-1] + noise[t], started in its stationary distribution. `memory` must be below 1."""
    state = noise[:, 0] / torch.sqrt(1 - memory[:, 0] ** 2)
    states = [state]
    for step in noise.unbind(1)[1:]:
        state = memory[:, 0] * state + step
        states.append(state)
    return torch.stack(states, 1)


def _drift(sites: Sites) -> Tensor:
    """A random walk of the level."""
    return torch.cumsum(sites.normal(*sites.shape) * sites.size((0.002, 0.12), (0.002, 0.024)), 1)


def _momentum(sites: Sites) -> Tensor:
    """A local trend that fades within weeks."""
    steps = sites.normal(*sites.shape) * sites.log_uniform(0.0003, 0.006) * sites.chance(0.5)
    return torch.cumsum(autoregression(steps, torch.full_like(sites.calm, 0.93)), 1)


def _trend(sites: Sites) -> Tensor:
    """Steady growth or decline of a few tenths of a percent a day."""
    return sites.normal() * 0.004 * sites.chance(0.5) * sites.since(torch.zeros_like(sites.calm))


def _moods(sites: Sites) -> Tensor:
    """Good and bad days in a row."""
    noise = sites.normal(*sites.shape) * sites.size((0.02, 0.45), (0.01, 0.12))
    return autoregression(noise, 0.95 * sites.uniform())


def _weekday(sites: Sites) -> Tensor:
    """A weekly pattern: a different weekend, an effect of each weekday, and a drifting amplitude."""
    num_sites = sites.shape[0]
    day_effect = sites.normal(num_sites, 7) * 0.12 * torch.exp(0.8 * sites.normal()) * (1 - 0.5 * sites.calm)
    weekend = 0.4 * sites.normal() - 0.25
    shape = day_effect * sites.chance(0.85)
    has_weekend = torch.maximum(sites.chance(0.7), sites.calm)
    shape[:, 5:] += has_weekend * weekend
    shape[:, 5:6] += has_weekend * 0.12 * sites.normal()
    shape[:, 4:5] += has_weekend * 0.25 * weekend * sites.uniform()
    shape = shape - shape.mean(1, keepdim=True)
    amplitude = 1 + torch.cumsum(sites.normal(*sites.shape) * 0.01 * sites.chance(0.3), 1)
    return torch.gather(shape, 1, sites.weekday) * amplitude.clamp(0.2, 2.0)


def _yearly(sites: Sites) -> Tensor:
    """Six yearly harmonics; higher ones have smaller amplitudes."""
    angle = sites.day.float() * (2 * math.pi / 365.2425)
    waves = [
        (sites.normal() * torch.sin(k * angle) + sites.normal() * torch.cos(k * angle)) * 0.2 / k for k in range(1, 7)
    ]
    return torch.stack(waves).sum(0) * sites.chance(0.6)


def _anniversaries(sites: Sites) -> Tensor:
    """Days to weeks that come again each year at another level: holidays, breaks, sales."""
    total = torch.zeros(sites.shape, device=sites.device)
    for _ in range(5):
        begin, length = (365 * sites.uniform()).floor(), sites.log_uniform(1.0, 25.0).floor()
        since = torch.remainder(sites.day - begin, 365.2425).floor()
        total += (since < length) * (0.25 * sites.normal() - 0.15) * sites.chance(0.5)
    return total * sites.chance(0.5)


def _holidays(sites: Sites) -> Tensor:
    """Single public holidays: lower traffic, by an amount of the site's own."""
    return -sites.events(0.012) * 0.5 * sites.uniform() * (1 + sites.calm) * sites.chance(0.6)


def _terms(sites: Sites) -> Tensor:
    """A break of days to weeks, such as school holidays, at another level."""
    since = sites.since(sites.random_day(margin=20))
    length = sites.log_uniform(4.0, 60.0).floor()
    return ((since >= 0) & (since < length)).float() * (0.2 * sites.normal() - 0.15) * sites.chance(0.35)


def _shifts(sites: Sites) -> Tensor:
    """A new level from one day to the next, as after a relaunch or a lost ranking."""
    return torch.cumsum(sites.events(0.004 * sites.chance(0.4)) * sites.normal(*sites.shape) * 0.6, 1)


def _launches(sites: Sites) -> Tensor:
    """Growth that starts on some day and saturates."""
    growth = 1 - torch.exp(-sites.since(sites.random_day()).clamp(min=0) / sites.log_uniform(2.0, 40.0))
    return growth * sites.normal().abs() * 0.8 * sites.chance(0.08)


def _viral(sites: Sites) -> Tensor:
    """Spikes that decay, first fast and then slowly."""
    hits = sites.events(0.02 * sites.chance(0.6 * (1 - 0.6 * sites.calm)))
    height = 0.5 * torch.exp(sites.normal(*sites.shape)) * hits
    fast, slow = (autoregression(height, memory) for memory in (0.8 * sites.uniform(), 0.85 + 0.13 * sites.uniform()))
    share = 0.5 * sites.uniform()
    return (1 - share) * fast + share * slow


def _peak_days(sites: Sites) -> Bool[Tensor, "sites days"]:
    """Every week on one weekday or two, every other week, or on one day of the month, mostly the first."""
    period, position = sites.uniform(), sites.uniform()
    weekday = (position * 7).floor() == sites.weekday
    second = (sites.uniform() * 7).floor() == sites.weekday
    fortnight = (position * 14).floor() == sites.day % 14
    monthly = day_of_month(sites.day) == torch.where(sites.chance(0.7) > 0, 1.0, 1 + (position * 28).floor())
    weekly = weekday | (second & (period < 0.15))
    return torch.where(period < 0.5, weekly, torch.where(period < 0.75, fortnight, monthly))


def _peaks(sites: Sites) -> Tensor:
    """Regular peaks, such as a newsletter's, of 1.3 to 100 times the other days.

    They vary little, echo on the next day and may begin within the window. Some are left out.
    """
    days = _peak_days(sites) & (sites.events(0.03 * sites.chance(0.3)) == 0)
    days = days & ((sites.since(sites.random_day()) >= 0) | (sites.chance(0.85) > 0))
    height = torch.log(sites.log_uniform(1.3, 100.0)) + sites.log_uniform(0.01, 0.3) * sites.normal(*sites.shape)
    peaks = days * height
    echo = 0.6 * sites.uniform() ** 2 * sites.chance(0.5)
    return (peaks + echo * functional.pad(peaks, (1, 0))[:, :-1] * ~days) * sites.chance(0.16)


def _closed(sites: Sites) -> Tensor:
    """Hardly any traffic on weekends, or on other days of the week, as on sites of offices and shops."""
    kind = sites.uniform()
    closed = (sites.weekday == 6) | ((sites.weekday == 5) & (kind < 0.7))
    closed = torch.where(kind < 0.85, closed, sites.weekday == (sites.uniform() * 7).floor())
    return -closed.float() * sites.log_uniform(1.0, 9.0) * sites.chance(0.06)


def _bursts(sites: Sites) -> Tensor:
    """Days that differ by a multiple from those beside them: counts spread like a negative binomial, and shared posts
    that bring a crowd for a day or a few."""
    shape = sites.log_uniform(0.2, 6.0).expand(sites.shape)
    uneven = torch.log(torch.distributions.Gamma(shape, shape, validate_args=False).sample().clamp(min=1e-6))
    crowd = 3.0 * (1 - sites.uniform(*sites.shape)).pow(-1 / sites.log_uniform(0.7, 2.5))  # Pareto
    crowd = crowd * sites.events(sites.log_uniform(0.02, 0.25))
    shared = torch.log1p(autoregression(crowd, 0.7 * sites.uniform() * sites.chance(0.6)))
    kind = sites.uniform()
    return torch.where(kind < 0.06, uneven, torch.where(kind < 0.12, shared, 0.0))


LEVEL_PARTS: dict[str, Callable[[Sites], Tensor]] = {
    "drift": _drift,
    "momentum": _momentum,
    "trend": _trend,
    "moods": _moods,
    "weekday": _weekday,
    "yearly": _yearly,
    "anniversaries": _anniversaries,
    "holidays": _holidays,
    "terms": _terms,
    "shifts": _shifts,
    "launches": _launches,
    "viral": _viral,
    "peaks": _peaks,
    "closed": _closed,
    "bursts": _bursts,
}


LASTING_PARTS = ("weekday", "yearly", "anniversaries", "peaks", "closed", "bursts")


def _bots(sites: Sites, values: Tensor) -> Tensor:
    """Single days with many times the traffic, and no effect on the next day."""
    return values * (1 + sites.events(0.006 * sites.chance(0.15)) * 2 * torch.exp(sites.normal(*sites.shape)))


def _outages(sites: Sites, values: Tensor) -> Tensor:
    """Days of zero traffic, single or several in a row."""
    since = sites.since(sites.random_day())
    long = (since >= 0) & (since < sites.log_uniform(1.0, 8.0)) & (sites.chance(0.04) > 0)
    single = sites.events(0.003 * sites.chance(0.25)) > 0
    return torch.where(long | single, 0.0, values)


def _births(sites: Sites, values: Tensor) -> Tensor:
    """Sites that start within the window: unknown before, then growing from nothing."""
    since = sites.since(sites.random_day())
    born = sites.chance(0.06) > 0
    ramp = (since / sites.log_uniform(1.0, 30.0)).clamp(0, 1)
    return torch.where(born, torch.where(since < 0, torch.nan, (values * ramp).round()), values)


def _gaps(sites: Sites, values: Tensor) -> Tensor:
    """Days without a measurement."""
    since = sites.since(sites.random_day())
    run = (since >= 0) & (since < sites.log_uniform(2.0, 15.0)) & (sites.chance(0.03) > 0)
    return torch.where(run | (sites.events(0.05 * sites.chance(0.05)) > 0), torch.nan, values)


DAY_PARTS: dict[str, Callable[[Sites, Tensor], Tensor]] = {
    "bots": _bots,
    "outages": _outages,
    "births": _births,
    "gaps": _gaps,
}
KIND_PARTS = ("rates", "others")
PARTS = (*LEVEL_PARTS, *DAY_PARTS, *KIND_PARTS)


def sample_traffic(
    num_sites: int, num_days: int, *, without: Collection[str] = (), device: torch.device | str = "cpu"
) -> Traffic:
    """Series of counts, of rates in 0..1 and of other numbers, in raw units. `without` names the PARTS to leave out."""
    sites = Sites(num_sites, num_days, device)
    lasts = {name: 1.0 if name in LASTING_PARTS else 1 - sites.steady for name in LEVEL_PARTS}
    parts = [lasts[name] * part(sites) for name, part in LEVEL_PARTS.items() if name not in without]
    change = torch.stack(parts).sum(0) if parts else torch.zeros(sites.shape, device=device)
    values = _count(sites, change)
    for name, part in DAY_PARTS.items():
        if name not in without:
            values = part(sites, values).round()
    kind = _draw_kinds(sites, without)
    values = torch.where(kind[:, None] == RATE, _as_rate(sites, change, values), values)
    values = torch.where(kind[:, None] == OTHER, _as_other(sites, change, values), values)
    return Traffic(values, sites.first_day, kind)


def sharpen_weeks(traffic: Traffic) -> Traffic:
    """Real counts, some with the regular peaks or the closed days of synthetic sites, which few real series have."""
    num_sites, num_days = traffic.values.shape
    sites = Sites(num_sites, num_days, traffic.values.device, first_day=traffic.first_day)
    change = _peaks(sites) + _closed(sites)
    is_changed = (change != 0) & (traffic.kind[:, None] == COUNT)
    return traffic._replace(values=torch.where(is_changed, (traffic.values * change.exp()).round(), traffic.values))


def _count(sites: Sites, change: Float[Tensor, "sites days"]) -> Float[Tensor, "sites days"]:
    """Overdispersed counts around exp(level + change): Poisson with a log-normal mean, levels of 1 to 200,000 a day."""
    level = torch.log(sites.log_uniform(1.0, 200_000.0)) - change.mean(1, keepdim=True)
    spread = torch.where(sites.steady > 0, sites.log_uniform(0.02, 0.3), sites.size((0.005, 0.2), (0.005, 0.06)))
    noise = spread * sites.normal(*sites.shape) - spread**2 / 2
    mean = torch.exp((level + change + noise).clamp(-6.0, MAX_LOG_MEAN))
    # Above 200 a day a normal distribution is close enough to Poisson, and much faster to draw.
    normal = mean + mean.sqrt() * sites.normal(*sites.shape)
    return torch.where(mean < 200, torch.poisson(mean.clamp(max=200)), normal).clamp(min=0).round()


def _draw_kinds(sites: Sites, without: Collection[str]) -> Int[Tensor, " sites"]:
    position = sites.uniform()[:, 0]
    rate = (position < RATE_SHARE) & ("rates" not in without)
    other = (position > 1 - OTHER_SHARE) & ("others" not in without)
    return torch.where(rate, RATE, torch.where(other, OTHER, COUNT))


def _as_rate(sites: Sites, change: Tensor, counts: Tensor) -> Float[Tensor, "sites days"]:
    """A share that varies with the site's level, measured over a number of visits. Unknown on days without a count."""
    centre = 1.2 * sites.normal() + 0.4 * (change - change.mean(1, keepdim=True))
    share = torch.sigmoid(centre)
    visits = sites.log_uniform(5.0, 5000.0)
    noise = torch.sqrt(share * (1 - share) / visits) * sites.normal(*sites.shape)
    return torch.where(counts.isnan(), torch.nan, (share + noise).clamp(0.0, 1.0))


def _as_other(sites: Sites, change: Tensor, counts: Tensor) -> Float[Tensor, "sites days"]:
    """Numbers of any size and sign, such as seconds on a page or a balance."""
    size = sites.log_uniform(0.01, 10_000.0)
    noise = 0.1 * sites.normal(*sites.shape)
    return torch.where(counts.isnan(), torch.nan, size * (sites.normal() * 3 + change + noise))


def keep_last_days(
    values: Float[Tensor, "windows days"], num_days: Int[Tensor, " windows"]
) -> Float[Tensor, "windows days"]:
    """The windows with all but the last `num_days` of each made unknown."""
    day = torch.arange(values.shape[1], device=values.device)
    hidden: Bool[Tensor, "windows days"] = day < values.shape[1] - num_days[:, None]
    return torch.where(hidden, torch.nan, values)
