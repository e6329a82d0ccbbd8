"""Classical forecasting methods to compare a model with, computed by statsforecast (the `bench` extra).

Light to import, because every worker process imports it.
"""

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from jaxtyping import Float

from forecasting.baselines import seasonal_naive_quantiles
from forecasting.errors import SettingError
from forecasting.runtime.machine import num_cores

PEERS = ("AutoETS", "AutoTheta", "DynamicOptimizedTheta")
MEDIAN_OF_PEERS = "median of the three"
SEASON = 7
BANDS = {0.05: "lo-90", 0.1: "lo-80", 0.25: "lo-50", 0.5: "mean", 0.75: "hi-50", 0.9: "hi-80", 0.95: "hi-90"}
MEDIAN = tuple(BANDS).index(0.5)
CHUNK = 16  # histories per task of a worker
MIN_FOR_POOL = 100  # with fewer histories, starting processes costs more than it saves


@dataclass(frozen=True)
class PeerForecasts:
    """Forecasts by one method. Their median is the method's point forecast."""

    quantiles: Float[np.ndarray, "windows horizon levels"]
    num_failed: int  # histories on which the method failed, replaced by the seasonal naive forecast
    seconds: float  # of one core


def check_installed() -> None:
    """Raises SettingError if statsforecast is not installed."""
    if importlib.util.find_spec("statsforecast") is None:
        raise SettingError(
            "--peers needs statsforecast, which is not installed. Install it: "
            "pip install -e '.[bench]' -c constraints.txt"
        )


@contextmanager
def peer_processes(num_histories: int) -> Iterator[Executor | None]:
    """One worker process per core; None if there are so few histories that this process is faster."""
    if num_histories < MIN_FOR_POOL:
        _warm_up()
        yield None
        return
    # Spawned, because torch's threads do not survive a fork.
    workers = num_cores()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_warm_up) as processes:
        yield processes


def forecast_peer(
    name: str,
    histories: Sequence[Float[np.ndarray, " _"]],
    *,
    horizon: int,
    processes: Executor | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> PeerForecasts:
    """Forecasts by one of PEERS. Histories start with their series; unknown days take the value a week before.

    Calls `advance` with the number of forecasts made.
    """
    chunks = [histories[start : start + CHUNK] for start in range(0, len(histories), CHUNK)]
    forecast = partial(_forecast_chunk, name, horizon)
    parts = []
    for part in processes.map(forecast, chunks) if processes else map(forecast, chunks):
        parts.append(part)
        advance(len(part.quantiles))
    quantiles = np.concatenate([part.quantiles for part in parts])
    return PeerForecasts(quantiles, sum(part.num_failed for part in parts), sum(part.seconds for part in parts))


def _warm_up() -> None:
    """Compiles the methods' numba code, so that their measured times do not include it."""
    for name in PEERS:
        _forecast_chunk(name, SEASON, [np.arange(1.0, 61.0) % SEASON + 1])


def _forecast_chunk(name: str, horizon: int, histories: Sequence[Float[np.ndarray, " _"]]) -> PeerForecasts:
    from statsforecast import models

    started = time.monotonic()
    method = getattr(models, name)(season_length=SEASON)
    forecasts = [_forecast_history(method, history, horizon) for history in histories]
    quantiles = np.stack([quantiles for quantiles, _ in forecasts])
    return PeerForecasts(quantiles, sum(failed for _, failed in forecasts), time.monotonic() - started)


def _forecast_history(
    method: Any,  # Any: statsforecast has no types
    history: Float[np.ndarray, " days"],
    horizon: int,
) -> tuple[Float[np.ndarray, "horizon levels"], bool]:
    """Quantiles, and whether the method failed."""
    filled = _fill(history)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # statsforecast's libraries warn of flat or tiny series
        try:
            forecast = method.forecast(y=filled, h=horizon, level=[50, 80, 90])
        except Exception:  # noqa: BLE001 - the library fails in many ways on odd series; failures are counted and reported
            forecast = None
    if forecast is not None:
        quantiles = np.stack([forecast[key] for key in BANDS.values()], 1).astype(np.float32)
        median = quantiles[:, MEDIAN, None]
        quantiles[:, :MEDIAN] = np.minimum(quantiles[:, :MEDIAN], median)  # a simulated band may not contain its mean
        quantiles[:, MEDIAN:] = np.maximum(quantiles[:, MEDIAN:], median)
        if np.isfinite(quantiles).all():
            return quantiles, False
    return seasonal_naive_quantiles(filled[None], days_ahead=horizon, levels=tuple(BANDS))[0], True


def _fill(history: Float[np.ndarray, " days"]) -> Float[np.ndarray, " days"]:
    """The history with unknown days replaced by the value a week before, or by the mean."""
    filled = history.astype(np.float64)
    for day in np.flatnonzero(~np.isfinite(filled)):
        filled[day] = filled[day - SEASON] if day >= SEASON else np.nan
    return np.where(np.isfinite(filled), filled, np.nanmean(filled))
