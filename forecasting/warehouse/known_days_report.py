"""What `scripts/sources.py --check` says about known days: holidays, events, and sites that have neither."""

import datetime as dt
from collections.abc import Iterator, Sequence

from forecasting.domain import to_day
from forecasting.errors import name_some
from forecasting.known_days.effects import is_beside
from forecasting.known_days.events import Events
from forecasting.known_days.holiday_calendar import name_days
from forecasting.settings.countries import suggest_country
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.catalog import local_day, timezone_of
from forecasting.warehouse.sources.source import Site

AHEAD = 365  # days
MAX_NAMED = 5


def describe_known_days(sites: Sequence[Site], events: Events, data: DataConfig, *, now: dt.datetime) -> Iterator[str]:
    yield from _describe_holidays(sites, data, local_day(now, data.timezone))
    if events:
        ahead = sum(event.last_day >= to_day(local_day(now, data.timezone)) for event in events.events)
        names = name_some({event.name for event in events.events}, at_most=MAX_NAMED)
        yield f"events: {len(events)}, {ahead} of them not over yet: {names}"
    unknown = [site for site in sites if not data.country_of(site.name) and not events.of(site.name)]
    if unknown:
        names = name_some([site.name for site in unknown], at_most=MAX_NAMED)
        yield f"no holidays and no events are known of {names}: {_suggest(unknown, data)}"


def find_unknown_sites(names: set[str], events: Events) -> Iterator[str]:
    """Warnings about events of sites that do not exist."""
    for site in sorted(events.sites - names):
        [event, *_] = (event for event in events.events if event.site == site)
        yield f"the event {event.describe()} is of the site {site!r}, which does not exist"


def _describe_holidays(sites: Sequence[Site], data: DataConfig, today: dt.date) -> Iterator[str]:
    countries = {site.name: data.country_of(site.name) for site in sites}
    for country in sorted({country for country in countries.values() if country}):
        own = [site for site in sites if countries[site.name] == country]
        first = min((local_day(site.first, timezone_of(site, data)) for site in own if site.first), default=today)
        past = _count_holidays(country, range(to_day(first), to_day(today)))
        ahead = _count_holidays(country, range(to_day(today), to_day(today) + AHEAD))
        num_sites = "1 site" if len(own) == 1 else f"{len(own)} sites"
        yield f"holidays of {country}: {past} since {first}, {ahead} in the next {AHEAD} days, for {num_sites}"


def _count_holidays(country: str, days: range) -> int:
    return sum(not is_beside(name) for name in name_days(country, days).values())


def _suggest(sites: Sequence[Site], data: DataConfig) -> str:
    """No country is taken from a time zone without asking: the visitors may live elsewhere."""
    zones = sorted({timezone_of(site, data) for site in sites})
    countries = {zone: country for zone in zones if (country := suggest_country(zone))}
    if not countries:
        return "set data.country or data.events"
    zone, country = next(iter(countries.items()))
    return f"if the visitors live in {country}, as {zone} suggests, set data.country={country}"
