"""What our own schema knows about `forecasting.daily`: where its days come from, what they measure, their revision."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forecasting.domain import Kind, Unit
from forecasting.settings.schema import DataConfig, MetricConfig
from forecasting.warehouse.pages import Revision
from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.sites import SiteIndex, StoredSite


@dataclass(frozen=True)
class Origin:
    """The source of the rows, and the time zones of its sites."""

    source: str  # the configured source; empty if somebody else fills the table
    timezones: Sequence[str]

    def today(self, data: DataConfig) -> dt.date:
        """The latest current date among the sites: days before it are over for at least one of them."""
        return max((data.today(zone) for zone in self.timezones), default=data.today())


async def has_rows(connection: Connection) -> bool:
    """Whether forecasting.daily holds a row that this user may read."""
    (schema,) = await fetch(connection, "find_forecasting")
    if not schema["has_tables"] or not schema["readable"]:
        return False
    (row,) = await fetch(connection, "has_daily_rows")
    return bool(row["has_rows"])


async def find_origin(connection: Connection, data: DataConfig) -> Origin:
    (row,) = await fetch(connection, "read_timezones", data.source.value)
    return Origin(data.source.value if row["timezones"] else "", row["timezones"])


async def read_revision(connection: Connection, data: DataConfig) -> Revision:
    return (await read_state(connection, data))[1]


async def read_state(connection: Connection, data: DataConfig) -> tuple[Origin, Revision]:
    (row,) = await fetch(connection, "read_revision", data.source.value)
    origin = Origin(data.source.value if row["timezones"] else "", row["timezones"])
    todays = tuple(data.today(zone) for zone in sorted(row["timezones"]))
    return origin, Revision(row["number"], origin.today(data), row["database"], todays)


async def read_stored_sites(connection: Connection) -> list[StoredSite]:
    """Of all sources."""
    return [_make_site(row) for row in await fetch(connection, "read_sites")]


async def read_site_index(
    connection: Connection, *, source: str, series: Collection[tuple[str, str | None]] | None = None
) -> SiteIndex:
    """The sites of a source: all, or those that the names and keys of `series` may mean."""
    keys = [key for _, key in series or () if key is not None]
    names = None if series is None else [name for name, _ in series]
    return SiteIndex([_make_site(row) for row in await fetch(connection, "find_sites", source, keys, names)])


def _make_site(row: Any) -> StoredSite:  # Any: PostgreSQL's row
    return StoredSite(**{**row, "aliases": tuple(row["aliases"]), "arrivals": tuple(row["arrivals"])})


async def read_metric_settings(
    connection: Connection, metrics: Mapping[str, MetricConfig], *, source: str
) -> dict[str, MetricConfig]:
    """The metrics' settings, completed by what the source says. The source's metrics come first, in its order."""
    rows = {row["metric"]: row for row in await fetch(connection, "read_metrics", source)}
    settings = {name: _complete(metrics.get(name, MetricConfig()), row) for name, row in rows.items()}
    return settings | {name: setting for name, setting in metrics.items() if name not in settings}


def _complete(setting: MetricConfig, row: Any) -> MetricConfig:  # Any: PostgreSQL's row
    """Where the user gives the metric another kind, the source's unit and additivity do not apply."""
    kind = setting.kind or (Kind.rate if setting.unit else Kind(row["kind"]))
    same_kind = kind is Kind(row["kind"])
    unit = setting.unit or (Unit(row["unit"]) if same_kind and row["unit"] else None)
    return MetricConfig(kind, unit, row["additive"] if setting.additive is None and same_kind else setting.additive)
