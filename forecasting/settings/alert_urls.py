"""Who is told of unusual days: ALERT_URLS and ALERT_WEBHOOK, which only the environment sets, since they hold secrets.

Errors name an address by its place and the key that is wrong, never by what it holds.
"""

import base64
import binascii
import datetime as dt
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import unquote_plus, urlsplit

from forecasting.domain import MessageKind, Severity
from forecasting.errors import SettingError
from forecasting.settings.bounds import require
from forecasting.settings.schema import AlertAddress

KEYS = ("only", "sites", "metrics", "direction", "least", "quiet")  # of our own; no service of Apprise has any of them
SIGNING_FORM = "whsec_ and the base64 of 24 to 64 random bytes"


def read_alert_addresses(environ: Mapping[str, str]) -> tuple[AlertAddress, ...]:
    """Those of ALERT_URLS in their order, then ALERT_WEBHOOK."""
    urls = environ.get("ALERT_URLS", "").split()
    schemes = [_read_scheme(url, place) for place, url in enumerate(urls, start=1)]
    names = _number(schemes)
    addresses = [_read_address(name, url, place) for place, (name, url) in enumerate(zip(names, urls, strict=True), 1)]
    webhook = _read_webhook(environ.get("ALERT_WEBHOOK", "").strip(), environ.get("ALERT_WEBHOOK_SECRET", "").strip())
    return (*addresses, *webhook)


def _read_scheme(url: str, place: int) -> str:
    match = re.match(r"([a-z][a-z0-9+.-]*)://.", url, re.IGNORECASE)
    form = (
        f"ALERT_URLS, address {place}, is not a URL such as slack://... or mailto://...; blanks separate addresses, "
        "and a blank within one is written as %20."
    )
    require(match is not None, form)
    return match[1].lower() if match else ""


def _number(schemes: Sequence[str]) -> list[str]:
    """slack, slack-2, ..."""
    counts: Counter[str] = Counter()
    names = []
    for scheme in schemes:
        counts[scheme] += 1
        names.append(scheme if counts[scheme] == 1 else f"{scheme}-{counts[scheme]}")
    return names


def _read_address(name: str, url: str, place: int) -> AlertAddress:
    start, mark, query = url.partition("?")
    parts = [part for part in query.split("&") if part]
    own = [part for part in parts if part.partition("=")[0] in KEYS]
    rest = "&".join(part for part in parts if part not in own)
    values = {key: unquote_plus(value) for key, _, value in (part.partition("=") for part in own)}
    where = f"ALERT_URLS, address {place} ({name})"
    direction = _pick(values, "direction", ("high", "low"), where)
    least = _pick(values, "least", tuple(Severity), where)
    return AlertAddress(
        name=name,
        url=f"{start}{mark if rest else ''}{rest}",
        only=tuple(MessageKind(kind) for kind in _pick_some(values, "only", tuple(MessageKind), where)),
        sites=_split(values.get("sites", "")),
        metrics=_split(values.get("metrics", "")),
        direction=direction,
        least=Severity(least) if least else Severity.minor,
        quiet=_read_quiet(values["quiet"], where) if "quiet" in values else None,
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _pick(values: Mapping[str, str], key: str, allowed: Sequence[str], where: str) -> str | None:
    chosen = _pick_some(values, key, allowed, where)
    require(len(chosen) <= 1, f"{where}: {key} is one of {', '.join(allowed)}.")
    return chosen[0] if chosen else None


def _pick_some(values: Mapping[str, str], key: str, allowed: Sequence[str], where: str) -> tuple[str, ...]:
    chosen = _split(values.get(key, ""))
    require(
        key not in values or (bool(chosen) and set(chosen) <= set(allowed)),
        f"{where}: {key} must be of {', '.join(allowed)}.",
    )
    return chosen


def _read_quiet(text: str, where: str) -> tuple[dt.time, dt.time]:
    try:
        begin, end = (_read_time(part) for part in text.split("-"))
    except ValueError:
        raise SettingError(f"{where}: quiet must be two times of day, such as quiet=22:00-07:00.") from None
    require(begin != end, f"{where}: quiet would never end. Leave the address out instead.")
    return begin, end


def _read_time(text: str) -> dt.time:
    """22:30, or 22. Raises ValueError."""
    hours, _, minutes = text.partition(":")
    return dt.time.fromisoformat(f"{hours:0>2}:{minutes or '00'}")


def _read_webhook(url: str, secret: str) -> tuple[AlertAddress, ...]:
    if not url:
        require(not secret, "ALERT_WEBHOOK_SECRET is set, but ALERT_WEBHOOK, the URL to send to, is not.")
        return ()
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    require(is_url and not re.search(r"\s", url), "ALERT_WEBHOOK is not a URL of http or https.")
    require(
        _is_secret(secret),
        f"ALERT_WEBHOOK_SECRET must be {SIGNING_FORM}, which signs what ALERT_WEBHOOK gets. env.example has a command "
        "that makes one.",
    )
    return (AlertAddress(name="webhook", url=url, secret=secret),)


def _is_secret(text: str) -> bool:
    try:
        return (
            text.startswith("whsec_") and 24 <= len(base64.b64decode(text.removeprefix("whsec_"), validate=True)) <= 64
        )
    except (binascii.Error, ValueError):
        return False
