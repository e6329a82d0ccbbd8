"""GoatCounter on PostgreSQL: hourly totals of pages in `hit_counts`. GoatCounter keeps robots out.

What GoatCounter calls a visit is a visitor's first view of a page within 8 hours. Summed over pages this counts neither
people nor visits as other tools define them. It is read as page_visits, the only metric.
Each user of GoatCounter chooses a time zone; a site has none. Hours deleted by retention are unknown, not zero.
"""

from forecasting.warehouse.sources.source import EventSource, MetricDefinition

DEFINITIONS = (
    MetricDefinition(
        "page_visits",
        "views without events; a visitor's views of one page within 8 hours count once (GoatCounter's visits, summed "
        "over pages); whole UTC hours, each on the local day in which it begins",
    ),
)

SOURCE = EventSource(
    name="goatcounter",
    tables=("sites", "paths", "hit_counts"),
    definitions=DEFINITIONS,
    counted_table="hit_counts",
    updates_rows=True,
)
