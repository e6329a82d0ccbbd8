"""What TorchServe reads when it starts, written to its run folder: config.properties and a copy of the archive."""

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

from forecasting.resources import find_resource
from forecasting.runtime.machine import num_cores
from forecasting.serving.torchserve.archive import MANIFEST
from forecasting.serving.torchserve.ports import HOST
from forecasting.settings.schema import ServingConfig

TEMPLATES = find_resource("configs/torchserve")
METRICS_SOCKET = "metrics.sock"  # TorchServe gives its metrics to everybody without a key, so only we can reach them
MAX_BATCH_DELAY_MS = 1  # that a request waits for others to join its batch
WORKER_RETRY_SECONDS = 86400  # after which TorchServe gives up a worker that cannot be started, for good


def write_configuration(folder: Path, archive: Path, ports: Mapping[str, int], serving: ServingConfig) -> None:
    for name in ("store", "workflows", "tmp", "logs"):
        (folder / name).mkdir()
    _write_properties(folder, archive, ports)
    _write_store(folder, archive, serving)


def num_workers(serving: ServingConfig) -> int:
    return serving.workers or num_cores()


def _write_properties(folder: Path, archive: Path, ports: Mapping[str, int]) -> None:
    properties = {
        "inference_address": f"http://{HOST}:{ports['inference_port']}",
        "management_address": f"http://{HOST}:{ports['management_port']}",
        "metrics_address": f"unix:{folder / METRICS_SOCKET}",
        "grpc_inference_address": HOST,
        "grpc_management_address": HOST,
        "grpc_inference_port": ports["grpc_inference_port"],
        "grpc_management_port": ports["grpc_management_port"],
        "initial_worker_port": ports["initial_worker_port"],
        "workflow_store": folder / "workflows",
        "load_models": archive.name,
    }
    constant = (TEMPLATES / "config.properties").read_text(encoding="utf-8")
    text = "".join(f"{key}={value}\n" for key, value in properties.items())
    (folder / "config.properties").write_text(f"{constant}\n{text}", encoding="utf-8")


def _write_store(folder: Path, archive: Path, serving: ServingConfig) -> None:
    """Copies the archive, since training the version again replaces it, and adds the settings of this start.

    model-config.yaml is the only place where TorchServe reads maxRetryTimeoutInSec. If that file exists, TorchServe
    ignores config.properties for the model's other settings.
    """
    settings = {
        "minWorkers": num_workers(serving),
        "maxWorkers": num_workers(serving),
        "batchSize": serving.batch_size,
        "maxBatchDelay": MAX_BATCH_DELAY_MS,
        # A hanging worker is killed early enough for another to answer its requests.
        "responseTimeout": math.ceil(serving.deadline_seconds / 4),
        "startupTimeout": math.ceil(serving.startup_timeout_seconds),
        "maxRetryTimeoutInSec": WORKER_RETRY_SECONDS,
    }
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(folder / "store" / archive.name, "w") as copy:
        for name in source.namelist():
            if name != MANIFEST:
                copy.writestr(name, source.read(name))
        manifest = json.loads(source.read(MANIFEST))
        manifest["model"]["configFile"] = "model-config.yaml"
        copy.writestr("model-config.yaml", json.dumps(settings))  # JSON is YAML
        copy.writestr(MANIFEST, json.dumps(manifest))
