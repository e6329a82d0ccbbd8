"""The summary of a week: against its forecast and the week before, and the days ahead. Pure."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from forecasting.alerts.unusual import MARKS, join_lines, write_day
from forecasting.domain import MessageKind
from forecasting.monitoring.listing import join
from forecasting.monitoring.wording import name_metric
from forecasting.warehouse.message_store import Message

MAX_SITES = 3  # with a line of their own
MAX_UNUSUAL = 4
LEAST_DAYS = 14  # with kept forecasts, before anything is said about accuracy
ACCURACY_WEEKS = 8
SAME = 0.02  # smaller changes are none
CAUSE = "weekly"


class Total(NamedTuple):
    """Of seven days, with its 80% band."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class SiteWeek:
    """Counts of a site. Weeks are sums of their days, or means if days do not add up."""

    site: str
    num_days: int  # of the week that were counted
    value: float
    value_before: float | None  # None: not all of its days were counted
    expected: Total | None  # None: no forecast was kept
    ahead: Total | None


@dataclass(frozen=True)
class Accuracy:
    """Of the kept forecasts of the last weeks; None where nothing is known."""

    error: float | None  # share of what was counted
    coverage: float | None
    num_days: int


@dataclass(frozen=True)
class UnusualSite:
    site: str
    day: dt.date
    direction: str


@dataclass(frozen=True)
class Week:
    first_day: dt.date
    metric: str
    is_additive: bool
    sites: Sequence[SiteWeek]
    unusual: Sequence[UnusualSite]
    accuracy: Accuracy


def write_week(week: Week, *, page_url: str | None) -> Message:
    sites = sorted(week.sites, key=lambda site: (-site.value, site.site))
    last = week.first_day + dt.timedelta(days=6)
    title = f"{sites[0].site if len(sites) == 1 else f'{len(sites):,} sites'}: the week up to {write_day(last)}"
    lines = _write_one(sites[0], week) if len(sites) == 1 else _write_many(sites, week)
    return Message(
        kind=MessageKind.weekly,
        cause=CAUSE,
        day=week.first_day + dt.timedelta(days=7),
        title=title,
        body=join_lines([*lines, _describe_accuracy(week.accuracy), page_url or ""]),
        sites=tuple(site.site for site in sites),
        metrics=(week.metric,),
    )


def _write_one(site: SiteWeek, week: Week) -> list[str]:
    ahead = site.ahead and f"In the next 7 days about {_write(site.ahead.value)} are likely{_write_band(site.ahead)}."
    return [
        _describe_site(site, week),
        ahead or "",
        _describe_unusual(week.unusual, with_site=False),
    ]


def _write_many(sites: Sequence[SiteWeek], week: Week) -> list[str]:
    lines = []
    for site in sites[:MAX_SITES]:
        ahead = f" Next 7 days: about {_write(site.ahead.value)}." if site.ahead else ""
        lines.append(f"{site.site}: {_describe_site(site, week)}{ahead}")
    rest = len(sites) - MAX_SITES
    more = f"{rest:,} more {'site' if rest == 1 else 'sites'}. " if rest > 0 else ""
    return [*lines, f"{more}{_describe_unusual(week.unusual, with_site=True)}"]


def _describe_site(site: SiteWeek, week: Week) -> str:
    name = name_metric(week.metric) + ("" if week.is_additive else " a day")
    days = "" if site.num_days == 7 else f" on {site.num_days} {'day' if site.num_days == 1 else 'days'}"
    return f"{site.value:,.0f} {name}{days}{_compare_with_forecast(site)}.{_compare_with_week(site)}"


def _compare_with_forecast(site: SiteWeek) -> str:
    """The end of a sentence. A week with a day that was not counted has nothing to be compared with."""
    if site.expected is None or site.num_days < 7:
        return ""
    return f", {_write(site.expected.value)} were expected{_write_band(site.expected)}"


def _compare_with_week(site: SiteWeek) -> str:
    if not site.value_before or site.num_days < 7:
        return ""
    change = site.value / site.value_before - 1
    if abs(change) < SAME:
        return " About the same as the week before."
    return f" {abs(change):.0%} {'above' if change > 0 else 'below'} the week before."


def _describe_unusual(unusual: Sequence[UnusualSite], *, with_site: bool) -> str:
    if not unusual:
        return "No unusual day."
    names = [
        f"{MARKS[each.direction]} {f'{each.site} on ' if with_site else ''}{each.day:%A}"
        for each in unusual[:MAX_UNUSUAL]
    ]
    rest = len(unusual) - MAX_UNUSUAL
    parts = [*names, f"{rest:,} more"] if rest > 0 else names
    return f"Unusual: {join(parts)}."


def _describe_accuracy(accuracy: Accuracy) -> str:
    if accuracy.num_days < LEAST_DAYS or accuracy.error is None or accuracy.coverage is None:
        return f"It is not known yet how good forecasts are: {accuracy.num_days} of {LEAST_DAYS} days can be compared."
    held = f"{accuracy.coverage:.0%} of the days lay in their 80% band"
    return f"Forecasts of the last {ACCURACY_WEEKS} weeks were {accuracy.error:.1%} off on average; {held}."


def _write(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}"


def _write_band(total: Total) -> str:
    return f" ({_write(total.lower)} to {_write(total.upper)})"
