"""TorchServe's processes."""

import psutil

from forecasting.serving.torchserve.process import TorchServe

from .requests import VERSION, read_keys, send


def find_workers(server: TorchServe) -> list[int]:
    path = f"/models/forecaster/{VERSION}"
    _, answer = send(server.management_url, "GET", path, key=read_keys(server.key_file)["management"])
    return [worker["pid"] for worker in answer[0]["workers"] if worker["status"] == "READY"]


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def list_group(pid: int) -> list[int]:
    """Java and its workers, while Java lives."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
