"""Messages about unusual days: one for a site, a side and the days that are new. Pure: no clock, no connection."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import quote

from forecasting.domain import MessageKind, Severity
from forecasting.monitoring.listing import join
from forecasting.monitoring.wording import describe_severity, name_metric
from forecasting.warehouse.message_store import Message

MOST_APART = 10  # more sites than this, unusual on the same side and day, are one message
MOST_NAMED = 5
USUAL_SHARE = 0.9  # of the days before on which an hour that is missed had traffic
LEAST_DAYS = 7  # of hours, to know that
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MARKS = {"low": "▼", "high": "▲"}
CROWD_REASONS = {
    "low": "the tracker or the feed may have stopped",
    "high": "bots or a counting error may be the reason",
}
STOPPED = "the tracker may have stopped"


@dataclass(frozen=True)
class UnusualSeries:
    """A day of a series as forecasting.anomalies has it, and what is known beside it. Values in the source's units."""

    site: str
    metric: str
    day: dt.date
    kind: str  # day or week
    value: float
    expected: float
    score: float
    direction: str
    text: str
    id: int = 0
    cause: str = ""  # a holiday or an event
    verdict: str = ""
    hours: int | None = None  # bit h: there was traffic in hour h; None: the source has no hours
    hours_before: Sequence[int] = ()  # of the four weeks before
    also: Sequence[str] = ()  # the site's other metrics that are unusual on the same side that day
    num_metrics: int = 1  # that the site has that day
    num_other_sites: int = 0  # that are unusual on the same side that day

    @property
    def is_count(self) -> bool:
        return not self.text.startswith(f"{name_metric(self.metric).capitalize()} was ")

    @property
    def severity(self) -> Severity:
        return Severity(describe_severity(self.score))


def write_unusual(rows: Sequence[UnusualSeries], *, page_url: str | None) -> list[tuple[Message, list[int]]]:
    """Messages, each with the ids of the unusual days that it tells of. `rows` by site, side, day (newest first) and
    score (furthest off first).
    """
    groups = [list(group) for _, group in groupby(rows, key=lambda row: (row.site, row.direction))]
    counts = Counter((group[0].day, group[0].direction) for group in groups)
    crowded = {key for key, number in counts.items() if number > MOST_APART}
    apart = [group for group in groups if (group[0].day, group[0].direction) not in crowded]
    together = [[group for group in groups if (group[0].day, group[0].direction) == key] for key in sorted(crowded)]
    return [
        *((_write_site(group, page_url), [row.id for row in group]) for group in apart),
        *((_write_crowd(many, page_url), [row.id for group in many for row in group]) for many in together),
    ]


def _write_site(rows: Sequence[UnusualSeries], page_url: str | None) -> Message:
    lead = rows[0]
    same_day = [row for row in rows if row.day == lead.day]
    others = sorted({*lead.also, *(row.metric for row in same_day)} - {lead.metric})
    earlier = sorted({row.day for row in rows} - {lead.day})
    lines = [
        lead.text,
        _describe_company(lead, others),
        f"It was {lead.cause}, when traffic often differs." if lead.cause else "",
        _describe_surroundings(lead, earlier),
        link_to_series(page_url, lead.site, lead.metric),
    ]
    return Message(
        kind=MessageKind.unusual,
        cause=f"unusual/{lead.direction}/{lead.site}",
        day=lead.day,
        title=f"{MARKS[lead.direction]} {lead.site}: {_describe_size(lead)} {_name_days(lead)}",
        body=join_lines(lines),
        sites=(lead.site,),
        metrics=tuple(sorted({lead.metric, *others, *(row.metric for row in rows)})),
        direction=lead.direction,
        severity=max((row.severity for row in rows), key=lambda severity: severity.rank),
    )


def _write_crowd(groups: Sequence[Sequence[UnusualSeries]], page_url: str | None) -> Message:
    leads = sorted((group[0] for group in groups), key=lambda row: -abs(row.score))
    first = leads[0]
    names = [row.site for row in leads]
    rest = len(names) - MOST_NAMED
    lines = [
        f"The furthest off: {first.site}. {first.text}",
        f"Also {join([*names[1:MOST_NAMED], f'{rest:,} more'])}.",
        f"When so many sites change at once, {CROWD_REASONS[first.direction]}.",
        page_url or "",
    ]
    return Message(
        kind=MessageKind.unusual,
        cause=f"unusual/{first.direction}",
        day=first.day,
        title=f"{MARKS[first.direction]} {len(names):,} sites unusually {first.direction} on {write_day(first.day)}",
        body=join_lines(lines),
        sites=tuple(sorted(names)),
        metrics=tuple(sorted({row.metric for group in groups for row in group})),
        direction=first.direction,
        severity=max((row.severity for row in leads), key=lambda severity: severity.rank),
    )


