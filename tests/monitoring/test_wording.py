"""Sentences about unusual days, word for word."""

import datetime as dt

import pytest

from forecasting.domain import Kind
from forecasting.monitoring.rule import Reason
from forecasting.monitoring.wording import DayValues, UnusualDay, describe, describe_rarity, describe_severity

TUESDAY = dt.date(2026, 11, 24)


@pytest.mark.parametrize(
    ("metric", "kind", "scale", "values", "reason", "text"),
    [
        (
            "visits", Kind.count, 1.0, (1204, 3481.4, 2903, 4018), Reason.day,
            "1,204 visits on Tuesday, 3,480 were expected (2,900 to 4,020). About once in 50 days.",
        ),
        (
            "page_views", Kind.count, 1.0, (9120, 12345, 10000, 15000), Reason.week,
            "9,120 page views in the 7 days up to Tuesday, 12,300 were expected (10,000 to 15,000). "
            "About once in 50 days.",
        ),
        (
            "visitors", Kind.count, 1.0, (912, 1234.5, 1000, 1500), Reason.week,
            "912 visitors a day in the 7 days up to Tuesday, 1,230 were expected (1,000 to 1,500). "
            "About once in 50 days.",
        ),
        (
            "bounce_rate", Kind.rate, 1.0, (0.687, 0.828, 0.8, 0.85), Reason.day,
            "Bounce rate was 68.7% on Tuesday, 82.8% was expected (80.0 to 85.0). About once in 50 days.",
        ),
        (
            "bounce_rate", Kind.rate, 100.0, (68.7, 82.8, 80, 85), Reason.day,
            "Bounce rate was 68.7% on Tuesday, 82.8% was expected (80.0 to 85.0). "
            "About once in 50 days.",
        ),
        (
            "visit_duration", Kind.other, 1.0, (45, 132.4, 119, 3725), Reason.day,
            "Visit duration was 45 s on Tuesday, 2 min 12 s was expected (1 min 59 s to 1 h 2 min). "
            "About once in 50 days.",
        ),
        (
            "revenue", Kind.other, 1.0, (12.5, 1250.75, 1000, 1500), Reason.day,
            "Revenue was 12.5 on Tuesday, 1,250 was expected (1,000 to 1,500). About once in 50 days.",
        ),
    ],
)  # fmt: skip
def test_numbers_have_their_units(
    metric: str, kind: Kind, scale: float, values: tuple[float, ...], reason: Reason, text: str
) -> None:
    additive = kind is Kind.count and metric != "visitors"
    numbers = DayValues(*map(float, values))
    day = UnusualDay("shop", metric, kind, scale, additive, TUESDAY, numbers, -3.0, reason)
    assert describe(day) == text


def test_rare_days_are_told_as_such() -> None:
    assert describe_rarity(-12.0) == "Less than once in three years."
    assert [describe_severity(score) for score in (-3.0, 4.0, -9.0)] == ["minor", "major", "extreme"]
