"""Umami, from version 2 on: events in `website_event`, sites in `website`, notes in `annotation` where there are any.

Definitions: Umami's own statistics of a single day, but that a visit of one view is a bounce whether or not it has a
custom event: since 3.3 Umami counts those with one no more, and a definition must hold for all of a history.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from forecasting.domain import Kind, Unit
from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.sources.source import Definition, EventSource, KnownEvent

DEFINITIONS = (
    Definition("page_visits", "views: events that are neither custom (type 2) nor of performance (5)"),
    Definition("unique_visitors", "distinct session_id, whose salt changes every month", additive=False),
    Definition("visits", "distinct visit_id; one over midnight counts on both days"),
    Definition("bounce_rate", "visits of one view / visits", kind=Kind.rate, additive=False, unit=Unit.fraction),
    Definition(
        "visit_duration", "mean whole seconds from a visit's first view to its last", kind=Kind.other, additive=False
    ),
)
OF_VISITS = ("visits", "bounce_rate", "visit_duration")


@dataclass(frozen=True)
class Umami(EventSource):
    """Before version 2.11 there was no visit_id, so nothing is said of visits where the column is missing."""

    async def list_metrics(self, connection: Connection) -> Sequence[Definition]:
        definitions = await super().list_metrics(connection)
        (found,) = await fetch(connection, "sources/umami_version")
        return [one for one in definitions if found["has_visits"] or one.metric not in OF_VISITS]

    async def list_events(self, connection: Connection, *, timezone: str) -> Sequence[KnownEvent]:
        """Annotations, and the day from which visits are counted."""
        (found,) = await fetch(connection, "sources/umami_version")
        events = list(await super().list_events(connection, timezone=timezone)) if found["has_annotations"] else []
        for row in await fetch(connection, "sources/umami_breaks", timezone) if found["has_migrations"] else ():
            of_visits = KnownEvent(None, row["day"], "visit_id was introduced (Umami 2.11)", is_break=True)
            events += [replace(of_visits, metric=metric) for metric in OF_VISITS]
        return events

    async def find_oddities(self, connection: Connection) -> Sequence[str]:
        """Tables that it can do without, but that would tell more."""
        (found,) = await fetch(connection, "sources/umami_version")
        return [
            f"{found['reader']} may not read {name}, so what it knows of days is not known here. Let its owner run: "
            f'GRANT SELECT ON {name} TO "{found["reader"]}";'
            for name in found["closed"]
        ]


SOURCE = Umami("umami", ("website", "website_event"), DEFINITIONS, has_events=True)
