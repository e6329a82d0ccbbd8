"""Messages on their way to real receivers on loopback, from the real PostgreSQL: failures, slowness, restarts."""

import asyncio
from collections import Counter
from email.message import Message as Mail

from standardwebhooks import Webhook

from forecasting.alerts.sending import send_due
from forecasting.settings.schema import Config, DatabaseConfig
from tests.alerts.outbox import ask, configure, make_message, write
from tests.alerts.receivers import HttpReceiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STATUSES = "select address, status, num_attempts, answer from forecasting.deliveries order by message_id, address"


def send(config: Config, *, patience: float = 0.0) -> Counter[str]:
    return asyncio.run(send_due(config, config.database, patience_seconds=patience))


def test_each_address_gets_a_message_once(
    own: DatabaseConfig, receiver: HttpReceiver, mailbox: tuple[str, list[Mail]]
) -> None:
    place, mails = mailbox
    config = configure(
        own,
        ALERT_URLS=f"json://{receiver.place}/hook mailto://{place}?from=traffic@example.com&to=me@example.com",
        ALERT_WEBHOOK=f"http://{receiver.place}/signed",
        ALERT_WEBHOOK_SECRET=SECRET,
    )
    write(own, make_message(), make_message(body="Told again."))  # the same cause on the same day
    assert send(config) == Counter(sent=3)
    assert send(config) == Counter()
    by_path = {post.path: post for post in receiver.posts}
    assert len(receiver.posts) == 2
    content = by_path["/hook"].content
    assert (content["title"], content["message"], content["type"]) == ("shop: low", "Few visits of shop.", "warning")
    signed = by_path["/signed"]
    assert Webhook(SECRET).verify(signed.body, signed.headers) == {
        "type": "traffic.unusual",
        "timestamp": signed.content["timestamp"],
        "data": {
            "cause": "unusual/low/shop", "date": "2026-11-24", "sites": ["shop"], "metrics": ["visits"],
            "direction": "low", "severity": "major", "title": "shop: low", "text": "Few visits of shop.",
        },
    }  # fmt: skip
    [mail] = mails
    assert (mail["Subject"], mail["To"]) == ("shop: low", "me@example.com")
    assert ask(own, STATUSES) == [(name, "sent", 1, "") for name in ("json", "mailto", "webhook")]
