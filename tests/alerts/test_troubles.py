"""What is wrong with the feed or with a site: told when it begins and when it is over, word for word."""

import datetime as dt
from collections.abc import Sequence

from forecasting.alerts.troubles import SiteState, find_troubles, write_troubles
from forecasting.monitoring.data_age import SeriesAge
from forecasting.warehouse.message_store import Message

TODAY = dt.date(2026, 11, 24)
PAGE = "https://traffic.example.com"


def site(name: str, age: int | None = 1, *, gone: bool = False, aliases: Sequence[str] = ()) -> SiteState:
    """`age` in days."""
    state = None if age is None else SeriesAge(name, TODAY - dt.timedelta(days=age), age, (1, 1, 2, 1, 1))
    return SiteState(name, f"key of {name}", aliases, gone, state)


def tell(sites: Sequence[SiteState], *known: str, page_url: str | None = None) -> list[Message]:
    causes = dict.fromkeys(known, dt.datetime(2026, 11, 1, tzinfo=dt.UTC))
    troubles = find_troubles("umami", sites, causes, max_age_days=2)
    return write_troubles("umami", troubles, sites, today=TODAY, page_url=page_url)


def write(sites: Sequence[SiteState], *known: str) -> list[str]:
    return [f"{message.title}\n{message.body}" for message in tell(sites, *known)]


def test_a_feed_that_stopped_is_told_once_and_when_it_is_back() -> None:
    late = "late/umami/key of shop"
    [message] = tell([site("shop", 4), site("blog"), site("empty", None)], page_url=PAGE)
    assert f"{message.title}\n{message.body}" == (
        "No new day of shop since Friday, 20 November\n"
        "The newest day of shop is Friday, 20 November, 4 days ago; usually one comes after 1 day.\n"
        "Check what fills umami. Until then forecasts begin after that day, so they are less sure than usual.\n"
        f"{PAGE}"
    )
    assert (message.cause, message.day, message.sites) == (late, TODAY, ("shop",))
    assert tell([site("shop", 5), site("blog")], late) == []
    [message] = tell([site("shop"), site("blog")], late)
    assert f"{message.title}\n{message.body}" == ("New days of shop have come\nThe newest is Monday, 23 November.")
    assert message.cause == f"{late}/over"
    assert tell([site("shop", 3)]) == []  # no later than may be


def test_many_late_sites_are_one_message() -> None:
    assert write([site("shop", 5), *(site(f"blog{number}", 4) for number in range(6))]) == [
        "No new days of 7 sites\n"
        "blog0, blog1, blog2, blog3, blog4 and 2 more: the newest day is Friday, 20 November, 4 days ago; usually one "
        "comes after 1 day.\n"
        "Check what fills umami. Until then forecasts begin after that day, so they are less sure than usual."
    ]


def test_sites_that_are_gone_and_back_are_told() -> None:
    assert write([site("shop", 9, gone=True), site("blog", 9, gone=True)]) == [
        "blog, shop are gone from umami\n"
        "Their days are kept, but they are not forecast until they are back. If nobody meant to delete them, check "
        "umami."
    ]
    assert write([site("shop", 9, gone=True)]) == [
        "shop is gone from umami\n"
        "Its days are kept, but it is not forecast until it is back. If nobody meant to delete it, check umami."
    ]
    assert write([site("shop", 9, gone=True)], "gone/umami/key of shop") == []
    assert write([site("shop")], "gone/umami/key of shop") == ["shop is back\numami has it again, and forecasts go on."]


def test_renamed_sites_are_told() -> None:
    renamed = [site("shop", aliases=("store", "the shop")), site("blog", aliases=("diary",))]
    assert write(renamed[:1]) == [
        "the shop is called shop now\nIn umami, the shop is shop now. Requests and settings may use either name."
    ]
    assert write(renamed) == [
        "2 sites are renamed\n"
        "In umami, the shop is shop and diary is blog now. Requests and settings may use either name."
    ]
    known = [f"renamed/umami/key of shop/{name}" for name in ("store", "the shop")]
    assert write(renamed[:1], *known) == []
