"""What is new in our own tables becomes messages, once: unusual days, feeds and sites, the summary of a week."""

import asyncio
import datetime as dt
from collections import Counter
from dataclasses import replace

from forecasting.alerts.chart import make_picture
from forecasting.alerts.listing import list_messages
from forecasting.alerts.telling import tell_people, write_news
from forecasting.alerts.trouble_watch import report_trouble
from forecasting.domain import MessageKind, SourceName
from forecasting.settings.schema import AlertConfig, Config, DatabaseConfig, DataConfig
from forecasting.warehouse.connection import connected
from tests.alerts.outbox import ask, configure, make_message
from tests.alerts.receivers import HttpReceiver

TUESDAY = dt.date(2026, 11, 24)
MESSAGES = "select title, body from forecasting.messages order by id"
UNUSUAL = """
insert into forecasting.anomalies (site, metric, day, kind, value, expected, lower, upper, score, direction,
    sensitivity, first_day, text, version, judged_at, told_at)
select site, metric, day, 'day', 1204, 3481, 2900, 4020, score, 'low', 'low', day, metric || ' were few.', 'base',
    now(), case when score < -3 then now() end
from (values ('shop', 'visits', date '2026-11-24', -5.0), ('shop', 'pageviews', '2026-11-24', -2.6),
    ('blog', 'visits', '2026-11-24', -2.6), ('shop', 'visits', '2026-11-01', -4.0))
    as each (site, metric, day, score);
insert into forecasting.daily (site, metric, day, value, verdict, hours)
select site, metric, date '2026-11-24' - back, 100, case when back = 0 then 'partial' else 'observed' end,
    case when back = 0 then (1 << 24) - 1 - (7 << 12) else (1 << 24) - 1 end
from unnest(array['shop', 'blog']) as site, unnest(array['visits', 'pageviews']) as metric,
    generate_series(0, 28) as back;
"""
TITLE = "▼ shop: visits 65% low on Tuesday, 24 November"
TEXT = (
    "visits were few.\nBoth metrics fell alike; 3 hours are missing: the tracker may have stopped.\n"
    "Another site on the same day."
)


def look(config: Config, today: dt.date = TUESDAY) -> int:
    async def write() -> int:
        async with connected(config.database, writable=True) as connection:
            return await write_news(connection, config, today=today)

    return asyncio.run(write())


def test_unusual_days_are_told_once_with_what_happens_to_them_later(own: DatabaseConfig) -> None:
    ask(own, "select 1", UNUSUAL)
    config = Config(database=own)
    assert [look(config), look(config)] == [1, 0]
    assert ask(own, MESSAGES) == [(TITLE, TEXT)]
    told = "select day::text, metric, message_id from forecasting.anomalies where told_at is not null order by day"
    assert ask(own, told) == [("2026-11-01", "visits", 0), ("2026-11-24", "visits", 1)]  # three weeks old: no news

    ask(own, "update forecasting.anomalies set is_new_level = true where day = '2026-11-24'")
    assert [look(config), look(config)] == [1, 0]
    ask(
        own,
        "update forecasting.anomalies set withdrawn_at = now(), value_before = value, value = 3300 "
        "where day = '2026-11-24' and metric = 'visits'",
    )
    assert [look(config), look(config, TUESDAY + dt.timedelta(days=1))] == [1, 0]
    assert [title for title, _ in ask(own, MESSAGES)] == [
        TITLE,
        "▼ shop: still at a new level after 3 days",
        "shop: Tuesday, 24 November is as expected after a correction",
    ]


def test_a_day_that_was_told_before_there_were_messages_is_no_news(own: DatabaseConfig) -> None:
    ask(own, "select 1", UNUSUAL, "update forecasting.anomalies set message_id = 0, is_new_level = true")
    assert look(Config(database=own)) == 0


