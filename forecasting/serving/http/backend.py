"""What the routes need behind them."""

from typing import Protocol, runtime_checkable

from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.promotions import Promotion
from forecasting.serving.served_model import Problems


@runtime_checkable
class Backend(Protocol):
    @property
    def forecast_cache(self) -> ForecastCache:
        """The one of the version that is served now."""
        ...

    async def find_problems(self) -> Problems: ...

    async def list_sites(self) -> dict[str, str]:
        """The sites in the source and their time zones."""
        ...

    async def promote(self, version: str) -> Promotion:
        """Starts to serve another version. Raises what can be refused at once."""
        ...

    def find_promotion(self, promotion_id: str) -> Promotion:
        """Raises UnknownPromotion."""
        ...
