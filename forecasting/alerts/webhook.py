"""Posts a message to ALERT_WEBHOOK, signed by the rules of Standard Webhooks (https://www.standardwebhooks.com)."""

import asyncio
import datetime as dt
import os
import ssl
from typing import Any

import aiohttp
import orjson
from standardwebhooks import Webhook

from forecasting.alerts.outcome import ANSWER_SECONDS, TIMED_OUT, Outcome, describe_status
from forecasting.settings.schema import AlertAddress
from forecasting.warehouse.message_store import Message


async def post_webhook(
    address: AlertAddress, message: Message, *, key: str, written_at: dt.datetime, now: dt.datetime
) -> Outcome:
    """`key` is the webhook-id, the same in each attempt: receivers know by it that they have a message already."""
    body = orjson.dumps(describe_message(message, written_at)).decode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "website-traffic-forecasting",
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(address.secret).sign(key, now.astimezone(dt.UTC), body),
    }
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(address.url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return Outcome() if response.ok and response.status < 300 else Outcome(describe_status(response.status))
    except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        return Outcome(_explain(error), is_unsure=not isinstance(error, aiohttp.ClientConnectorError))


def describe_message(message: Message, written_at: dt.datetime) -> dict[str, Any]:  # Any: json's own types
    """As Standard Webhooks proposes: type, timestamp and data."""
    return {
        "type": f"traffic.{message.kind}",
        "timestamp": written_at.astimezone(dt.UTC).isoformat(timespec="seconds"),
        "data": {
            "cause": message.cause,
            "date": message.day.isoformat(),
            "sites": list(message.sites),
            "metrics": list(message.metrics),
            "direction": message.direction,
            "severity": message.severity.value,
            "title": message.title,
            "text": message.body,
        },
    }


def _explain(error: Exception) -> str:
    """Without the error's own text, which has the URL."""
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return "the certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "there is no such host"
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = os.strerror(error.errno).lower() if error.errno else "no connection"
        return f"nothing listens there ({reason})"
    return "the connection was closed without an answer"
