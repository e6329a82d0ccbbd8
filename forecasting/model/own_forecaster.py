"""The Forecaster that the settings ask for: ours, or a subclass of the user's own."""

from forecasting.model.forecaster import Forecaster
from forecasting.model.scaling import WindowScaling
from forecasting.runtime.user_code import load_object
from forecasting.settings.bounds import require
from forecasting.settings.schema import ModelConfig


def make_forecaster(settings: ModelConfig, scaling: WindowScaling | None = None) -> Forecaster:
    """Untrained. Raises SettingError if `model.forecaster` names no subclass of Forecaster."""
    if settings.forecaster is None:
        return Forecaster(settings, scaling)
    own = load_object(settings.forecaster, "model.forecaster")
    require(
        isinstance(own, type) and issubclass(own, Forecaster),
        f"model.forecaster is {settings.forecaster}, which is no subclass of forecasting.model.forecaster.Forecaster.",
    )
    forecaster: Forecaster = own(settings, scaling)
    return forecaster
