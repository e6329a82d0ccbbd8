"""Ahoy's tables, as its generator makes them since version 5, with days whose totals were counted by hand."""
# ruff: noqa: S608 - the values are written below

import datetime as dt

import pytest

from forecasting.errors import MissingTable
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.sources.ahoy import SOURCE as AHOY
from forecasting.warehouse.sources.source import KnownEvent
from tests.warehouse.sources.asking import ask, list_metrics, list_sites, prepare, read_days, read_hours
from tests.warehouse.sources.plans import explain

KEY = ""
JUNE = ("2024-06-01", "2024-06-04")
TABLES = """
create table ahoy_visits (
    id bigserial primary key,
    visit_token varchar,
    visitor_token varchar,
    user_id bigint,
    ip varchar,
    user_agent text,
    referrer text,
    referring_domain varchar,
    landing_page text,
    browser varchar,
    os varchar,
    device_type varchar,
    country varchar,
    region varchar,
    city varchar,
    latitude double precision,
    longitude double precision,
    utm_source varchar,
    utm_medium varchar,
    utm_term varchar,
    utm_content varchar,
    utm_campaign varchar,
    app_version varchar,
    os_version varchar,
    platform varchar,
    started_at timestamp(6)
);
create index index_ahoy_visits_on_user_id on ahoy_visits (user_id);
create unique index index_ahoy_visits_on_visit_token on ahoy_visits (visit_token);
create index index_ahoy_visits_on_visitor_token_and_started_at on ahoy_visits (visitor_token, started_at);
create table ahoy_events (
    id bigserial primary key,
    visit_id bigint,
    user_id bigint,
    name varchar,
    properties jsonb,
    time timestamp(6)
);
create index index_ahoy_events_on_visit_id on ahoy_events (visit_id);
create index index_ahoy_events_on_user_id on ahoy_events (user_id);
create index index_ahoy_events_on_name_and_time on ahoy_events (name, time);
create index index_ahoy_events_on_properties on ahoy_events using gin (properties jsonb_path_ops);
"""
TIMESTAMPTZ = """
alter table ahoy_visits alter started_at type timestamptz(6) using started_at at time zone 'UTC';
alter table ahoy_events alter time type timestamptz(6) using time at time zone 'UTC';
"""
# Rails makes columns without a time zone, unless it was told otherwise.
TYPES = (pytest.param("select 1;", id="timestamp"), pytest.param(TIMESTAMPTZ, id="timestamptz"))
# 30,000 visits of 5,000 people, 8 minutes apart, each with a view and a click.
MANY = """
insert into ahoy_visits (visit_token, visitor_token, started_at, user_agent, referrer, landing_page)
    select gen_random_uuid(), md5((number % 5000)::text)::uuid, timestamp '2024-01-01' + number * interval '8 minutes',
        repeat('Mozilla/5.0 ', 12), repeat('https://search.example/', 6), repeat('https://blog.example/', 6)
    from generate_series(1, 30000) as number;
insert into ahoy_events (visit_id, name, time)
    select visit.id, name, visit.started_at
    from ahoy_visits as visit cross join (values ('$view'), ('$click')) as event (name);
"""


def visit(number: int, visitor: str | None, start: str, *events: tuple[str, str]) -> str:
    """A visit with its events, each a name and a moment in UTC."""
    token = f"'{visitor}'" if visitor else "null"
    statements = [
        f"insert into ahoy_visits (id, visit_token, visitor_token, started_at) values "
        f"({number}, 'visit-{number}', {token}, '{start}');"
    ]
    statements += [
        f"insert into ahoy_events (visit_id, name, properties, time) values ({number}, '{name}', '{{}}', '{moment}');"
        for name, moment in events
    ]
    return "\n".join(statements)


