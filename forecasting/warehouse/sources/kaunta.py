"""Kaunta: Umami's tables with definitions of its own, in partitions of a day or, where they are old, of a month.

Robots are turned away before they get into the tables. Retention drops whole partitions where it is set up (before the
version in Rust, after 90 days): a short history is that, not zeros. Nothing says how long a visit took.
"""

from forecasting.domain import Kind, Unit
from forecasting.warehouse.sources.source import Definition, EventSource

DEFINITIONS = (
    Definition("page_visits", "views: events of type 1; custom ones are type 2"),
    Definition(
        "unique_visitors",
        "distinct session_id, of address and browser in a month of UTC; of the ingest API: of visitor_id in an hour",
        additive=False,
    ),
    Definition("visits", "distinct visit_id: a visitor's views in one hour of UTC; a longer stay is several"),
    Definition(
        "bounce_rate",
        "visitors of one view that day, shorter than 10 s and with less than half of the page seen / visitors",
        kind=Kind.rate,
        additive=False,
        unit=Unit.fraction,
    ),
)

SOURCE = EventSource("kaunta", ("website", "website_event"), DEFINITIONS)
