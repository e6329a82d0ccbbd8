"""GoatCounter on PostgreSQL, from version 2.4 on: hours of pages in `hit_counts`, which robots do not get into.

What it calls a visit is the first view of a page by a visitor within 8 hours, so that a sum over pages says neither how
many people nor how many visits in other tools' sense there were: it is told as page_visits, and nothing else is.
Each user chooses a time zone; a site has none. Hours that its retention deleted are gone, not zeros.
"""

from forecasting.warehouse.sources.source import Definition, EventSource

DEFINITIONS = (
    Definition(
        "page_visits",
        "views without events, of each page once a visitor and 8 hours (GoatCounter's visits, summed over pages); "
        "whole hours of UTC, each on the day in which it begins",
    ),
)

SOURCE = EventSource("goatcounter", ("sites", "paths", "hit_counts"), DEFINITIONS)
