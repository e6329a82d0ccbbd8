"""What TorchServe runs: JSON in, quantiles of 1 to 30 days by the exported Forecaster, JSON out.

TorchServe demands exactly one class in this module, and no function named `handle`. It travels inside the .mar, so it
imports torch, orjson, the standard library, and `rollout`, which is packed beside it (forecasting/model/rollout.py).
"""

import array
import datetime as dt
import gc
import logging
import math
import time
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import torch
from rollout import COUNT, OTHER, RATE, roll_out_known

KINDS = {"count": COUNT, "rate": RATE, "other": OTHER}
KEYS = ("history", "first_day", "kind", "band_scale", "effects")
RECENT_DAYS = 56  # the shortest history
MIN_KNOWN_DAYS = 14  # of these, for a forecast worth giving
MAX_INSTANCES = 4096  # of one request
MAX_DAYS_AHEAD = 30
MAX_WINDOWS = 65536  # that the exported program takes in one call
FLOAT32_MAX = torch.finfo(torch.float32).max
EPOCH = dt.date(1970, 1, 1).toordinal()

# history, first_day, kind and band_scale as Forecaster.forward, and the effects of known days, if any
Window = tuple[list[float], int, int, list[float], list[float] | None]
Request = tuple[list[Window], int]  # and how many days ahead

logger = logging.getLogger(__name__)