@pytest.mark.parametrize("change", TYPES)
def test_a_day_is_counted_as_ahoys_examples_do(database: DatabaseConfig, change: str) -> None:
    prepare(
        database,
        TABLES,
        visit(1, "ann", "2024-01-10 08:00", ("$view", "2024-01-10 08:00"), ("$view", "2024-01-10 08:20")),
        visit(2, "ann", "2024-01-10 15:00", ("$view", "2024-01-10 15:00"), ("$click", "2024-01-10 17:01")),
        visit(3, "bob", "2024-01-10 15:30", ("Viewed book", "2024-01-10 15:30"), ("$viewed", "2024-01-10 15:31")),
        visit(4, "ann", "2024-01-12 09:00", ("$view", "2024-01-12 09:00")),
        change,
    )
    days = read_days(database, AHOY, [KEY], first="2024-01-10", until="2024-02-01")
    assert days == {
        (KEY, "page_visits", "2024-01-10"): 3,  # 2 + 1 + 0
        (KEY, "unique_visitors", "2024-01-10"): 2,  # Ann once, and Bob
        (KEY, "visits", "2024-01-10"): 3,
        (KEY, "page_visits", "2024-01-12"): 1,
        (KEY, "unique_visitors", "2024-01-12"): 1,
        (KEY, "visits", "2024-01-12"): 1,
    }
    # A click is no view, so nothing happened in the hour of 17.
    hours = read_hours(database, AHOY, [KEY], first="2024-01-10", until="2024-02-01")
    assert hours == {(KEY, "2024-01-10"): {8, 15}, (KEY, "2024-01-12"): {9}}


def test_visitors_without_a_token_are_not_counted(database: DatabaseConfig) -> None:
    prepare(
        database,
        TABLES,
        visit(1, None, "2024-01-10 08:00"),
        visit(2, "ann", "2024-01-10 09:00"),
        visit(3, None, "2024-01-10 10:00"),
        visit(4, None, "2024-01-11 10:00"),
    )
    assert read_days(database, AHOY, [KEY], first="2024-01-10", until="2024-01-12") == {
        (KEY, "unique_visitors", "2024-01-10"): 1,
        (KEY, "visits", "2024-01-10"): 3,
        (KEY, "visits", "2024-01-11"): 1,
    }


def test_a_visit_over_midnight_counts_when_it_began_and_each_view_when_it_was(database: DatabaseConfig) -> None:
    # In Paris, which is an hour ahead of UTC: from 23:50 on the 9th to 00:20 on the 10th.
    over = visit(1, "ann", "2024-01-09 22:50", ("$view", "2024-01-09 22:50"), ("$view", "2024-01-09 23:20"))
    prepare(database, TABLES, over)
    whole = read_days(database, AHOY, [KEY], first="2024-01-01", until="2024-02-01", timezone="Europe/Paris")
    assert whole == {
        (KEY, "page_visits", "2024-01-09"): 1,
        (KEY, "unique_visitors", "2024-01-09"): 1,
        (KEY, "visits", "2024-01-09"): 1,
        (KEY, "page_visits", "2024-01-10"): 1,
    }
    parts = [
        read_days(database, AHOY, [KEY], first=first, until=until, timezone="Europe/Paris")
        for first, until in (("2024-01-09", "2024-01-10"), ("2024-01-10", "2024-01-11"))
    ]
    assert parts[0] | parts[1] == whole


@pytest.mark.parametrize("change", TYPES)
def test_a_day_begins_at_midnight_of_the_sites_zone(database: DatabaseConfig, change: str) -> None:
    moments = ("2024-01-09 22:59:59.999", "2024-01-09 23:00:00", "2024-01-10 22:59:59.999999", "2024-01-10 23:00:00")
    visits = [visit(number, f"visitor-{number}", at, ("$view", at)) for number, at in enumerate(moments)]
    prepare(database, TABLES, *visits, change)
    days = read_days(database, AHOY, [KEY], first="2024-01-10", until="2024-01-11", timezone="Europe/Paris")
    assert days == {
        (KEY, "page_visits", "2024-01-10"): 2,
        (KEY, "unique_visitors", "2024-01-10"): 2,
        (KEY, "visits", "2024-01-10"): 2,
    }
    hours = read_hours(database, AHOY, [KEY], first="2024-01-09", until="2024-01-12", timezone="Europe/Paris")
    assert hours == {(KEY, "2024-01-09"): {23}, (KEY, "2024-01-10"): {0, 23}, (KEY, "2024-01-11"): {0}}


