"""What scripts/alerts.py says of a message, and the words for failures, in full."""

import datetime as dt
from typing import Any

import pytest

from forecasting.alerts.apprise_service import explain_failure
from forecasting.alerts.listing import describe_message
from forecasting.alerts.outcome import Outcome, describe_status

NOW = dt.datetime(2026, 11, 25, 8, 0, tzinfo=dt.UTC)
TITLE = "2026-11-25 06:10 UTC ▼ shop: visits 65% low on Tuesday, 24 November"
REASON = "the service answered 503 Service Unavailable"


def row(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "title": TITLE.partition("UTC ")[2], "written_at": NOW - dt.timedelta(minutes=110), "addressed_at": NOW,
        "address": "slack", "status": "waiting", "num_attempts": 0, "due_at": NOW, "ended_at": NOW, "answer": "",
    }  # fmt: skip
    return values | changes


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"status": "sent", "num_attempts": 1}, "slack: sent 2026-11-25 08:00 UTC"),
        ({"status": "sent", "num_attempts": 3}, "slack: sent 2026-11-25 08:00 UTC, by attempt 3"),
        ({"status": "failed", "num_attempts": 1, "answer": REASON}, f"slack: given up after 1 attempt: {REASON}"),
        ({"status": "failed", "num_attempts": 10, "answer": REASON}, f"slack: given up after 10 attempts: {REASON}"),
        ({}, "slack: waits for its first attempt"),
        (
            {"num_attempts": 2, "answer": REASON, "due_at": NOW + dt.timedelta(minutes=5)},
            f"slack: waits, attempt 3 at 2026-11-25 08:05 UTC: {REASON}",
        ),
        (
            {"num_attempts": 2, "answer": REASON, "due_at": NOW - dt.timedelta(hours=1)},
            f"slack: waits, attempt 3 is due: {REASON}",
        ),
        (
            {"num_attempts": 1, "due_at": NOW - dt.timedelta(hours=1)},
            "slack: waits, attempt 2 is due: the last one is under way, or was cut short",
        ),
        ({"address": None}, "no address wants it"),
        ({"address": None, "addressed_at": None}, "waits to be sent"),
    ],
)
def test_the_list_says_what_became_of_a_message(changes: dict[str, Any], line: str) -> None:
    assert describe_message([row(**changes)], now=NOW, has_addresses=True) == [TITLE, f"    {line}"]


def test_the_list_says_that_there_is_no_address() -> None:
    nobody = row(address=None, addressed_at=None)
    assert describe_message([nobody], now=NOW, has_addresses=False) == [
        TITLE, "    waits for an address: ALERT_URLS is not set",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        (["Failed to send Slack notification: Unauthorized., error=401."], "the service answered 401 Unauthorized"),
        (["Failed: error=599."], "the service answered 599"),
        (["Socket Exception: (535, b'5.7.8 hunter2 is wrong')"], "the mail server answered 535 5.7.8 *** is wrong"),
        (
            ["Socket Exception: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"],
            "the certificate is not trusted",
        ),
        (["There are no recipients at hunter2."], "the service refuses it: There are no recipients at ***"),
        ([], "the service refuses it: it gives no reason"),
    ],
)
def test_failures_have_words(lines: list[str], outcome: str) -> None:
    logged = [("WARNING", line) for line in lines]
    assert explain_failure(logged, "slack://hunter2/t0psecret") == Outcome(outcome)


def test_a_service_that_is_too_slow_may_have_it() -> None:
    late = [
        ("WARNING", "A Connection error occurred."),
        ("DEBUG", "Socket Exception: Read timed out. (read timeout=30)"),
    ]
    assert explain_failure(late, "json://x") == Outcome("no answer within 30 s", is_unsure=True)
    assert describe_status(418) == "the service answered 418 I'm a Teapot"
