"""What GET /model/info and GET /sites answer: the series and the sites of a version, whole or page by page."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from fastapi import Request, Response

from forecasting.card import SeriesCard
from forecasting.errors import UnknownMetric, name_some
from forecasting.serving.http.json_body import KeptBody, make_response, write_body
from forecasting.warehouse.site_directory import SiteDirectory

Item = TypeVar("Item")
Json = dict[str, Any]  # Any: json's own types


class Page(NamedTuple):
    """Which part of a list is asked for, and where the next part is found."""

    path: str
    limit: int | None = None  # None: all
    offset: int = 0
    site: str | None = None
    metric: str | None = None

    def cut(self, items: Sequence[Item]) -> Sequence[Item]:
        return items[self.offset : None if self.limit is None else self.offset + self.limit]

    def find_next(self, num_items: int) -> str | None:
        """The path of the next page; None after the last one."""
        if self.limit is None or self.offset + self.limit >= num_items:
            return None
        given = {"site": self.site, "metric": self.metric, "limit": self.limit, "offset": self.offset + self.limit}
        return f"{self.path}?{urlencode({name: value for name, value in given.items() if value is not None})}"


DescribePage = Callable[[SiteDirectory, Page], Json]


class Listing:
    """Bodies of pages. That of the first page, which most clients ask for, is kept until the sites change."""

    def __init__(self, describe: DescribePage, first: Page) -> None:
        self._describe = describe
        self._first = first
        self._kept = KeptBody[SiteDirectory](lambda directory: describe(directory, first))

    async def answer(self, http: Request, directory: SiteDirectory, page: Page) -> Response:
        """Raises UnknownSite and UnknownMetric."""
        if page == self._first:
            http.state.is_counted = True  # all who ask share it
            return make_response(http, await self._kept.get(directory))
        return make_response(http, await asyncio.to_thread(lambda: write_body(self._describe(directory, page))))


def describe_model(directory: SiteDirectory, page: Page) -> Json:
    """Raises UnknownSite and UnknownMetric."""
    card = directory.card
    series = select_series(directory, site=page.site, metric=page.metric)
    return {
        "model_version": card.version,
        "sequence_length": card.sequence_length,
        "prediction_horizon": card.prediction_horizon,
        "is_trained": True,
        "total_parameters": card.total_parameters,
        "created_at": card.created_at,
        "data_until": card.data["last_day"],
        "num_series": len(series),
        "series": [{"site": each.site, "metric": each.metric, "metrics": each.metrics} for each in page.cut(series)],
        "next": page.find_next(len(series)),
    }


def describe_sites(directory: SiteDirectory, page: Page) -> Json:
    """Raises UnknownSite and UnknownMetric."""
    by_site: dict[str, list[SeriesCard]] = {}
    for series in select_series(directory, site=page.site, metric=page.metric):
        by_site.setdefault(series.site, []).append(series)
    timezones = directory.timezones
    sites = [
        {
            "site": site,
            "aliases": directory.aliases_of(site),
            "timezone": timezones.get(site),
            "metrics": [_describe_metric(series) for series in by_site[site]],
        }
        for site in page.cut(list(by_site))
    ]
    return {
        "model_version": directory.card.version,
        "num_sites": len(by_site),
        "sites": sites,
        "untrained": sorted(set(timezones) - set(directory.card.by_site)),
        "next": page.find_next(len(by_site)),
    }


def select_series(directory: SiteDirectory, *, site: str | None, metric: str | None) -> Sequence[SeriesCard]:
    """All series of the version, or those of a site, of a metric, or the one of both. Raises UnknownSite and
    UnknownMetric.
    """
    card = directory.card
    if site is not None:
        all_of_site = [*directory.find_site(site).values()]
        return all_of_site if metric is None else [card.find_series(metric=metric, site=all_of_site[0].site)]
    if metric is None:
        return card.series
    matches = [series for series in card.series if series.metric == metric]
    if not matches:
        known = name_some({series.metric for series in card.series})
        raise UnknownMetric(f"There is no metric {metric!r} in version {card.version}. It was trained on: {known}.")
    return matches


def _describe_metric(series: SeriesCard) -> Json:
    return {
        "metric": series.metric,
        "kind": series.kind.value,
        "additive": series.additive,
        "answered_by": series.answered_by,
    }
