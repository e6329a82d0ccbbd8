"""Sentences about unusual days, with numbers that people understand. Pure: no clock."""

import datetime as dt
from dataclasses import dataclass
from typing import NamedTuple

from forecasting.domain import Kind
from forecasting.monitoring.rule import Reason
from forecasting.monitoring.scores import AHEAD, days_between

SECONDS = ("duration", "time", "seconds")  # words in the names of metrics that are measured in seconds
RARE_DAYS = 1000  # more days than anybody has measured


class DayValues(NamedTuple):
    """What was counted, what was expected, and the band of that."""

    value: float
    expected: float
    lower: float
    upper: float


@dataclass(frozen=True)
class UnusualDay:
    """One day of a series that is unusual, in the source's units. For a week, the sum or the mean of its days."""

    site: str
    metric: str
    kind: Kind
    unit_scale: float  # 100 for rates in percent
    additive: bool  # a week's value is the sum of its days, else their mean
    day: dt.date  # for a week, its last
    values: DayValues
    score: float
    reason: Reason


def describe(unusual: UnusualDay) -> str:
    """What happened, what was expected, and how rare that is."""
    values, is_count = unusual.values, unusual.kind is Kind.count
    value, expected = _write(unusual, values.value), _write(unusual, values.expected, rounded=True)
    lower, upper = (_write(unusual, end, rounded=True, bare=True) for end in (values.lower, values.upper))
    name = name_metric(unusual.metric)
    what = f"{value} {name}" if is_count else f"{name.capitalize()} was {value}"
    return (
        f"{what} {_name_time(unusual)}, {expected} {'were' if is_count else 'was'} expected ({lower} to {upper}). "
        f"{describe_rarity(unusual.score)}"
    )


def _name_time(unusual: UnusualDay) -> str:
    is_week = unusual.reason is Reason.week
    a_day = "a day " if unusual.kind is Kind.count and not unusual.additive else ""
    return f"{a_day}in the {AHEAD} days up to {unusual.day:%A}" if is_week else f"on {unusual.day:%A}"


def describe_rarity(score: float) -> str:
    days = days_between(score)
    if days > RARE_DAYS:
        return "Less than once in three years."
    step = 10 if days < 100 else 50
    return f"About once in {max(step, step * round(days / step)):.0f} days."


def describe_severity(score: float) -> str:
    """minor, major or extreme: told at high and medium sensitivity, at low too, and twice as far off."""
    return "extreme" if abs(score) >= 7.5 else "major" if abs(score) >= 3.75 else "minor"


def name_metric(metric: str) -> str:
    return metric.replace("_", " ")


def _write(unusual: UnusualDay, value: float, *, rounded: bool = False, bare: bool = False) -> str:
    """With its unit, unless `bare`; `rounded` to three digits, as forecasts are."""
    if unusual.kind is Kind.count:
        return f"{float(f'{value:.3g}') if rounded else value:,.0f}"
    if unusual.kind is Kind.rate:
        return f"{value * 100 / unusual.unit_scale:.1f}{'' if bare else '%'}"
    if any(word in unusual.metric for word in SECONDS):
        return _write_duration(max(0.0, value))  # the lower end of a band may be below
    return f"{float(f'{value:.3g}'):,g}"


def _write_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
