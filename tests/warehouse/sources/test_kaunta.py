"""Kaunta: its tables and partitions as its migrations 1, 24 and 30 make them, on the PostgreSQL 18 that it needs."""

# ruff: noqa: S608 - the values are written above
import datetime as dt
from uuid import UUID

import pytest

from forecasting.domain import Kind, Unit
from forecasting.errors import MissingTable
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.sources.kaunta import SOURCE
from tests.warehouse.sources.asking import ask, list_metrics, list_sites, prepare, read_days, read_hours
from tests.warehouse.sources.plans import explain, explain_sites, read_tables

SCHEMA = """
    create table website (
        website_id uuid primary key,
        domain varchar(500) not null,
        name varchar(100),
        created_at timestamptz default current_timestamp,
        updated_at timestamptz default current_timestamp,
        deleted_at timestamptz,
        pending_delete_at timestamptz
    );
    create table session (
        session_id uuid primary key,
        website_id uuid not null references website (website_id) on delete cascade,
        device varchar(20),
        created_at timestamptz default current_timestamp
    );
    create table website_event (
        event_id uuid default gen_random_uuid(),
        website_id uuid not null references website (website_id) on delete cascade,
        session_id uuid not null references session (session_id) on delete cascade,
        visit_id uuid not null,
        created_at timestamptz default current_timestamp not null,
        url_path varchar(500),
        event_type smallint not null default 1,
        event_name varchar(50),
        scroll_depth smallint,
        engagement_time integer,
        event_date date generated always as (date(created_at at time zone 'UTC')) virtual,
        is_custom_event boolean generated always as (event_type = 2) virtual,
        primary key (event_id, created_at),
        constraint valid_event_type check (event_type in (1, 2))
    ) partition by range (created_at);
    create index idx_event_website_created on website_event (website_id, created_at desc);
    create index idx_event_session_created on website_event (session_id, created_at);
    create index idx_event_created_brin on website_event using brin (created_at) with (pages_per_range = 128);
    create index idx_event_type on website_event (website_id, event_type, created_at);
"""
# Old months are one partition each, newer days have their own, as Kaunta folds and makes them.
PARTITIONS = """
    create table website_event_2024_03 partition of website_event for values from ('2024-03-01') to ('2024-04-01');
    create table website_event_2024_10 partition of website_event for values from ('2024-10-01') to ('2024-11-01');
    do $$
    declare
        day date;
    begin
        for day in select generate_series('2024-04-25'::date, '2024-05-20', '1 day') loop
            execute format(
                'create table %I partition of website_event for values from (%L) to (%L)',
                'website_event_' || to_char(day, 'YYYY_MM_DD'), day, day + 1
            );
        end loop;
    end $$;
"""
BLOG, SHOP, QUIET, GONE = (str(UUID(int=number)) for number in (1, 2, 3, 4))
SITES = f"""
    insert into website (website_id, domain, name, deleted_at, pending_delete_at) values
        ('{BLOG}', 'blog.example', 'blog', null, null),
        ('{SHOP}', 'shop.example', '', null, '2024-05-01'),
        ('{QUIET}', 'quiet.example', null, null, null),
        ('{GONE}', 'gone.example', 'gone', '2024-05-01', null);
"""
PARIS = "Europe/Paris"


@pytest.fixture
def kaunta(database: DatabaseConfig) -> DatabaseConfig:
    prepare(database, SCHEMA, PARTITIONS, SITES)
    return database


def see(config: DatabaseConfig, site: str, *events: tuple[str, str, str], **columns: str) -> None:
    """Events of (visitor, visit, moment); the same in all: `columns`."""
    for visitor in {visitor for visitor, _, _ in events}:
        prepare(config, f"insert into session values (md5('{visitor}')::uuid, '{site}') on conflict do nothing")
    names = ", ".join(("website_id, session_id, visit_id, created_at", *columns))
    for visitor, visit, moment in events:
        row = ", ".join((f"'{site}', md5('{visitor}')::uuid, md5('{visit}')::uuid, '{moment}'", *columns.values()))
        prepare(config, f"insert into website_event ({names}) values ({row})")


