"""What is wrong with the feed of new days or with a site: told when it begins, and when it is over. Pure.

A cause is the name of what is wrong: late/SOURCE/KEY, gone/SOURCE/KEY, renamed/SOURCE/KEY/NAME.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from forecasting.alerts.unusual import join_lines, write_day
from forecasting.domain import MessageKind
from forecasting.errors import name_some
from forecasting.monitoring.data_age import SeriesAge
from forecasting.monitoring.listing import join
from forecasting.warehouse.message_store import Message

MAX_NAMED = 5
LATE, GONE, RENAMED = "late", "gone", "renamed"


@dataclass(frozen=True)
class SiteState:
    """A site of the source. `age` is None without any day."""

    name: str
    key: str
    aliases: Sequence[str]
    is_gone: bool
    age: SeriesAge | None


@dataclass(frozen=True)
class Trouble:
    cause: str
    site: str
    is_wrong: bool  # now


def find_troubles(
    source: str, sites: Sequence[SiteState], known: Mapping[str, dt.datetime], *, max_age_days: int
) -> list[Trouble]:
    """What has begun, and what is over, since it was `known`."""
    states = (trouble for site in sites for trouble in _look_at(source, site, max_age_days))
    return [trouble for trouble in states if trouble.is_wrong != (trouble.cause in known)]


def _look_at(source: str, site: SiteState, max_age_days: int) -> list[Trouble]:
    names = (source, site.key)
    is_late = site.age is not None and site.age.is_late(max_age_days) and not site.is_gone
    return [
        Trouble("/".join((GONE, *names)), site.name, site.is_gone),
        # A site that is gone has no new days: whether they were late is for the time when it is back.
        *([] if site.is_gone else [Trouble("/".join((LATE, *names)), site.name, is_late)]),
        *(Trouble("/".join((RENAMED, *names, alias)), site.name, is_wrong=True) for alias in site.aliases),
    ]


def write_troubles(
    source: str, troubles: Sequence[Trouble], sites: Sequence[SiteState], *, today: dt.date, page_url: str | None
) -> list[Message]:
    """A message for each kind of news, whatever the number of sites: a feed serves many."""
    states = {site.name: site for site in sites}
    messages = []
    for (kind, is_wrong), write in WRITERS.items():
        news = [each for each in troubles if each.cause.split("/")[0] == kind and each.is_wrong is is_wrong]
        if not news:
            continue
        names = dict.fromkeys(each.site for each in news)  # a site may be renamed twice
        title, *lines = write(source, [states[name] for name in names])
        messages.append(
            Message(
                kind=MessageKind.trouble,
                cause=news[0].cause if is_wrong else f"{news[0].cause}/over",
                day=today,
                title=title,
                body=join_lines([*lines, page_url or ""]),
                sites=tuple(sorted(names)),
            )
        )
    return messages


def _write_late(source: str, sites: Sequence[SiteState]) -> tuple[str, ...]:
    ages = sorted((site.age for site in sites if site.age), key=lambda age: (age.data_until, age.name))
    newest = ages[-1]
    advice = f"Check what fills {source}. Until then forecasts begin after that day, so they are less sure than usual."
    days = "1 day" if newest.usual_days == 1 else f"{newest.usual_days} days"
    usual = f"{newest.age_days} days ago; usually one comes after {days}."
    if len(ages) == 1:
        title = f"No new day of {newest.name} since {write_day(newest.data_until)}"
        return title, f"The newest day of {newest.name} is {write_day(newest.data_until)}, {usual}", advice
    title = f"No new days of {len(ages):,} sites"
    return title, f"{_name(sites)}: the newest day is {write_day(newest.data_until)}, {usual}", advice


def _write_back(_: str, sites: Sequence[SiteState]) -> tuple[str, ...]:
    newest = max(site.age.data_until for site in sites if site.age)
    return f"New days of {_name(sites)} have come", f"The newest is {write_day(newest)}."


def _write_gone(source: str, sites: Sequence[SiteState]) -> tuple[str, ...]:
    is_one = len(sites) == 1
    title = f"{_name(sites)} {'is' if is_one else 'are'} gone from {source}"
    kept = "Its days are kept, but it is not forecast until it is back."
    if not is_one:
        kept = "Their days are kept, but they are not forecast until they are back."
    return title, f"{kept} If nobody meant to delete {'it' if is_one else 'them'}, check {source}."


def _write_here_again(source: str, sites: Sequence[SiteState]) -> tuple[str, ...]:
    is_one = len(sites) == 1
    title = f"{_name(sites)} {'is' if is_one else 'are'} back"
    return title, f"{source} has {'it' if is_one else 'them'} again, and forecasts go on."


def _write_renamed(source: str, sites: Sequence[SiteState]) -> tuple[str, ...]:
    first = sites[0]
    title = (
        f"{first.aliases[-1]} is called {first.name} now" if len(sites) == 1 else f"{len(sites):,} sites are renamed"
    )
    changes = join([f"{site.aliases[-1]} is {site.name}" for site in sites[:MAX_NAMED]])
    more = f" So are {len(sites) - MAX_NAMED:,} more." if len(sites) > MAX_NAMED else ""
    return title, f"In {source}, {changes} now.{more} Requests and settings may use either name."


def _name(sites: Sequence[SiteState]) -> str:
    return name_some([site.name for site in sites], at_most=MAX_NAMED)


WRITERS: dict[tuple[str, bool], Callable[[str, Sequence[SiteState]], tuple[str, ...]]] = {
    (LATE, True): _write_late,
    (LATE, False): _write_back,
    (GONE, True): _write_gone,
    (GONE, False): _write_here_again,
    (RENAMED, True): _write_renamed,
}
