"""How old data may become, and what is said of forecasts that begin in the past: by hand."""

import datetime as dt

import pytest

from forecasting.monitoring.data_age import AnswerAge, DataAges, SeriesAge, describe_past_days, find_usual_age

UNTIL = dt.date(2026, 11, 20)


@pytest.mark.parametrize(
    ("arrivals", "usual"),
    [
        ((), 1),  # nothing is known yet: as if loaded every day
        ((1, 1, 1), 1),
        ((7,), 7),  # loaded once a week
        ((7, 8, 7, 7), 7),  # once a day late
        ((1, 3, 1, 1, 1, 1, 3, 1), 3),  # not on weekends
        ((1, 1, 20, 1), 1),  # it stopped once
        ((2, 20), 20),
        ((2, 40), 2),  # nobody loads every 40 days
        ((31, 30, 32), 32),  # once a month
        ((1, 7, 1, 7, 1, 7), 7),  # a week's days, and a correction on the next day
    ],
)
def test_usual_age_is_that_of_the_source(arrivals: tuple[int, ...], usual: int) -> None:
    assert find_usual_age(arrivals) == usual


def make_ages(*series: tuple[str, int, tuple[int, ...]], max_age_days: int = 3) -> DataAges:
    today = dt.date(2026, 11, 30)
    ages = [SeriesAge(name, today - dt.timedelta(days), days, arrivals) for name, days, arrivals in series]
    return DataAges("umami", tuple(ages), max_age_days)


def test_days_are_late_beyond_what_is_usual() -> None:
    for age_days, arrivals, late in ((4, (), 0), (5, (), 1), (10, (7, 7), 0), (11, (7, 7), 1), (364, (), 1)):
        assert len(make_ages(("visits of blog", age_days, arrivals)).late) == late
    assert make_ages(("visits of blog", 5, ()), max_age_days=4).problem is None


def test_data_to_which_no_day_ever_came_are_history() -> None:
    """Such as the sample's, which end in 2020."""
    assert make_ages(("visits of blog", 365, ())).problem is None
    assert make_ages(("visits of blog", 365, (1,))).problem is not None
    assert (AnswerAge.of(365, ()).is_stale, AnswerAge.of(365, (1,)).is_stale) == (False, True)
    assert (AnswerAge.of(1, ()).is_stale, AnswerAge.of(2, ()).is_stale) == (False, True)


def test_late_days_are_told_with_what_to_do() -> None:
    advice = (
        "Forecasts begin after the last day, so they begin in the past. Check what fills umami. If it is loaded more "
        "rarely, raise serving.max_age_days (3); if these series have ended, train a version without them."
    )
    assert make_ages(("visits of blog", 10, ()), ("visits of shop", 1, ())).problem == (
        "No new day of visits of blog has come since 2026-11-20, 10 days ago; usually one comes after 1 day. " + advice
    )
    several = [(f"visits of {site}", 12, (7, 7)) for site in "abcdefg"]
    assert make_ages(*several, ("visits of h", 7, (7, 7))).problem == (
        "No new day of 7 of the 8 series (visits of a, visits of b, visits of c, visits of d, visits of e and 2 more) "
        "has come since 2026-11-18, 12 days ago; usually one comes after 7 days. " + advice
    )


def test_no_day_ahead_is_left_when_the_longest_forecast_of_every_series_ends_before_today() -> None:
    assert make_ages(("a", 31, ()), ("b", 40, ())).has_no_day_ahead
    assert not make_ages(("a", 30, ()), ("b", 40, ())).has_no_day_ahead
    assert not make_ages(("a", 400, ()), ("b", 40, ())).has_no_day_ahead
    assert not make_ages().has_no_day_ahead


@pytest.mark.parametrize(
    ("age_days", "days_ahead", "text"),
    [
        (1, 7, None),
        (2, 7, "1 of these 7 days is over already: the newest day of the data is 2026-11-20, 2 days ago."),
        (5, 7, "4 of these 7 days are over already: the newest day of the data is 2026-11-20, 5 days ago."),
        (8, 7, "All of these days are over already: the newest day of the data is 2026-11-20, 8 days ago."),
        (40, 30, "All of these days are over already: the newest day of the data is 2026-11-20, 40 days ago."),
        (2, 1, "This day is over already: the newest day of the data is 2026-11-20, 2 days ago."),
    ],
)
def test_days_that_are_over_are_not_given_as_if_they_were_ahead(
    age_days: int, days_ahead: int, text: str | None
) -> None:
    assert describe_past_days(UNTIL, days_ahead, age_days=age_days) == text
