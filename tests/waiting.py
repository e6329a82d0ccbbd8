"""Waiting for what happens in its own time, for as long as a busy machine may need: speed is not what is tested."""

import asyncio
import time
from collections.abc import Callable

import httpx

from scripts.bench.harness import PATIENCE_SECONDS

POLL_SECONDS = 0.05
UNAVAILABLE = {502, 503, 504}
# For httpx's `verify`, also where nothing is encrypted: else each client reads all certificates of the machine, which
# takes longer than the answer.
CERTIFICATES = httpx.create_ssl_context()


def becomes(holds: Callable[[], object]) -> bool:
    """Whether it holds sooner or later."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True


async def becomes_meanwhile(holds: Callable[[], object]) -> bool:
    """The same, while the event loop goes on."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def get(url: str, *, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=PATIENCE_SECONDS, verify=CERTIFICATES)


def post(
    url: str, *, headers: dict[str, str] | None = None, json: object = None, content: bytes | None = None
) -> httpx.Response:
    return httpx.post(url, headers=headers, json=json, content=content, timeout=PATIENCE_SECONDS, verify=CERTIFICATES)


def get_until(url: str, status: int = 200, *, headers: dict[str, str] | None = None) -> httpx.Response:
    """The first answer with that status. Those before it must say that a part is down, and why."""
    answers = []

    def answered() -> bool:
        answers.append(get(url, headers=headers))
        if answers[-1].status_code == status:
            return True
        assert answers[-1].status_code in UNAVAILABLE, answers[-1].text
        assert answers[-1].json()["detail"]
        return False

    assert becomes(answered), answers[-1].text
    return answers[-1]
