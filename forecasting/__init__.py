"""Forecasts a website's daily traffic: PostgreSQL or a data frame in, quantiles of the days ahead out.

Importing the package is light: what needs torch or a database loads it on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecasting.frames.traffic_forecaster import TrafficForecaster
    from forecasting.serving.prediction_service import PredictionService

__version__ = "0.1.0"
__all__ = ["PredictionService", "TrafficForecaster", "__version__"]


def __getattr__(name: str) -> Any:  # Any: the type is the asked-for attribute's
    if name == "PredictionService":
        from forecasting.serving.prediction_service import PredictionService

        return PredictionService
    if name == "TrafficForecaster":
        from forecasting.frames.traffic_forecaster import TrafficForecaster

        return TrafficForecaster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
