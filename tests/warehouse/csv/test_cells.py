"""Days and numbers in every spelling that the formats have, by hand."""

import datetime as dt
from collections.abc import Callable

import pytest

from forecasting.warehouse.csv.cells import (
    parse_day,
    parse_day_in_words,
    parse_english,
    parse_percent,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("83", 83.0),
        ("1,083.5", 1083.5),
        ("00:00:09", 9.0),
        ("00:01:23", 83.0),
        ("01:00:00", 3600.0),
        ("27:10:05", 97_805.0),  # 27 hours are 97200
        ("46s", 46.0),
        ("2.5s", 2.5),
        ("1 min 23s", 83.0),
        ("11 min 2s", 662.0),
        ("1 hours 2 min", 3720.0),
        ("1 days 2 hours", 93_600.0),
        ("3 days 4 hours 5 min 6s", 273_906.0),  # 259200 + 14400 + 300 + 6
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["Wed, Jan 31, 2024", "Wednesday, January 31, 2024", "Jan 31, 2024", "January 31, 2024"]
)
def test_dates_in_words(text: str) -> None:
    assert parse_day_in_words(text) == dt.date(2024, 1, 31).toordinal() - dt.date(1970, 1, 1).toordinal()


@pytest.mark.parametrize("parse", [parse_day, parse_day_in_words])
def test_iso_dates_with_and_without_a_time(parse: Callable[[str], int]) -> None:
    assert parse("1970-01-01") == 0
    assert parse("1970-01-02") == 1
    assert parse(" 2024-01-31 ") == parse("2024-01-31T23:59:59") == parse("20240131") == 19_753


@pytest.mark.parametrize(
    ("text", "number"),
    [("1234.5", 1234.5), ("1,234.5", 1234.5), ("-12,345,678", -12_345_678.0), ("1e3", 1000.0), ("999", 999.0)],
)
def test_english_numbers(text: str, number: float) -> None:
    assert parse_english(text) == number


def test_percentages_keep_their_unit() -> None:
    assert [parse_percent(text) for text in ("45.2%", "45.2 %", "100%", "-1%")] == [45.2, 45.2, 100.0, -1.0]


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_english, "1,23"),
        (parse_english, "12,3456"),
        (parse_english, "1.234,5"),
        (parse_percent, "45.2"),
        (parse_percent, "%"),
        (parse_seconds, "00:60:00"),
        (parse_seconds, "1:2:3"),
        (parse_seconds, "2 minutes"),
        (parse_day, "31.01.2024"),
        (parse_day_in_words, "Jan 31"),
    ],
)
def test_other_spellings_are_refused(parse: Callable[[str], float], text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller names the cell, with what is wanted
        parse(text)
