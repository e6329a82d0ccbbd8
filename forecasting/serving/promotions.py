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
from forecasting.runtime.disk import explain_unwritable

logger = logging.getLogger("forecasting.serving")

MAX_REMEMBERED = 50
PROMOTE_PATH = "/model/promote"
ELSEWHERE = "set MODEL_DIR or TMPDIR"
REFUSALS = (UnknownVersion, BrokenArtifact, DataError, CannotPromote)  # the version's fault, not that of a part


class PromotionStatus(StrEnum):
    queued = "queued"
    running = "running"
    promoted = "promoted"
    refused = "refused"  # this version cannot be served: its files are broken, or series could no longer be forecast
    failed = "failed"  # something broke on the way, such as the start of TorchServe


@dataclass(eq=False)
class Promotion:
    """An attempt to serve `version`. `reason` says why it was refused or failed, `follow` is the path to ask."""

    version: str
    root_path: str = ""
    id: str = field(default_factory=lambda: token_hex(8))
    status: PromotionStatus = PromotionStatus.queued
    reason: str | None = None
    _finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def follow(self) -> str:
        return f"{self.root_path}{PROMOTE_PATH}/{self.id}"

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

    def __init__(self, root_path: str = "") -> None:
        """`root_path` is the prefix of the routes behind a proxy."""
        self._root_path = root_path
        self.problem: str | None = None  # why the last one was refused or failed, until another succeeds
        self._by_id: dict[str, Promotion] = {}
        self._current: Promotion | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        return self._current is not None and not self._current.is_finished

    def find(self, promotion_id: str) -> Promotion:
        """Raises UnknownPromotion."""
        if promotion_id not in self._by_id:
            raise UnknownPromotion(
                f"There is no promotion {promotion_id!r}. Only the last {MAX_REMEMBERED} since serving started are "
                f"remembered; GET {self._root_path}/model/info says which version is served."
            )
        return self._by_id[promotion_id]

    @contextmanager
    def prepare(self, version: str) -> Iterator[Promotion]:
        """A new promotion, to be given to `run`. An error in the `with` block discards it.

        Raises CannotPromote while another promotion is under way.
        """
        if self._current is not None and self.is_busy:
            raise CannotPromote(
                f"Version {self._current.version} is being promoted right now. "
                f"Follow it at {self._current.follow}, and try again when it has finished."
            )
        promotion = self._current = Promotion(version, self._root_path)
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
        """Does the work in the background, and records and logs how it ends."""
        self._task = asyncio.create_task(self._run(promotion, work))

    def restore(self, promotion_id: str, version: str, *, served: str) -> None:
        """Remembers a promotion that the end of an earlier server cut off. It took place if its version is served."""
        promotion = Promotion(version, self._root_path, promotion_id)
        self._by_id[promotion.id] = promotion
        if version == served:
            promotion.finish(PromotionStatus.promoted)
            logger.info("the promotion %s of version %s was cut off, but took place", promotion.id, version)
            return
        self._fail(promotion, PromotionStatus.failed, "The server ended first. Promote it again.")

    async def close(self) -> None:
        """Cancels the promotion that is under way."""
        if self._current is None or self._task is None or self._task.done():
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._current.is_finished:
            self._current.finish(PromotionStatus.failed, "Serving was stopped first.")

    async def _run(self, promotion: Promotion, work: Callable[[], Awaitable[None]]) -> None:
        promotion.status = PromotionStatus.running
        try:
            await work()
        except REFUSALS as error:
            self._fail(promotion, PromotionStatus.refused, str(error))
        except ForecastingError as error:
            self._fail(promotion, PromotionStatus.failed, str(error))
        except OSError as error:
            file = error.filename2 or error.filename or "the files of this version"
            self._fail(promotion, PromotionStatus.failed, explain_unwritable(file, error, advice=ELSEWHERE))
        except Exception:
            logger.exception("promoting version %s failed because of a bug", promotion.version)
            self._fail(promotion, PromotionStatus.failed, "Internal error. The server's log has the details.")
        else:
            self.problem = None
            promotion.finish(PromotionStatus.promoted)

    def _fail(self, promotion: Promotion, status: PromotionStatus, reason: str) -> None:
        self.problem = f"Version {promotion.version} was not promoted: {reason}"
        logger.warning("%s (promotion %s)", self.problem, promotion.id)
        promotion.finish(status, reason)
