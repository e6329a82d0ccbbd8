"""When the daily job is due, with real time zones: on days of 23 and 25 hours, and after the clock was set back."""

import datetime as dt
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from forecasting.lifecycle.schedule import find_last_due, find_next_due

PARIS, NEW_YORK, KATHMANDU, SAMOA = map(
    ZoneInfo, ("Europe/Paris", "America/New_York", "Asia/Kathmandu", "Pacific/Apia")
)
MORNING, NIGHT = dt.time(6, 15), dt.time(2, 30)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("now", "last", "following"),
    [
        ("2026-03-28 12:00", "2026-03-28 05:15", "2026-03-29 04:15"),  # the night of 29 March has 23 hours
        ("2026-03-29 04:14", "2026-03-28 05:15", "2026-03-29 04:15"),
        ("2026-03-29 04:15", "2026-03-29 04:15", "2026-03-30 04:15"),
        ("2026-10-24 23:30", "2026-10-24 04:15", "2026-10-25 05:15"),  # that of 25 October has 25
        ("2026-10-25 05:14:59", "2026-10-24 04:15", "2026-10-25 05:15"),
        ("2026-10-25 06:00", "2026-10-25 05:15", "2026-10-26 05:15"),
    ],
)
def test_the_same_time_of_day_in_summer_and_winter(now: str, last: str, following: str) -> None:
    assert find_last_due(MORNING, PARIS, utc(now)) == utc(last)
    assert find_next_due(MORNING, PARIS, utc(now)) == utc(following)


def test_a_time_that_is_skipped_or_comes_twice_is_due_once() -> None:
    """In New York 02:30 does not exist on 8 March 2026, and 01:30 comes twice on 1 November."""
    assert find_last_due(NIGHT, NEW_YORK, utc("2026-03-08 12:00")) == utc("2026-03-08 07:30")  # 03:30 there
    assert find_next_due(NIGHT, NEW_YORK, utc("2026-03-08 07:30")) == utc("2026-03-09 06:30")
    twice = dt.time(1, 30)
    assert find_last_due(twice, NEW_YORK, utc("2026-11-01 05:40")) == utc("2026-11-01 05:30")
    assert find_last_due(twice, NEW_YORK, utc("2026-11-01 06:40")) == utc("2026-11-01 05:30")
    assert find_next_due(twice, NEW_YORK, utc("2026-11-01 05:40")) == utc("2026-11-02 06:30")


@pytest.mark.parametrize("zone", [PARIS, NEW_YORK, KATHMANDU, SAMOA], ids=str)
@pytest.mark.parametrize("at", [MORNING, NIGHT, dt.time(0, 0), dt.time(23, 59)], ids=str)
def test_every_day_of_a_year_is_due_once(at: dt.time, zone: ZoneInfo) -> None:
    """Walking from one due time to the next meets every day of the calendar, and looking back finds the same times."""
    moment, days = utc("2026-01-01 00:00"), []
    while len(days) < 366:
        following = find_next_due(at, zone, moment)
        assert find_last_due(at, zone, following) == following
        assert find_last_due(at, zone, following - dt.timedelta(seconds=1)) < following
        moment = following
        days.append(moment.astimezone(zone).date())
    assert [(later - day).days for day, later in pairwise(days)] == [1] * 365


def test_nothing_is_due_again_after_the_clock_was_set_back() -> None:
    """What was done at 06:15 was for a later time than what is due at 05:30."""
    done = find_last_due(MORNING, PARIS, utc("2026-06-01 04:16"))
    for minutes in range(60):
        assert find_last_due(MORNING, PARIS, utc("2026-06-01 03:16") + dt.timedelta(minutes=minutes)) <= done
