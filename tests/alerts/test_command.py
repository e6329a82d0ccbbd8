"""scripts/alerts.py: what it says of each address, and which secrets it never shows."""

import asyncio
import logging
from collections.abc import Iterator
from email.message import Message as Mail

import pytest

from forecasting.alerts.redaction import redact
from forecasting.alerts.telling import tell_people
from forecasting.commands import alerts
from forecasting.errors import SettingError
from forecasting.runtime.log import LOGGER
from forecasting.serving.torchserve.ports import find_free_port
from forecasting.settings.loading import load_config
from forecasting.settings.schema import DatabaseConfig
from tests.alerts.outbox import ask, make_message, write
from tests.alerts.receivers import HttpReceiver

WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRETS = ("hunter2", "t0psecret", "k3y-of-mine", WEBHOOK_SECRET.removeprefix("whsec_"))


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    """As it was before the command started it."""
    before, level = LOGGER.handlers, LOGGER.level
    yield
    LOGGER.handlers = before
    LOGGER.setLevel(level)


def run(*arguments: str, capfd: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = alerts.main(list(arguments))
    return code, capfd.readouterr().out.splitlines()


def test_a_test_message_goes_to_each_address(
    receiver: HttpReceiver,
    mailbox: tuple[str, list[Mail]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    place, mails = mailbox
    receiver.answer = lambda posts: 500 if posts[-1].path == "/broken" else 200
    nowhere = f"127.0.0.1:{find_free_port()}"
    monkeypatch.setenv(
        "ALERT_URLS",
        f"json://{receiver.place}/hook?only=weekly mailto://{place}?from=traffic@example.com&to=me@example.com "
        f"json://{receiver.place}/broken json://{nowhere} nope://x slack://too/short mailto://nosuch.invalid?"
        "from=a@example.com&to=b@example.com",
    )
    monkeypatch.setenv("ALERT_WEBHOOK", f"http://{receiver.place}/signed")
    monkeypatch.setenv("ALERT_WEBHOOK_SECRET", WEBHOOK_SECRET)
    code, lines = run("--test", "alerts.page_url=https://traffic.example.com", capfd=capfd)
    unknown = "its service is unknown, or a part of its URL is missing or misspelt. It gets all messages."
    assert (code, lines) == (
        1,
        [
            "json: accepted. It gets weekly messages.",
            "mailto: accepted. It gets all messages.",
            "json-2: the service answered 500 Internal Server Error. It gets all messages.",
            "json-3: nothing listens there (connection refused). It gets all messages.",
            f"nope: Apprise does not know the address nope of ALERT_URLS: {unknown}",
            f"slack: Apprise does not know the address slack of ALERT_URLS: {unknown}",
            "mailto-2: there is no such host. It gets all messages.",
            "webhook: accepted. It gets all messages.",
        ],
    )
    [text] = {post.content["message"] for post in receiver.posts if post.path == "/hook"}
    assert text == (
        "So it looks when a day is unusual:\n"
        "1,204 visits on Tuesday, 3,480 were expected (2,900 to 4,020). About once in 80 days.\n"
        "All four metrics fell alike; 9 hours are missing: the tracker may have stopped.\n"
        "https://traffic.example.com"
    )
    [mail] = mails
    assert mail["Subject"] == "Test: messages about your traffic arrive here"


def test_without_addresses_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALERT_URLS", raising=False)
    for switch in ("--test", "--send"):
        with pytest.raises(SettingError) as caught:
            alerts.main([switch])
        assert str(caught.value) == (
            "There is nobody to tell: neither ALERT_URLS nor ALERT_WEBHOOK is set. env.example shows how to write them."
        )


def test_secrets_are_shown_nowhere(
    own: DatabaseConfig,
    receiver: HttpReceiver,
    mailbox: tuple[str, list[Mail]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever goes wrong, even with debug=true; nor in the database."""
    caplog.set_level(logging.DEBUG)
    receiver.answer = lambda posts: 401 if len(posts) % 2 else None
    nowhere, (mail_place, _) = f"127.0.0.1:{find_free_port()}", mailbox
    monkeypatch.setenv(
        "ALERT_URLS",
        f"json://user:hunter2@{receiver.place}/t0psecret?+X-Key=k3y-of-mine jsons://user:hunter2@{receiver.place} "
        f"xml://{nowhere}/t0psecret form://user:hunter2@nosuch.invalid/t0psecret nope://hunter2/t0psecret "
        f"mailto://user:hunter2@{mail_place}?from=a@example.com&to=b@example.com",
    )
    monkeypatch.setenv("ALERT_WEBHOOK", f"http://user:hunter2@{receiver.place}/t0psecret?key=k3y-of-mine")
    monkeypatch.setenv("ALERT_WEBHOOK_SECRET", WEBHOOK_SECRET)
    for name, value in (("DB_HOST", own.host), ("DB_NAME", own.name), ("DB_PASSWORD", "")):
        monkeypatch.setenv(name, value)
    write(own, make_message())
    assert alerts.main(["--test", "debug=true"]) == 1
    asyncio.run(tell_people(load_config(), own, patience_seconds=0.0))  # as --send, which tries for a minute
    alerts.main([])
    shown = capfd.readouterr()
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("forecasting"))
    kept = str(ask(own, "select * from forecasting.deliveries") + ask(own, "select * from forecasting.messages"))
    assert "webhook: the " in shown.out
    assert len(ask(own, "select * from forecasting.deliveries")) == 7
    assert [
        (secret, name)
        for secret in SECRETS
        for name, text in {"stdout": shown.out, "stderr": shown.err, "log": ours, "tables": kept}.items()
        if secret in text
    ] == []


def test_parts_of_a_url_are_hidden() -> None:
    url = "tgram://123456789:AbC-d%2Fe/@channel?format=html&key=hunter2"
    text = "bot123456789:AbC-d/e failed for AbC-d%2Fe at @channel (hunter2) over tgram"
    assert redact(text, url) == "bot***:*** failed for *** at @*** (***) over tgram"
    assert len(redact("x" * 1000, url)) == 200
