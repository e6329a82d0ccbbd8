"""The summary of a week, word for word."""

import datetime as dt
from dataclasses import replace

from forecasting.alerts.weekly import Accuracy, SiteWeek, Total, UnusualSite, Week, write_week

MONDAY = dt.date(2026, 11, 16)
SHOP = SiteWeek("shop", 7, 20412.0, 21480.0, Total(19812.0, 18022.0, 21510.0), Total(19933.0, 18311.0, 21422.0))
WEEK = Week(
    MONDAY,
    "page_visits",
    True,
    [SHOP],
    [UnusualSite("shop", dt.date(2026, 11, 17), "low"), UnusualSite("shop", dt.date(2026, 11, 21), "high")],
    Accuracy(0.0664, 0.788, 56),
)


def write(week: Week, page_url: str | None = None) -> str:
    message = write_week(week, page_url=page_url)
    assert (message.cause, message.day) == ("weekly", dt.date(2026, 11, 23))
    return f"{message.title}\n{message.body}"


def test_a_week_of_one_site() -> None:
    assert write(WEEK, "https://traffic.example.com") == (
        "shop: the week up to Sunday, 22 November\n"
        "20,412 page visits, 19,800 were expected (18,000 to 21,500). 5% below the week before.\n"
        "In the next 7 days about 19,900 are likely (18,300 to 21,400).\n"
        "Unusual: ▼ Tuesday and ▲ Saturday.\n"
        "Forecasts of the last 8 weeks were 6.6% off on average; 79% of the days lay in their 80% band.\n"
        "https://traffic.example.com"
    )


def test_a_week_of_which_little_is_known() -> None:
    first = SiteWeek("shop", 1, 412.0, None, None, None)
    assert write(replace(WEEK, is_additive=False, sites=[first], unusual=[], accuracy=Accuracy(None, None, 3))) == (
        "shop: the week up to Sunday, 22 November\n"
        "412 page visits a day on 1 day.\n"
        "No unusual day.\n"
        "It is not known yet how good forecasts are: 3 of 14 days can be compared."
    )


def test_a_week_of_many_sites() -> None:
    """The largest come first, and have a line each."""
    same = replace(SHOP, site="blog", value=21500.0)
    others = [
        replace(SHOP, site=f"docs{number}", value=9.0 + number, value_before=3.0, ahead=None) for number in range(2)
    ]
    others[1] = replace(others[1], num_days=6)
    unusual = [UnusualSite(f"docs{number}", dt.date(2026, 11, 17), "high") for number in range(6)]
    assert write(replace(WEEK, sites=[*others, SHOP, same], unusual=unusual)) == (
        "4 sites: the week up to Sunday, 22 November\n"
        "blog: 21,500 page visits, 19,800 were expected (18,000 to 21,500). About the same as the week before. Next 7 "
        "days: about 19,900.\n"
        "shop: 20,412 page visits, 19,800 were expected (18,000 to 21,500). 5% below the week before. Next 7 days: "
        "about 19,900.\n"
        "docs1: 10 page visits on 6 days.\n"
        "1 more site. Unusual: ▲ docs0 on Tuesday, ▲ docs1 on Tuesday, ▲ docs2 on Tuesday, ▲ docs3 on Tuesday and 2 "
        "more.\n"
        "Forecasts of the last 8 weeks were 6.6% off on average; 79% of the days lay in their 80% band."
    )
