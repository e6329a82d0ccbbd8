"""What the routes need behind them."""

import datetime as dt
from typing import Any, Protocol, runtime_checkable

from forecasting.domain import Sensitivity
from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.health import DataState, JobState, Problems
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

    @property
    def daily_job(self) -> JobState: ...

    async def find_problems(self) -> Problems: ...

    async def list_sites(self) -> SiteDirectory:
        """The sites of the version and of the source, a few seconds old at most."""
        ...

    async def list_anomalies(
        self,
        *,
        site: str | None,
        metric: str | None,
        since: dt.date | None,
        until: dt.date | None,
        sensitivity: Sensitivity,
        limit: int,
    ) -> list[dict[str, Any]]:
        """Unusual days, newest first. Raises UnknownSite."""
        ...

    async def acknowledge_anomaly(self, number: int, *, by: str, note: str | None) -> dict[str, Any]:
        """Raises UnknownAnomaly."""
        ...

    async def describe_accuracy(
        self, *, site: str | None, metric: str | None, since: dt.date | None, limit: int, offset: int
    ) -> dict[str, Any]:
        """What versions promised beside what came true. Raises UnknownSite."""
        ...

    async def read_overview(self, *, limit: int, offset: int) -> dict[str, Any]:
        """Sites at a glance. Raises what makes all of them unreadable."""
        ...

    async def read_history(self, *, metric: str, site: str | None, num_days: int) -> dict[str, Any]:
        """The last days of a series. Raises UnknownSite or UnknownMetric."""
        ...

    async def promote(self, version: str, *, force: bool = False) -> Promotion:
        """Starts to serve another version. Raises what can be refused at once."""
        ...

    def find_promotion(self, promotion_id: str) -> Promotion:
        """Raises UnknownPromotion."""
        ...