def write_new_level(row: UnusualSeries, *, page_url: str | None) -> Message:
    """The two days after an unusual one were as far off."""
    stayed = "as low" if row.direction == "low" else "as high"
    lines = [row.text, f"The two days after it were {stayed}. About half of such levels last for weeks."]
    title = f"{MARKS[row.direction]} {row.site}: still at a new level after 3 days"
    return _write_what_followed(row, "level", title, lines, page_url)


def write_correction(row: UnusualSeries, value_before: float, *, page_url: str | None) -> Message:
    """The source has another value for a day that was told, and the day is as expected."""
    name = name_metric(row.metric)
    numbers = f"{value_before:,.0f} {name} became {row.value:,.0f}; {float(f'{row.expected:.3g}'):,.0f} were expected."
    lines = [numbers if row.is_count else f"The source has another value of {name} for this day now."]
    title = f"{row.site}: {write_day(row.day)} is as expected after a correction"
    return _write_what_followed(row, "corrected", title, lines, page_url)


def _write_what_followed(
    row: UnusualSeries, cause: str, title: str, lines: Sequence[str], page_url: str | None
) -> Message:
    """A message about the unusual day of one series, after the one that told it."""
    return Message(
        kind=MessageKind.unusual,
        cause=f"{cause}/{row.direction}/{row.site}",
        day=row.day,
        title=title,
        body=join_lines([*lines, link_to_series(page_url, row.site, row.metric)]),
        sites=(row.site,),
        metrics=(row.metric,),
        direction=row.direction,
        severity=row.severity,
    )


def link_to_series(page_url: str | None, site: str, metric: str) -> str:
    """The address of the page's view of one metric of a site; empty if nobody said where the page is."""
    return f"{page_url.rstrip('/')}/#/site/{quote(site, safe='')}/{quote(metric, safe='')}" if page_url else ""


def join_lines(lines: Sequence[str]) -> str:
    return "\n".join(line for line in lines if line)


def write_day(day: dt.date) -> str:
    return f"{day:%A}, {day.day} {day:%B}"


def _describe_size(row: UnusualSeries) -> str:
    name = name_metric(row.metric)
    if not row.is_count or row.expected <= 0:
        return f"{name} unusually {row.direction}"
    if row.value == 0:
        return f"no {name}"
    ratio = row.value / row.expected
    if ratio < 2:
        return f"{name} {abs(ratio - 1):.0%} {row.direction}"
    return f"{name} {ratio:.1f} times usual" if ratio < 10 else f"{name} {ratio:,.0f} times usual"


def _name_days(row: UnusualSeries) -> str:
    return f"{'in the week up to' if row.kind == 'week' else 'on'} {write_day(row.day)}"


def _describe_company(row: UnusualSeries, others: Sequence[str]) -> str:
    """Whether the site's other metrics moved alike, and what the day lacks: one sentence, or none."""
    alike, missing = _name_alike(row, others), _describe_missing(row)
    if not missing:
        return f"{alike}." if alike else ""
    return f"{alike}; {missing}." if alike else f"{missing[0].upper()}{missing[1:]}."


def _name_alike(row: UnusualSeries, others: Sequence[str]) -> str:
    if not others:
        return ""
    number = len(others) + 1
    if number < row.num_metrics or number == 1:
        return f"Also {join([name_metric(metric) for metric in others])}"
    how = "fell alike" if row.direction == "low" else "rose alike"
    return f"Both metrics {how}" if number == 2 else f"All {write_number(number)} metrics {how}"


def _describe_missing(row: UnusualSeries) -> str:
    if row.verdict == "outage":
        return f"nothing was counted: {STOPPED}"
    if row.verdict == "bot":
        return "it looks like traffic of bots"
    if row.verdict == "definition_break":
        return "the metric is counted in another way since"
    if row.verdict != "partial":
        return ""
    number = count_missing_hours(row.hours, row.hours_before)
    hours = f"{number} hours are missing" if number > 1 else "1 hour is missing" if number else "it looks half-counted"
    return f"{hours}: {STOPPED}"


def count_missing_hours(hours: int | None, before: Sequence[int]) -> int:
    """Hours without traffic that usually have some."""
    if hours is None or len(before) < LEAST_DAYS:
        return 0
    usual = (hour for hour in range(24) if sum(day >> hour & 1 for day in before) >= USUAL_SHARE * len(before))
    return sum(not hours >> hour & 1 for hour in usual)


def _describe_surroundings(row: UnusualSeries, earlier: Sequence[dt.date]) -> str:
    """Earlier days that are told with this one, and other sites."""
    days = f"Before that also on {join([write_day(day) for day in earlier])}." if earlier else ""
    number = row.num_other_sites
    sites = "" if not number else f"{'Another site' if number == 1 else f'{number:,} other sites'} on the same day."
    return " ".join(part for part in (days, sites) if part)


def write_number(number: int) -> str:
    return NUMBERS[number] if number < len(NUMBERS) else f"{number:,}"
