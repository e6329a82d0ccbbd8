"""How old the data are, and how old they usually become. Pure: no connection, no clock."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from forecasting.domain import MAX_DAYS_AHEAD
from forecasting.errors import name_some

USUAL_DAYS = 1  # as old is the newest day of a source that is up to date: yesterday
FORGIVEN_FROM = 4  # known arrivals, of which the latest of all does not count: a feed may have stopped once
LONGEST_USUAL_DAYS = 35  # a source is loaded once a month at least; what took longer was no usual delay
HISTORY_DAYS = 365  # data of this age to which no newer day ever came are history, such as the sample: nobody adds days
MAX_NAMES = 5  # of series in a sentence


def find_usual_age(arrivals: Sequence[int]) -> int:
    """How old, in days, the newest day becomes between two arrivals of new ones: 7 if a source is loaded once a week.

    `arrivals`: how old it had become each time, as far as is known.
    """
    ages = sorted((USUAL_DAYS, *(age for age in arrivals if age <= LONGEST_USUAL_DAYS)))
    return ages[-2] if len(ages) > FORGIVEN_FROM else ages[-1]


def is_history(age_days: int, arrivals: Sequence[int]) -> bool:
    return not arrivals and age_days >= HISTORY_DAYS


@dataclass(frozen=True)
class AnswerAge:
    days: int  # from the last day of the data until today
    is_stale: bool  # some days of the forecast are over already, or later days of the data cannot be read

    @classmethod
    def of(cls, age_days: int, arrivals: Sequence[int]) -> "AnswerAge":
        return cls(age_days, is_stale=age_days > USUAL_DAYS and not is_history(age_days, arrivals))


@dataclass(frozen=True)
class SeriesAge:
    name: str
    data_until: dt.date  # the newest day with a value
    age_days: int  # from then until today
    arrivals: Sequence[int]  # of the site's days

    @property
    def usual_days(self) -> int:
        return find_usual_age(self.arrivals)

    def is_late(self, max_age_days: int) -> bool:
        """Whether it is older by more than `max_age_days` than is usual."""
        return not is_history(self.age_days, self.arrivals) and self.age_days > self.usual_days + max_age_days


@dataclass(frozen=True)
class DataAges:
    """Of the series of a version that have days at all."""

    source: str
    ages: tuple[SeriesAge, ...]
    max_age_days: int  # beyond what is usual

    @cached_property
    def newest(self) -> SeriesAge | None:
        return min(self.ages, key=lambda age: age.age_days, default=None)

    @cached_property
    def oldest(self) -> SeriesAge | None:
        return max(self.ages, key=lambda age: age.age_days, default=None)

    @cached_property
    def late(self) -> tuple[SeriesAge, ...]:
        return tuple(age for age in self.ages if age.is_late(self.max_age_days))

    @cached_property
    def problem(self) -> str | None:
        if not self.late:
            return None
        last = max(self.late, key=lambda age: (age.data_until, age.name))
        num_late, num_series = len(self.late), len(self.ages)
        names = name_some([age.name for age in self.late], at_most=MAX_NAMES)
        which = f"of {names}" if num_late == 1 else f"of {num_late:,} of the {num_series:,} series ({names})"
        return (
            f"No new day {which} has come since {last.data_until}, {last.age_days} days ago; usually one comes after "
            f"{_number(last.usual_days)}. Forecasts begin after the last day, so they begin in the past. Check what "
            f"fills {self.source}. If it is loaded more rarely, raise serving.max_age_days ({self.max_age_days}); if "
            "these series have ended, train a version without them."
        )

    @property
    def has_no_day_ahead(self) -> bool:
        """Whether even the longest forecast of every series would end before today, although new days are expected."""
        return len(self.late) == len(self.ages) > 0 and all(age.age_days > MAX_DAYS_AHEAD for age in self.ages)


def describe_past_days(data_until: dt.date, days_ahead: int, *, age_days: int) -> str | None:
    """A sentence about the days of a forecast that are over already; None if there are none."""
    num_past = min(age_days - 1, days_ahead)
    if num_past <= 0:
        return None
    if num_past == days_ahead:
        which = "This day is" if days_ahead == 1 else "All of these days are"
    else:
        which = f"{num_past} of these {days_ahead} days {'is' if num_past == 1 else 'are'}"
    return f"{which} over already: the newest day of the data is {data_until}, {age_days} days ago."


def _number(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"
