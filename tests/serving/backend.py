"""A backend for the routes, with a model in this process."""

import datetime as dt
from functools import cache
from pathlib import Path
from typing import Any

from forecasting.artifact import load_artifact
from forecasting.errors import UnknownAnomaly, UnknownPromotion, UnknownVersion
from forecasting.monitoring.accuracy_report import AccuracyReport, describe_for_routes
from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.health import DataState, JobState, Problems
from forecasting.serving.http import examples
from forecasting.serving.prediction_service import LocalModel
from forecasting.serving.promotions import Promotion
from forecasting.warehouse.site_directory import SiteDirectory
from forecasting.warehouse.sites import SiteIndex, StoredSite

TIMEZONES = {"a": "Europe/Paris", "new": "UTC", "siteanalytics": "UTC"}
SITES = SiteIndex(
    [StoredSite(name, "siteanalytics", name, zone, None, None, (), is_gone=False) for name, zone in TIMEZONES.items()]
)


class CacheBackend:
    """A backend for the routes that has forecasts, and nothing behind them that could fail."""

    def __init__(self, forecast_cache: ForecastCache) -> None:
        self.forecast_cache = forecast_cache

    data = DataState()
    daily_job = JobState()

    async def find_problems(self) -> Problems:
        return Problems()

    async def list_sites(self) -> SiteDirectory:
        return SiteDirectory.of(self.forecast_cache.card, SITES, unnamed=None)

    async def list_anomalies(self, **_: object) -> list[dict[str, Any]]:
        return []

    async def acknowledge_anomaly(self, number: int, *, by: str, note: str | None) -> dict[str, Any]:
        raise UnknownAnomaly(f"There is no unusual day with the id {number}. GET /anomalies lists them.")

    async def describe_accuracy(self, *, since: dt.date | None, limit: int, offset: int, **_: object) -> dict[str, Any]:
        report = AccuracyReport(since or dt.date(2020, 1, 1), 7, [], [])
        return describe_for_routes(report, limit=limit, offset=offset)

    async def read_overview(self, *, limit: int, offset: int) -> dict[str, Any]:
        return {"model_version": self.forecast_cache.card.version, "num_sites": 0, "sites": []}

    async def read_history(self, *, metric: str, site: str | None, num_days: int) -> dict[str, Any]:
        return examples.HISTORY["page_visits"]

    async def promote(self, version: str, *, force: bool = False) -> Promotion:
        raise UnknownVersion(f"There is no version {version}.")

    def find_promotion(self, promotion_id: str) -> Promotion:
        raise UnknownPromotion(f"There is no promotion {promotion_id}.")


@cache
def load_model(folder: Path) -> LocalModel:
    """Once for each version, since loading takes longer than most tests."""
    return LocalModel(load_artifact(folder.parent, folder.name).load_predictor())
