"""Reads what the page shows: the list of sites, and the past of one series."""

import datetime as dt
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from forecasting.card import SeriesCard
from forecasting.domain import Sensitivity, to_date
from forecasting.monitoring.listing import describe_for_routes
from forecasting.serving.page.history import describe_history
from forecasting.serving.page.overview import DAYS_AHEAD, choose_series, describe_site
from forecasting.serving.served_model import ServedModel
from forecasting.settings.schema import Config
from forecasting.warehouse.anomaly_store import AnomalyQuery, read_anomalies
from forecasting.warehouse.daily import read_expected, read_last_days, read_verdicts
from forecasting.warehouse.pages import DailyQuery
from forecasting.warehouse.queries import Connection

NEWS_DAYS = 7  # before today, in which an unusual newest day of a site may lie
MAX_NEWS = 5000

Json = dict[str, Any]  # Any: json's own types


class PageData:
    """Of the version that is served now."""

    def __init__(self, config: Config, find_served: Callable[[], ServedModel]) -> None:
        self._config = config
        self._find_served = find_served

    async def read_overview(self, *, limit: int, offset: int) -> Json:
        """`limit` of the sites, from the `offset`-th on. Raises what makes every site unreadable."""
        served = self._find_served()
        windows = served.windows
        directory = await windows.list_sites(max_age_seconds=self._config.serving.check_seconds)
        chosen = choose_series(directory.list_present())
        cards = chosen[offset : offset + limit]
        read = await windows.read(cards)  # first, since forecasts are made from the windows that it caches
        results = await served.forecast_cache.get(cards, DAYS_AHEAD)
        unusual = await self._read_newest_unusual(served, [directory.stored_name_of(card.site) for card in cards])
        sites = [
            describe_site(card, window, result, unusual.get(directory.stored_name_of(card.site)), windows.find_age)
            for card, window, result in zip(cards, read, results, strict=True)
        ]
        return {"model_version": served.card.version, "num_sites": len(chosen), "sites": sites}

    async def read_history(self, *, metric: str, site: str | None, num_days: int) -> Json:
        """Raises UnknownSite or UnknownMetric."""
        served = self._find_served()
        directory = await served.windows.list_sites(max_age_seconds=self._config.serving.check_seconds)
        card = directory.find_series(metric=metric, site=site)
        key = directory.stored_name_of(card.site), card.metric
        return await served.windows.client.run(partial(self._read_days, card=card, key=key, num_days=num_days))

    async def _read_days(
        self, connection: Connection, *, card: SeriesCard, key: tuple[str, str], num_days: int
    ) -> Json:
        today = self._config.data.today()
        page = await read_last_days(connection, [key], today=today, num_days=num_days, masked=())
        query = DailyQuery(today, sites=[key[0]], metrics=[key[1]], masked=self._config.verdicts.masked)
        verdicts = await read_verdicts(connection, query)
        first_date = to_date(int(page.days.min())) if page.days.size else today
        expected = await read_expected(connection, key, first_date=first_date)
        return describe_history(card, page, verdicts.get(key, {}), expected)

    async def _read_newest_unusual(self, served: ServedModel, names: Sequence[str]) -> dict[str, Json]:
        """The newest unusual day of each site, the farthest off of its metrics; by the site's name in our tables."""
        today = self._config.data.today()
        query = AnomalyQuery(
            since=today - dt.timedelta(days=NEWS_DAYS),
            until=today,
            least_score=Sensitivity.medium.threshold,
            sites=names,
            limit=MAX_NEWS,
        )
        newest: dict[str, Json] = {}
        for row in map(describe_for_routes, await served.windows.client.run(partial(read_anomalies, query=query))):
            known = newest.get(row["site"])
            if row["withdrawn_at"] or (known and _order(known) >= _order(row)):
                continue
            newest[row["site"]] = row
        return newest


def _order(row: Json) -> tuple[str, float]:
    return row["date"], abs(row["score"])
