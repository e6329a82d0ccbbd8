"""TorchServe killed, and started again by itself: the real one."""

import asyncio
import os
import signal
import time

import pytest

from forecasting.artifact import Artifact
from forecasting.config import ServingConfig
from forecasting.errors import CannotStart
from forecasting.serving.archive import ensure_archive
from forecasting.serving.supervisor import Supervisor
from forecasting.serving.torchserve import TorchServe, start_torchserve

from .asking import VERSION, ask, group_of, is_alive, make_instances


def test_killed_torchserve_is_started_again_and_the_rest_of_it_ended(
    untrained_artifact: Artifact, free_ports: ServingConfig
) -> None:
    archive = ensure_archive(untrained_artifact)
    started: list[TorchServe] = []

    async def run(supervisor: Supervisor) -> None:
        watching = asyncio.create_task(supervisor.watch(started.append))
        os.kill(supervisor.torchserve.process.pid, signal.SIGKILL)
        end = time.monotonic() + 60
        while not started and time.monotonic() < end:
            await asyncio.sleep(0.05)
            if supervisor.trouble:
                troubles.add(supervisor.trouble)
        watching.cancel()

    troubles: set[str] = set()
    with Supervisor(lambda is_given_up: start_torchserve(archive, VERSION, free_ports, is_given_up)) as supervisor:
        first = supervisor.torchserve
        before, pids = ask(first, make_instances(2)), group_of(first.process.pid)
        asyncio.run(run(supervisor))
        assert started == [supervisor.torchserve]
        assert troubles == {"TorchServe ended with -9: it is being started again."}
        assert (supervisor.trouble, supervisor.num_restarts) == (None, 1)
        assert not [pid for pid in pids if is_alive(pid)]
        assert not first.run_dir.exists()
        assert (ask(supervisor.torchserve, make_instances(2)) == before).all()
        last = group_of(supervisor.torchserve.process.pid)
    assert not [pid for pid in last if is_alive(pid)]


def test_end_does_not_wait_for_a_start(untrained_artifact: Artifact, free_ports: ServingConfig) -> None:
    archive = ensure_archive(untrained_artifact)

    async def run(supervisor: Supervisor) -> None:
        watching = asyncio.create_task(supervisor.watch(lambda _: None))
        os.kill(supervisor.torchserve.process.pid, signal.SIGKILL)
        await asyncio.sleep(1.0)
        assert supervisor.trouble
        watching.cancel()

    with Supervisor(lambda is_given_up: start_torchserve(archive, VERSION, free_ports, is_given_up)) as supervisor:
        asyncio.run(run(supervisor))
        began = time.monotonic()
    assert time.monotonic() - began < 5


def test_start_that_is_given_up_says_so(untrained_artifact: Artifact, free_ports: ServingConfig) -> None:
    with pytest.raises(CannotStart) as error:
        start_torchserve(ensure_archive(untrained_artifact), VERSION, free_ports, lambda: True)
    assert str(error.value) == "TorchServe is not wanted any more."
