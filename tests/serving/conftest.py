"""One real TorchServe for all of these tests, with a version that has untrained weights."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.conftest import VERSION

if TYPE_CHECKING:
    from forecasting.artifact import Artifact
    from forecasting.serving.torchserve.process import TorchServe
    from forecasting.settings.schema import ServingConfig


@pytest.fixture(scope="session")
def free_ports(java_classes: None) -> "ServingConfig":
    """A small TorchServe on free ports."""
    from forecasting.settings.schema import ServingConfig

    return ServingConfig(workers=1, startup_timeout_seconds=300.0, torchserve_ports=[0])


@pytest.fixture(scope="package")
def torchserve(untrained_artifact: "Artifact", free_ports: "ServingConfig") -> "Iterator[TorchServe]":
    """With two workers, and with secrets in the environment that it is started from, whose runtime directory is not
    there, as after `su` or in a container that copies its host's variables.
    """
    from forecasting.serving.torchserve.archive import ensure_archive
    from forecasting.serving.torchserve.startup import start_torchserve
    from tests.serving.torchserve.processes import is_alive, list_group

    variables = {
        "DB_PASSWORD": "hunter2", "DB_HOST": "db.example", "PYTHONPATH": "/nowhere", "API_TOKEN": "t",
        "XDG_RUNTIME_DIR": "/run/user/no-such",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setitem(os.environ, name, value)
        archive = ensure_archive(untrained_artifact)
        server = start_torchserve(archive, VERSION, replace(free_ports, workers=2))
    with server:
        yield server
        assert server.is_running()
        pids = list_group(server.process.pid)
        assert len(pids) >= 2
    assert not server.is_running()
    assert not [pid for pid in pids if is_alive(pid)]
    assert not server.run_dir.exists()
    server.stop()  # once more does no harm
