"""Kaunta: Umami's tables, partitioned by day (or month, for old data), with Kaunta's own definitions.

Kaunta keeps robots out. Retention, where it is set up, drops whole partitions (after 90 days in the versions before the
one in Rust), so a short history is not a history of zeros. The tables do not tell how long a visit took.
"""

from forecasting.warehouse.sources.source import EventSource, MetricDefinition

DEFINITIONS = (
    MetricDefinition("page_visits", "page views: events of type 1 (custom events are type 2)"),
    MetricDefinition(
        "unique_visitors",
        "distinct session_id, made from address and browser for each UTC month, or from visitor_id for each hour if "
        "sent through the ingest API",
        additive=False,
    ),
    MetricDefinition(
        "visits", "distinct visit_id: a visitor's views in one UTC hour; a longer stay counts several times"
    ),
    MetricDefinition.fraction(
        "bounce_rate",
        "visitors with one view that day, who stayed under 10 s and saw less than half of the page / all visitors",
    ),
)

SOURCE = EventSource(
    name="kaunta",
    tables=("website", "website_event"),
    definitions=DEFINITIONS,
    counted_table="website_event",
)
