"""One real TorchServe for all of these tests, with a version that has untrained weights."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.conftest import VERSION
from tests.java_classes import share_java_classes

if TYPE_CHECKING:
    from pathlib import Path

    from forecasting.artifact import Artifact
    from forecasting.serving.torchserve.process import TorchServe
    from forecasting.settings.schema import ServingConfig


@pytest.fixture(scope="session")
def free_ports(untrained_artifact: "Artifact", shared_folder: "Path") -> "ServingConfig":
    """A small TorchServe on free ports."""
    from forecasting.serving.torchserve.archive import ensure_archive
    from forecasting.settings.schema import ServingConfig

    share_java_classes(ensure_archive(untrained_artifact), VERSION, shared_folder)
    return ServingConfig(workers=1, startup_timeout_seconds=300.0, torchserve_ports=[0])


@pytest.fixture(scope="package")
def torchserve(untrained_artifact: "Artifact", free_ports: "ServingConfig") -> "Iterator[TorchServe]":
    """With two workers, and with secrets in the environment that it is started from."""
    from forecasting.serving.torchserve.archive import ensure_archive
    from forecasting.serving.torchserve.startup import start_torchserve

    secrets = {"DB_PASSWORD": "hunter2", "DB_HOST": "db.example", "PYTHONPATH": "/nowhere", "API_TOKEN": "t"}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in secrets.items():
            environment.setitem(os.environ, name, value)
        archive = ensure_archive(untrained_artifact)
        server = start_torchserve(archive, VERSION, replace(free_ports, workers=2))
    with server:
        yield server
