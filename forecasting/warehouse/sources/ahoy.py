"""Ahoy, the gem: visits in `ahoy_visits`, events in `ahoy_events`, of the one application that the database is of.

Definitions: Ahoy's own example queries. It stores neither bounces nor how long a visit took, and what an application
tracks as events is its own affair, so nothing is said of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.sources.source import Definition, EventSource

DEFINITIONS = (
    Definition("page_visits", "events named $view, which an application may track"),
    Definition("unique_visitors", "distinct visitor_token of the visits that began on the day", additive=False),
    Definition("visits", "visits that began on the day"),
)
MANY_VISITS = 10_000_000  # from here on, reading all takes a second from memory, and much longer from a disk


@dataclass(frozen=True)
class Ahoy(EventSource):
    """Nothing is said of page visits where the application tracks none."""

    async def list_metrics(self, connection: Connection) -> Sequence[Definition]:
        definitions = await super().list_metrics(connection)
        (found,) = await fetch(connection, "sources/ahoy_state")
        return [one for one in definitions if found["has_views"] or one.metric != "page_visits"]

    async def find_oddities(self, connection: Connection) -> Sequence[str]:
        (found,) = await fetch(connection, "sources/ahoy_state")
        if found["has_index"] or found["num_visits"] < MANY_VISITS:
            return []
        return [
            f"No index of {found['place']} begins with started_at, so whenever a day is read, all of its about "
            f"{found['num_visits']:,} rows are. Let its owner run: "
            f"CREATE INDEX CONCURRENTLY ON {found['place']} (started_at);"
        ]


SOURCE = Ahoy("ahoy", ("ahoy_visits", "ahoy_events"), DEFINITIONS, has_events=True)
