"""Ways to ask a TorchServe, and to spoil it, and a backend without one, that tests share."""

import asyncio
import http.client
import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from forecasting.artifact import load_artifact
from forecasting.domain import Kind
from forecasting.errors import UnknownPromotion, UnknownVersion
from forecasting.predictor import Window
from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.prediction_service import LocalModel
from forecasting.serving.promotions import Promotion
from forecasting.serving.served_model import Troubles
from forecasting.serving.torchserve.archive import HANDLER
from forecasting.serving.torchserve.client import TorchServeClient
from forecasting.serving.torchserve.process import TorchServe

VERSION = "v1.10"
SITES = {"a": "Europe/Paris", "new": "UTC", "siteanalytics": "UTC"}
ONES = np.ones(30, dtype=np.float32)


class CacheBackend:
    """A backend for the routes that has answers, and nothing behind them that could fail."""

    def __init__(self, answers: ForecastCache) -> None:
        self.answers = answers

    async def find_troubles(self) -> Troubles:
        return Troubles()

    async def list_sites(self) -> dict[str, str]:
        return SITES

    async def promote(self, version: str) -> Promotion:
        raise UnknownVersion(f"There is no version {version}.")

    def find_promotion(self, promotion_id: str) -> Promotion:
        raise UnknownPromotion(f"There is no promotion {promotion_id}.")


@cache
def model_in(folder: Path) -> LocalModel:
    """Of a version that stays as it is: to load it takes longer than most of what is asked of it."""
    return LocalModel(load_artifact(folder.parent, folder.name).load_predictor())


def make_instances(num: int = 6) -> list[Window]:
    """Of every kind, with unknown days and widened bands."""
    random = np.random.default_rng(3)
    kinds = [Kind.count, Kind.rate, Kind.other] * num
    instances = []
    for index in range(num):
        history = random.uniform(0, 1, 56) * (1 if kinds[index] is Kind.rate else 10 ** (index % 4 + 1))
        history[: index % 20] = np.nan
        history[40] = np.nan
        band_scale = random.uniform(0.5, 2, 30).astype(np.float32)
        instances.append(Window(history.astype(np.float32), 19000 + index, kinds[index], band_scale))
    return instances


def on_day(day: str, context_length: int = 56) -> Window:
    first_day = (np.datetime64(day) - np.datetime64("1970-01-01")).astype(int)
    return Window(np.arange(context_length, dtype=np.float32), int(first_day), Kind.count, ONES)


def as_request(instances: list[Window]) -> dict[str, Any]:
    def plain(one: Window) -> dict[str, Any]:
        history = [None if np.isnan(value) else float(value) for value in one.history]
        first_day = str(np.datetime64("1970-01-01") + one.first_day)
        band_scale = one.band_scale[:7].tolist()
        return {"history": history, "first_day": first_day, "kind": one.kind.value, "band_scale": band_scale}

    return {"instances": [plain(one) for one in instances]}


def ask(
    server: TorchServe, instances: list[Window], *, days: int = 7, seconds: float = 10.0, version: str = VERSION
) -> np.ndarray:
    async def run() -> np.ndarray:
        async with TorchServeClient(server.inference_url, version, server.key_file, seconds) as client:
            return await client.predict(instances, days)

    return asyncio.run(run())


def find_trouble(server: TorchServe) -> str | None:
    async def run() -> str | None:
        async with TorchServeClient(server.inference_url, VERSION, server.key_file, 10.0) as client:
            return await client.find_trouble()

    return asyncio.run(run())


def send(url: str, method: str, path: str, *, key: str | None = None, body: str | None = None) -> tuple[int, Any]:
    """Status and JSON, by the standard library's client rather than ours."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text)


def keys_of(key_file: Path) -> dict[str, str]:
    return {api: entry["key"] for api, entry in json.loads(key_file.read_text()).items()}


def workers_of(server: TorchServe) -> list[int]:
    path = f"/models/forecaster/{VERSION}"
    _, answer = send(server.management_url, "GET", path, key=keys_of(server.key_file)["management"])
    return [worker["pid"] for worker in answer[0]["workers"] if worker["status"] == "READY"]


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def group_of(pid: int) -> list[int]:
    """Java and its workers, while Java lives."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


ONCE = """
def once(name):
    path = Path(os.environ["TMPDIR"]) / name
    return path.exists() or path.touch()
"""


def spoil_handler(archive: Path, target: Path, *, first: str = "", handle: str = "") -> Path:
    """A .mar like `archive` whose handler does something else first: when imported, or in `handle`."""
    line = "        requests = [self._read_or_refuse(row) for row in data]\n"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            if name == HANDLER.name:
                text = content.decode()
                assert line in text
                content = text.replace(line, f"{handle}{line}").replace(
                    "import array\n", f"import array\nimport os\n{first}"
                )
                content = content.replace("\nKINDS =", f"{ONCE}\nKINDS =", 1).encode()
            copy.writestr(name, content)
    return target