class ForecastHandler:
    """Answers each request of a TorchServe batch on its own: a bad request does not hurt its neighbours."""

    def initialize(self, context: Any) -> None:  # Any: TorchServe's Context, which this module does not import
        """Loads the model and warms it up. Fails with ValueError: a RuntimeError would leave a dead version behind."""
        began = time.monotonic()
        folder = Path(context.system_properties["model_dir"])
        gc.disable()  # loading imports much, and looking for garbage meanwhile takes a quarter of its time
        try:
            self._load(folder)
            for batch in (1, 2, 32, 256):
                self._run(self._example(batch), self.horizon)
        except Exception as error:
            raise ValueError(f"The model in this archive cannot be loaded: {error!r}") from error
        finally:
            gc.enable()
        # Everything here lives as long as the worker. Without this, full collections dominate the slowest requests.
        gc.collect()
        gc.freeze()
        logger.info("version %s loaded in %.1f s", self.version, time.monotonic() - began)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:  # Any: as above
        requests = [self._read_or_refuse(row) for row in data]
        quantiles = self._forecast([request for request in requests if not isinstance(request, str)])
        answers = []
        for index, request in enumerate(requests):
            status, answer = self._refuse(request) if isinstance(request, str) else self._answer(quantiles.pop(0))
            context.set_response_status(status.value, status.phrase, index)
            context.set_response_content_type(index, "application/json")
            answers.append(answer)
        return answers

    def _forecast(self, requests: list[Request]) -> list[torch.Tensor]:
        """The quantiles of each request; those that ask for equally many days go through the model together."""
        forecasts: list[Any] = [None] * len(requests)  # Any: tensors, each in its place by the end
        for days in {days for _, days in requests}:
            places = [place for place, request in enumerate(requests) if request[1] == days]
            windows = list(chain.from_iterable(requests[place][0] for place in places))
            parts = self._run(windows, days).split([len(requests[place][0]) for place in places])
            for place, quantiles in zip(places, parts, strict=True):
                forecasts[place] = quantiles
        return forecasts

    def _load(self, folder: Path) -> None:
        torch.set_num_threads(1)  # a worker is one core's: more workers, not more threads
        card = orjson.loads((folder / "model.json").read_bytes())
        self.version: str = card["version"]
        self.context_length: int = card["context_length"]
        self.usual_days: int = card["model"]["prediction_horizon"]  # of a request that does not say how many
        self.horizon = max(self.usual_days, card["model"].get("direct_days", 0))  # of one forward pass
        self.levels: list[float] = card["levels"]
        self.logarithmic = card["model"].get("scaling", "robust") == "robust"
        self.usual_band_scale: list[float] = card.get("usual_band_scale") or [1.0] * MAX_DAYS_AHEAD
        # Called without the module's own checks of its inputs, a tenth of the time of one window: `_read` made them.
        self.model = torch.export.load(folder / "model.pt2").module().forward

    def _example(self, batch: int) -> list[Window]:
        return [([float(day % 7) for day in range(self.context_length)], 0, 0, [1.0] * self.horizon, None)] * batch

    def _run(self, windows: list[Window], days: int) -> torch.Tensor:
        """Quantiles [windows, days, levels]; one call, unless there are more windows than the program takes."""
        if not windows:
            return torch.empty(0, days, len(self.levels))
        history, first_day, kind, band_scale, effects = zip(*windows, strict=True)
        inputs = [
            _as_tensor(chain.from_iterable(history), torch.float64).float().view(-1, self.context_length),
            _as_tensor(first_day, torch.int64),
            _as_tensor(kind, torch.int64),
            _as_tensor(chain.from_iterable(band_scale), torch.float64).float().view(-1, days),
        ]
        if any(each is not None for each in effects):
            none = [0.0] * (self.context_length + days)
            known = chain.from_iterable(none if each is None else each for each in effects)
            inputs.append(_as_tensor(known, torch.float64).float().view(-1, len(none)))
        parts = zip(*(tensor.split(MAX_WINDOWS) for tensor in inputs), strict=True)
        with torch.inference_mode():
            return torch.cat([self._roll_out(*part) for part in parts])

    def _roll_out(self, *windows: torch.Tensor) -> torch.Tensor:
        """The effects are the last of the tensors, if there are any."""
        *inputs, effects = windows if len(windows) > len(KEYS) - 1 else (*windows, None)
        median, logarithmic = self.levels.index(0.5), self.logarithmic
        return roll_out_known(
            self.model, *inputs, effects=effects, horizon=self.horizon, median=median, logarithmic=logarithmic
        )

    def _read_or_refuse(self, row: dict[str, Any]) -> Request | str:
        """The request, or what is wrong with it."""
        try:
            return self._read(row.get("body", row.get("data")))
        except ValueError as error:
            return str(error)

    def _read(self, body: Any) -> Request:  # Any: bytes, or what TorchServe made of them
        if body is None:
            raise ValueError("There is no body; send JSON, with the header Content-Type: application/json.")
        request = _parse(body)
        if not isinstance(request, dict) or not {"instances"} <= set(request) <= {"instances", "days_ahead"}:
            raise ValueError(f'The body is {_show(request)}; it must be {{"instances": [...], "days_ahead": 7}}.')
        instances, days = request["instances"], _read_days_ahead(request.get("days_ahead", self.usual_days))
        if type(instances) is not list:
            raise ValueError(f"instances is {_show(instances)}; it must be a list.")
        if len(instances) > MAX_INSTANCES:
            raise ValueError(f"instances has {len(instances)} entries; one request may have {MAX_INSTANCES}.")
        windows = [self._read_instance(item, days, f"instances[{index}]") for index, item in enumerate(instances)]
        return windows, days

    def _read_instance(self, instance: Any, days: int, place: str) -> Window:  # Any: json's own types
        if type(instance) is not dict:
            raise ValueError(f"{place} is {_show(instance)}; it must be an object.")
        if unknown := [key for key in instance if key not in KEYS]:
            raise ValueError(f"{place} has the unknown key {_show(unknown[0])}; the keys are {', '.join(KEYS)}.")
        if missing := [key for key in ("history", "first_day") if key not in instance]:
            raise ValueError(f"{place} has no {missing[0]}.")
        history = _read_history(instance["history"], self.context_length, f"{place}.history")
        first_day = _read_day(instance["first_day"], f"{place}.first_day")
        num_before = self.context_length - len(history)  # days that the model reads, and the request does not have
        history, first_day = [math.nan] * num_before + history, first_day - num_before
        kind = instance.get("kind", "count")
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"{place}.kind is {_show(kind)}; the kinds are {', '.join(KINDS)}.")
        band_scale = self._read_band_scale(instance, days, f"{place}.band_scale")
        effects = _read_effects(instance.get("effects"), num_before, self.context_length + days, f"{place}.effects")
        return history, first_day, KINDS[kind], band_scale, effects

    def _read_band_scale(self, instance: dict[str, Any], days: int, place: str) -> list[float]:
        """A factor for each day ahead; those of most series where the request has none."""
        values = instance.get("band_scale")
        if values is None:
            return self.usual_band_scale[:days]
        _check_numbers(values, days, days, place)
        if None in values:
            raise ValueError(f"{place}[{values.index(None)}] is null; it must be a number.")
        if min(values) < 0:
            raise ValueError(f"{place} has {_show(min(values))}; a band's factor is 0 or more.")
        return list(values)

    def _answer(self, quantiles: torch.Tensor) -> tuple[HTTPStatus, bytes]:
        """Numbers are written with as many digits as a float32 needs to be read back unchanged."""
        if not bool(torch.isfinite(quantiles).all()):
            bad = int((~torch.isfinite(quantiles)).flatten(1).any(1).nonzero()[0])
            detail = f"The model's answer to instances[{bad}] is not finite, so this request gets no forecast."
            return HTTPStatus.INTERNAL_SERVER_ERROR, orjson.dumps({"detail": detail})
        answer = {"model_version": self.version, "quantiles": quantiles.numpy()}
        return HTTPStatus.OK, orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)

    @staticmethod
    def _refuse(detail: str) -> tuple[HTTPStatus, bytes]:
        return HTTPStatus.BAD_REQUEST, orjson.dumps({"detail": detail})