def test_a_day(kaunta: DatabaseConfig) -> None:
    # ann has two views in one visit and a third in another; bob, cid, dot and eve one each.
    see(kaunta, BLOG, ("ann", "a1", "2024-05-01 09:00Z"), ("ann", "a1", "2024-05-01 09:30Z"))
    see(kaunta, BLOG, ("ann", "a2", "2024-05-01 12:10Z"))
    see(kaunta, BLOG, ("bob", "b1", "2024-05-01 12:00Z"), engagement_time="9999", scroll_depth="49")  # bounced
    see(kaunta, BLOG, ("cid", "c1", "2024-05-01 12:00Z"), engagement_time="10000")
    see(kaunta, BLOG, ("dot", "d1", "2024-05-01 12:00Z"), scroll_depth="50")
    see(kaunta, BLOG, ("eve", "e1", "2024-05-01 20:00Z"))  # bounced
    see(kaunta, BLOG, ("ann", "a1", "2024-05-01 09:40Z"), ("fay", "f1", "2024-05-01 23:00Z"), event_type="2")
    see(kaunta, SHOP, ("gus", "g1", "2024-05-01 05:00Z"))
    actual = read_days(kaunta, SOURCE, [BLOG], first="2024-05-01", until="2024-05-02")
    assert actual == {
        (BLOG, "page_visits", "2024-05-01"): 7,
        (BLOG, "unique_visitors", "2024-05-01"): 5,
        (BLOG, "visits", "2024-05-01"): 6,
        (BLOG, "bounce_rate", "2024-05-01"): 2 / 5,
    }
    assert read_hours(kaunta, SOURCE, [BLOG], first="2024-05-01", until="2024-05-02") == {
        (BLOG, "2024-05-01"): {9, 12, 20}
    }
    both = read_days(kaunta, SOURCE, [BLOG, SHOP, QUIET], first="2024-05-01", until="2024-05-02")
    assert {key: value for (key, metric, _), value in both.items() if metric == "page_visits"} == {BLOG: 7, SHOP: 1}
    assert read_days(kaunta, SOURCE, [BLOG], first="2024-05-01", until="2024-05-01") == {}
    assert read_days(kaunta, SOURCE, [QUIET], first="2024-05-01", until="2024-05-02") == {}
    assert read_days(kaunta, SOURCE, [], first="2024-05-01", until="2024-05-02") == {}


def test_a_day_is_the_sites_own(kaunta: DatabaseConfig) -> None:
    see(
        kaunta,
        BLOG,
        ("ann", "a1", "2024-05-01 23:59:59.999+02"),
        ("bob", "b1", "2024-05-02 00:00:00+02"),
        ("cid", "c1", "2024-05-02 23:59:59.999+02"),
        ("dot", "d1", "2024-05-03 00:00:00+02"),
    )
    actual = read_days(kaunta, SOURCE, [BLOG], first="2024-05-02", until="2024-05-03", timezone=PARIS)
    assert {day for _, _, day in actual} == {"2024-05-02"}
    assert actual[BLOG, "page_visits", "2024-05-02"] == 2
    hours = read_hours(kaunta, SOURCE, [BLOG], first="2024-05-02", until="2024-05-03", timezone=PARIS)
    assert hours == {(BLOG, "2024-05-02"): {0, 23}}


def test_a_visit_over_midnight_counts_on_both_days(kaunta: DatabaseConfig) -> None:
    # Kaunta makes one visit of an hour of UTC; Kolkata's midnight, 18:30 there, cuts it.
    see(kaunta, BLOG, ("ann", "a1", "2024-05-01 18:20Z"), ("ann", "a1", "2024-05-01 18:40Z"))
    zone = "Asia/Kolkata"
    actual = read_days(kaunta, SOURCE, [BLOG], first="2024-05-01", until="2024-05-03", timezone=zone)
    metrics = {"page_visits": 1, "unique_visitors": 1, "visits": 1, "bounce_rate": 1}
    assert actual == {
        (BLOG, metric, day): value for day in ("2024-05-01", "2024-05-02") for metric, value in metrics.items()
    }


