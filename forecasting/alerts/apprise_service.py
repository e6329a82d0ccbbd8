"""Brings a message to an address of ALERT_URLS, by Apprise."""

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import apprise
from apprise.attachment.memory import AttachMemory

from forecasting.alerts.outcome import ANSWER_SECONDS, TIMED_OUT, Outcome, describe_status
from forecasting.alerts.redaction import redact
from forecasting.domain import MessageKind
from forecasting.errors import SettingError
from forecasting.settings.schema import AlertAddress
from forecasting.warehouse.message_store import Message

UNSURE = "You may have this message already: sending it was cut short."
# What Apprise logs of a failure that has no status, and what it means. The first match counts.
FAILURES = (
    ("timed out", TIMED_OUT),
    ("connection refused", "nothing listens there (connection refused)"),
    ("name or service not known", "there is no such host"),
    ("failed to resolve", "there is no such host"),
    ("no address associated", "there is no such host"),
    ("certificate verify failed", "the certificate is not trusted"),
    ("without response", "the connection was closed without an answer"),
    ("connection reset", "the connection was closed without an answer"),
    ("connection aborted", "the connection was closed without an answer"),
)
APPRISE_LOG = logging.getLogger("apprise")
APPRISE_LOG.propagate = False  # its lines have URLs and contents of messages
APPRISE_LOG.addHandler(logging.NullHandler())


class AppriseService:
    """Not for two threads at once: services that allow so many messages a minute are given the time between two."""

    def __init__(self, address: AlertAddress) -> None:
        """Raises SettingError for a URL that Apprise does not know."""
        self._address = address
        with _captured():
            asset = apprise.AppriseAsset(app_id="website-traffic-forecasting", async_mode=False)
            plugin = apprise.Apprise.instantiate(address.url, asset=asset)
        if plugin is None:
            raise SettingError(
                f"Apprise does not know the address {address.name} of ALERT_URLS: its service is unknown, or a part of "
                "its URL is missing or misspelt. Apprise's documentation has the form of each service's URL."
            )
        plugin.retry, plugin.optional = 0, False  # forecasting.deliveries remembers what is to be tried again
        if "rto=" not in address.url:
            plugin.socket_read_timeout = ANSWER_SECONDS
        self.takes_pictures = bool(plugin.attachment_support)
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(plugin)

    def send(self, message: Message, *, picture: bytes | None = None, is_unsure: bool = False) -> Outcome:
        """Waits for the service. `is_unsure`: an earlier attempt may have arrived, and the message says so."""
        kind = apprise.NotifyType.INFO if message.kind is MessageKind.weekly else apprise.NotifyType.WARNING
        attach = [_attach(picture)] if picture else None
        body = f"{message.body}\n{UNSURE}" if is_unsure else message.body
        with _captured() as lines:
            is_sent = self._apprise.notify(
                body, title=message.title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT, attach=attach
            )
        return Outcome() if is_sent else _explain(lines, self._address.url)


def _attach(picture: bytes) -> AttachMemory:
    return AttachMemory(content=picture, name="chart.png", mimetype="image/png")  # type: ignore[no-untyped-call]


def _explain(lines: Sequence[str], url: str) -> Outcome:
    text = "\n".join(lines)
    if status := re.search(r"error=(\d{3})\b", text):
        return Outcome(describe_status(int(status[1])))
    meaning = next((meaning for words, meaning in FAILURES if words in text.lower()), "")
    warnings = [line for line in lines if not line.startswith("DEBUG")]
    last = redact(warnings[-1].partition(" ")[2], url).rstrip(".") if warnings else "it gave no reason"
    return Outcome(meaning or f"the service refused it: {last}", is_unsure=meaning == TIMED_OUT)


class _Lines(logging.Handler):
    """Of its own thread alone: others may be sending at the same time."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if threading.get_ident() == self._thread:
            self.lines.append(f"{record.levelname} {record.getMessage()}")


@contextmanager
def _captured() -> Iterator[list[str]]:
    """What Apprise logs in this block, and in this thread; it goes nowhere else."""
    handler, level = _Lines(), APPRISE_LOG.level
    APPRISE_LOG.addHandler(handler)
    APPRISE_LOG.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        APPRISE_LOG.removeHandler(handler)
        APPRISE_LOG.setLevel(level)
