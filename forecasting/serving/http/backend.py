"""What the routes need behind them."""

from typing import Protocol, runtime_checkable

from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.health import DataState, Problems
from forecasting.serving.promotions import Promotion
from forecasting.warehouse.site_directory import SiteDirectory


@runtime_checkable
class Backend(Protocol):
    @property
    def forecast_cache(self) -> ForecastCache:
        """The one of the version that is served now."""
        ...

    @property
    def data(self) -> DataState: ...

    async def find_problems(self) -> Problems: ...

    async def list_sites(self) -> SiteDirectory:
        """The sites of the version and of the source, a few seconds old at most."""
        ...

    async def promote(self, version: str, *, force: bool = False) -> Promotion:
        """Starts to serve another version. Raises what can be refused at once."""
        ...

    def find_promotion(self, promotion_id: str) -> Promotion:
        """Raises UnknownPromotion."""
        ...
