"""The real TorchServe: who may reach it, what it sees, and what is left when it ends."""

import asyncio
import json
import os
import socket
import stat
import tempfile
from pathlib import Path

import httpx
import psutil
import pytest

from forecasting.artifact import Artifact
from forecasting.serving.torchserve.archive import HANDLER
from forecasting.serving.torchserve.client import TorchServeClient
from forecasting.serving.torchserve.process import TorchServe
from forecasting.settings.schema import TORCHSERVE_PORTS
from scripts.bench.harness import PATIENCE_SECONDS
from tests.serving.torchserve.processes import list_group
from tests.serving.torchserve.requests import VERSION, as_request, make_window_from, make_windows, read_keys, send


@pytest.mark.parametrize("key", [None, "management", "wrong"])
def test_prediction_needs_the_inference_key(torchserve: TorchServe, key: str | None) -> None:
    path, body = f"/predictions/forecaster/{VERSION}", json.dumps(as_request(make_windows(1)))
    sent_key = {**read_keys(torchserve.key_file), "wrong": "wrong"}.get(str(key))
    status, answer = send(torchserve.inference_url, "POST", path, key=sent_key, body=body)
    assert (status, answer["type"]) == (400, "InvalidKeyException")
    right = read_keys(torchserve.key_file)["inference"]
    assert send(torchserve.inference_url, "POST", path, key=right, body=body)[0] == 200


@pytest.mark.parametrize("key", [None, "inference", "wrong"])
def test_management_needs_its_own_key(torchserve: TorchServe, key: str | None) -> None:
    sent_key = {**read_keys(torchserve.key_file), "wrong": "wrong"}.get(str(key))
    status, answer = send(torchserve.management_url, "GET", "/models", key=sent_key)
    assert (status, answer["type"]) == (400, "InvalidKeyException")
    status, answer = send(torchserve.management_url, "GET", "/models", key=read_keys(torchserve.key_file)["management"])
    assert (status, answer) == (200, {"models": [{"modelName": "forecaster", "modelUrl": "forecaster-v1.10.mar"}]})


def test_only_this_user_reaches_the_metrics(torchserve: TorchServe) -> None:
    """They ask for no key, so they are on no port: not on one of their own, nor on those that are open."""
    assert stat.S_IMODE(torchserve.run_dir.stat().st_mode) == 0o700
    assert stat.S_ISSOCK(torchserve.metrics_socket.stat().st_mode)
    for url in (torchserve.inference_url, torchserve.management_url):
        assert httpx.get(f"{url}/metrics", timeout=PATIENCE_SECONDS).status_code != 200


def test_settings_reach_torchserve(torchserve: TorchServe) -> None:
    path = f"/models/forecaster/{VERSION}"
    _, [answer] = send(torchserve.management_url, "GET", path, key=read_keys(torchserve.key_file)["management"])
    names = ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout", "maxRetryTimeoutInSec")
    assert [answer[name] for name in names] == [2, 2, 32, 1, 3, 86400]


def test_nothing_can_be_added_from_outside(torchserve: TorchServe, untrained_artifact: Artifact) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bait:
        url = f"http://127.0.0.1:{bait.getsockname()[1]}/model.mar"
        key = read_keys(torchserve.key_file)["management"]
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
    listening = {
        connection.laddr.port: connection.laddr.ip
        for connection in psutil.Process(torchserve.process.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert set(listening) == {torchserve.ports[f"{name}_port"] for name in TORCHSERVE_PORTS if name != "metrics"}
    assert {ip.removeprefix("::ffff:") for ip in listening.values()} == {"127.0.0.1"}


def test_secrets_do_not_reach_java_or_workers_and_options_of_java_do(torchserve: TorchServe) -> None:
    processes = list_group(torchserve.process.pid)
    assert len(processes) == 3
    for pid in processes:
        environment = psutil.Process(pid).environ()
        assert not {"DB_PASSWORD", "DB_HOST", "API_TOKEN"} & set(environment)
        assert "/nowhere" not in environment.get("PYTHONPATH", "")
        assert "hunter2" not in " ".join([*environment.values(), *psutil.Process(pid).cmdline()])
        assert environment["JDK_JAVA_OPTIONS"] == os.environ["JDK_JAVA_OPTIONS"]


def test_logs_say_nothing_of_requests(torchserve: TorchServe) -> None:
    def size() -> int:
        return sum(file.stat().st_size for file in torchserve.log_dir.iterdir())

    async def run() -> None:
        async with TorchServeClient(torchserve.inference_url, VERSION, torchserve.key_file, PATIENCE_SECONDS) as client:
            for _ in range(100):
                await client.predict([make_window_from("2024-01-01")], 7)

    before = size()
    assert before > 0
    asyncio.run(run())
    assert size() == before


def test_runtime_directory_that_is_not_there_does_not_matter(torchserve: TorchServe) -> None:
    assert torchserve.run_dir.parent == Path(tempfile.gettempdir())
