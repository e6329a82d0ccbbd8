"""ALERT_URLS and ALERT_WEBHOOK: filters, quiet hours, and errors that show no secret."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from forecasting.domain import MessageKind, Severity
from forecasting.errors import SettingError
from forecasting.settings.alert_urls import KEYS, read_alert_addresses
from forecasting.settings.loading import load_config
from forecasting.settings.schema import AlertAddress

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRET_FORM = (
    "ALERT_WEBHOOK_SECRET must be whsec_ and the base64 of 24 to 64 random bytes, which signs what ALERT_WEBHOOK gets. "
    "env.example has a command that makes one."
)


def test_addresses_are_named_by_their_services() -> None:
    config = load_config(
        environ={
            "ALERT_URLS": "slack://a/b/c\n  json://x?rto=5&quiet=22-7  slack://d/e/f?only=weekly",
            "ALERT_WEBHOOK": "https://example.com/hook?key=1",
            "ALERT_WEBHOOK_SECRET": SECRET,
        }
    )
    assert [(address.name, address.url) for address in config.addresses] == [
        ("slack", "slack://a/b/c"),
        ("json", "json://x?rto=5"),
        ("slack-2", "slack://d/e/f"),
        ("webhook", "https://example.com/hook?key=1"),
    ]
    assert [address.is_webhook for address in config.addresses] == [False, False, False, True]
    assert not any(secret in repr(config) for secret in (SECRET, "a/b/c", "example.com"))


def test_filters_stand_in_the_url() -> None:
    url = "json://x?only=unusual,weekly&sites=shop,my%20blog&metrics=visits&direction=low&least=major&quiet=22:30-07:00"
    assert read_alert_addresses({"ALERT_URLS": url}) == (
        AlertAddress(
            name="json",
            url="json://x",
            only=(MessageKind.unusual, MessageKind.weekly),
            sites=("shop", "my blog"),
            metrics=("visits",),
            direction="low",
            least=Severity.major,
            quiet=(dt.time(22, 30), dt.time(7)),
        ),
    )


def test_no_service_has_a_key_of_the_same_name() -> None:
    """Such a key would be taken from its URL."""
    from apprise import NotificationManager

    manager = NotificationManager()
    manager.load_modules()
    plugins = list(manager.plugins())
    assert len(plugins) > 100
    assert [plugin.__name__ for plugin in plugins if {*plugin.template_args} & {*KEYS}] == []


@pytest.mark.parametrize(
    ("environ", "error"),
    [
        (
            {"ALERT_URLS": "json://x hunter2"},
            "ALERT_URLS, address 2, is not a URL such as slack://... or mailto://...; blanks separate addresses, and a "
            "blank within one is written as %20.",
        ),
        (
            {"ALERT_URLS": "json://hunter2?only=unusual,daily"},
            "ALERT_URLS, address 1 (json): only must be of unusual, trouble, weekly.",
        ),
        (
            {"ALERT_URLS": "json://hunter2?direction=up"},
            "ALERT_URLS, address 1 (json): direction must be of high, low.",
        ),
        (
            {"ALERT_URLS": "json://hunter2?direction=high,low"},
            "ALERT_URLS, address 1 (json): direction is one of high, low.",
        ),
        (
            {"ALERT_URLS": "json://hunter2?least="},
            "ALERT_URLS, address 1 (json): least must be of minor, major, extreme.",
        ),
        *(
            (
                {"ALERT_URLS": f"json://hunter2?quiet={quiet}"},
                "ALERT_URLS, address 1 (json): quiet must be two times of day, such as quiet=22:00-07:00.",
            )
            for quiet in ("night", "22:00-25:00", "22:00", "")
        ),
        (
            {"ALERT_URLS": "json://hunter2?quiet=7-07:00"},
            "ALERT_URLS, address 1 (json): quiet would never end. Leave the address out instead.",
        ),
        (
            {"ALERT_WEBHOOK_SECRET": SECRET},
            "ALERT_WEBHOOK_SECRET is set, but ALERT_WEBHOOK, the URL to send to, is not.",
        ),
        (
            {"ALERT_WEBHOOK": "hunter2", "ALERT_WEBHOOK_SECRET": SECRET},
            "ALERT_WEBHOOK is not a URL of http or https.",
        ),
        ({"ALERT_WEBHOOK": "http://x"}, SECRET_FORM),
        ({"ALERT_WEBHOOK": "http://x", "ALERT_WEBHOOK_SECRET": "whsec_hunter2"}, SECRET_FORM),
    ],
)
def test_wrong_addresses_are_refused_without_being_shown(environ: dict[str, str], error: str) -> None:
    with pytest.raises(SettingError) as caught:
        load_config(environ=environ)
    assert str(caught.value) == error


def test_addresses_come_from_the_environment_alone() -> None:
    with pytest.raises(SettingError) as caught:
        load_config(["addresses=json://x"], environ={})
    assert str(caught.value) == (
        "addresses in the command line: where messages go comes from the environment alone. Set ALERT_URLS, or write "
        "it in .env."
    )


@pytest.mark.parametrize(
    ("quiet", "time", "until"),
    [
        ("22:00-07:00", "2026-11-24T21:59", "2026-11-24T21:59"),
        ("22:00-07:00", "2026-11-24T22:00", "2026-11-25T07:00"),
        ("22:00-07:00", "2026-11-25T06:59", "2026-11-25T07:00"),
        ("22:00-07:00", "2026-11-25T07:00", "2026-11-25T07:00"),
        ("09-17", "2026-11-24T12:00", "2026-11-24T17:00"),
        ("09-17", "2026-11-24T18:00", "2026-11-24T18:00"),
    ],
)
def test_what_comes_in_quiet_hours_waits_until_they_end(quiet: str, time: str, until: str) -> None:
    [address] = read_alert_addresses({"ALERT_URLS": f"json://x?quiet={quiet}"})
    zone = ZoneInfo("Europe/Paris")
    moment = dt.datetime.fromisoformat(time).replace(tzinfo=zone)
    assert address.end_quiet(moment) == dt.datetime.fromisoformat(until).replace(tzinfo=zone)


def test_a_page_must_be_one() -> None:
    with pytest.raises(SettingError) as caught:
        load_config(["alerts.page_url=example.com"], environ={})
    assert str(caught.value) == "alerts.page_url is 'example.com'; it must begin with http:// or https://."
