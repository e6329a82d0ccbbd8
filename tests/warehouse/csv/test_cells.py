"""Days, numbers and durations in every spelling that files have, by hand."""

import datetime as dt

import pytest

from forecasting.domain import to_date
from forecasting.errors import DataError
from forecasting.warehouse.csv.cells import is_duration, parse_duration, parse_percent
from forecasting.warehouse.csv.dates import can_be_date, decide_order, parse_date
from forecasting.warehouse.csv.numbers import parse_number, read_number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("83", 83.0),
        ("1,083.5", 1083.5),
        ("00:00:09", 9.0),
        ("0:00:28", 28.0),
        ("00:00:28.5", 28.5),
        ("00:01:23", 83.0),
        ("01:00:00", 3600.0),
        ("27:10:05", 97_805.0),  # 27 hours are 97200
        ("46s", 46.0),
        ("2.5s", 2.5),
        ("1 min 23s", 83.0),
        ("1m 23s", 83.0),
        ("11 min 2s", 662.0),
        ("1h 2m 3s", 3723.0),
        ("1 hours 2 min", 3720.0),
        ("1 days 2 hours", 93_600.0),
        ("3 days 4 hours 5 min 6s", 273_906.0),  # 259200 + 14400 + 300 + 6
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, ".") == seconds
    assert is_duration(text) == (not text[-1:].isdigit() or ":" in text)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("1970-01-02", "1970-01-02"),
        (" 2024-01-31 ", "2024-01-31"),
        ("20240131", "2024-01-31"),
        ("2024-01-31T23:59:59", "2024-01-31"),
        ("2024-01-31 23:59:59.999", "2024-01-31"),
        ("2024/1/31", "2024-01-31"),
        ("2024.01.31", "2024-01-31"),
        ("2024. 1. 31.", "2024-01-31"),  # Korean
        ("2024年1月31日", "2024-01-31"),
        ("31.01.2024", "2024-01-31"),
        ("31. 1. 2024", "2024-01-31"),
        ("1.2.24", "2024-02-01"),  # a dot follows the day
        ("Wed, Jan 31, 2024", "2024-01-31"),
        ("Wednesday, January 31, 2024", "2024-01-31"),
        ("Jan 31, 2024", "2024-01-31"),
        ("January 31, 2024", "2024-01-31"),
        ("31 Jan 2024", "2024-01-31"),
        ("31-Jan-2024", "2024-01-31"),
        ("31-Jan-24", "2024-01-31"),
        ("2024-Jan-31", "2024-01-31"),
        ("Jan 31st, 2024", "2024-01-31"),
        ("31. Januar 2024", "2024-01-31"),
        ("mercredi 31 janvier 2024", "2024-01-31"),
        ("mar. 5 mars 2024", "2024-03-05"),  # mardi
        ("5 mar 2024", "2024-03-05"),
        ("31 de enero de 2024", "2024-01-31"),
        ("31 gennaio 2024", "2024-01-31"),
        ("31 de janeiro de 2024", "2024-01-31"),
        ("31 januari 2024", "2024-01-31"),
        ("Jan 31, 2024, 12:00 AM", "2024-01-31"),
        ("31.01.2024 00:00", "2024-01-31"),
        ("2024013100", "2024-01-31"),  # Wikimedia's, with the hour
    ],
)
def test_dates(text: str, date: str) -> None:
    assert str(to_date(parse_date(text, "", timezone="UTC"))) == date


@pytest.mark.parametrize(
    ("text", "zone", "date"),
    [
        ("2026-11-18T23:00:00Z", "Europe/Berlin", "2026-11-19"),
        ("2026-11-18T22:59:59Z", "Europe/Berlin", "2026-11-18"),
        ("2026-11-18T23:00:00Z", "UTC", "2026-11-18"),
        ("2026-11-18T23:00:00.000+00:00", "Europe/Berlin", "2026-11-19"),
        ("2026-11-18 23:00:00 UTC", "Europe/Berlin", "2026-11-19"),
        ("2026-11-18 23:00 GMT", "Europe/Berlin", "2026-11-19"),
        ("20261118T230000Z", "Europe/Berlin", "2026-11-19"),
        ("2026-11-19T00:30:00+02:00", "UTC", "2026-11-18"),
        ("2026-11-18T20:00:00-0800", "UTC", "2026-11-19"),
        ("2026-07-18T22:00:00Z", "Europe/Berlin", "2026-07-19"),  # summer time
        ("2026-11-19T03:00:00Z", "America/New_York", "2026-11-18"),
        ("2026-11-18T23:00:00", "Europe/Berlin", "2026-11-18"),  # no zone: the day that is written
        ("1795042800", "Europe/Berlin", "2026-11-19"),  # date -u -d 2026-11-18T23:00 +%s
        ("1795042800000", "Europe/Berlin", "2026-11-19"),
    ],
)
def test_moments_belong_to_the_day_at_the_site(text: str, zone: str, date: str) -> None:
    assert str(to_date(parse_date(text, "", timezone=zone))) == date


@pytest.mark.parametrize(
    "text",
    [
        "Jan 31", "Dec 17 - Dec 23", "Dec 17 - 23", "2024-02-30", "31/31/2024", "2024-13-01", "20240199", "Week 3", "5",
        "12.5", "2024", "2024-01", "20266-11-05", "Jan 31, 2024 and so on", "(not set)", "1/2", "13:00",
        "/2024/01/05/post", "",
    ],
)  # fmt: skip
def test_what_is_no_date(text: str) -> None:
    assert not can_be_date(text)


