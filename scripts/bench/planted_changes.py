"""Changes planted into copies of real series, so that it is known which days are unusual."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

SINGLE = {
    "spike x1.5": 1.5, "spike x2": 2.0, "spike x3": 3.0, "spike x5": 5.0,
    "drop x0.7": 0.7, "drop x0.5": 0.5, "drop x0.2": 0.2, "drop to 0": 0.0,
}  # fmt: skip
HALF_DAY, HALF_DAYS = "half day", (0.3, 0.8)  # what a day that was counted in part has of itself
OUTAGE, OUTAGE_FACTOR, OUTAGE_DAYS = "outage of 3 days", 0.05, 3
LEVELS = {"shift x0.6": 0.6, "shift x1.6": 1.6}
RAMPS, RAMP_DAYS = {"ramp x0.6": 0.6, "ramp x1.6": 1.6}, 10
SINGLE_KINDS = (*SINGLE, HALF_DAY)
NUM_SINGLE, NUM_LASTING = 4, 3  # copies of each series with single days, and with each kind of level and ramp
FIRST, GAP, AFTER = 84, 45, 14  # days before the first change, between two, and after the last
LEAST_LEVEL = 20.0  # visits on a usual day: below it, half of them is nothing
USUAL_DAYS = 28  # whose median is the usual level

Days = Float[np.ndarray, " days"]


@dataclass(frozen=True)
class Change:
    kind: str
    day: int  # the first, counted from the series' own first day
    factor: float


@dataclass(frozen=True)
class Copy:
    """A series as it was, or with changes."""

    source: int  # which series
    values: Days
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Original:
    """A real series; `first_day` in days since 1970-01-01, NaN where there is no value."""

    file: str
    site: str
    metric: str
    first_day: int
    values: Days
    usual: Days = field(repr=False)  # the level before each day

    @property
    def half(self) -> int:
        """All metrics of a site are in the same half."""
        return zlib.crc32(f"{self.file} {self.site}".encode()) % 2


def find_usual(values: Days) -> Days:
    """The median of the USUAL_DAYS before each day; NaN with less than half of them."""
    padded = np.concatenate([np.full(USUAL_DAYS, np.nan), values[:-1]])
    past = np.lib.stride_tricks.sliding_window_view(padded, USUAL_DAYS)
    enough = np.isfinite(past).sum(1) >= USUAL_DAYS // 2
    usual = np.full(len(values), np.nan)
    usual[enough] = np.nanmedian(past[enough], axis=1)
    return usual


def plant(series: Sequence[Original], *, seed: int) -> list[Copy]:
    """Of each series an unaltered copy, and copies with changes on days with a usual level of at least LEAST_LEVEL."""
    random = np.random.default_rng(seed)
    copies = []
    for source, original in enumerate(series):
        copies.append(Copy(source, original.values))
        altered = [_plant_single(original, random) for _ in range(NUM_SINGLE)]
        altered.append(_plant_all(original, random, lambda _: (OUTAGE, OUTAGE_FACTOR), _stop_outage))
        for kinds, shape in ((LEVELS, _shift), (RAMPS, _ramp)):
            altered += [
                _plant_lasting(original, random, kind, kinds, shape) for kind in kinds for _ in range(NUM_LASTING)
            ]
        copies += [Copy(source, values, changes) for values, changes in altered if changes]
    return copies


Altered = tuple[Days, tuple[Change, ...]]
Shape = Callable[[int, float], Days]  # what so many days from the first on are multiplied by


def _plant_single(original: Original, random: np.random.Generator) -> Altered:
    def choose(random: np.random.Generator) -> tuple[str, float]:
        kind = SINGLE_KINDS[random.integers(len(SINGLE_KINDS))]
        return kind, SINGLE[kind] if kind in SINGLE else float(random.uniform(*HALF_DAYS))

    return _plant_all(original, random, choose, lambda num_days, factor: np.full(min(1, num_days), factor))


def _plant_all(
    original: Original,
    random: np.random.Generator,
    choose: Callable[[np.random.Generator], tuple[str, float]],
    shape: Shape,
) -> Altered:
    values, changes = original.values.copy(), []
    days = FIRST - GAP + np.cumsum(random.integers(GAP, 2 * GAP, size=len(values) // GAP + 1))
    for day in days[days < len(values) - AFTER].tolist():
        kind, factor = choose(random)
        if can_change(original, day):
            _multiply(values, day, shape(len(values) - day, factor))
            changes.append(Change(kind, day, factor))
    return values, tuple(changes)


def _plant_lasting(
    original: Original, random: np.random.Generator, kind: str, factors: Mapping[str, float], shape: Shape
) -> Altered:
    """Cut off AFTER days later: what is told after that is not measured."""
    num_days = len(original.values)
    day = int(random.integers(FIRST, num_days - AFTER))
    if not can_change(original, day):
        return original.values, ()
    values = original.values[: day + AFTER].copy()
    _multiply(values, day, shape(AFTER, factors[kind]))
    return values, (Change(kind, day, factors[kind]),)


def can_change(original: Original, day: int) -> bool:
    return bool(original.usual[day] >= LEAST_LEVEL and original.values[day] > 0)


def _multiply(values: Days, day: int, factors: Days) -> None:
    part = values[day : day + len(factors)]
    part[:] = np.round(part * factors)


def _stop_outage(num_days: int, factor: float) -> Days:
    return np.full(min(OUTAGE_DAYS, num_days), factor)


def _shift(num_days: int, factor: float) -> Days:
    return np.full(num_days, factor)


def _ramp(num_days: int, factor: float) -> Days:
    return 1 + (factor - 1) * np.minimum(np.arange(1, num_days + 1), RAMP_DAYS) / RAMP_DAYS


def is_plantable(values: Days) -> bool:
    """Counts, with room for a change and for the days before and after it."""
    return len(values) >= FIRST + GAP and bool(np.nanmin(values) >= 0 and np.nanmax(values) > 1.5)
