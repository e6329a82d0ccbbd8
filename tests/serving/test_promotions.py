"""One promotion at a time, followed by its id: with work that the test holds back or lets fail."""

import asyncio
import errno
import logging
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from forecasting.errors import (
    BrokenArtifact,
    CannotPromote,
    CannotStart,
    ForecastingError,
    StoreNotWritable,
    TooFewDays,
    UnknownPromotion,
    UnknownVersion,
)
from forecasting.serving.promotions import MAX_REMEMBERED, Promotion, Promotions
from forecasting.serving.version_manager import finish

NEVER = 3600.0  # seconds: a test that waits so long has failed


def start(promotions: Promotions, work: Callable[[], Awaitable[None]], version: str = "v2") -> Promotion:
    with promotions.prepare(version) as promotion:
        pass
    promotions.run(promotion, work)
    return promotion


async def nothing() -> None:
    pass


def failing(error: Exception) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


def test_promotion_is_queued_then_running_then_promoted() -> None:
    async def run() -> list[str]:
        promotions, released = Promotions(), asyncio.Event()

        async def work() -> None:
            await released.wait()

        promotion = start(promotions, work)
        statuses = [promotion.status]
        await promotion.wait(0.001)
        statuses.append(promotion.status)
        released.set()
        await promotion.wait(NEVER)
        assert promotions.find(promotion.id) is promotion
        assert promotion.reason is None
        return [*statuses, promotion.status]

    assert asyncio.run(run()) == ["queued", "running", "promoted"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownVersion("It is gone by now."), "refused"),
        (BrokenArtifact("It is torn."), "refused"),
        (TooFewDays("Its series are too young."), "refused"),
        (CannotPromote("It lacks series."), "refused"),
        (CannotStart("Java is missing."), "failed"),
        (StoreNotWritable("There is no room."), "failed"),
    ],
)
def test_failure_is_remembered_logged_and_a_problem_until_another_succeeds(
    error: ForecastingError, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> Promotion:
        promotions = Promotions()
        promotion = start(promotions, failing(error))
        await promotion.wait(NEVER)
        assert promotions.problem == f"Version v2 was not promoted: {error}"
        await start(promotions, nothing).wait(NEVER)
        assert promotions.problem is None
        return promotion

    promotion = asyncio.run(run())
    assert (promotion.status, promotion.reason, promotion.version) == (status, str(error), "v2")
    assert caplog.messages == [f"Version v2 was not promoted: {error} (promotion {promotion.id})"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_no_bug(tmp_path: Path, code: int) -> None:
    async def run() -> Promotion:
        promotion = start(Promotions(), failing(OSError(code, os.strerror(code), str(tmp_path / "v2.mar"))))
        await promotion.wait(NEVER)
        return promotion

    promotion = asyncio.run(run())
    assert promotion.status == "failed"
    assert promotion.reason is not None
    room = r"; [\d,.]+ MB are free there" if code == errno.ENOSPC else ""
    assert re.fullmatch(
        rf"There is no room for {tmp_path}/v2\.mar \({os.strerror(code)}{room}\)\. Make room, or "
        r"set MODEL_DIR or TMPDIR to another place\.",
        promotion.reason,
    )


def test_bug_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> Promotion:
        promotion = start(Promotions(), failing(ZeroDivisionError("secret")))
        await promotion.wait(NEVER)
        return promotion

    promotion = asyncio.run(run())
    assert (promotion.status, promotion.reason) == ("failed", "Internal error. The server's log has the details.")
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "promoting version v2 failed because of a bug"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


def test_second_promotion_is_refused_until_the_first_has_finished() -> None:
    async def run() -> None:
        promotions, released = Promotions("/traffic"), asyncio.Event()

        async def work() -> None:
            await released.wait()

        first = start(promotions, work)
        with pytest.raises(CannotPromote) as error, promotions.prepare("v3"):
            pass
        assert str(error.value) == (
            f"Version v2 is being promoted right now. Follow it at /traffic/model/promote/{first.id}, "
            "and try again when it has finished."
        )
        released.set()
        await first.wait(NEVER)
        second = start(promotions, nothing, "v3")
        await second.wait(NEVER)
        assert [first.status, second.status] == ["promoted", "promoted"]

    asyncio.run(run())


def test_promotion_that_is_being_prepared_keeps_others_out() -> None:
    promotions = Promotions()
    with promotions.prepare("v2"), pytest.raises(CannotPromote), promotions.prepare("v3"):
        pass


def test_version_that_is_refused_at_once_leaves_no_promotion() -> None:
    promotions = Promotions()
    with pytest.raises(UnknownVersion), promotions.prepare("v9") as promotion:
        raise UnknownVersion("There is no version v9.")
    with pytest.raises(UnknownPromotion):
        promotions.find(promotion.id)
    with promotions.prepare("v2"):
        pass


def test_last_promotions_are_remembered() -> None:
    async def run() -> None:
        promotions = Promotions()
        started = []
        for _ in range(MAX_REMEMBERED + 1):
            started.append(start(promotions, nothing))
            await started[-1].wait(NEVER)
        for promotion in started[1:]:
            assert promotions.find(promotion.id) is promotion
        with pytest.raises(UnknownPromotion) as error:
            promotions.find(started[0].id)
        assert str(error.value) == (
            f"There is no promotion '{started[0].id}'. Only the last {MAX_REMEMBERED} since serving started are "
            "remembered; GET /model/info says which version is served."
        )

    asyncio.run(run())


def test_close_cancels_what_is_under_way_and_tells_those_who_wait() -> None:
    async def run() -> Promotion:
        promotions, was_cancelled = Promotions(), False

        async def work() -> None:
            nonlocal was_cancelled
            try:
                await asyncio.sleep(NEVER)
            except asyncio.CancelledError:
                was_cancelled = True
                raise

        promotion = start(promotions, work)
        await promotion.wait(0.001)
        waiting = asyncio.create_task(promotion.wait(NEVER))
        await promotions.close()
        await waiting
        assert was_cancelled
        return promotion

    promotion = asyncio.run(run())
    assert (promotion.status, promotion.reason) == ("failed", "Serving was stopped first.")


@pytest.mark.parametrize(
    ("served", "status", "reason"),
    [("v2", "promoted", None), ("v1", "failed", "The server ended first. Promote it again.")],
)
def test_promotion_that_the_end_of_the_server_cut_off_is_known_to_the_next(
    caplog: pytest.LogCaptureFixture, served: str, status: str, reason: str | None
) -> None:
    caplog.set_level(logging.INFO, "forecasting.serving")
    promotions = Promotions("/traffic")
    promotions.restore("9f2c51d0a7e3b846", "v2", served=served)
    promotion = promotions.find("9f2c51d0a7e3b846")
    assert (promotion.status, promotion.reason, promotion.version) == (status, reason, "v2")
    assert promotion.follow == "/traffic/model/promote/9f2c51d0a7e3b846"
    failure = "Version v2 was not promoted: The server ended first. Promote it again."
    assert promotions.problem == (failure if reason else None)
    assert caplog.messages == [
        f"{failure} (promotion 9f2c51d0a7e3b846)"
        if reason
        else "the promotion 9f2c51d0a7e3b846 of version v2 was cut off, but took place"
    ]
    with promotions.prepare("v3"):
        pass


def test_step_that_is_taken_as_a_whole_is_waited_for() -> None:
    """A promotion that has been written down takes place, even if the server is told to end just then."""

    async def run() -> tuple[Promotion, list[str]]:
        promotions, writing, released, steps = Promotions(), asyncio.Event(), asyncio.Event(), list[str]()

        async def write() -> None:
            writing.set()
            await released.wait()
            steps.append("written")

        async def work() -> None:
            await finish(write())
            steps.append("switched")

        promotion = start(promotions, work)
        await writing.wait()
        closing = asyncio.create_task(promotions.close())
        await asyncio.sleep(0)
        released.set()
        await closing
        return promotion, steps

    promotion, steps = asyncio.run(run())
    assert (promotion.status, promotion.reason, steps) == ("promoted", None, ["written", "switched"])