SITES = """
insert into forecasting.metrics (source, metric, kind, additive, place) values ('umami', 'visits', 'count', true, 0);
insert into forecasting.sites (site, source, key, timezone, arrivals)
    select name, 'umami', 'key of ' || name, 'UTC', '{1, 1}' from unnest(array['shop', 'blog']) as name;
insert into forecasting.daily (site, metric, day, value)
    select site, 'visits', current_date - 1 - back, 100 + back from unnest(array['shop', 'blog']) as site,
    generate_series(0, 60) as back;
"""


def test_feeds_and_sites_are_told(own: DatabaseConfig) -> None:
    """Of today, since ages are."""
    ask(own, "select 1", SITES)
    config = Config(database=own, data=DataConfig(source=SourceName.umami))
    today = config.data.today()
    assert look(config, today) == 0
    for change, title in (
        ("delete from forecasting.daily where site = 'blog' and day > current_date - 9", "No new day of blog since "),
        (
            "insert into forecasting.daily (site, metric, day, value) values ('blog', 'visits', current_date - 1, 9)",
            "New days of blog have come",
        ),
        ("update forecasting.sites set gone_at = now() where site = 'shop'", "shop is gone from umami"),
        ("update forecasting.sites set gone_at = null where site = 'shop'", "shop is back"),
        ("update forecasting.sites set aliases = '{store}' where site = 'shop'", "store is called shop now"),
    ):
        ask(own, change)
        assert [look(config, today), look(config, today)] == [1, 0]
        assert ask(own, MESSAGES)[-1][0].startswith(title)


def test_what_was_known_before_there_were_messages_is_no_news(own: DatabaseConfig) -> None:
    from forecasting.warehouse.queries import load_query

    ask(
        own,
        "select 1",
        SITES,
        UNUSUAL.split("insert into forecasting.daily", maxsplit=1)[0],
        "update forecasting.sites set gone_at = now() where site = 'blog'",
        "update forecasting.sites set aliases = '{store}' where site = 'shop'",
        "drop table forecasting.deliveries, forecasting.messages, forecasting.conditions",
        "alter table forecasting.anomalies drop column message_id",
        "update forecasting.schema_version set number = 10",
        load_query("schema/011_messages"),
    )
    config = Config(database=own, data=DataConfig(source=SourceName.umami))
    assert look(config, config.data.today()) == 0
    assert ask(own, "select cause from forecasting.conditions order by cause") == [
        ("gone/umami/key of blog",), ("renamed/umami/key of shop/store",),
    ]  # fmt: skip


def test_other_troubles_are_told_when_they_begin_and_end(own: DatabaseConfig) -> None:
    async def report(title: str, text: str | None) -> bool:
        async with connected(own, writable=True) as connection:
            return await report_trouble(connection, Config(database=own), cause="job", title=title, text=text)

    steps = [("The daily job failed", "No space.")] * 2 + [("The daily job works again", None)] * 2
    assert [asyncio.run(report(*step)) for step in steps] == [True, False, True, False]
    assert ask(own, MESSAGES) == [
        ("The daily job failed", "No space."),
        ("The daily job works again", "It works again."),
    ]


WEEK = """
insert into forecasting.metrics (source, metric, kind, additive, place) values ('umami', 'visitors', 'count', false, 0),
    ('umami', 'visits', 'count', true, 1);
insert into forecasting.daily (site, metric, day, value)
    select 'shop', metric, day::date, case when day < '2026-11-16' then 110 else 100 end
    from unnest(array['visits', 'visitors']) as metric,
        generate_series(date '2026-10-01', '2026-11-22', '1 day') as day;
insert into forecasting.judged (site, metric, until, judged_at)
    select 'shop', metric, '2026-11-22', now() from unnest(array['visits', 'visitors']) as metric;
insert into forecasting.forecasts (site, metric, cutoff, day, version, made_at, quantiles)
    select 'shop', 'visits', cutoff::date, cutoff::date + ahead, 'base', now(), '{80, 90, 95, 105, 115, 120, 130}'
    from unnest(array['2026-11-08', '2026-11-15', '2026-11-22']) as cutoff, generate_series(1, 7) as ahead;
"""


