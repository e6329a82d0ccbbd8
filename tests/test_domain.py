"""The words that all else uses."""

import pytest

from forecasting.domain import KIND_CODES, Kind, check_days_ahead
from forecasting.errors import SettingError
from forecasting.model.rollout import COUNT, OTHER, RATE


@pytest.mark.parametrize("days", [0, 31, -1])
def test_days_ahead_is_1_to_30(days: int) -> None:
    with pytest.raises(SettingError) as refusal:
        check_days_ahead(days)
    assert str(refusal.value) == f"days_ahead is {days}; it must be 1 to 30."
    assert [check_days_ahead(good) for good in (1, 30)] == [1, 30]


def test_codes_of_kinds_are_the_models() -> None:
    assert {Kind.count: COUNT, Kind.rate: RATE, Kind.other: OTHER} == KIND_CODES
