"""Starts TorchServe and waits until it can answer, or says from its logs why it cannot."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from forecasting.artifact import MODEL_NAME
from forecasting.errors import CannotStart
from forecasting.runtime.memory import KillCounter, describe_end, describe_shortage
from forecasting.serving.torchserve.archive import read_card
from forecasting.serving.torchserve.configuration import num_workers, write_configuration
from forecasting.serving.torchserve.installation import find_java
from forecasting.serving.torchserve.logs import count_worker_starts, explain_failure
from forecasting.serving.torchserve.ports import choose_ports
from forecasting.serving.torchserve.process import TorchServe, start_java
from forecasting.serving.torchserve.protocol import shorten
from forecasting.serving.torchserve.run_folder import create_run_folder
from forecasting.settings.schema import ServingConfig

MAX_WORKER_STARTS = 2  # without becoming ready; the third one is considered hopeless
MAX_KILLS = 3  # of processes by the kernel while TorchServe starts
POLL_SECONDS = 0.1


def start_torchserve(
    archive: Path, version: str, serving: ServingConfig, is_cancelled: Callable[[], bool] = lambda: False
) -> TorchServe:
    """A TorchServe on loopback that serves one version: a worker is ready, and a first prediction came back.

    `is_cancelled` is polled meanwhile. Raises CannotStart with the reason: Java, a port, the archive, or the end of
    TorchServe's log.
    """
    card = read_card(archive, version)
    java = find_java(serving.java_home)
    ports = choose_ports(serving)
    folder = create_run_folder()
    try:
        write_configuration(folder, archive, ports, serving)
        server = TorchServe(start_java(java, folder), folder, ports=ports)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        _wait_until_ready(server, version, serving, card, is_cancelled)
    except BaseException:
        server.stop()
        raise
    return server


def _wait_until_ready(
    server: TorchServe,
    version: str,
    serving: ServingConfig,
    card: dict[str, Any],  # json's own types
    is_cancelled: Callable[[], bool],
) -> None:
    deadline = time.monotonic() + serving.startup_timeout_seconds
    kills, num_kills = KillCounter(), 0
    while not _has_ready_worker(server, version):
        if is_cancelled():
            raise CannotStart("The start of TorchServe was cancelled.")
        new_kills = kills.take_new()
        num_kills += new_kills or 0
        if num_kills >= MAX_KILLS:
            raise CannotStart(
                f"The kernel ended {num_kills} processes while TorchServe started, because {describe_shortage()}. Give "
                "this server more memory, or fewer workers (serving.workers)."
            )
        if not server.is_running():
            end = describe_end(server.process.returncode, new_kills)
            raise CannotStart(f"TorchServe {end} while it started.{explain_failure(server.log_dir)}")
        if count_worker_starts(server.log_dir) > MAX_WORKER_STARTS * num_workers(serving):
            raise CannotStart(f"TorchServe's workers fail again and again.{explain_failure(server.log_dir)}")
        if time.monotonic() > deadline:
            raise CannotStart(
                f"TorchServe was not ready within {serving.startup_timeout_seconds:g} s "
                f"(serving.startup_timeout_seconds).{explain_failure(server.log_dir)}"
            )
        time.sleep(POLL_SECONDS)
    _predict_once(server, version, card, max(1.0, deadline - time.monotonic()))


def _has_ready_worker(server: TorchServe, version: str) -> bool:
    status, body = server.request("management", f"/models/{MODEL_NAME}/{version}")
    if status == 404:  # TorchServe starts to listen only after it has read its archives
        raise CannotStart(f"TorchServe could not load version {version}.{explain_failure(server.log_dir)}")
    return status == 200 and any(worker["status"] == "READY" for worker in json.loads(body)[0]["workers"])


def _predict_once(server: TorchServe, version: str, card: dict[str, Any], seconds: float) -> None:
    history = [float(day % 7) for day in range(card["context_length"])]
    body = orjson.dumps({"instances": [{"history": history, "first_day": "2024-01-01"}]})
    path = f"/predictions/{MODEL_NAME}/{version}"
    status, answer = server.request("inference", path, body=body, seconds=seconds)
    if status != 200:
        raise CannotStart(
            f"TorchServe's first prediction failed with {status}: {shorten(answer)}.{explain_failure(server.log_dir)}"
        )
