"""Fathom Lite on PostgreSQL: hours of sites in `site_stats`, which robots do not get into.

Its clock is that of the machine Fathom runs on, without a zone: UTC, as in its container, or these days are shifted.
Days from before it kept hours (2018) stand at their midnight. A session, and its bounce, counts in the hour in which it
began; at the browser's midnight, with the cookie, another one begins.
"""

from forecasting.domain import Kind, Unit
from forecasting.warehouse.sources.source import Definition, EventSource

DEFINITIONS = (
    Definition("page_visits", "pageviews; whole hours of UTC, each on the day in which it begins"),
    Definition(
        "unique_visitors",
        "views without Fathom's cookie, which ends at the browser's midnight, summed over hours: an upper bound",
        additive=False,
    ),
    Definition("visits", "sessions that began: no view in the 30 minutes before"),
    Definition(
        "bounce_rate", "sessions of one view / sessions that began", kind=Kind.rate, additive=False, unit=Unit.fraction
    ),
    Definition(
        "visit_duration",
        "avg_duration: mean seconds from a view to the next, so of a page and not of a visit; hours are weighted by "
        "pageviews, as in Fathom",
        kind=Kind.other,
        additive=False,
    ),
)

SOURCE = EventSource("fathom", ("sites", "site_stats"), DEFINITIONS)
