"""Fathom Lite on PostgreSQL: hourly totals of sites in `site_stats`. Fathom keeps robots out.

Fathom writes hours in the time zone of its machine without storing that zone. It is UTC in Fathom's container; on a
machine in another zone, the days read here are shifted. Data from before Fathom kept hours (2018) stand at midnight. A
session and its bounce count in the hour in which the session began. At the browser's midnight the cookie expires, and a
new session begins.
"""

from forecasting.warehouse.sources.source import EventSource, MetricDefinition

DEFINITIONS = (
    MetricDefinition("page_visits", "pageviews in whole UTC hours; an hour counts on the local day in which it begins"),
    MetricDefinition(
        "unique_visitors",
        "views without Fathom's cookie, which expires at the browser's midnight, summed over hours: an upper bound",
        additive=False,
    ),
    MetricDefinition("visits", "sessions; one begins with a view after 30 minutes without any"),
    MetricDefinition.fraction("bounce_rate", "sessions with one view / all sessions"),
    MetricDefinition.mean(
        "visit_duration",
        "avg_duration: mean seconds from one view to the next, so time on a page, not of a visit; hours are weighted "
        "by their pageviews, as in Fathom",
    ),
)

SOURCE = EventSource(
    name="fathom",
    tables=("sites", "site_stats"),
    definitions=DEFINITIONS,
    counted_table="site_stats",
    updates_rows=True,
)
