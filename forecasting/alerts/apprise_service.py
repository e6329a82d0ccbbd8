"""Brings a message to an address of ALERT_URLS, by Apprise."""

import logging
import re
from collections.abc import Sequence

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
    ("name resolution", "there is no such host"),
    ("certificate verify failed", "the certificate is not trusted"),
    ("without response", "the connection was closed without an answer"),
    ("connection reset", "the connection was closed without an answer"),
    ("connection aborted", "the connection was closed without an answer"),
)
APPRISE_LOG = logging.getLogger("apprise")
APPRISE_LOG.propagate = False  # its lines have URLs and contents of messages
APPRISE_LOG.addHandler(logging.NullHandler())
APPRISE_LOG.setLevel(logging.DEBUG)  # some reasons are told there alone


class AppriseService:
    """Not for two threads at once: services that allow so many messages a minute are given the time between two."""

    def __init__(self, address: AlertAddress) -> None:
        """Raises SettingError for a URL that Apprise does not know."""
        self._address = address
        asset = apprise.AppriseAsset(app_id="website-traffic-forecasting", async_mode=False)
        plugin = apprise.Apprise.instantiate(address.url, asset=asset)
        if plugin is None:
            raise SettingError(
                f"Apprise does not know the address {address.name} of ALERT_URLS: its service is unknown, or a part of "
                "its URL is missing or misspelt"
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
        result = self._apprise.notify(
            f"{message.body}\n{UNSURE}" if is_unsure else message.body,
            title=message.title,
            notify_type=kind,
            body_format=apprise.NotifyFormat.TEXT,
            attach=[_attach(picture)] if picture else None,
            log_level=logging.DEBUG,
        )
        if result:
            return Outcome()
        lines = [(line.level, line.message) for each in result.results for line in each.logs()]
        return explain_failure(lines, self._address.url)


def explain_failure(lines: Sequence[tuple[str, str]], url: str) -> Outcome:
    """`lines` are the levels and texts that Apprise has logged, secrets among them."""
    text = "\n".join(line for _, line in lines)
    if status := re.search(r"error=(\d{3})\b", text):
        return Outcome(describe_status(int(status[1])))
    if answer := re.search(r"\((\d{3}), b?['\"](.*?)['\"]", text):
        return Outcome(redact(f"the mail server answered {answer[1]} {answer[2]}", url))
    if meaning := next((meaning for words, meaning in FAILURES if words in text.lower()), ""):
        return Outcome(meaning, is_unsure=meaning == TIMED_OUT)
    warnings = [line for level, line in lines if level != "DEBUG"]
    reason = redact(warnings[-1], url).rstrip(".") if warnings else "it gives no reason"
    return Outcome(f"the service refuses it: {reason}")


def _attach(picture: bytes) -> AttachMemory:
    return AttachMemory(content=picture, name="chart.png", mimetype="image/png")  # type: ignore[no-untyped-call]