def _parse(body: Any) -> Any:  # Any: json's own types
    if not isinstance(body, bytes | bytearray | str):
        return body
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"The body is no JSON: {error}.") from error


def _read_days_ahead(days: Any) -> int:  # Any: json's own types
    if type(days) is not int or not 1 <= days <= MAX_DAYS_AHEAD:
        raise ValueError(f"days_ahead is {_show(days)}; it must be a whole number from 1 to {MAX_DAYS_AHEAD}.")
    return days


def _read_history(values: Any, most: int, place: str) -> list[float]:
    """The values, with NaN for null."""
    _check_numbers(values, RECENT_DAYS, most, place)
    recent = values[-RECENT_DAYS:]
    known = len(recent) - recent.count(None)
    if known < MIN_KNOWN_DAYS:
        raise ValueError(f"{place} has {known} known days; at least {MIN_KNOWN_DAYS} are needed.")
    return [math.nan if value is None else value for value in values] if None in values else values


def _read_effects(values: Any, num_before: int, length: int, place: str) -> list[float] | None:
    """Of the `length` days that the model reads and forecasts, without the first `num_before`. None: there are none."""
    if values is None:
        return None
    _check_numbers(values, length - num_before, length - num_before, place)
    if None in values:
        raise ValueError(f"{place}[{values.index(None)}] is null; it must be a number.")
    return [0.0] * num_before + values


def _check_numbers(values: Any, least: int, most: int, place: str) -> None:
    number = f"{least}" if least == most else f"{least} to {most}"
    if type(values) is not list:
        raise ValueError(f"{place} is {_show(values)}; it must be a list of {number} numbers.")
    if not least <= len(values) <= most:
        raise ValueError(f"{place} has {len(values)} values; it must have {number}.")
    if not set(map(type, values)) <= {int, float, type(None)}:  # excludes true and false, which are ints in Python
        index = next(i for i, value in enumerate(values) if type(value) not in (int, float, type(None)))
        raise ValueError(f"{place}[{index}] is {_show(values[index])}; it must be a number.")
    known = [value for value in values if value is not None]
    if known and not (min(known) >= -FLOAT32_MAX and max(known) <= FLOAT32_MAX):
        index = next(i for i, value in enumerate(values) if value is not None and not abs(value) <= FLOAT32_MAX)
        raise ValueError(f"{place}[{index}] is {values[index]!r}; float32 holds at most {FLOAT32_MAX:.2g}.")


def _read_day(text: Any, place: str) -> int:
    """Days since 1970-01-01."""
    try:
        day = dt.date.fromisoformat(text)
    except (TypeError, ValueError):
        day = None
    if day is None or day.isoformat() != text:  # fromisoformat also accepts 20240131 and 2024-W05-3
        raise ValueError(f"{place} is {_show(text)}; it must be a date such as 2024-01-31.")
    return day.toordinal() - EPOCH


def _as_tensor(values: Any, dtype: torch.dtype) -> torch.Tensor:
    """Three times as fast as torch.tensor on a list."""
    return torch.frombuffer(array.array("d" if dtype.is_floating_point else "q", values), dtype=dtype)


def _show(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."
