"""The words that all else uses."""

import datetime as dt
from collections.abc import Callable

import pytest
from pydantic import TypeAdapter, ValidationError

from forecasting.domain import (
    KIND_CODES,
    MAX_DAYS_AHEAD,
    MIN_DAYS,
    MIN_DAYS_BESIDE_GAP,
    MIN_KNOWN_DAYS,
    Kind,
    Series,
    Verdict,
    can_be_zero,
    check_days_ahead,
    check_version,
    read_days_ahead,
    to_date,
    to_day,
)
from forecasting.errors import InvalidVersion, SettingError
from forecasting.model.rollout import COUNT, OTHER, RATE
from forecasting.serving.http.request_schema import BodyDaysAhead


@pytest.mark.parametrize("days", [0, 31, -1])
def test_days_ahead_is_1_to_30(days: int) -> None:
    with pytest.raises(SettingError) as refusal:
        check_days_ahead(days)
    assert str(refusal.value) == f"days_ahead is {days}; it must be 1 to 30."
    assert [check_days_ahead(good) for good in (1, 30)] == [1, 30]


def test_days_are_counted_from_1970() -> None:
    """1970-01-01 was a Thursday: the models' weekday is (day + 3) mod 7, Monday 0."""
    assert to_day(dt.date(1970, 1, 1)) == 0
    assert to_day(dt.date(2000, 3, 1)) == 11_017
    assert to_date(11_017) == dt.date(2000, 3, 1)
    assert (to_day(dt.date(2000, 3, 1)) + 3) % 7 == dt.date(2000, 3, 1).weekday()


@pytest.mark.parametrize(
    ("kind", "additive", "zero"),
    [
        (Kind.count, True, True),
        (Kind.count, False, True),  # nobody came, so there were no different people either
        (Kind.other, True, True),
        (Kind.other, False, False),
        (Kind.rate, True, False),
        (Kind.rate, False, False),
    ],
)
def test_day_without_a_row_can_be_zero_where_something_is_counted(kind: Kind, additive: bool, zero: bool) -> None:
    assert can_be_zero(kind, additive=additive) is zero


def test_codes_of_kinds_are_the_models() -> None:
    assert {Kind.count: COUNT, Kind.rate: RATE, Kind.other: OTHER} == KIND_CODES


@pytest.mark.parametrize("version", ["v1.0.0", "1", "a" * 64, "A_b-c.9", "v1.previous.2", "base2"])
def test_version_is_the_name_of_a_folder(version: str) -> None:
    assert check_version(version) == version


@pytest.mark.parametrize(
    "version", ["base", "v1.previous", "a" * 65, "", ".v1", "-v1", "_v1", "v1.", "v1..2", "v 1", "v1/2", "v1\n", "vö"]
)
def test_version_that_is_reserved_or_no_name_is_refused(version: str) -> None:
    with pytest.raises(InvalidVersion):
        check_version(version)


def test_verdicts_are_stored_by_these_numbers() -> None:
    names = ["before", "observed", "gap", "unmeasured", "invalid", "outage", "partial", "bot", "definition_break"]
    assert [(verdict.name, verdict.value) for verdict in Verdict] == [(name, code) for code, name in enumerate(names)]


def test_documented_limits() -> None:
    assert (MIN_DAYS, MIN_KNOWN_DAYS, MIN_DAYS_BESIDE_GAP, MAX_DAYS_AHEAD) == (30, 28, 14, 30)


def test_series_is_named_by_metric_and_site() -> None:
    series = Series("blog", "visits")
    assert (series.name, series.key) == ("visits of blog", ("blog", "visits"))
    assert (series.kind, series.additive, series.unit_scale) == (Kind.count, True, 1.0)


@pytest.mark.parametrize(
    "value",
    [
        1, 7, 30, 7.0, "7", "7.0", " 7 ", "+7", "07", 0, 31, -1, 7.5, "7.5", "1_0", True, False, None, "", "x", "7e0",
        [7], float("nan"), float("inf"), "nan", "-7", 10**400, "9" * 5000, "0x7",
    ],
)  # fmt: skip
def test_days_ahead_are_read_as_the_routes_read_them(value: object) -> None:
    """The routes read them by pydantic."""

    def read(reader: Callable[[object], int]) -> int | None:
        try:
            return reader(value)
        except (ValidationError, SettingError):
            return None

    assert read(read_days_ahead) == read(TypeAdapter(BodyDaysAhead).validate_python)
