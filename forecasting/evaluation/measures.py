"""Error measures of point forecasts and bands. Arrays of one shape, actual values first; NaN days are skipped.

Sources: MASE: Hyndman & Koehler (2006), Int. J. Forecasting 22(4). Pinball loss: Koenker & Bassett (1978),
Econometrica 46(1). WAPE: Kolassa & Schuetz (2007), Foresight 6.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from forecasting.errors import UndefinedMetric

SEASON = 7


def mse(actual: Float[np.ndarray, "*shape"], forecast: Float[np.ndarray, "*shape"]) -> float:
    """Mean squared error, in squared units."""
    return float(np.mean(_errors(actual, forecast) ** 2))


def rmse(actual: Float[np.ndarray, "*shape"], forecast: Float[np.ndarray, "*shape"]) -> float:
    """Root of the mean squared error, in the units of the series."""
    return math.sqrt(mse(actual, forecast))


def mae(actual: Float[np.ndarray, "*shape"], forecast: Float[np.ndarray, "*shape"]) -> float:
    """Mean absolute error, in the units of the series."""
    return float(np.mean(np.abs(_errors(actual, forecast))))


def mape(actual: Float[np.ndarray, "*shape"], forecast: Float[np.ndarray, "*shape"]) -> float:
    """Mean absolute percentage error, as a share: 0.1 is 10%.

    Raises UndefinedMetric if an actual value is 0.
    """
    errors, known = _errors(actual, forecast), actual[np.isfinite(actual)]
    if np.any(known == 0):
        raise UndefinedMetric(f"{int(np.sum(known == 0))} of {known.size} actual values are 0")
    return float(np.mean(np.abs(errors / known)))


def r2(actual: Float[np.ndarray, "*shape"], forecast: Float[np.ndarray, "*shape"]) -> float:
    """Share of the actual values' variance that the forecast explains; below 0 if their mean forecasts better.

    Raises UndefinedMetric if all actual values are equal.
    """
    errors, known = _errors(actual, forecast), actual[np.isfinite(actual)].astype(np.float64)
    variance = float(np.sum((known - known.mean()) ** 2))
    if variance == 0:
        raise UndefinedMetric("all actual values are the same")
    return 1 - float(np.sum(errors**2)) / variance


def wape(actual: Float[np.ndarray, "*shape"], forecast: Float[np.ndarray, "*shape"]) -> float:
    """Sum of absolute errors as a share of the sum of absolute actual values. Raises UndefinedMetric if that is 0."""
    total = float(np.sum(np.abs(actual[np.isfinite(actual)]), dtype=np.float64))
    if total == 0:
        raise UndefinedMetric("all actual values are 0")
    return float(np.sum(np.abs(_errors(actual, forecast)))) / total


def mase(
    actual: Float[np.ndarray, "*shape"],
    forecast: Float[np.ndarray, "*shape"],
    past: Float[np.ndarray, " days"],
    *,
    season: int = SEASON,
) -> float:
    """Mean absolute error, in units of the seasonal naive forecast's mean absolute error over `past`.

    Raises UndefinedMetric if `past` repeats every `season` days, because there is nothing to divide by.
    Source: Hyndman & Koehler (2006), with their naive step made seasonal.
    """
    return mae(actual, forecast) / seasonal_error(past, season=season)


def seasonal_error(past: Float[np.ndarray, " days"], *, season: int = SEASON) -> float:
    """Denominator of MASE: the seasonal naive forecast's mean absolute error over `past`. Raises UndefinedMetric."""
    changes = np.abs(past[season:].astype(np.float64) - past[:-season])
    changes = changes[np.isfinite(changes)]
    scale = float(changes.mean()) if changes.size else 0.0
    if scale == 0:
        raise UndefinedMetric(f"the past repeats every {season} days or is too short")
    return scale


def pinball(
    actual: Float[np.ndarray, "*shape"], quantiles: Float[np.ndarray, "*shape levels"], *, levels: Sequence[float]
) -> float:
    """Mean quantile loss over the known days and all levels. At level 0.5 it is half the absolute error."""
    known = np.isfinite(actual)
    if not known.any():
        raise UndefinedMetric("no actual value is known")
    errors = actual[known][:, None].astype(np.float64) - quantiles[known]
    weights = np.array(levels)
    return float(np.mean(np.maximum(weights * errors, (weights - 1) * errors)))


def coverage(
    actual: Float[np.ndarray, "*shape"], lower: Float[np.ndarray, "*shape"], upper: Float[np.ndarray, "*shape"]
) -> float:
    """Share of the actual values inside the band, ends included."""
    known = np.isfinite(actual)
    if not known.any():
        raise UndefinedMetric("no actual value is known")
    return float(np.mean((lower[known] <= actual[known]) & (actual[known] <= upper[known])))


def measure(
    actual: Float[np.ndarray, "*shape"], forecast: Float[np.ndarray, "*shape"], past: Float[np.ndarray, " days"]
) -> dict[str, float | str | None]:
    """All measures by name. An undefined measure is None, and `<name>_undefined` gives the reason."""
    measures: Mapping[str, Callable[[], float]] = {
        "mse": lambda: mse(actual, forecast),
        "mae": lambda: mae(actual, forecast),
        "rmse": lambda: rmse(actual, forecast),
        "mape": lambda: mape(actual, forecast),
        "r2": lambda: r2(actual, forecast),
        "mase": lambda: mase(actual, forecast, past),
        "wape": lambda: wape(actual, forecast),
    }
    values: dict[str, float | str | None] = {}
    for name, compute in measures.items():
        try:
            values[name] = compute()
        except UndefinedMetric as reason:
            values[name] = None
            values[f"{name}_undefined"] = str(reason)
    return values


def _errors(actual: Float[np.ndarray, "*shape"], forecast: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, " known"]:
    """Forecast minus actual on known days, in float64: squared visits overflow float32."""
    known = np.isfinite(actual)
    if not known.any():
        raise UndefinedMetric("no actual value is known")
    return np.asarray(forecast[known].astype(np.float64) - actual[known])