def test_days_of_23_and_25_hours(database: DatabaseConfig) -> None:
    # Somebody else each half past, whatever the clock says: 2024-03-31 is 23 hours long in Paris, 2024-10-27 25.
    prepare(
        database,
        TABLES,
        """
        insert into ahoy_visits (visit_token, visitor_token, started_at)
            select moment::text, moment::text, moment
            from (
                select generate_series(timestamp '2024-03-30 00:30', '2024-04-02 00:00', '1 hour')
                union all select generate_series(timestamp '2024-10-26 00:30', '2024-10-29 00:00', '1 hour')
            ) as spring_and_autumn (moment);
        insert into ahoy_events (visit_id, name, time) select id, '$view', started_at from ahoy_visits;
        """,
    )
    for changing, num_hours in (("2024-03-31", 23), ("2024-10-27", 25)):
        next_day = str(dt.date.fromisoformat(changing) + dt.timedelta(days=1))
        until = str(dt.date.fromisoformat(changing) + dt.timedelta(days=2))
        days = read_days(database, AHOY, [KEY], first=changing, until=until, timezone="Europe/Paris")
        metrics = ("page_visits", "unique_visitors", "visits")
        assert days == {
            (KEY, metric, day): value for day, value in ((changing, num_hours), (next_day, 24)) for metric in metrics
        }
    spring = read_hours(database, AHOY, [KEY], first="2024-03-31", until="2024-04-01", timezone="Europe/Paris")
    autumn = read_hours(database, AHOY, [KEY], first="2024-10-27", until="2024-10-28", timezone="Europe/Paris")
    assert spring == {(KEY, "2024-03-31"): set(range(24)) - {2}}
    assert autumn == {(KEY, "2024-10-27"): set(range(24))}


def test_nothing_is_said_of_what_nobody_asks(database: DatabaseConfig) -> None:
    prepare(database, TABLES)
    assert read_days(database, AHOY, [KEY], first="2024-01-10", until="2024-01-11") == {}
    prepare(database, visit(1, "ann", "2024-01-10 08:00", ("$view", "2024-01-10 08:00")))
    assert read_days(database, AHOY, [], first="2024-01-10", until="2024-01-11") == {}
    assert read_days(database, AHOY, ["blog"], first="2024-01-10", until="2024-01-11") == {}
    assert read_days(database, AHOY, [KEY], first="2024-01-11", until="2024-02-01") == {}
    assert read_days(database, AHOY, [KEY], first="2024-01-10", until="2024-01-10") == {}


@pytest.mark.parametrize("change", TYPES)
def test_the_site_is_the_database(database: DatabaseConfig, change: str) -> None:
    prepare(database, TABLES, change)
    (empty,) = list_sites(database, AHOY)
    assert (empty.key, empty.name, empty.first, empty.last) == (KEY, database.name, None, None)
    # Imported visits may have higher ids than newer ones.
    prepare(
        database,
        visit(1, "ann", "2024-01-10 08:00", ("$view", "2024-01-10 09:30"), ("$click", "2024-01-10 10:30")),
        visit(2, "bob", "2023-05-05 08:00"),
    )
    (site,) = list_sites(database, AHOY)
    assert site.first == dt.datetime(2023, 5, 5, 8, tzinfo=dt.UTC)
    assert site.last == dt.datetime(2024, 1, 10, 9, 30, tzinfo=dt.UTC)
    assert (site.began, site.timezone) == (None, None)


def test_page_visits_are_said_of_where_views_are_tracked(database: DatabaseConfig) -> None:
    prepare(database, TABLES, visit(1, "ann", "2024-01-10 08:00", ("Viewed book", "2024-01-10 08:00")))
    assert [metric.metric for metric in list_metrics(database, AHOY)] == ["unique_visitors", "visits"]
    prepare(database, visit(2, "ann", "2024-01-11 08:00", ("$view", "2024-01-11 08:00")))
    assert [metric.metric for metric in list_metrics(database, AHOY)] == ["page_visits", "unique_visitors", "visits"]
    assert [metric.metric for metric in list_metrics(database, AHOY) if not metric.additive] == ["unique_visitors"]


