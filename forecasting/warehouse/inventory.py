"""Which sites and metrics `forecasting.daily` has values of, and the errors that name them where one is missing."""

import datetime as dt
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from forecasting.domain import MIN_DAYS, SeriesKey
from forecasting.errors import (
    DataError,
    TooFewDays,
    UnknownMetric,
    UnknownSite,
    name_some,
    unknown_metric,
    unknown_site,
)
from forecasting.warehouse.pages import DailyQuery
from forecasting.warehouse.queries import Connection, fetch


@dataclass(frozen=True)
class Inventory:
    sites: AbstractSet[str]  # with a value on any day
    metrics: AbstractSet[str]  # with a value on any day
    described: AbstractSet[str]  # metrics that the source has, with values or without

    def refuse_site(self, site: str) -> None:
        if site not in self.sites:
            raise unknown_site(site, self.sites)

    def refuse_metric(self, metric: str) -> None:
        if metric in self.metrics:
            return
        if metric in self.described:
            others = name_some(self.metrics)
            raise UnknownMetric(f"The metric {metric!r} has no value on any day. Metrics with values: {others}.")
        raise unknown_metric(metric, self.metrics)

    def explain(self, site: str, metric: str) -> DataError:
        """Why there is no history of a series."""
        try:
            self.refuse_site(site)
            self.refuse_metric(metric)
        except (UnknownSite, UnknownMetric) as error:
            return error
        return TooFewDays(f"{metric} of {site} has no complete day of data; at least {MIN_DAYS} are needed.")


async def read_inventory(connection: Connection, source: str) -> Inventory:
    rows = await fetch(connection, "list_series_with_values", source)
    described = {row["metric"] for row in await fetch(connection, "read_metrics", source)}
    return Inventory({row["site"] for row in rows}, {row["metric"] for row in rows}, described)


async def explain_missing(connection: Connection, keys: Sequence[SeriesKey], *, source: str) -> list[DataError]:
    """Why each series has no day before today: UnknownSite, UnknownMetric or TooFewDays."""
    inventory = await read_inventory(connection, source)
    return [inventory.explain(*key) for key in keys]


async def refuse_unknown(connection: Connection, query: DailyQuery) -> None:
    """Raises UnknownSite or UnknownMetric if a requested site or metric has no value on any day."""
    if not query.sites and not query.metrics:
        return
    inventory = await read_inventory(connection, query.source)
    for site in query.sites:
        inventory.refuse_site(site)
    for metric in query.metrics:
        inventory.refuse_metric(metric)


async def refuse_missing(connection: Connection, query: DailyQuery, keys: AbstractSet[SeriesKey]) -> None:
    """Raises if a requested site or metric has no value on the days read. `keys`: the series that have one.

    Of one share, only unknown sites and metrics are an error: another share may hold the missing series.
    """
    missing_sites = set(query.sites) - {site for site, _ in keys}
    missing_metrics = set(query.metrics) - {metric for _, metric in keys}
    if not missing_sites and not missing_metrics:
        return
    await refuse_unknown(connection, query)
    if query.share[1] > 1:
        return
    since = f" since {query.first_date}" if query.first_date > dt.date.min else ""
    for site in sorted(missing_sites):
        metrics = ", ".join(query.metrics) or "any metric"
        raise TooFewDays(f"The site {site!r} has no value of {metrics}{since}. Load newer days, or leave it out.")
    for metric in sorted(missing_metrics):
        raise TooFewDays(f"The metric {metric!r} has no value{since}. Load newer days, or leave it out.")
