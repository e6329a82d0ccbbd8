"""The real TorchServe is killed or stopped, and restarted by its supervisor."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from forecasting.artifact import Artifact
from forecasting.errors import CannotStart
from forecasting.serving.torchserve.archive import ensure_archive
from forecasting.serving.torchserve.process import TorchServe
from forecasting.serving.torchserve.startup import start_torchserve
from forecasting.serving.torchserve.supervisor import SILENT_SECONDS, Supervisor
from forecasting.settings.schema import ServingConfig
from tests.serving.torchserve.processes import is_alive, list_group
from tests.serving.torchserve.requests import VERSION, make_windows, predict
from tests.waiting import becomes, becomes_meanwhile


async def restart_after(supervisor: Supervisor, harm: signal.Signals) -> str:
    """The only problem that shows until another TorchServe has been started, the harmed one and its workers ended."""
    harmed, started, problems = supervisor.torchserve, [], dict.fromkeys([""])
    pids = list_group(harmed.process.pid)

    def has_started() -> object:
        problems[supervisor.problem or ""] = None
        return started

    watching = asyncio.create_task(supervisor.watch(started.append))
    os.kill(harmed.process.pid, harm)
    supervisor.report_answer()
    assert await becomes_meanwhile(has_started)
    watching.cancel()
    assert started == [supervisor.torchserve] != [harmed]
    assert not [pid for pid in pids if is_alive(pid)]
    assert not harmed.run_dir.exists()
    _, problem = problems
    return problem


async def kill_and_leave(supervisor: Supervisor, is_starting: Callable[[], bool]) -> None:
    """While another TorchServe is being started."""
    watching = asyncio.create_task(supervisor.watch(lambda _: None))
    os.kill(supervisor.torchserve.process.pid, signal.SIGKILL)
    assert await becomes_meanwhile(is_starting)
    watching.cancel()


def test_torchserve_that_is_killed_or_stands_still_is_replaced_and_an_end_does_not_wait_for_a_start(
    untrained_artifact: Artifact, free_ports: ServingConfig
) -> None:
    """Where Java itself does not answer, the supervisor does not wait as long as for its workers."""
    archive, starts, refusals = ensure_archive(untrained_artifact), [], []

    def start(is_cancelled: Callable[[], bool]) -> TorchServe:
        starts.append(is_cancelled)
        assert len(starts) <= 3 or becomes(is_cancelled)
        try:
            return start_torchserve(archive, VERSION, free_ports, is_cancelled)
        except CannotStart as refusal:
            refusals.append(str(refusal))
            raise

    with Supervisor(start) as supervisor:
        before = predict(supervisor.torchserve, make_windows(2))
        assert re.fullmatch(
            r"TorchServe was killed \(SIGKILL\)(, as the kernel does when memory runs out; give this server more "
            r"memory, or fewer workers \(serving\.workers\))?\. It is being restarted\.",
            asyncio.run(restart_after(supervisor, signal.SIGKILL)),
        )
        assert (supervisor.problem, supervisor.num_restarts) == (None, 1)
        assert (predict(supervisor.torchserve, make_windows(2)) == before).all()
        silent = re.fullmatch(
            r"TorchServe has not answered for (\d+) s, and neither has its Java\. It is being restarted\.",
            asyncio.run(restart_after(supervisor, signal.SIGSTOP)),
        )
        assert silent is not None
        assert int(silent[1]) >= SILENT_SECONDS
        assert (supervisor.problem, supervisor.num_restarts) == (None, 2)
        assert (predict(supervisor.torchserve, make_windows(2)) == before).all()
        last = list_group(supervisor.torchserve.process.pid)
        asyncio.run(kill_and_leave(supervisor, lambda: len(starts) == 4))
    assert refusals == ["The start of TorchServe was cancelled."]
    assert not [pid for pid in last if is_alive(pid)]


def test_what_a_worker_said_is_in_the_log_alone(caplog: pytest.LogCaptureFixture, torchserve: TorchServe) -> None:
    """Anybody may read a problem in /health."""
    starts = []

    def fail(is_cancelled: Callable[[], bool]) -> TorchServe:
        starts.append(is_cancelled)
        if len(starts) == 1:
            return ended
        raise CannotStart("TorchServe's workers fail again and again.\nIts worker printed:\n  Traceback")

    async def run(supervisor: Supervisor) -> str | None:
        watching = asyncio.create_task(supervisor.watch(lambda _: None))
        while "next try" not in (supervisor.problem or ""):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.05)
        watching.cancel()
        return supervisor.problem

    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"], start_new_session=True)
    process.wait()
    ended = TorchServe(process, torchserve.run_dir / "none", ports=torchserve.ports)
    with Supervisor(fail) as supervisor:
        problem = asyncio.run(run(supervisor))
    assert problem == (
        "TorchServe exited with code 7, and its restart failed. The next try is in 1 s. "
        "TorchServe's workers fail again and again."
    )
    assert "Its worker printed:\n  Traceback" in caplog.text


def test_start_that_is_cancelled_says_so(untrained_artifact: Artifact, free_ports: ServingConfig) -> None:
    with pytest.raises(CannotStart) as error:
        start_torchserve(ensure_archive(untrained_artifact), VERSION, free_ports, lambda: True)
    assert str(error.value) == "The start of TorchServe was cancelled."
