"""Messages about unusual days, word for word."""

import datetime as dt
from typing import Any

import pytest

from forecasting.alerts.unusual import (
    UnusualSeries,
    count_missing_hours,
    link_to_series,
    write_correction,
    write_new_level,
    write_unusual,
)
from forecasting.domain import Severity
from forecasting.warehouse.message_store import Message

TUESDAY = dt.date(2026, 11, 24)
ALL_DAY = 2**24 - 1
PAGE = "https://traffic.example.com"
SHOP = f"{PAGE}/#/site/shop/visits"
LOW = "1,204 visits on Tuesday, 3,480 were expected (2,900 to 4,020). About once in 160 days."
NO_VISITS = "0 visits on Tuesday, 3,480 were expected (2,900 to 4,020). Less than once in three years."


def unusual(**changes: Any) -> UnusualSeries:
    values: dict[str, Any] = {
        "site": "shop", "metric": "visits", "day": TUESDAY, "kind": "day", "value": 1204.0, "expected": 3481.4,
        "score": -5.0, "direction": "low", "text": LOW,
    }  # fmt: skip
    return UnusualSeries(**values | changes)


def write(*rows: UnusualSeries, page_url: str | None = None) -> list[str]:
    """The title and the body of each message."""
    return [f"{message.title}\n{message.body}" for message, _ in write_unusual(rows, page_url=page_url)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, f"▼ shop: visits 65% low on Tuesday, 24 November\n{LOW}"),
        (
            {
                "also": ["bounces", "page_views", "visitors"], "num_metrics": 4, "verdict": "partial",
                "hours": ALL_DAY ^ 0b111111111 << 9, "hours_before": [ALL_DAY] * 28, "num_other_sites": 1,
                "cause": "Thanksgiving Day",
            },
            f"▼ shop: visits 65% low on Tuesday, 24 November\n{LOW}\n"
            "All four metrics fell alike; 9 hours are missing: the tracker may have stopped.\n"
            "It was Thanksgiving Day, when traffic often differs.\n"
            "Another site on the same day.",
        ),
        (
            {"value": 0.0, "text": NO_VISITS, "verdict": "outage", "num_other_sites": 1234},
            f"▼ shop: no visits on Tuesday, 24 November\n{NO_VISITS}\n"
            "Nothing was counted: the tracker may have stopped.\n"
            "1,234 other sites on the same day.",
        ),
        (
            {"value": 9750.0, "direction": "high", "score": 4.0, "also": ["page_views"], "num_metrics": 2},
            f"▲ shop: visits 2.8 times usual on Tuesday, 24 November\n{LOW}\nBoth metrics rose alike.",
        ),
        (
            {"value": 99750.0, "direction": "high", "score": 9.0, "also": ["page_views"], "num_metrics": 3,
             "verdict": "bot"},
            f"▲ shop: visits 29 times usual on Tuesday, 24 November\n{LOW}\n"
            "Also page views; it looks like traffic of bots.",
        ),
        (
            {"also": ["page_views"], "num_metrics": 3, "verdict": "partial"},  # of a source without hours
            f"▼ shop: visits 65% low on Tuesday, 24 November\n{LOW}\n"
            "Also page views; it looks half-counted: the tracker may have stopped.",
        ),
        (
            {"kind": "week", "verdict": "definition_break"},
            f"▼ shop: visits 65% low in the week up to Tuesday, 24 November\n{LOW}\n"
            "The metric is counted in another way since.",
        ),
        (
            {"metric": "bounce_rate", "text": "Bounce rate was 68.7% on Tuesday, 82.8% was expected (80.0 to 85.0)."},
            "▼ shop: bounce rate unusually low on Tuesday, 24 November\n"
            "Bounce rate was 68.7% on Tuesday, 82.8% was expected (80.0 to 85.0).",
        ),
    ],
)  # fmt: skip
def test_a_message_says_what_is_known(changes: dict[str, Any], text: str) -> None:
    assert write(unusual(**changes)) == [text]


