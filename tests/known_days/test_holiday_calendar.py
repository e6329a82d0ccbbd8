"""Holidays by name, against published dates."""

import datetime as dt

from forecasting.domain import to_day
from forecasting.known_days.holiday_calendar import name_day


def test_holidays_and_the_days_beside_them_are_named() -> None:
    names = {date: name_day("US", to_day(dt.date.fromisoformat(date))) for date in (
        "2015-07-02", "2015-07-03", "2015-07-04", "2015-07-05", "2018-11-22", "2018-11-23", "2018-11-24", "2018-12-31",
        "2020-01-02",
    )}  # fmt: skip
    assert names == {
        "2015-07-02": "day before Independence Day",
        "2015-07-03": "Independence Day",  # a Friday off, since the 4th was a Saturday
        "2015-07-04": "Independence Day",
        "2015-07-05": "day after Independence Day",
        "2018-11-22": "Thanksgiving Day",
        "2018-11-23": "day after Thanksgiving Day",
        "2018-11-24": None,
        "2018-12-31": "day before New Year's Day",
        "2020-01-02": "day after New Year's Day",
    }


def test_states_have_holidays_of_their_own() -> None:
    corpus_christi = to_day(dt.date(2023, 6, 8))
    assert name_day("DE-BY", corpus_christi) == "Corpus Christi"
    assert name_day("DE-BE", corpus_christi) is None
    assert name_day("DE-BY", corpus_christi - 3) == "school: Ascension/Whit Break"
