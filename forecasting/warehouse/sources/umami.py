"""Umami 2 and later: events in `website_event`, sites in `website`, notes in `annotation` where that table exists.

The definitions are those of Umami's own statistics for a single day, in the version that is installed: since 3.3 a
visit with a custom event is no bounce. Umami computes bounces from stored events, so either definition holds for all
days.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from forecasting.warehouse.queries import Connection, fetch
from forecasting.warehouse.sources.source import EventSource, KnownEvent, MetricDefinition

DEFINITIONS = (
    MetricDefinition("page_visits", "page views: events other than custom (type 2) and performance events (type 5)"),
    MetricDefinition("unique_visitors", "distinct session_id, whose salt changes every month", additive=False),
    MetricDefinition("visits", "distinct visit_id; a visit across midnight counts on both days"),
    MetricDefinition.fraction("bounce_rate", "visits with one view (since 3.3: and no custom event) / all visits"),
    MetricDefinition.mean("visit_duration", "mean time from a visit's first view to its last, in whole seconds"),
)
VISIT_METRICS = ("visits", "bounce_rate", "visit_duration")


@dataclass(frozen=True, kw_only=True)
class Umami(EventSource):
    """Without the metrics of visits if the column visit_id is missing, as before Umami 2.11."""

    async def list_metrics(self, connection: Connection) -> Sequence[MetricDefinition]:
        definitions = await super().list_metrics(connection)
        (version,) = await fetch(connection, "sources/umami_version")
        revision = "3.3" if version["has_engagement"] else ""
        return [
            replace(metric, revision=revision) if metric.metric == "bounce_rate" else metric
            for metric in definitions
            if version["has_visits"] or metric.metric not in VISIT_METRICS
        ]

    async def list_events(self, connection: Connection, *, timezone: str) -> Sequence[KnownEvent]:
        """Annotations, and the day on which Umami began to count visits.

        That day is no break, which would mask all days before: there were about 5% more visits then, and forecasts
        from masked days are worse (forecasting/training/EXPERIMENTS.md).
        """
        (version,) = await fetch(connection, "sources/umami_version")
        events = list(await super().list_events(connection, timezone=timezone)) if version["has_annotations"] else []
        for row in await fetch(connection, "sources/umami_breaks", timezone) if version["has_migrations"] else ():
            note = "visit_id was introduced (Umami 2.11); earlier visits were made up, about 5% more"
            events += [KnownEvent(None, row["day"], note, metric=metric) for metric in VISIT_METRICS]
        return events

    async def find_warnings(self, connection: Connection) -> Sequence[str]:
        """About optional tables that may not be read."""
        (version,) = await fetch(connection, "sources/umami_version")
        return [
            f"{version['reader']} may not read {name}, so its notes on days are ignored. Ask its owner to run: "
            f'GRANT SELECT ON {name} TO "{version["reader"]}";'
            for name in version["unreadable"]
        ]


SOURCE = Umami(
    name="umami",
    tables=("website", "website_event"),
    counted_table="website_event",
    definitions=DEFINITIONS,
    has_events=True,
)