@pytest.mark.parametrize("change", TYPES)
def test_views_that_began_later_than_visits_are_a_break(database: DatabaseConfig, change: str) -> None:
    def events(timezone: str) -> list[KnownEvent]:
        return list(ask(database, lambda connection: AHOY.list_events(connection, timezone=timezone)))

    prepare(database, TABLES, change)
    assert events("Europe/Paris") == []
    # 23:30 on the 9th in UTC is half an hour into the 10th in Paris.
    prepare(database, visit(1, "ann", "2024-01-09 23:20", ("$view", "2024-01-09 23:30"), ("$view", "2024-01-12 08:00")))
    assert events("Europe/Paris") == []
    prepare(database, visit(2, "bob", "2024-01-09 21:00"))
    (began,) = events("Europe/Paris")
    assert began == KnownEvent(
        KEY, dt.date(2024, 1, 11), "the application began to track views", "page_visits", is_break=True
    )
    assert events("UTC") == []


def test_days_are_found_in_the_indexes_of_ahoy(database: DatabaseConfig) -> None:
    prepare(database, TABLES, MANY)
    prepare(database, "vacuum analyze ahoy_visits;")
    prepare(database, "analyze;")
    nodes = {node.get("Index Name"): node for node in explain(database, "ahoy", [KEY], *JUNE, "Europe/Paris")}
    assert {node.get("Node Type") for node in nodes.values()}.isdisjoint({"Seq Scan", "Parallel Seq Scan"})
    visits = nodes["index_ahoy_visits_on_visitor_token_and_started_at"]
    assert visits["Node Type"] == "Index Only Scan"
    assert "started_at >= " in visits["Index Cond"]
    assert "started_at < " in visits["Index Cond"]
    views = nodes["index_ahoy_events_on_name_and_time"]["Index Cond"]
    assert "name" in views
    assert '"time" >= ' in views
    assert '"time" < ' in views


@pytest.mark.parametrize("change", TYPES)
def test_days_are_found_in_an_index_on_started_at(database: DatabaseConfig, change: str) -> None:
    prepare(database, TABLES, MANY, change, "create index own on ahoy_visits (started_at);", "analyze;")
    (actual,) = (
        node for node in explain(database, "ahoy", [KEY], *JUNE, "Europe/Paris") if node.get("Index Name") == "own"
    )
    assert "started_at >= " in actual["Index Cond"]
    assert "started_at < " in actual["Index Cond"]


def test_many_visits_without_an_index_are_a_warning(database: DatabaseConfig) -> None:
    def warnings() -> list[str]:
        return list(ask(database, AHOY.find_warnings))

    prepare(database, TABLES)
    assert warnings() == []
    # As if the last ANALYZE had found so many.
    prepare(database, "update pg_class set reltuples = 25000000 where relname = 'ahoy_visits';")
    assert warnings() == [
        "public.ahoy_visits has no index that begins with started_at, so every update reads all of its 25,000,000 rows "
        "or so. Ask its owner to run: CREATE INDEX CONCURRENTLY ON public.ahoy_visits (started_at);"
    ]
    prepare(database, "create index on ahoy_visits (started_at) where user_id is not null;")
    prepare(database, "update pg_class set reltuples = 25000000 where relname = 'ahoy_visits';")
    assert len(warnings()) == 1
    prepare(database, "create index on ahoy_visits (started_at, visitor_token);")
    prepare(database, "update pg_class set reltuples = 25000000 where relname = 'ahoy_visits';")
    assert warnings() == []


def test_a_missing_table_is_named(database: DatabaseConfig) -> None:
    with pytest.raises(MissingTable) as caught:
        list_metrics(database, AHOY)
    assert str(caught.value) == (
        f"The database {database.name} has no table ahoy_visits, ahoy_events, as ahoy would. Check DB_NAME, or set "
        "data.source to the analytics tool whose tables to read."
    )


def test_a_missing_right_is_named(database: DatabaseConfig) -> None:
    prepare(database, TABLES, "create role ahoy_reader login;", "grant select on ahoy_visits to ahoy_reader;")
    try:
        with pytest.raises(MissingTable) as caught:
            list_metrics(database, AHOY, user="ahoy_reader")
        assert str(caught.value) == (
            f"The user ahoy_reader may not read public.ahoy_events in the database {database.name}. "
            'Ask its owner to run: GRANT SELECT ON public.ahoy_events TO "ahoy_reader";'
        )
        prepare(database, "grant select on ahoy_events to ahoy_reader;")
        assert list_metrics(database, AHOY, user="ahoy_reader")
    finally:
        prepare(database, "drop owned by ahoy_reader;", "drop role ahoy_reader;")