@pytest.mark.parametrize(
    ("day", "until", "first_hour", "num_hours"),
    [("2024-03-31", "2024-04-01", "2024-03-30 23:00Z", 23), ("2024-10-27", "2024-10-28", "2024-10-26 22:00Z", 25)],
)
def test_days_when_clocks_change(kaunta: DatabaseConfig, day: str, until: str, first_hour: str, num_hours: int) -> None:
    see(kaunta, BLOG, ("ann", "a1", "2024-05-01 09:00Z"))
    prepare(
        kaunta,
        """create table website_event_2024_04_01 partition of website_event
            for values from ('2024-04-01') to ('2024-04-02')""",
        # One view an hour, from two hours before the day to two hours behind it.
        f"""insert into website_event (website_id, session_id, visit_id, created_at)
            select
                '{BLOG}', md5('ann')::uuid, gen_random_uuid(),
                '{first_hour}'::timestamptz + make_interval(hours => number)
            from generate_series(-2, {num_hours} + 1) as number""",
    )
    actual = read_days(kaunta, SOURCE, [BLOG], first=day, until=until, timezone=PARIS)
    assert actual == {
        (BLOG, "page_visits", day): num_hours,
        (BLOG, "unique_visitors", day): 1,
        (BLOG, "visits", day): num_hours,
        (BLOG, "bounce_rate", day): 0,
    }


def test_dropped_partitions_are_no_days(kaunta: DatabaseConfig) -> None:
    see(kaunta, BLOG, ("ann", "a1", "2024-04-25 09:00Z"), ("ann", "a2", "2024-05-01 09:00Z"))
    prepare(kaunta, "drop table website_event_2024_04_25")
    actual = read_days(kaunta, SOURCE, [BLOG], first="2024-04-01", until="2024-05-31")
    assert {day for _, _, day in actual} == {"2024-05-01"}
    (site,) = [site for site in list_sites(kaunta, SOURCE) if site.key == BLOG]
    assert site.first == dt.datetime(2024, 5, 1, 9, tzinfo=dt.UTC)


def test_metrics(kaunta: DatabaseConfig) -> None:
    definitions = {definition.metric: definition for definition in list_metrics(kaunta, SOURCE)}
    assert set(definitions) == {"page_visits", "unique_visitors", "visits", "bounce_rate"}
    assert {metric for metric, definition in definitions.items() if definition.additive} == {"page_visits", "visits"}
    assert (definitions["bounce_rate"].kind, definitions["bounce_rate"].unit) == (Kind.rate, Unit.fraction)


def test_sites_and_a_name_that_occurs_twice(kaunta: DatabaseConfig) -> None:
    see(
        kaunta,
        BLOG,
        ("ann", "a1", "2024-05-01 09:00Z"),
        ("bob", "b1", "2024-03-02 10:00:01Z"),
        ("ann", "a2", "2024-05-09 11:00Z"),
    )
    see(kaunta, BLOG, ("ann", "a0", "2024-03-01 09:00Z"), event_type="2")  # no view
    see(kaunta, GONE, ("cid", "c1", "2024-05-01 09:00Z"))
    other = str(UUID(int=5 << 96))
    prepare(kaunta, f"insert into website (website_id, domain, name) values ('{other}', 'two.example', 'blog')")
    first, last = dt.datetime(2024, 3, 2, 10, 0, 1, tzinfo=dt.UTC), dt.datetime(2024, 5, 9, 11, tzinfo=dt.UTC)
    assert [(site.key, site.name, site.first, site.last) for site in list_sites(kaunta, SOURCE)] == [
        (BLOG, "blog (00000000)", first, last),
        (other, "blog (00000005)", None, None),
        (QUIET, "quiet.example", None, None),
        (SHOP, "shop.example", None, None),  # its deletion is only pending
    ]


