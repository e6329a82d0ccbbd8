"""What each documented column means, beside a table written by hand, and which headers belong to which format."""

import pytest

from forecasting.domain import Kind, Unit
from forecasting.warehouse.csv.formats import (
    GA4,
    GITHUB,
    LONG,
    MATOMO,
    PLAUSIBLE,
    PLAUSIBLE_IMPORTED,
    SEARCH_CONSOLE,
    WIDE,
    Format,
    detect_format,
    interpret_column,
)

COUNT, RATE, OTHER = Kind.count, Kind.rate, Kind.other

# The title, the metric, its kind, a rate's unit, and whether days add up to a week's total: people who come on two days
# are one visitor of the week.
COLUMNS = [
    (GA4, "Views", "page_visits", COUNT, None, True),
    (GA4, "Active users", "unique_visitors", COUNT, None, False),
    (GA4, "Sessions", "visits", COUNT, None, True),
    (GA4, "Total users", "total_users", COUNT, None, False),
    (GA4, "Returning users", "returning_users", COUNT, None, False),
    (GA4, "30 days", "active_users_30_days", COUNT, None, False),
    (GA4, "7 days", "active_users_7_days", COUNT, None, False),
    (GA4, "1 day", "active_users_1_day", COUNT, None, False),
    (GA4, "Bounce rate", "bounce_rate", RATE, Unit.fraction, False),
    (GA4, "Engagement rate", "engagement_rate", RATE, Unit.fraction, False),
    (GA4, "Average session duration", "visit_duration", OTHER, None, False),
    (GA4, "Views per session", "views_per_session", OTHER, None, False),
    (GA4, "Total revenue", "total_revenue", OTHER, None, True),
    (GA4, "New users", "new_users", COUNT, None, True),
    (GA4, "Neue Nutzer", "new_users", COUNT, None, True),
    (GA4, "Users", "unique_visitors", COUNT, None, False),
    (GA4, "Sesiones", "visits", COUNT, None, True),
    (GA4, "Pageviews", "page_visits", COUNT, None, True),
    (GA4, "Event count per active user", "event_count_per_active_user", OTHER, None, False),
    (GA4, "DAU / MAU", "dau_mau", OTHER, None, False),
    (GA4, "Purchasers", "purchasers", None, None, False),
    (SEARCH_CONSOLE, "Clics", "clicks", COUNT, None, True),
    (SEARCH_CONSOLE, "CTR", "ctr", RATE, Unit.fraction, False),
    (SEARCH_CONSOLE, "Position", "position", OTHER, None, False),
    (GITHUB, "uniques", "uniques", COUNT, None, False),
    (PLAUSIBLE, "visitors", "unique_visitors", COUNT, None, False),
    (PLAUSIBLE, "pageviews", "page_visits", COUNT, None, True),
    (PLAUSIBLE, "visits", "visits", COUNT, None, True),
    (PLAUSIBLE, "views_per_visit", "views_per_visit", OTHER, None, False),
    (PLAUSIBLE, "bounce_rate", "bounce_rate", RATE, Unit.percent, False),
    (PLAUSIBLE, "visit_duration", "visit_duration", OTHER, None, False),
    (MATOMO, "nb_visits", "visits", COUNT, None, True),
    (MATOMO, "Unique visitors", "unique_visitors", COUNT, None, False),
    (MATOMO, "Users", "users", COUNT, None, False),
    (MATOMO, "nb_users", "users", COUNT, None, False),
    (MATOMO, "Actions", "actions", COUNT, None, True),
    (MATOMO, "Bounce Rate", "bounce_rate", RATE, Unit.fraction, False),
    (MATOMO, "nb_actions_per_visit", "actions_per_visit", OTHER, None, False),
    (MATOMO, "Maximum actions in one visit", "max_actions", OTHER, None, False),
    (WIDE, "page_visits", "page_visits", COUNT, None, True),
    (WIDE, "unique_visitors", "unique_visitors", COUNT, None, False),
    (WIDE, "visit_duration", "visit_duration", OTHER, None, False),
    (WIDE, "Sign-ups", "sign_ups", None, None, True),
    (WIDE, "visitors", "visitors", None, None, False),
    (WIDE, "y", "y", None, None, False),
    (WIDE, "Impressions click-through rate (%)", "impressions_click_through_rate", RATE, Unit.percent, False),
]


@pytest.mark.parametrize(
    ("known", "title", "metric", "kind", "unit", "additive"),
    COLUMNS,
    ids=lambda value: value.name if isinstance(value, Format) else None,
)
def test_columns(
    known: Format, title: str, metric: str, kind: Kind | None, unit: Unit | None, additive: bool | None
) -> None:
    column = interpret_column(title, ["1"], known)
    assert column is not None
    assert (column.metric, column.properties.kind, column.properties.unit, column.properties.additive) == (
        metric,
        kind,
        unit,
        additive,
    )


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("series,metric,date,value", LONG),
        ("date,signups", WIDE),
        ("site,day,signups", WIDE),
        ("Datum,Aktive Nutzer", GA4),
        ("Day Index,Users", GA4),
        ("Fecha,Clics,Impresiones,CTR,Posición", SEARCH_CONSOLE),
        ("timestamp,count,uniques", GITHUB),
        ("Date,Active users", GA4),
        ("Nth day", GA4),
        ("date,visitors,pageviews,bounce_rate,visit_duration", PLAUSIBLE),
        ("date,visitors,pageviews,bounce_rate,visit_duration,site", PLAUSIBLE),
        ("date,visitors,pageviews,bounce_rate,visit_duration,signups", WIDE),
        ("date,visitors,pageviews,bounces,visits,visit_duration", PLAUSIBLE_IMPORTED),
        ("date,visitors,pageviews,bounces,visits,visit_duration,signups", WIDE),
        ("label,nb_visits", MATOMO),
        ("Date,Visits,Actions,Bounce Rate,Signups", MATOMO),
    ],
)
def test_header_names_its_format(header: str, known: Format) -> None:
    assert detect_format(header.split(","), below_comments=False) is known


def test_any_header_below_google_analytics_comments_is_google_analytics() -> None:
    assert detect_format(["date", "visits"], below_comments=True) is GA4