def test_a_site_is_told_once_for_each_side() -> None:
    """However many of its metrics and days are new."""
    rows = [
        unusual(metric="visits", num_metrics=3, id=1),
        unusual(metric="page_views", score=-4.0, id=2, also=["visits"]),
        unusual(day=TUESDAY - dt.timedelta(days=1), score=-8.0, id=3),
        unusual(site="shop2", direction="high", score=3.2, value=5000.0, id=4),
    ]
    (low, low_ids), (high, high_ids) = write_unusual(rows, page_url=PAGE)
    assert f"{low.title}\n{low.body}" == (
        f"▼ shop: visits 65% low on Tuesday, 24 November\n{LOW}\nAlso page views.\n"
        f"Before that also on Monday, 23 November.\n{SHOP}"
    )
    assert (low.cause, low.day, low.sites, low.metrics, low.severity) == (
        "unusual/low/shop", TUESDAY, ("shop",), ("page_views", "visits"), Severity.extreme,
    )  # fmt: skip
    assert (high.cause, high.severity, low_ids, high_ids) == ("unusual/high/shop2", Severity.minor, [1, 2, 3], [4])


def test_many_sites_at_once_are_one_message() -> None:
    rows = [unusual(site=f"site-{number:02}", score=-3.0 - number / 10, id=number) for number in range(12)]
    [(message, ids)] = write_unusual(rows, page_url=PAGE)
    assert f"{message.title}\n{message.body}" == (
        "▼ 12 sites unusually low on Tuesday, 24 November\n"
        f"The furthest off: site-11. {LOW}\n"
        "Also site-10, site-09, site-08, site-07 and 7 more.\n"
        "When so many sites change at once, the tracker or the feed may have stopped.\n"
        f"{PAGE}"
    )
    assert sorted(ids) == list(range(12))
    assert len(message.sites) == 12
    assert len(write(*rows[:10])) == 10


def test_a_level_that_stays_is_told() -> None:
    message = write_new_level(unusual(), page_url=PAGE)
    assert f"{message.title}\n{message.body}" == (
        f"▼ shop: still at a new level after 3 days\n{LOW}\n"
        f"The two days after it were as low. About half of such levels last for weeks.\n{SHOP}"
    )


def test_a_correction_is_told() -> None:
    message = write_correction(unusual(value=3300.0), 1204.0, page_url=None)
    assert f"{message.title}\n{message.body}" == (
        "shop: Tuesday, 24 November is as expected after a correction\n1,204 visits became 3,300; 3,480 were expected."
    )
    rate = unusual(metric="bounce_rate", text="Bounce rate was 68.7% on Tuesday, 82.8% was expected.")
    assert write_correction(rate, 0.6, page_url=None).body == (
        "The source has another value of bounce rate for this day now."
    )


def test_hours_are_missing_that_usually_have_traffic() -> None:
    usual, nights = ALL_DAY ^ 0b1111, [ALL_DAY] * 2  # nothing in the first four hours, but on two days
    assert count_missing_hours(usual ^ (1 << 20), [usual] * 26 + nights) == 1
    assert count_missing_hours(0, [usual] * 26 + nights) == 20
    assert count_missing_hours(0, [usual] * 6) == 0  # too few days to know
    assert count_missing_hours(None, [usual] * 28) == 0


def test_no_message_has_more_than_six_lines() -> None:
    everything = unusual(also=["page_views"], cause="Christmas Day", num_other_sites=3, verdict="outage", value=0.0)
    messages: list[Message] = [
        *(message for message, _ in write_unusual([everything], page_url=PAGE)),
        write_new_level(everything, page_url=PAGE),
        write_correction(everything, 1.0, page_url=PAGE),
    ]
    assert max(len(f"{message.title}\n{message.body}".splitlines()) for message in messages) == 6


def test_a_link_leads_to_the_metric_of_the_site_however_it_is_called() -> None:
    assert link_to_series(f"{PAGE}/", "my blog/é", "visits") == f"{PAGE}/#/site/my%20blog%2F%C3%A9/visits"
    assert link_to_series(None, "shop", "visits") == ""
