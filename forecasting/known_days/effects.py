"""How far named days, such as holidays, usually lie from what the days around them say. Pure: no clock, no calendar.

Effects are in units in which noise is about equal at every level: log(1 + y) of counts, asin(sqrt(y)) of rates. What is
learned of a series rests on the values it is given and on nothing later.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from forecasting.domain import Kind
from forecasting.known_days.events import EVENT
from forecasting.known_days.holiday_calendar import AFTER, BEFORE, SCHOOL

SAME_WEEKDAYS = np.array([-21, -14, -7, 7, 14, 21])  # days away from a named day that say what it would have been
MIN_SAME_WEEKDAYS = 2
NOISE_DAYS = 400  # the latest days that say how noisy a series is
MIN_NOISE_DAYS = 14
PROFILE_DAYS = 84  # the latest days that say how far weekends lie from working days
# Past occurrences that count for half: of a holiday, of a day beside one, and of an event.
TRUST, TRUST_BESIDE, TRUST_EVENT = 1.0, 2.0, 0.5
SAME_RUN = 3  # days from one day of an event to the next of the same occurrence, at most
USUAL_SHARE, USUAL_WEIGHT = 0.25, 0.3  # of the way to a weekend that holidays go at most sites, and its weight
SATURDAY = 5


@dataclass(frozen=True)
class NamedEffect:
    """What past occurrences of a day say: its effect is `learned + rest * unseen`."""

    learned: float
    rest: float  # weight of what holds for days without a past


@dataclass(frozen=True)
class Effects:
    """Of one series. `unseen` has the effect of a holiday without a past, by weekday, Monday first."""

    by_name: Mapping[str, NamedEffect] = field(default_factory=dict)
    unseen: tuple[float, ...] = (0.0,) * 7

    def effect_on(self, day: int, name: str) -> float:
        """`day` in days since 1970-01-01."""
        return self._effect_of(name, 0.0 if is_beside(name) else self.unseen[weekday(day)])

    def effect_of_event(self, name: str, by_size: float) -> float:
        """`by_size` is what its size says: all that is known of an event without a past."""
        return self._effect_of(EVENT + name, by_size)

    def knows_event(self, name: str) -> bool:
        """Whether it has a past."""
        return EVENT + name in self.by_name

    def _effect_of(self, name: str, unseen: float) -> float:
        effect = self.by_name.get(name, NamedEffect(0.0, 1.0))
        return effect.learned + effect.rest * unseen


def learn_effects(
    values: Float[np.ndarray, " days"], first_day: int, names: Mapping[int, str], *, kind: Kind
) -> Effects:
    """From all of a series' past values, NaN where unknown; `first_day` and the days of `names` since 1970-01-01.

    A day's deviation is measured from the same weekdays of the three weeks on either side, without named ones. The mean
    deviation of a name is shrunk toward what its weekday suggests: the less often it has occurred, and the noisier the
    series, the more. Nothing is learned from fewer than MIN_NOISE_DAYS days that have such neighbours.
    """
    even = to_even(values, kind)
    named = np.array([day - first_day for day in sorted(names) if 0 <= day - first_day < len(even)], np.int64)
    is_named = np.zeros(len(even), bool)
    is_named[named] = True
    deviation = even - _usual(even, is_named)
    ordinary = deviation[-NOISE_DAYS:][~is_named[-NOISE_DAYS:]]
    ordinary = ordinary[np.isfinite(ordinary)]
    if len(ordinary) < MIN_NOISE_DAYS:
        return Effects()
    noise = float(np.mean(np.clip(ordinary, *np.quantile(ordinary, [0.02, 0.98])) ** 2))
    gaps = _weekend_gaps(even, is_named, first_day)
    past: dict[str, list[tuple[int, float]]] = defaultdict(list)
    towards = [(0.0, 0.0)]
    for column in named[np.isfinite(deviation[named])]:
        day, name = first_day + int(column), names[first_day + int(column)]
        past[name].append((day, float(deviation[column])))
        if not is_beside(name):
            towards.append((gaps[weekday(day)], float(deviation[column])))
    by_name = {name: _shrink(days, noise, name) for name, days in past.items()}
    share = _share_of_weekend(*np.array(towards).T)
    return Effects(by_name, tuple(share * gap for gap in gaps))


def read_effects(content: Mapping[str, Any]) -> Effects:  # Any: json's own types
    """What dataclasses.asdict made of them; Effects() of nothing."""
    by_name = {name: NamedEffect(**effect) for name, effect in content.get("by_name", {}).items()}
    return Effects(by_name, tuple(content.get("unseen", Effects().unseen)))


def to_even(values: Float[np.ndarray, "*days"], kind: Kind) -> Float[np.ndarray, "*days"]:
    """As forecasting.model.rollout.to_even does it in torch."""
    values = values.astype(np.float64)
    if kind is Kind.count:
        return np.asarray(np.log1p(np.maximum(values, 0.0)))
    return np.asarray(np.arcsin(np.sqrt(np.clip(values, 0.0, 1.0)))) if kind is Kind.rate else values


def weekday(day: int) -> int:
    """Monday 0. 1970-01-01 was a Thursday."""
    return (day + 3) % 7


def is_beside(name: str) -> bool:
    """Whether a name is no holiday's own: nothing is expected of such a day that has no past."""
    return name.startswith((BEFORE, AFTER, SCHOOL, EVENT))


