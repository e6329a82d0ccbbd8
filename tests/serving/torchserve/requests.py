"""Windows, and requests to TorchServe by our client and by the standard library's."""

import asyncio
import http.client
import json
from pathlib import Path
from typing import Any

import numpy as np

from forecasting.domain import YEAR_OF_DAYS, Kind
from forecasting.predictor import Window
from forecasting.serving.torchserve.client import TorchServeClient
from forecasting.serving.torchserve.process import TorchServe
from scripts.bench.harness import PATIENCE_SECONDS

VERSION = "v1.10"
ONES = np.ones(30, dtype=np.float32)


def make_windows(num: int = 6) -> list[Window]:
    """Windows of every kind, with unknown days and widened bands."""
    random = np.random.default_rng(3)
    kinds = [Kind.count, Kind.rate, Kind.other] * num
    windows = []
    for index in range(num):
        history = random.uniform(0, 1, YEAR_OF_DAYS) * (1 if kinds[index] is Kind.rate else 10 ** (index % 4 + 1))
        history[: 40 * (index % 9)] = np.nan
        history[-16] = np.nan
        band_scale = random.uniform(0.5, 2, 30).astype(np.float32)
        windows.append(Window(history.astype(np.float32), 19000 + index, kinds[index], band_scale))
    return windows


def make_window_from(day: str, context_length: int = YEAR_OF_DAYS) -> Window:
    first_day = (np.datetime64(day) - np.datetime64("1970-01-01")).astype(int)
    return Window(np.arange(context_length, dtype=np.float32), int(first_day), Kind.count, ONES)


def as_request(windows: list[Window]) -> dict[str, Any]:
    def plain(window: Window) -> dict[str, Any]:
        history = [None if np.isnan(value) else float(value) for value in window.history]
        first_day = str(np.datetime64("1970-01-01") + window.first_day)
        band_scale = window.band_scale[:7].tolist()
        return {"history": history, "first_day": first_day, "kind": window.kind.value, "band_scale": band_scale}

    return {"instances": [plain(window) for window in windows]}


def predict(
    server: TorchServe,
    windows: list[Window],
    *,
    days: int = 7,
    seconds: float = PATIENCE_SECONDS,
    version: str = VERSION,
) -> np.ndarray:
    async def run() -> np.ndarray:
        async with TorchServeClient(server.inference_url, version, server.key_file, seconds) as client:
            return await client.predict(windows, days)

    return asyncio.run(run())


def find_problem(server: TorchServe) -> str | None:
    async def run() -> str | None:
        async with TorchServeClient(server.inference_url, VERSION, server.key_file, PATIENCE_SECONDS) as client:
            return await client.find_problem()

    return asyncio.run(run())


def send(url: str, method: str, path: str, *, key: str | None = None, body: str | None = None) -> tuple[int, Any]:
    """Status and JSON, by the standard library's client rather than ours."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_SECONDS)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text)


def read_keys(key_file: Path) -> dict[str, str]:
    return {api: entry["key"] for api, entry in json.loads(key_file.read_text()).items()}
