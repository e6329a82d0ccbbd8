"""The real TorchServe: what keeps it from starting, and how that is explained."""

import os
import shutil
import socket
import tempfile
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from forecasting.artifact import Artifact
from forecasting.errors import CannotStart
from forecasting.serving.torchserve.archive import ensure_archive, is_current
from forecasting.serving.torchserve.startup import start_torchserve
from forecasting.settings.schema import TORCHSERVE_PORTS, ServingConfig
from tests.serving.torchserve.faulty_handler import spoil_handler
from tests.serving.torchserve.requests import VERSION

from .test_installation import make_java


def start_and_fail(archive: Path, serving: ServingConfig) -> str:
    with pytest.raises(CannotStart) as error:
        start_torchserve(archive, VERSION, serving)
    return str(error.value)


def test_corrupt_archive_is_refused_and_healed(
    untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path: Path
) -> None:
    shutil.copytree(untrained_artifact.folder, tmp_path / VERSION)
    artifact = Artifact(tmp_path / VERSION, untrained_artifact.card)
    artifact.archive.write_bytes(b"PK not a zip")
    assert start_and_fail(artifact.archive, free_ports) == (
        f"{artifact.archive} is not a model archive (File is not a zip file). Delete it: the next start packs it again."
    )
    ensure_archive(artifact)
    assert is_current(artifact)


def test_archive_of_another_version_is_refused(untrained_artifact: Artifact, free_ports: ServingConfig) -> None:
    archive = ensure_archive(untrained_artifact)
    with pytest.raises(CannotStart) as error:
        start_torchserve(archive, "v2", free_ports)
    assert str(error.value) == f"{archive} holds version v1.10, not v2. Delete it: the next start packs it again."


@pytest.mark.parametrize("name", [name for name in TORCHSERVE_PORTS if name != "metrics"])
def test_port_in_use_is_named_with_its_holder(
    untrained_artifact: Artifact, free_ports: ServingConfig, name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        ports = [port if each == name else 0 for each in TORCHSERVE_PORTS]
        text = start_and_fail(ensure_archive(untrained_artifact), replace(free_ports, torchserve_ports=ports))
    holder_name = psutil.Process().name()
    assert text == (
        f"TorchServe's {name} port {port} cannot be used: Address already in use, held by {holder_name} "
        f"(process {os.getpid()}). Stop that process, or set serving.torchserve_ports=0 for any free ports."
    )


def test_java_that_ends_is_quoted(untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path: Path) -> None:
    make_java(tmp_path, "17.0.1")
    text = start_and_fail(ensure_archive(untrained_artifact), replace(free_ports, java_home=tmp_path))
    assert text == "TorchServe exited with code 7 while it started.\nconsole.log ends with:\n  no room"


def test_slow_start_is_given_up(untrained_artifact: Artifact, free_ports: ServingConfig) -> None:
    text = start_and_fail(ensure_archive(untrained_artifact), replace(free_ports, startup_timeout_seconds=0.3))
    assert text.startswith("TorchServe was not ready within 0.3 s (serving.startup_timeout_seconds).")


def test_handler_that_fails_to_answer_is_quoted(
    untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path: Path
) -> None:
    target = tmp_path / "bad.mar"
    archive = spoil_handler(ensure_archive(untrained_artifact), target, handle='        raise KeyError("fault")\n')
    text = start_and_fail(archive, free_ports)
    assert text.startswith("TorchServe's first prediction failed with 503: ")
    assert text.endswith("KeyError: 'fault'")


def test_temporary_folder_too_long_for_sockets_is_refused(
    untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    text = start_and_fail(ensure_archive(untrained_artifact), free_ports)
    assert text.startswith(f"{folder}/forecaster.{os.getpid()}.")
    assert text.endswith(
        " is too long a path for TorchServe's sockets, which can have 84 characters. "
        "Set TMPDIR to a folder with a shorter path."
    )
    assert list(folder.iterdir()) == []
