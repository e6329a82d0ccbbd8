"""Asking TorchServe 0.12: what goes to its workers, and what its answers mean."""

import asyncio
import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import numpy as np
import orjson
from jaxtyping import Float

from forecasting.artifact import MODEL_NAME
from forecasting.domain import EPOCH
from forecasting.errors import BadAnswer, TimedOut, Unavailable
from forecasting.predictor import Window
from forecasting.serving.circuit_breaker import CircuitBreaker
from forecasting.serving.request_batcher import RequestBatcher

Quantiles = Float[np.ndarray, "days levels"]
Wanted = tuple[Window, int]  # and how many days ahead
BLOCK_DAYS = 7  # requests for equally many weeks go out together: a worker takes as long for each
SERIES_AT_ONCE = 256  # of a request: some 200 kB, and 4 ms of a worker
HEALTH_SECONDS = 2.0  # that a worker has to say it is there


class TorchServeClient:
    """Asks one version over connections that stay open. Used in one event loop, closed by `close()` or its context.

    What is asked while `requests_at_once` are under way goes out together, in requests of up to 256 series: one of them
    costs as much as thirty of one. The breaker keeps askers from waiting for a TorchServe that does not answer.
    """

    def __init__(
        self, base_url: str, version: str, key_file: Path, deadline_seconds: float, *, requests_at_once: int = 2
    ) -> None:
        self._version = version
        self._deadline_seconds = deadline_seconds
        self._session: aiohttp.ClientSession | None = None
        self._batcher: RequestBatcher[Wanted, Quantiles] = RequestBatcher(
            self._predict_batch, max_items=SERIES_AT_ONCE, num_at_once=requests_at_once, alone=(BadAnswer,)
        )
        self.breaker = CircuitBreaker(self._batcher.fail)
        self.move(base_url, key_file)

    def move(self, base_url: str, key_file: Path) -> None:
        """To a TorchServe that was started instead."""
        self._url = f"{base_url}/predictions/{MODEL_NAME}/{self._version}"
        self._key_file = key_file
        self._key: str | None = None

    async def predict(self, windows: Sequence[Window], days_ahead: int) -> Float[np.ndarray, "windows days levels"]:
        """Quantiles in the histories' units, float32.

        Raises Unavailable, TimedOut after the deadline (a second try included), or BadAnswer.
        """
        self.breaker.check()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return np.stack(await self._batcher.ask([(window, days_ahead) for window in windows]))
        except TimeoutError as error:
            raise TimedOut(
                f"TorchServe gave no answer within {self._deadline_seconds:g} s (serving.deadline_seconds)."
            ) from error

    async def find_trouble(self) -> str | None:
        """What keeps it from answering, in a sentence; None if nothing does. A worker answers this, not Java alone."""
        try:
            await self._predict([], 1, min(HEALTH_SECONDS, self._deadline_seconds))
        except (Unavailable, TimedOut, BadAnswer) as error:
            return str(error)
        return None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> "TorchServeClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _predict_batch(self, wanted: Sequence[Wanted]) -> Sequence[Quantiles]:
        blocks = [-(-days // BLOCK_DAYS) for _, days in wanted]
        groups = [[place for place, other in enumerate(blocks) if other == block] for block in sorted(set(blocks))]
        forecasts = await asyncio.gather(*(self._predict_group([wanted[place] for place in group]) for group in groups))
        by_place = {
            place: quantiles
            for group, part in zip(groups, forecasts, strict=True)
            for place, quantiles in zip(group, part, strict=True)
        }
        return [by_place[place] for place in range(len(wanted))]

    async def _predict_group(self, wanted: Sequence[Wanted]) -> list[Quantiles]:
        """In one request, for as many days as the longest forecast has."""
        longest = max(days for _, days in wanted)
        quantiles = await self._predict([window for window, _ in wanted], longest, self._deadline_seconds)
        return [forecast[:days] for forecast, (_, days) in zip(quantiles, wanted, strict=True)]

    async def _predict(
        self, windows: Sequence[Window], days_ahead: int, seconds: float
    ) -> Float[np.ndarray, "windows days levels"]:
        body = _write_request(windows, days_ahead)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._post(body)
        except TimeoutError as error:
            timed_out = TimedOut(f"TorchServe gave no answer within {seconds:g} s.")
            self.breaker.failed(timed_out)
            raise timed_out from error
        except Unavailable as error:
            self.breaker.failed(error)
            raise
        self.breaker.succeeded()
        return _read_quantiles(answer, len(windows), days_ahead, self._version)

    async def _post(self, body: bytes) -> bytes:
        """The answer of the first try, or of the second where the failure may be gone by then."""
        try:
            return await self._post_once(body)
        except _WorthRetrying:
            self._key = None
        try:
            return await self._post_once(body)
        except _WorthRetrying as failure:
            raise failure.final from failure

    async def _post_once(self, body: bytes) -> bytes:
        try:
            async with self._open_session().post(self._url, data=body, headers=self._headers()) as response:
                answer = await response.read()
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(f"Nobody listens at {self._url}: TorchServe is not running.") from error
        except (aiohttp.ClientError, ConnectionError) as error:  # an idle connection was closed, or Java was killed
            raise _WorthRetrying(Unavailable(f"TorchServe broke the connection off ({error!r}).")) from error
        if response.status != 200:
            raise _failure_of(response.status, answer)
        return answer

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # TorchServe's own queue decides how much is too much; our deadline bounds every part of a request.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=False), timeout=aiohttp.ClientTimeout(total=None)
            )
        return self._session

    def _headers(self) -> dict[str, str]:
        if self._key is None:
            try:
                self._key = read_key(self._key_file, "inference")
            except (OSError, ValueError, KeyError) as error:
                raise Unavailable(f"TorchServe's keys cannot be read from {self._key_file} ({error!r}).") from error
        return {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}


class _WorthRetrying(Exception):
    """Asking once more may help; `final` is what to raise if it did not."""

    def __init__(self, final: Unavailable | BadAnswer) -> None:
        super().__init__(str(final))
        self.final = final


def _failure_of(status: int, answer: bytes) -> Exception:
    """What a status of 400 and above means. TorchServe's own say `type` and `message`, the handler's `detail`."""
    try:
        content = orjson.loads(answer)
    except orjson.JSONDecodeError:
        content = None
    content = content if isinstance(content, dict) else {}
    if "detail" in content:
        return BadAnswer(f"The handler refused ({status}): {content['detail']}")
    message = str(content.get("message") or shorten(answer) or "empty answer")
    said = f"TorchServe answered {status}: {message}"
    if content.get("type") == "InvalidKeyException":
        return _WorthRetrying(BadAnswer(said))
    if message == "Prediction failed":
        return _WorthRetrying(BadAnswer(f"{said} (the handler failed; its log says why)"))
    if "Worker died" in message:
        return _WorthRetrying(Unavailable(f"{said} A new worker stands within seconds."))
    if status == 503:  # the text names workers, but a full queue is what it means
        return Unavailable(f"{said.partition('.')[0]}: its queue is full, or every worker is down.")
    return BadAnswer(said)


def _write_request(windows: Sequence[Window], days_ahead: int) -> bytes:
    instances = [_write_instance(window, days_ahead) for window in windows]
    return orjson.dumps({"instances": instances, "days_ahead": days_ahead}, option=orjson.OPT_SERIALIZE_NUMPY)


def _write_instance(window: Window, days_ahead: int) -> dict[str, Any]:  # Any: json's own types, and arrays
    """orjson writes NaN as null."""
    return {
        "history": np.ascontiguousarray(window.history),
        "first_day": EPOCH + dt.timedelta(days=window.first_day),
        "kind": window.kind.value,
        "band_scale": np.ascontiguousarray(window.band_scale[:days_ahead]),
    }


def _read_quantiles(
    answer: bytes, num_windows: int, days_ahead: int, version: str
) -> Float[np.ndarray, "windows days levels"]:
    """Raises BadAnswer for anything but numbers of the right shape, of the version that was asked."""
    try:
        content = orjson.loads(answer)
        quantiles = np.asarray(content["quantiles"], dtype=np.float32)
        answering = content["model_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise BadAnswer(f"TorchServe's answer is no forecast ({error!r}): {shorten(answer)}") from error
    if answering != version:
        raise BadAnswer(f"TorchServe answered with version {answering}, not {version}.")
    if num_windows == 0 and quantiles.size == 0:
        return np.empty((0, 0, 0), dtype=np.float32)
    if quantiles.ndim != 3 or quantiles.shape[:2] != (num_windows, days_ahead) or not np.isfinite(quantiles).all():
        shape = " x ".join(map(str, quantiles.shape))
        raise BadAnswer(
            f"TorchServe answered {shape} numbers to {num_windows} series and {days_ahead} days; finite quantiles are "
            "needed."
        )
    return quantiles


def read_key(key_file: Path, api: str) -> str:
    """The key of an API: inference or management. OSError, ValueError or KeyError while there is none yet."""
    return str(json.loads(key_file.read_text(encoding="utf-8"))[api]["key"])


def shorten(answer: bytes) -> str:
    text = " ".join(answer.decode(errors="replace").split())
    return text if len(text) <= 500 else f"{text[:497]}..."
