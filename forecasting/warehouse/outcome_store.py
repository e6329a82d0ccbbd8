"""`forecasting.outcomes`: what became of the forecasts that were kept."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from forecasting.warehouse.connection import translate_errors
from forecasting.warehouse.queries import Connection, fetch, load_query

SETTLED_DAYS = 90  # corrections of older days change no outcome


@dataclass(frozen=True)
class Outcomes:
    """Of the forecasts of one series by one version. Sums over the days of each week, in the source's units."""

    version: str
    site: str
    metric: str
    weeks: Int[np.ndarray, " weeks"]  # their Mondays, in days since 1970-01-01
    num_days: Int[np.ndarray, " weeks"]
    absolute_error: Float[np.ndarray, " weeks"]
    naive_error: Float[np.ndarray, " weeks"]
    pinball: float  # these three over all weeks
    inside_80: int
    inside_90: int


@dataclass(frozen=True)
class OutcomeQuery:
    since: dt.date  # whose whole week counts
    days_ahead: int  # at most
    sites: Sequence[str] = ()  # empty: all
    metric: str | None = None


async def count_outcomes(
    connection: Connection,
    *,
    today: dt.date,
    since: dt.datetime | None,
    masked: Sequence[str],
    levels: Sequence[float],
) -> int:
    """Counts again, in one transaction, what became of the forecasts of all series that have new days, forecasts or
    corrections since then (None: ever). Returns how many forecast days of these weeks are known by now.
    """
    with translate_errors("writing to forecasting.outcomes"):
        async with connection.transaction():
            await connection.execute(load_query("create_touched"))
            await fetch(connection, "find_touched", today, since, SETTLED_DAYS)
            await connection.execute("analyze touched")
            await fetch(connection, "delete_outcomes")
            [row] = await fetch(connection, "count_outcomes", today, masked, levels)
    return int(row["num_days"])


async def read_outcomes(connection: Connection, query: OutcomeQuery) -> list[Outcomes]:
    """By version, site and metric."""
    with translate_errors("reading forecasting.outcomes"):
        rows = await fetch(connection, "read_outcomes", query.sites, query.metric, query.since, query.days_ahead)
    return [
        Outcomes(
            version=row["version"],
            site=row["site"],
            metric=row["metric"],
            weeks=np.array(row["weeks"], np.int64),
            num_days=np.array(row["num_days"], np.int64),
            absolute_error=np.array(row["absolute_error"], np.float64),
            naive_error=np.array(row["naive_error"], np.float64),
            pinball=row["pinball"],
            inside_80=int(row["inside_80"]),
            inside_90=int(row["inside_90"]),
        )
        for row in rows
    ]
