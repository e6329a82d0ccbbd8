"""Promotions: a request starts one, it runs in the background, and later requests ask how it went."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from secrets import token_hex

from forecasting.errors import (
    BrokenArtifact,
    CannotPromote,
    DataError,
    ForecastingError,
    UnknownPromotion,
    UnknownVersion,
)

logger = logging.getLogger("forecasting.serving")

MAX_REMEMBERED = 50


class PromotionStatus(StrEnum):
    queued = "queued"
    running = "running"
    promoted = "promoted"
    refused = "refused"  # this version cannot be served: its files are broken, or no series of it can be forecast
    failed = "failed"  # something broke on the way, such as the start of TorchServe


@dataclass(eq=False)
class Promotion:
    """An attempt to serve `version`. `reason` says why it was refused or failed."""

    version: str
    id: str = field(default_factory=lambda: token_hex(8))
    status: PromotionStatus = PromotionStatus.queued
    reason: str | None = None
    _finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_finished(self) -> bool:
        return self._finished.is_set()

    def finish(self, status: PromotionStatus, reason: str | None = None) -> None:
        self.status, self.reason = status, reason
        self._finished.set()

    async def wait(self, seconds: float) -> None:
        """Returns when the promotion has finished, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._finished.wait()


class Promotions:
    """Runs one promotion at a time and remembers the last MAX_REMEMBERED. Used in one event loop."""

    def __init__(self) -> None:
        self._by_id: dict[str, Promotion] = {}
        self._current: Promotion | None = None
        self._task: asyncio.Task[None] | None = None

    def find(self, promotion_id: str) -> Promotion:
        """Raises UnknownPromotion."""
        if promotion_id not in self._by_id:
            raise UnknownPromotion(
                f"There is no promotion {promotion_id!r}. Only the last {MAX_REMEMBERED} since serving started are "
                "remembered; GET /model/info says which version is served."
            )
        return self._by_id[promotion_id]

    @contextmanager
    def prepare(self, version: str) -> Iterator[Promotion]:
        """A new promotion, to be given to `run`. An error in the `with` block discards it.

        Raises CannotPromote while another promotion is under way.
        """
        if self._current is not None and not self._current.is_finished:
            raise CannotPromote(
                f"Version {self._current.version} is being promoted right now. "
                f"Follow it at /model/promote/{self._current.id}, and try again when it has finished."
            )
        promotion = self._current = Promotion(version)
        self._by_id[promotion.id] = promotion
        try:
            yield promotion
        except BaseException:
            self._current = None
            del self._by_id[promotion.id]
            raise
        if len(self._by_id) > MAX_REMEMBERED:
            del self._by_id[next(iter(self._by_id))]

    def run(self, promotion: Promotion, work: Callable[[], Awaitable[None]]) -> None:
        """Does the work in the background and records how it ends."""
        self._task = asyncio.create_task(_run(promotion, work))

    async def close(self) -> None:
        """Cancels the promotion that is under way."""
        if self._current is None or self._task is None or self._task.done():
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        self._current.finish(PromotionStatus.failed, "Serving was stopped first.")


async def _run(promotion: Promotion, work: Callable[[], Awaitable[None]]) -> None:
    promotion.status = PromotionStatus.running
    try:
        await work()
    except (UnknownVersion, BrokenArtifact, DataError) as error:
        promotion.finish(PromotionStatus.refused, str(error))
    except ForecastingError as error:
        promotion.finish(PromotionStatus.failed, str(error))
    except Exception:
        logger.exception("promoting version %s failed because of a bug", promotion.version)
        promotion.finish(PromotionStatus.failed, "Internal error. The server's log has the details.")
    else:
        promotion.finish(PromotionStatus.promoted)