def test_a_week_is_about_a_count(own: DatabaseConfig) -> None:
    """Also where the source does not say what its metrics are."""
    rates = WEEK.replace("('umami', 'visitors', 'count', false, 0)", "('other', 'x', 'count', false, 0)")
    rates = rates.replace("('umami', 'visits', 'count', true, 1)", "('other', 'y', 'count', true, 1)")
    ask(own, "select 1", rates.replace("visitors", "bounce_rate"))
    assert look(Config(database=own), dt.date(2026, 11, 23)) == 1
    assert ask(own, "select metrics from forecasting.messages") == [(["visits"],)]


def test_the_summary_of_a_week_is_told_once(own: DatabaseConfig) -> None:
    """Its numbers by hand: errors of 5 visits a day, on 110 and on 100."""
    ask(own, "select 1", WEEK)
    config = Config(database=own, data=DataConfig(source=SourceName.umami), alerts=AlertConfig(page_url="http://page"))
    sunday = dt.date(2026, 11, 22)
    news = [look(config, sunday + dt.timedelta(days=day)) for day in (0, 1, 1, 2, 8, 9)]
    assert news == [0, 1, 0, 0, 0, 0]  # of the week after, no day is known
    [(title, body)] = ask(own, MESSAGES)
    assert title == "shop: the week up to Sunday, 22 November"
    first, ahead, *rest = body.splitlines()
    assert first.startswith("700 visits, 735 were expected (")
    assert first.endswith("). 9% below the week before.")
    assert ahead.startswith("In the next 7 days about 735 are likely (")
    assert asyncio.run(draw(own, MessageKind.weekly)).startswith(b"\x89PNG")
    assert rest == [
        "No unusual day.",
        "Forecasts of the last 8 weeks were 4.8% off on average; 100% of the days lay in their 80% band.",
        "http://page",
    ]


async def draw(database: DatabaseConfig, kind: MessageKind) -> bytes:
    """The picture of a message about visits of the shop; empty if there is none."""
    message = make_message(kind=kind, day=dt.date(2026, 11, 23))
    async with connected(database) as connection:
        return await make_picture(connection, message) or b""


def test_a_message_about_no_known_day_has_no_picture(own: DatabaseConfig) -> None:
    assert [asyncio.run(draw(own, kind)) for kind in (MessageKind.unusual, MessageKind.trouble)] == [b"", b""]


def test_people_are_told_and_the_list_says_so(own: DatabaseConfig, receiver: HttpReceiver) -> None:
    """With a picture, for a service that takes one."""
    yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    ask(own, "select 1", UNUSUAL.replace("2026-11-24", yesterday.isoformat()))
    nobody = Config(database=own)
    assert asyncio.run(tell_people(nobody, own, patience_seconds=0.0)) == Counter(new=1)
    assert asyncio.run(list_messages(nobody)).splitlines()[1:] == ["    waits for an address: ALERT_URLS is not set"]
    config = configure(own, ALERT_URLS=f"json://{receiver.place} json://{receiver.place}?direction=high")
    assert asyncio.run(list_messages(config)).splitlines()[1:] == ["    waits to be sent"]
    assert asyncio.run(tell_people(config, own, patience_seconds=0.0)) == Counter(sent=1)
    [post] = receiver.posts
    assert post.content["message"] == TEXT
    [picture] = post.content["attachments"]
    assert (picture["filename"], picture["base64"][:11]) == ("chart.png", "iVBORw0KGgo")  # a PNG's first bytes
    title, line = asyncio.run(list_messages(config)).splitlines()
    assert title.endswith(f" UTC ▼ shop: visits 65% low on {yesterday:%A}, {yesterday.day} {yesterday:%B}")
    assert line.startswith("    json: sent 2")
    assert asyncio.run(tell_people(replace(config), own, patience_seconds=0.0)) == Counter()
