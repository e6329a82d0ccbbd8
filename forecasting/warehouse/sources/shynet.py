"""Shynet 0.8 and later: sessions in `analytics_session`, hits in `analytics_hit`, sites in `core_service`.

The definitions are those of Shynet's own statistics, without robots. Shynet stores and counts robots unless it is set
to ignore them. There is no metric of visitors: a session belongs to nobody.
"""

from forecasting.warehouse.sources.source import EventSource, MetricDefinition

DEFINITIONS = (
    MetricDefinition("page_visits", "hits, without robots"),
    MetricDefinition("visits", "sessions that began on the day, without robots"),
    MetricDefinition.fraction("bounce_rate", "sessions with one hit (is_bounce) / all sessions"),
    MetricDefinition.mean("visit_duration", "mean seconds from a session's start until it was last seen"),
)

SOURCE = EventSource(
    name="shynet",
    tables=("core_service", "analytics_session", "analytics_hit"),
    definitions=DEFINITIONS,
    counted_table="analytics_session",
    updates_rows=True,
    counted="visits",  # a hit is a human's only if its session is
)
