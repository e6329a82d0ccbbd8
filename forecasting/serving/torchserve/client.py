"""Sends windows to TorchServe over open connections, with our own deadline, retries and circuit breaker."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import aiohttp
import numpy as np
from jaxtyping import Float

from forecasting.artifact import MODEL_NAME
from forecasting.errors import BadAnswer, TimedOut, Unavailable
from forecasting.predictor import Window
from forecasting.runtime.open_files import TOO_MANY, explain_too_many
from forecasting.serving.circuit_breaker import CircuitBreaker
from forecasting.serving.request_batcher import RequestBatcher
from forecasting.serving.torchserve.protocol import (
    RetryableFailure,
    describe_failure,
    read_key,
    read_quantiles,
    write_request,
)

Quantiles = Float[np.ndarray, "days levels"]
WindowAndDays = tuple[Window, int]  # a window, and how many days ahead
BLOCK_DAYS = 7  # forecasts of equally many blocks go out together: they take a worker equally long
MAX_SERIES = 256  # in one request: about 200 kB, and 4 ms of a worker
STOPPING = "This server is stopping. Send the request again to the next one."
HEALTH_SECONDS = 2.0  # for a worker to show that it is alive


class TorchServeClient:
    """Asks one version. Used in one event loop; ends with `close()` or its context.

    Windows that arrive while `max_running` requests are under way go out together. One request of 256 windows costs as
    much as thirty requests of one.
    """

    def __init__(
        self, base_url: str, version: str, key_file: Path, deadline_seconds: float, *, max_running: int = 2
    ) -> None:
        self._version = version
        self._deadline_seconds = deadline_seconds
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False
        self._batcher: RequestBatcher[WindowAndDays, Quantiles] = RequestBatcher(
            self._predict_batch, max_items=MAX_SERIES, max_running=max_running, retry_alone=(BadAnswer,)
        )
        self.breaker = CircuitBreaker(self._batcher.fail_all)
        self.switch_to(base_url, key_file)

    def switch_to(self, base_url: str, key_file: Path) -> None:
        """Asks this TorchServe from now on, after a restart."""
        self._url = f"{base_url}/predictions/{MODEL_NAME}/{self._version}"
        self._key_file = key_file
        self._key: str | None = None

    async def predict(self, windows: Sequence[Window], days_ahead: int) -> Float[np.ndarray, "windows days levels"]:
        """Quantiles in the histories' units, float32.

        Raises Unavailable, BadAnswer, or TimedOut after the deadline, which includes a second try.
        """
        self.breaker.check()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return np.stack(await self._batcher.submit([(window, days_ahead) for window in windows]))
        except TimeoutError as error:
            raise TimedOut(
                f"TorchServe did not answer within {self._deadline_seconds:g} s (serving.deadline_seconds)."
            ) from error

    async def find_problem(self) -> str | None:
        """Why it does not answer, as a sentence; None if it does. Asks a worker, not only Java."""
        try:
            await self._predict([], 1, min(HEALTH_SECONDS, self._deadline_seconds))
        except (Unavailable, TimedOut, BadAnswer) as error:
            return str(error)
        return None

    async def close(self) -> None:
        """Requests under way end, and later ones are refused."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    async def __aenter__(self) -> "TorchServeClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _predict_batch(self, batch: Sequence[WindowAndDays]) -> Sequence[Quantiles]:
        """One request for each number of blocks in the batch."""
        blocks = [-(-days // BLOCK_DAYS) for _, days in batch]
        groups = [[row for row, other in enumerate(blocks) if other == block] for block in sorted(set(blocks))]
        forecasts = await asyncio.gather(*(self._predict_group([batch[row] for row in group]) for group in groups))
        by_row = {
            row: quantiles
            for group, group_quantiles in zip(groups, forecasts, strict=True)
            for row, quantiles in zip(group, group_quantiles, strict=True)
        }
        return [by_row[row] for row in range(len(batch))]

    async def _predict_group(self, group: Sequence[WindowAndDays]) -> list[Quantiles]:
        """In one request, for as many days as the longest forecast has."""
        longest = max(days for _, days in group)
        quantiles = await self._predict([window for window, _ in group], longest, self._deadline_seconds)
        return [forecast[:days] for forecast, (_, days) in zip(quantiles, group, strict=True)]

    async def _predict(
        self, windows: Sequence[Window], days_ahead: int, seconds: float
    ) -> Float[np.ndarray, "windows days levels"]:
        body = write_request(windows, days_ahead)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._post(body)
        except TimeoutError as error:
            timed_out = TimedOut(f"TorchServe did not answer within {seconds:g} s.")
            self.breaker.report_failure(timed_out)
            raise timed_out from error
        except Unavailable as error:
            self.breaker.report_failure(error)
            raise
        self.breaker.report_success()
        return read_quantiles(answer, len(windows), days_ahead, self._version)

    async def _post(self, body: bytes) -> bytes:
        """Tries a second time if that may help, with the key read again."""
        try:
            return await self._post_once(body)
        except RetryableFailure:
            self._key = None
        try:
            return await self._post_once(body)
        except RetryableFailure as failure:
            raise failure.error from failure

    async def _post_once(self, body: bytes) -> bytes:
        try:
            async with self._open_session().post(self._url, data=body, headers=self._make_headers()) as response:
                answer = await response.read()
        except RuntimeError as error:
            if not self._is_closed:
                raise
            raise Unavailable(STOPPING) from error  # aiohttp's "Session is closed"
        except aiohttp.ClientConnectorError as error:
            if error.os_error.errno in TOO_MANY:
                raise Unavailable(f"TorchServe cannot be asked: {explain_too_many(error.os_error)}") from error
            raise Unavailable(f"TorchServe is not running: nothing listens at {self._url}.") from error
        except (aiohttp.ClientError, ConnectionError) as error:  # an idle connection was closed, or Java was killed
            raise RetryableFailure(Unavailable(f"TorchServe closed the connection ({error!r}).")) from error
        if response.status != 200:
            raise describe_failure(response.status, answer)
        return answer

    def _open_session(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise Unavailable(STOPPING)
        if self._session is None:
            # No limits here: TorchServe's queue refuses what is too much, and our deadline bounds each request.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=False), timeout=aiohttp.ClientTimeout(total=None)
            )
        return self._session

    def _make_headers(self) -> dict[str, str]:
        if self._key is None:
            try:
                self._key = read_key(self._key_file, "inference")
            except (OSError, ValueError, KeyError) as error:
                raise Unavailable(f"TorchServe's keys cannot be read from {self._key_file} ({error!r}).") from error
        return {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
