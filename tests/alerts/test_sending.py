"""Messages on their way to real receivers on loopback, from the real PostgreSQL: failures, slowness, restarts."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from email.message import Message as Mail

import pytest
from standardwebhooks import Webhook

from forecasting.alerts.apprise_service import UNSURE
from forecasting.alerts.sending import DELAYS, send_due
from forecasting.settings.schema import Config, DatabaseConfig
from tests import PROJECT
from tests.alerts.outbox import ask, configure, make_message, write
from tests.alerts.receivers import HttpReceiver, Post

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STATUSES = "select address, status, num_attempts, answer from forecasting.deliveries order by message_id, address"


def webhook(receiver: HttpReceiver) -> dict[str, str]:
    return {"ALERT_WEBHOOK": f"http://{receiver.place}/signed", "ALERT_WEBHOOK_SECRET": SECRET}


def send(config: Config, *, patience: float = 0.0) -> Counter[str]:
    return asyncio.run(send_due(config, config.database, patience_seconds=patience))


def test_each_address_gets_a_message_once(
    own: DatabaseConfig, receiver: HttpReceiver, mailbox: tuple[str, list[Mail]]
) -> None:
    place, mails = mailbox
    config = configure(
        own,
        ALERT_URLS=f"json://{receiver.place}/hook mailto://{place}?from=traffic@example.com&to=me@example.com",
        **webhook(receiver),
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


def test_a_message_that_fails_is_sent_later(
    own: DatabaseConfig, receiver: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = lambda posts: (503, None, 410, 200)[len(posts) - 1]
    config = configure(own, ALERT_URLS=f"json://{receiver.place}/hook")
    write(own, make_message())
    assert send(config) == Counter(waiting=1)
    assert ask(own, STATUSES) == [("json", "waiting", 1, "the service answered 503 Service Unavailable")]
    assert send(config) == Counter(waiting=1)  # it is not due yet
    for answer in ("the connection was closed without an answer", "the service answered 410 Gone", ""):
        ask(own, "update forecasting.deliveries set due_at = now()")
        send(config)
        assert ask(own, STATUSES)[0][3] == answer
    assert ask(own, STATUSES) == [("json", "sent", 4, "")]
    assert [record.getMessage() for record in caplog.records if record.name == "forecasting.alerts"] == [
        "json: the service answered 503 Service Unavailable; next attempt in 5 s",
        "json: the connection was closed without an answer; next attempt in 30 s",
        "json: the service answered 410 Gone; next attempt in 5 min",
    ]


def test_a_message_is_given_up_in_the_end(own: DatabaseConfig, receiver: HttpReceiver) -> None:
    receiver.answer = lambda _: 403
    config = configure(own, ALERT_URLS=f"json://{receiver.place}", **webhook(receiver))
    write(own, make_message(), make_message("blog"))
    ask(own, "update forecasting.messages set addressed_at = now() where title = 'blog: low'")
    send(config)
    ask(own, f"update forecasting.deliveries set num_attempts = {len(DELAYS)}, due_at = now()")  # noqa: S608 - ours
    assert send(config) == Counter(failed=2)
    number, answer = len(DELAYS) + 1, "the service answered 403 Forbidden"
    assert ask(own, STATUSES) == [(name, "failed", number, answer) for name in ("json", "webhook")]
    assert send(config) == Counter()


def test_messages_wait_for_an_address_for_a_day(own: DatabaseConfig, receiver: HttpReceiver) -> None:
    write(own, make_message(), make_message("old"), make_message("older"))
    ask(own, "update forecasting.messages set written_at = now() - interval '25 hours' where title like 'old%'")
    assert send(Config(database=own)) == Counter()
    config = configure(own, ALERT_URLS=f"json://{receiver.place}")
    assert send(config) == Counter(sent=1)
    assert [post.content["title"] for post in receiver.posts] == ["shop: low"]


def test_what_nobody_can_deliver_any_more_is_given_up(own: DatabaseConfig, receiver: HttpReceiver) -> None:
    """An address that is no longer in ALERT_URLS."""
    write(own, make_message())
    with_two = configure(own, ALERT_URLS=f"json://{receiver.place} xml://127.0.0.1:9/")
    assert send(with_two) == Counter(sent=1, waiting=1)
    ask(own, "update forecasting.messages set written_at = now() - interval '97 hours'")
    assert send(configure(own, ALERT_URLS=f"json://{receiver.place}")) == Counter(failed=1)
    nobody = ("xml", "failed", 1, "nothing listens there (connection refused)")
    assert ask(own, STATUSES) == [("json", "sent", 1, ""), nobody]


def test_a_slow_service_delays_no_other(own: DatabaseConfig, receiver: HttpReceiver) -> None:
    """The slow one answers only when the others have all of their messages, and all of them get each message once."""
    others_have_all, num = threading.Event(), 20
    seen: Counter[str] = Counter()

    def answer(posts: list[Post]) -> int:
        seen[posts[-1].path] += 1
        if seen["/fast"] == num:
            others_have_all.set()
        if posts[-1].path == "/slow":
            assert others_have_all.wait(60)
        return 200

    receiver.answer = answer
    write(own, *(make_message(f"site-{number}") for number in range(num)))
    config = configure(own, ALERT_URLS=f"json://{receiver.place}/slow json://{receiver.place}/fast?rto=60")
    assert send(config) == Counter(sent=2 * num)
    assert Counter((post.path, post.content["title"]) for post in receiver.posts) == Counter(
        {(path, f"site-{number}: low"): 1 for path in ("/slow", "/fast") for number in range(num)}
    )


def test_two_programs_send_each_message_once(own: DatabaseConfig, receiver: HttpReceiver) -> None:
    write(own, *(make_message(f"site-{number}") for number in range(30)))
    config = configure(own, ALERT_URLS=f"json://{receiver.place}")

    async def both() -> list[Counter[str]]:
        return await asyncio.gather(*(send_due(config, own, patience_seconds=0) for _ in range(2)))

    assert sum(asyncio.run(both()), Counter()) >= Counter(sent=30)
    assert Counter(post.content["title"] for post in receiver.posts) == Counter(
        f"site-{number}: low" for number in range(30)
    )


def test_kill_9_loses_no_message_and_sends_none_twice_unknowingly(own: DatabaseConfig, receiver: HttpReceiver) -> None:
    """The program is killed while services have a message and have not answered: the only moment in which nobody can
    know. Each of these is sent again: to the webhook under the same id, to others with a line that says so.
    """
    num, programs = 200, []
    write(own, *(make_message(f"site-{number}") for number in range(num)))

    def answer(posts: list[Post]) -> int | None:
        if len(posts) == 150:
            programs[-1].kill()
            return None
        return 200

    receiver.answer = answer
    variables = {"ALERT_URLS": f"json://{receiver.place}/hook", **webhook(receiver)}
    for code in (-signal.SIGKILL, 0):
        programs.append(start_sending(own, variables))
        output = programs[-1].communicate()[0]
        assert programs[-1].returncode == code, output
        ask(own, "update forecasting.deliveries set began_at = began_at - interval '1 minute'")
    assert ask(own, "select status, count(*) from forecasting.deliveries group by status") == [("sent", 2 * num)]

    signed = [post.headers["webhook-id"] for post in receiver.posts if post.path == "/signed"]
    assert len(set(signed)) == num
    posts = [post.content for post in receiver.posts if post.path == "/hook"]
    assert len({post["title"] for post in posts}) == num
    cut_short = [post["title"] for post in posts if post["message"].endswith(f"\n{UNSURE}")]
    again = Counter(post["title"] for post in posts) - Counter({post["title"] for post in posts})
    assert set(again) <= set(cut_short)
    assert (len(signed) - num) + len(cut_short) in (1, 2)  # one was on its way to each address at most


def start_sending(database: DatabaseConfig, variables: dict[str, str]) -> "subprocess.Popen[str]":
    environ = {**os.environ, "DB_HOST": database.host, "DB_NAME": database.name, **variables}
    command = [sys.executable, str(PROJECT / "scripts" / "alerts.py"), "--send"]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