def test_only_the_days_partitions_are_read_by_their_index(kaunta: DatabaseConfig) -> None:
    see(kaunta, BLOG, ("ann", "a1", "2024-05-01 09:00Z"))
    see(kaunta, SHOP, ("bob", "b1", "2024-05-01 09:00Z"))
    prepare(
        kaunta,
        # Views of two sites twice a minute of 26 days, and of one each minute of March.
        f"""insert into website_event (website_id, session_id, visit_id, created_at)
            select site, visitor, visitor, moment
            from (values ('{BLOG}'::uuid, md5('ann')::uuid), ('{SHOP}', md5('bob')::uuid)) as seen (site, visitor)
            cross join generate_series('2024-04-25Z'::timestamptz, '2024-05-20 23:59Z', '30 seconds') as moment""",
        f"""insert into website_event (website_id, session_id, visit_id, created_at)
            select '{BLOG}', md5('ann')::uuid, md5('ann')::uuid, moment
            from generate_series('2024-03-01Z'::timestamptz, '2024-03-31 23:59Z', '1 minute') as moment""",
        "analyze website_event",
    )
    # Paris, 2 hours ahead: the two days are from 2024-05-05 22:00 to 2024-05-07 22:00 in UTC.
    nodes = explain(kaunta, "kaunta", [BLOG], "2024-05-06", "2024-05-08", PARIS)
    assert read_tables(nodes) == {"website_event_2024_05_05", "website_event_2024_05_06", "website_event_2024_05_07"}
    # The two hours of the first day come by an index; a day that is all read need not.
    (first,) = [node for node in nodes if node.get("Relation Name") == "website_event_2024_05_05"]
    conditions = " ".join(node.get("Index Cond", "") for node in [first, *first.get("Plans", [])])
    assert "created_at >= '2024-05-05 22:00:00+00'" in conditions
    # A day of a partition that holds a month.
    nodes = explain(kaunta, "kaunta", [BLOG], "2024-03-06", "2024-03-07", PARIS)
    assert read_tables(nodes) == {"website_event_2024_03"}
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}
    # Of the sites, the ends alone.
    prepare(kaunta, f"delete from website where website_id in ('{QUIET}')")
    nodes = [
        node for node in explain_sites(kaunta, "kaunta") if node.get("Relation Name", "").startswith("website_event")
    ]
    assert "Seq Scan" not in {
        node["Node Type"] for node in nodes if node["Actual Loops"] and "2024_10" not in str(node)
    }
    assert max(node["Actual Rows"] for node in nodes) <= 1
    assert read_tables(nodes) == {
        "website_event_2024_03",  # the oldest of the one
        "website_event_2024_04_25",  # and of the other
        "website_event_2024_05_20",
        "website_event_2024_10",  # is empty
    }


def test_missing_table(database: DatabaseConfig) -> None:
    with pytest.raises(MissingTable) as raised:
        list_metrics(database, SOURCE)
    assert str(raised.value) == (
        f"The database {database.name} has no table website, website_event, as kaunta would. Check DB_NAME, or set "
        "data.source to the analytics tool whose tables to read."
    )


def test_missing_right(kaunta: DatabaseConfig) -> None:
    prepare(
        kaunta,
        "drop role if exists kaunta_reader",
        "create role kaunta_reader login",
        "grant select on website to kaunta_reader",
    )
    with pytest.raises(MissingTable) as raised:
        list_metrics(kaunta, SOURCE, user="kaunta_reader")
    prepare(kaunta, "drop owned by kaunta_reader", "drop role kaunta_reader")
    assert str(raised.value) == (
        f"The user kaunta_reader may not read public.website_event in the database {kaunta.name}. "
        'Ask its owner to run: GRANT SELECT ON public.website_event TO "kaunta_reader";'
    )


def test_the_right_to_the_table_is_enough_for_its_partitions(kaunta: DatabaseConfig) -> None:
    prepare(
        kaunta,
        "drop role if exists kaunta_parent_reader",
        "create role kaunta_parent_reader login",
        "grant select on website, website_event to kaunta_parent_reader",
    )
    assert len(list_metrics(kaunta, SOURCE, user="kaunta_parent_reader")) == 4
    assert len(ask(kaunta, SOURCE.list_sites, user="kaunta_parent_reader")) == 3
    prepare(kaunta, "drop owned by kaunta_parent_reader", "drop role kaunta_parent_reader")