def dates(*texts: str) -> list[str]:
    cells = list(enumerate(texts, 2))
    order = decide_order("file.csv", cells)
    return [str(to_date(parse_date(text, order, timezone="UTC"))) for text in texts]


def test_order_of_day_and_month_is_the_only_one_that_the_whole_file_allows() -> None:
    assert dates("01/02/2024", "13/02/2024") == ["2024-02-01", "2024-02-13"]
    assert dates("01/02/2024", "02/13/2024") == ["2024-01-02", "2024-02-13"]
    assert dates("1-2-24", "1-13-24") == ["2024-01-02", "2024-01-13"]
    assert dates("05/05/2024", "2024-05-06") == ["2024-05-05", "2024-05-06"]  # the same in either order
    assert dates("12/31/2023 10:00 PM") == ["2023-12-31"]
    assert dates("23/01/30", "23/01/31", "23/02/01") == ["2023-01-30", "2023-01-31", "2023-02-01"]  # not years apart
    assert dates("13/01/23", "14/01/23", "15/01/23") == ["2023-01-13", "2023-01-14", "2023-01-15"]


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        (
            ["2024-01-01", "01/02/2024", "02/02/2024"],
            "file.csv, line 3: '01/02/2024' is 2024-01-02 or 2024-02-01, and no date in the file tells which. Write "
            "dates as 2024-12-31.",
        ),
        (
            ["31/01/2024", "01/31/2024"],
            "file.csv writes dates in two ways: '31/01/2024' on line 2 has the day first, '01/31/2024' on line 3 the "
            "month first. Write them as 2024-12-31.",
        ),
    ],
)
def test_dates_with_two_readings_are_refused(texts: list[str], error: str) -> None:
    with pytest.raises(DataError) as raised:
        dates(*texts)
    assert str(raised.value) == error


def test_iso_dates_of_seventy_years() -> None:
    day = dt.date(1960, 1, 1)
    while day < dt.date(2030, 1, 1):
        assert to_date(parse_date(day.isoformat(), "", timezone="UTC")) == day
        day += dt.timedelta(days=17)


@pytest.mark.parametrize(
    ("text", "decimal", "number"),
    [
        ("1234.5", ".", 1234.5),
        ("1,234.5", ".", 1234.5),
        ("-12,345,678", ".", -12_345_678.0),
        ("\u221212", ".", -12.0),
        ("+5", ".", 5.0),
        ("12,34,567", ".", 1_234_567.0),  # India
        ("1e3", ".", 1000.0),
        ("999", ",", 999.0),
        ("1.205", ".", 1.205),
        ("1.205", ",", 1205.0),
        ("1,205", ".", 1205.0),
        ("1,205", ",", 1.205),
        ("1.234.567", ",", 1_234_567.0),
        ("1.234,5", ",", 1234.5),
        ("1 234,5", ",", 1234.5),
        ("1\u202f234", ".", 1234.0),
        ("1\u00a0234,567", ",", 1234.567),
        ("1'234.50", ".", 1234.5),
        ("1\u2019234", ",", 1234.0),
        ("1.2k", ".", 1200.0),
        ("1,2K", ",", 1200.0),
        ("3.456M", ".", 3_456_000.0),
        (".5", ".", 0.5),
    ],
)
def test_numbers(text: str, decimal: str, number: float) -> None:
    assert parse_number(text, decimal) == number


@pytest.mark.parametrize(
    ("text", "decimal", "maybe"),
    [
        ("1205", "", ""), ("1.205", "", "."), ("1,205", "", ","), ("0.205", ".", ""), ("0,205", ",", ""),
        ("1205.500", ".", ""), ("1.2050", ".", ""), ("1.20", ".", ""), ("1.205.300", ",", ""), ("1.205,3", ",", ""),
        ("1,205.3", ".", ""), ("1 205", "", ""), ("1 205,300", ",", ""), ("1.205k", "", "."), ("1e3", "", ""),
        ("1.5e3", ".", ""), ("-1.205", "", "."),
    ],
)  # fmt: skip
def test_decimal_mark_that_a_number_proves(text: str, decimal: str, maybe: str) -> None:
    number = read_number(text)
    assert (number.decimal, number.maybe) == (decimal, maybe)


def test_percentages_keep_their_unit() -> None:
    texts = ("45.2%", "45.2 %", "45.2\u00a0%", "%45.2", "100%", "-1%")
    assert [parse_percent(text, ".") for text in texts] == [45.2, 45.2, 45.2, 45.2, 100.0, -1.0]
    assert parse_percent("45,2 %", ",") == 45.2


@pytest.mark.parametrize(
    "text",
    ["1,23", "12,3456", "1.234,5", "1_000", "1.2.3", "1,2,3", "12 34", "5.", "", "inf", "0x10", "٣", "$5", "1.2B"],
)
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller names the cell, with what is wanted
        parse_number(text, ".")


@pytest.mark.parametrize("text", ["45.2", "%", "45,2%"])
def test_other_percentages_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller names the cell, with what is wanted
        parse_percent(text, ".")


@pytest.mark.parametrize("text", ["00:60:00", "1:2:3", "2 minutes ago", "01:23", ""])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller names the cell, with what is wanted
        parse_duration(text, ".")
