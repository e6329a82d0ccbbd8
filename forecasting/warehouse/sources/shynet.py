"""Shynet, from version 0.8 on: sessions in `analytics_session`, hits in `analytics_hit`, sites in `core_service`.

Definitions: Shynet's own statistics of a service, but without the robots, which it stores and counts unless it was
told to ignore them. It counts no visitors: a session belongs to nobody.
"""

from forecasting.domain import Kind, Unit
from forecasting.warehouse.sources.source import Definition, EventSource

DEFINITIONS = (
    Definition("page_visits", "hits, but for robots'"),
    Definition("visits", "sessions that began on the day, but for robots'"),
    Definition(
        "bounce_rate", "sessions of one hit (is_bounce) / sessions", kind=Kind.rate, additive=False, unit=Unit.fraction
    ),
    Definition(
        "visit_duration",
        "mean seconds from a session's start to when it was last seen",
        kind=Kind.other,
        additive=False,
    ),
)

SOURCE = EventSource("shynet", ("core_service", "analytics_session", "analytics_hit"), DEFINITIONS)
