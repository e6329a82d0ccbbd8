"""What goes to TorchServe 0.12 and comes back: requests, forecasts, failures and keys."""

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from jaxtyping import Float

from forecasting.domain import EPOCH, RECENT_DAYS
from forecasting.errors import BadAnswer, Unavailable
from forecasting.predictor import Window

MAX_SHOWN = 500  # characters of an answer in an error message


class RetryableFailure(Exception):
    """A second try may succeed. If it does not, `error` is to be raised."""

    def __init__(self, error: Unavailable | BadAnswer) -> None:
        super().__init__(str(error))
        self.error = error


def write_request(windows: Sequence[Window], days_ahead: int) -> bytes:
    instances = [_write_instance(window, days_ahead) for window in windows]
    return orjson.dumps({"instances": instances, "days_ahead": days_ahead}, option=orjson.OPT_SERIALIZE_NUMPY)


def _write_instance(window: Window, days_ahead: int) -> dict[str, Any]:  # Any: json's own types, and arrays
    """orjson writes NaN as null. Of a young site, the days before it began are left out."""
    history = window.history
    num_before = max(0, min(int(np.isfinite(history).argmax()), len(history) - RECENT_DAYS))
    instance = {
        "history": np.ascontiguousarray(history[num_before:]),
        "first_day": EPOCH + dt.timedelta(days=window.first_day + num_before),
        "kind": window.kind.value,
        "band_scale": np.ascontiguousarray(window.band_scale[:days_ahead]),
    }
    if window.effects is not None:  # archives from before there were any know no such key
        instance["effects"] = np.ascontiguousarray(window.effects[num_before : len(history) + days_ahead])
    return instance


def read_quantiles(
    answer: bytes, num_windows: int, days_ahead: int, version: str
) -> Float[np.ndarray, "windows days levels"]:
    """Raises BadAnswer for anything but finite numbers of the right shape from the right version."""
    try:
        content = orjson.loads(answer)
        quantiles = np.asarray(content["quantiles"], dtype=np.float32)
        answering = content["model_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise BadAnswer(f"TorchServe's answer is not a forecast ({error!r}): {shorten(answer)}") from error
    if answering != version:
        raise BadAnswer(f"Version {answering} answered in TorchServe, not {version}.")
    if num_windows == 0 and quantiles.size == 0:
        return np.empty((0, 0, 0), dtype=np.float32)
    if quantiles.ndim != 3 or quantiles.shape[:2] != (num_windows, days_ahead) or not np.isfinite(quantiles).all():
        shape = " x ".join(map(str, quantiles.shape))
        raise BadAnswer(
            f"TorchServe answered {shape} numbers for {num_windows} series and {days_ahead} days; finite quantiles are "
            "needed."
        )
    return quantiles


def describe_failure(status: int, answer: bytes) -> Exception:
    """The error for a status of 400 or more. TorchServe's own bodies have `type` and `message`, the handler's `detail`.

    RetryableFailure if a second try may help.
    """
    try:
        content = orjson.loads(answer)
    except orjson.JSONDecodeError:
        content = None
    content = content if isinstance(content, dict) else {}
    if "detail" in content:
        return BadAnswer(f"The handler refused the request ({status}): {content['detail']}")
    message = str(content.get("message") or shorten(answer) or "empty answer")
    text = f"TorchServe answered {status}: {message}"
    if content.get("type") == "InvalidKeyException":
        return RetryableFailure(BadAnswer(text))
    if message == "Prediction failed":
        return RetryableFailure(BadAnswer(f"{text} (the handler failed; its log says why)"))
    if "Worker died" in message:
        return RetryableFailure(Unavailable(f"{text} A new worker starts within seconds."))
    if status == 503:  # its text is about workers, but what it means is a full queue
        return Unavailable(f"{text.partition('.')[0]}: its queue is full, or every worker is down.")
    return BadAnswer(text)


def read_key(key_file: Path, api: str) -> str:
    """The key of the API `inference` or `management`. OSError, ValueError or KeyError while there is none yet."""
    return str(json.loads(key_file.read_text(encoding="utf-8"))[api]["key"])


def shorten(answer: bytes) -> str:
    text = " ".join(answer.decode(errors="replace").split())
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
