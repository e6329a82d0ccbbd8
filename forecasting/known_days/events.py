"""Days that people know beforehand: sales, launches, newsletters, and the notes of an analytics tool."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from forecasting.domain import Kind, to_date

EVENT = "event: "  # which the name of an event starts with among those of holidays
MIN_SIZE, MAX_SIZE = 0.01, 100.0


@dataclass(frozen=True)
class Event:
    """`days` since 1970-01-01, one occurrence. Events of the same name are of the same kind.

    `size` is how many times the usual count is expected: 1.5 for half as much again, 0.5 for half; None if unknown.
    """

    name: str
    first_day: int
    last_day: int
    site: str | None = None  # None: all sites
    size: float | None = None

    def is_within(self, days: range) -> bool:
        """Whether any of its days is."""
        return self.first_day < days.stop and days.start <= self.last_day

    def days_within(self, days: range) -> range:
        return range(max(self.first_day, days.start), min(self.last_day + 1, days.stop))

    def describe(self) -> str:
        first, last = to_date(self.first_day), to_date(self.last_day)
        return f"{self.name} ({first})" if first == last else f"{self.name} ({first} to {last})"


@dataclass(frozen=True)
class Events:
    """Of all sites, past and future, in the order of their days."""

    events: tuple[Event, ...] = ()

    def of(self, site: str) -> tuple[Event, ...]:
        """Those of the site and those of all sites. Of two with the same name and day, the site's own is later."""
        return (*self._by_site.get(None, ()), *self._by_site.get(site, ()))

    @cached_property
    def sites(self) -> set[str]:
        """That are named."""
        return {site for site in self._by_site if site is not None}

    @cached_property
    def _by_site(self) -> Mapping[str | None, Sequence[Event]]:
        by_site: dict[str | None, list[Event]] = {}
        for event in sorted(self.events, key=lambda event: (event.first_day, event.last_day, event.name)):
            by_site.setdefault(event.site, []).append(event)
        return by_site

    def __len__(self) -> int:
        return len(self.events)


NO_EVENTS = Events()


def list_event_days(events: Iterable[Event], days: range) -> dict[tuple[int, str], float | None]:
    """The size of every day and name: a name counts once a day, with the size that is given last."""
    sizes: dict[tuple[int, str], float | None] = {}
    for event in events:
        for day in event.days_within(days):
            key = day, event.name
            sizes[key] = sizes.get(key) if event.size is None else event.size
    return sizes


def layer_events(events: Iterable[Event], days: range) -> list[dict[int, str]]:
    """Names of days, starting with EVENT, in as few mappings as hold them without two names on a day.

    A name has all its days in one mapping. The names of most days come first.
    """
    days_of: dict[str, set[int]] = {}
    for day, name in list_event_days(events, days):
        days_of.setdefault(EVENT + name, set()).add(day)
    layers: list[dict[int, str]] = []
    for name, own in sorted(days_of.items(), key=lambda item: (-len(item[1]), item[0])):
        layer = next((layer for layer in layers if own.isdisjoint(layer)), None)
        if layer is None:
            layers.append(layer := {})
        layer.update(dict.fromkeys(own, name))
    return layers


def effect_of_size(size: float | None, kind: Kind) -> float:
    """In the units of effects. A size says nothing of rates and means: twice the visits are not twice the bounces."""
    return math.log(size) if size is not None and kind is Kind.count else 0.0
