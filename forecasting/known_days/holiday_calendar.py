"""The public and school holidays of a country by name, from the package `holidays`, and the days beside them."""

import datetime as dt
from collections.abc import Mapping
from functools import lru_cache

from forecasting.domain import to_date, to_day

BEFORE, AFTER = "day before ", "day after "  # which a name starts with, of a day beside a holiday
SCHOOL = "school: "  # which a name starts with, of a day without school that is no public holiday
OBSERVED = " (observed)"  # a day off for a holiday that falls on a weekend: the same holiday
LANGUAGE = "en_US"  # of names where the package has them: they are the same on every machine


@lru_cache(maxsize=64)  # the thousands of series of one forecast mostly ask for the same days
def name_days(country: str, days: range) -> Mapping[int, str]:
    """Those of the days, in days since 1970-01-01, that are holidays, or the day before or after one, with their names.

    `country` is an ISO code, with a subdivision where it has its own holidays: US, DE-BY.
    """
    names: dict[int, str] = {}
    for day in days:
        if name := name_day(country, day):
            names[day] = name
    return names


def name_day(country: str, day: int) -> str | None:
    names = _name_days_of(country, to_date(day).year)
    return names.get(day)


@lru_cache(maxsize=4096)
def _name_days_of(country: str, year: int) -> dict[int, str]:
    """A public holiday comes before a day beside one, and that before a day without school."""
    holidays = _read_holidays(country, year, "public")
    school = {day: SCHOOL + name for day, name in _read_holidays(country, year, "school").items()}
    names = {day - 1: BEFORE + name for day, name in holidays.items()}
    names = {day + 1: AFTER + name for day, name in holidays.items()} | names
    return school | names | holidays


@lru_cache(maxsize=4096)
def _read_holidays(country: str, year: int, category: str) -> dict[int, str]:
    """Of the year, the last day before it and the first day after it, whose neighbours lie in it."""
    import holidays

    code, _, subdivision = country.partition("-")
    known = holidays.country_holidays(code, subdiv=subdivision or None, years=())
    if category not in known.supported_categories:
        return {}
    language = LANGUAGE if LANGUAGE in known.supported_languages else known.default_language
    calendar = holidays.country_holidays(
        code,
        subdiv=subdivision or None,
        years=range(year - 1, year + 2),
        categories=(category,),
        language=language,
    )
    first, last = dt.date(year, 1, 1) - dt.timedelta(1), dt.date(year + 1, 1, 1)
    return {to_day(day): name.replace(OBSERVED, "") for day, name in sorted(calendar.items()) if first <= day <= last}
