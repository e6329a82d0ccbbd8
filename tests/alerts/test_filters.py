"""Which messages an address gets, and what --test says of it."""

import pytest

from forecasting.alerts.sending import wants
from forecasting.alerts.testing import describe_filters
from forecasting.domain import MessageKind, Severity
from forecasting.settings.alert_urls import read_alert_addresses
from forecasting.warehouse.message_store import Message
from tests.alerts.outbox import make_message

LATE = make_message(kind=MessageKind.trouble, cause="late", metrics=(), direction=None)


@pytest.mark.parametrize(
    ("filters", "message", "is_wanted"),
    [
        ("", make_message(), True),
        ("only=unusual", make_message(), True),
        ("only=trouble,weekly", make_message(), False),
        ("sites=blog,shop", make_message(), True),
        ("sites=blog", make_message(), False),
        ("metrics=visits", make_message(metrics=("pageviews", "visits")), True),
        ("metrics=bounce_rate", make_message(), False),
        ("metrics=bounce_rate", LATE, True),  # it is about all metrics
        ("direction=low", make_message(), True),
        ("direction=high", make_message(), False),
        ("direction=high", LATE, True),
        ("least=major", make_message(severity=Severity.minor), False),
        ("least=major", make_message(severity=Severity.extreme), True),
        ("sites=shop&least=extreme", make_message(), False),
        ("sites=shop&least=extreme", LATE, True),  # severity is of unusual days
    ],
)
def test_an_address_gets_what_it_asks_for(filters: str, message: Message, is_wanted: bool) -> None:
    [address] = read_alert_addresses({"ALERT_URLS": f"json://x?{filters}"})
    assert wants(address, message) is is_wanted


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ("", "It gets all messages."),
        ("least=extreme", "It gets messages, extreme ones."),
        (
            "only=unusual,weekly&sites=shop,blog&metrics=visits&direction=low&least=major&quiet=22-7",
            "It gets unusual and weekly messages, of shop, blog, about visits, only of low days, major ones or worse, "
            "none between 22:00 and 07:00.",
        ),
    ],
)
def test_filters_are_told_in_words(filters: str, text: str) -> None:
    [address] = read_alert_addresses({"ALERT_URLS": f"json://x?{filters}"})
    assert describe_filters(address) == text