def _usual(even: Float[np.ndarray, " days"], is_named: Bool[np.ndarray, " days"]) -> Float[np.ndarray, " days"]:
    """The median of the same weekdays around each day; NaN where fewer than MIN_SAME_WEEKDAYS are known."""
    reach = int(SAME_WEEKDAYS.max())
    padded = np.pad(np.where(is_named, np.nan, even), reach, constant_values=np.nan)
    around = np.sort(np.stack([padded[reach + shift : reach + shift + len(even)] for shift in SAME_WEEKDAYS]), axis=0)
    known = np.isfinite(around).sum(0)  # NaN is sorted last
    columns = np.arange(len(even))
    middle = 0.5 * (around[np.maximum(known - 1, 0) // 2, columns] + around[known // 2 % len(around), columns])
    full = known == len(SAME_WEEKDAYS)
    middle = np.where(full, 0.5 * (around[2] + around[3]), middle)
    return np.where(known >= MIN_SAME_WEEKDAYS, middle, np.nan)


def _weekend_gaps(even: Float[np.ndarray, " days"], is_named: Bool[np.ndarray, " days"], first_day: int) -> list[float]:
    """How far the weekend lies from each weekday lately, Monday first; 0 at weekends and where unknown."""
    recent = np.where(is_named, np.nan, even)[-PROFILE_DAYS:]
    weekdays = (first_day + len(even) - len(recent) + np.arange(len(recent)) + 3) % 7
    levels = [recent[(weekdays == day) & np.isfinite(recent)] for day in range(7)]
    if not all(len(level) for level in levels):
        return [0.0] * 7
    medians = [float(np.median(level)) for level in levels]
    weekend = float(np.mean(medians[SATURDAY:]))
    return [weekend - median for median in medians[:SATURDAY]] + [0.0, 0.0]


def _share_of_weekend(gaps: Float[np.ndarray, " past"], deviations: Float[np.ndarray, " past"]) -> float:
    """How far holidays lie on the way from a working day to a weekend: least squares, with a usual share."""
    share = (gaps @ deviations + USUAL_WEIGHT * USUAL_SHARE) / (gaps @ gaps + USUAL_WEIGHT)
    return float(np.clip(share, 0.0, 1.0))


def _shrink(past: Sequence[tuple[int, float]], noise: float, name: str) -> NamedEffect:
    """`past` has the days and their deviations, `noise` is the variance of one ordinary day's."""
    deviations = np.array([deviation for _, deviation in past])
    if name.startswith(EVENT):
        deviations = _average_occurrences(past)
    num_past = len(deviations)
    mean = float(np.mean(deviations))
    if num_past > 2:
        mean = 0.5 * (mean + float(np.median(deviations)))
    by_number = num_past / (num_past + _trust(name))
    by_noise = mean**2 / (mean**2 + noise / len(past) + 1e-12)
    return NamedEffect(by_number * by_noise * mean, 1.0 - by_number)


def _average_occurrences(past: Sequence[tuple[int, float]]) -> Float[np.ndarray, " occurrences"]:
    """The mean of each run of days: ten days of one sale are one occurrence, whatever else falls on some of them."""
    days, deviations = (np.array(column) for column in zip(*past, strict=True))
    runs = np.split(deviations, np.flatnonzero(np.diff(days) > SAME_RUN) + 1)
    return np.array([run.mean() for run in runs])


def _trust(name: str) -> float:
    if name.startswith(EVENT):
        return TRUST_EVENT
    return TRUST_BESIDE if is_beside(name) else TRUST
