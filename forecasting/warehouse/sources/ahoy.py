"""Ahoy (the Ruby gem): visits in `ahoy_visits` and events in `ahoy_events`, of the one application in the database.

The definitions follow Ahoy's own example queries. Ahoy stores neither bounces nor the length of visits, so there are no
metrics for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.sources.source import EventSource, MetricDefinition

DEFINITIONS = (
    MetricDefinition("page_visits", "$view events, if the application tracks them"),
    MetricDefinition(
        "unique_visitors", "distinct visitor_token among the visits that began on the day", additive=False
    ),
    MetricDefinition("visits", "visits that began on the day"),
)
MANY_VISITS = 10_000_000  # reading this many takes a second from memory, and much longer from a disk


@dataclass(frozen=True, kw_only=True)
class Ahoy(EventSource):
    """Without page_visits if the application tracks no views."""

    async def list_metrics(self, connection: Connection) -> Sequence[MetricDefinition]:
        definitions = await super().list_metrics(connection)
        (state,) = await fetch(connection, "sources/ahoy_state")
        return [metric for metric in definitions if state["has_views"] or metric.metric != "page_visits"]

    async def find_warnings(self, connection: Connection) -> Sequence[str]:
        (state,) = await fetch(connection, "sources/ahoy_state")
        if state["has_index"] or state["num_visits"] < MANY_VISITS:
            return []
        return [
            f"{state['place']} has no index that begins with started_at, so every update reads all of its "
            f"{state['num_visits']:,} rows or so. Ask its owner to run: "
            f"CREATE INDEX CONCURRENTLY ON {state['place']} (started_at);"
        ]


SOURCE = Ahoy(
    name="ahoy",
    tables=("ahoy_visits", "ahoy_events"),
    definitions=DEFINITIONS,
    has_events=True,
    counted="visits",  # views may not be tracked
    counted_table="ahoy_visits",
    updates_rows=True,  # such as a visit's country
)
