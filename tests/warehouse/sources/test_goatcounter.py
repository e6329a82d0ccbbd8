"""GoatCounter: its tables as versions 2.4 to 2.6 make them, and with the indexes of 2026."""

# ruff: noqa: S608 - the values are written above
import datetime as dt

import pytest

from forecasting.errors import MissingTable
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.sources.goatcounter import SOURCE
from tests.warehouse.sources.asking import list_metrics, list_sites, prepare, read_days, read_hours
from tests.warehouse.sources.plans import explain, explain_sites, read_tables

SCHEMA = """
    create table sites (
        site_id serial primary key,
        parent integer,
        code varchar not null check (length(code) >= 2 and length(code) <= 50),
        link_domain varchar not null default '',
        cname varchar,
        settings jsonb not null,
        user_defaults jsonb not null default '{}',
        state varchar not null default 'a' check (state in ('a', 'd')),
        created_at timestamp not null,
        first_hit_at timestamp not null
    );
    create unique index "sites#code" on sites (lower(code));
    create unique index "sites#cname" on sites (lower(cname));
    create table paths (
        path_id serial primary key,
        site_id integer not null,
        path varchar not null,
        title varchar not null default '',
        event integer default 0
    );
    create unique index "paths#site_id#path" on paths (site_id, lower(path));
    create table hit_counts (
        site_id integer not null,
        path_id integer not null,
        hour timestamp not null,
        total integer not null,
        constraint "hit_counts#site_id#path_id#hour" unique (site_id, path_id, hour)
    );
    create index "hit_counts#site_id#hour" on hit_counts (site_id, hour desc);
"""
INDEXES_OF_2026 = """
    drop index "hit_counts#site_id#hour";
    create index "hit_counts#hour" on hit_counts using brin (hour);
    create index "hit_counts#site_id" on hit_counts (site_id);
"""
# Site 1 has the pages 1 and 2 and the event 3, site 2 the page 4, site 3 nothing, site 4 is deleted.
SITES = """
    insert into sites (site_id, code, cname, settings, user_defaults, state, created_at, first_hit_at) values
        (1, 'blog', null, '{}', '{"timezone": "FR.Europe/Paris"}', 'a', '2024-01-01', '2024-01-01'),
        (2, 'shop', 'stats.shop.example', '{}', '{}', 'a', '2024-01-01', '2024-01-01'),
        (3, 'quiet', null, '{}', '{}', 'a', '2024-01-01', '2024-01-01'),
        (4, 'gone', null, '{}', '{}', 'd', '2024-01-01', '2024-01-01');
    insert into paths (path_id, site_id, path, event) values
        (1, 1, '/', 0), (2, 1, '/about', null), (3, 1, 'click', 1), (4, 2, '/', 0), (5, 4, '/', 0);
"""


@pytest.fixture
def goatcounter(database: DatabaseConfig) -> DatabaseConfig:
    prepare(database, SCHEMA, SITES)
    return database


def count(config: DatabaseConfig, *rows: tuple[int, int, str, int]) -> None:
    """Rows of (site, path, hour in UTC, total)."""
    values = ", ".join(f"({site}, {path}, '{hour}', {total})" for site, path, hour, total in rows)
    prepare(config, f"insert into hit_counts (site_id, path_id, hour, total) values {values}")


def test_pages_are_summed_and_events_and_other_sites_are_not(goatcounter: DatabaseConfig) -> None:
    count(
        goatcounter,
        (1, 1, "2024-05-01 09:00", 5),
        (1, 2, "2024-05-01 09:00", 2),
        (1, 1, "2024-05-01 17:00", 4),
        (1, 3, "2024-05-01 18:00", 100),  # an event
        (1, 1, "2024-05-02 08:00", 1),
        (2, 4, "2024-05-01 09:00", 30),
        (4, 5, "2024-05-01 09:00", 70),
    )
    actual = read_days(goatcounter, SOURCE, ["1", "2", "3"], first="2024-05-01", until="2024-05-03")
    assert actual == {
        ("1", "page_visits", "2024-05-01"): 5 + 2 + 4,
        ("1", "page_visits", "2024-05-02"): 1,
        ("2", "page_visits", "2024-05-01"): 30,
    }
    assert read_hours(goatcounter, SOURCE, ["1"], first="2024-05-01", until="2024-05-03") == {
        ("1", "2024-05-01"): {9, 17},
        ("1", "2024-05-02"): {8},
    }
    assert read_days(goatcounter, SOURCE, ["2"], first="2024-05-02", until="2024-05-02") == {}
    assert read_days(goatcounter, SOURCE, [], first="2024-05-01", until="2024-05-03") == {}


def test_hours_of_nothing_but_repeated_views_are_nothing(goatcounter: DatabaseConfig) -> None:
    count(goatcounter, (1, 1, "2024-05-01 09:00", 0), (1, 1, "2024-05-02 10:00", 0), (1, 1, "2024-05-02 11:00", 3))
    assert read_hours(goatcounter, SOURCE, ["1"], first="2024-05-01", until="2024-05-03") == {("1", "2024-05-02"): {11}}


def test_a_day_is_the_sites_own(goatcounter: DatabaseConfig) -> None:
    # Tokyo, 9 hours ahead: 2024-05-02 is from 2024-05-01 15:00 to before 2024-05-02 15:00 in UTC.
    count(
        goatcounter,
        (1, 1, "2024-05-01 14:00", 1),  # until 23:59:59.999 of the day before
        (1, 1, "2024-05-01 15:00", 10),  # from 00:00:00
        (1, 1, "2024-05-02 14:00", 100),
        (1, 1, "2024-05-02 15:00", 1000),
    )
    actual = read_days(goatcounter, SOURCE, ["1"], first="2024-05-02", until="2024-05-03", timezone="Asia/Tokyo")
    assert actual == {("1", "page_visits", "2024-05-02"): 10 + 100}
    hours = read_hours(goatcounter, SOURCE, ["1"], first="2024-05-02", until="2024-05-03", timezone="Asia/Tokyo")
    assert hours == {("1", "2024-05-02"): {0, 23}}


@pytest.mark.parametrize(
    ("day", "until", "first_hour", "num_hours"),
    [("2024-03-31", "2024-04-01", "2024-03-30 23:00", 23), ("2024-10-27", "2024-10-28", "2024-10-26 22:00", 25)],
)
def test_days_when_clocks_change(
    goatcounter: DatabaseConfig, day: str, until: str, first_hour: str, num_hours: int
) -> None:
    prepare(
        goatcounter,
        # One view an hour, from two hours before the day to two hours behind it.
        f"""insert into hit_counts
            select 1, 1, '{first_hour}'::timestamp + make_interval(hours => number), 1
            from generate_series(-2, {num_hours} + 1) as number""",
    )
    actual = read_days(goatcounter, SOURCE, ["1"], first=day, until=until, timezone="Europe/Paris")
    assert actual == {("1", "page_visits", day): num_hours}
    hours = read_hours(goatcounter, SOURCE, ["1"], first=day, until=until, timezone="Europe/Paris")
    assert hours == {("1", day): set(range(24)) - ({2} if num_hours == 23 else set())}


def test_an_hour_across_midnight_belongs_to_the_day_in_which_it_begins(goatcounter: DatabaseConfig) -> None:
    # Kolkata, 5.5 hours ahead: 18:00 in UTC is 23:30 to 00:30.
    count(goatcounter, (1, 1, "2024-05-01 18:00", 8), (1, 1, "2024-05-01 19:00", 1), (1, 1, "2024-05-02 18:00", 16))
    days = {
        day: read_days(goatcounter, SOURCE, ["1"], first=day, until=until, timezone="Asia/Kolkata")
        for day, until in (("2024-05-01", "2024-05-02"), ("2024-05-02", "2024-05-03"), ("2024-05-03", "2024-05-04"))
    }
    assert days == {
        "2024-05-01": {("1", "page_visits", "2024-05-01"): 8},
        "2024-05-02": {("1", "page_visits", "2024-05-02"): 1 + 16},
        "2024-05-03": {},
    }


def test_only_page_visits_are_claimed(goatcounter: DatabaseConfig) -> None:
    assert [metric.metric for metric in list_metrics(goatcounter, SOURCE)] == ["page_visits"]


@pytest.mark.parametrize("indexes", ["select", INDEXES_OF_2026])
def test_sites(goatcounter: DatabaseConfig, indexes: str) -> None:
    count(
        goatcounter,
        (1, 3, "2024-02-01 00:00", 1),  # an event
        (1, 1, "2024-02-02 10:00", 1),
        (1, 2, "2024-02-01 12:00", 1),
        (1, 1, "2024-03-02 10:00", 1),
        (1, 2, "2024-03-01 10:00", 1),
        (4, 5, "2024-03-01 10:00", 1),
    )
    prepare(goatcounter, indexes)
    actual = list_sites(goatcounter, SOURCE)
    assert [(site.key, site.name, site.first, site.last) for site in actual] == [
        ("1", "blog", dt.datetime(2024, 2, 1, 12, tzinfo=dt.UTC), dt.datetime(2024, 3, 2, 10, tzinfo=dt.UTC)),
        ("3", "quiet", None, None),
        ("2", "stats.shop.example", None, None),
    ]
    assert {(site.began, site.timezone) for site in actual} == {(None, None)}  # a zone is a user's


def test_a_name_that_occurs_twice(goatcounter: DatabaseConfig) -> None:
    prepare(goatcounter, "update sites set cname = 'blog' where site_id = 2")
    assert [site.name for site in list_sites(goatcounter, SOURCE)] == ["blog (1)", "blog (2)", "quiet"]


@pytest.mark.parametrize("indexes", ["select", INDEXES_OF_2026])
@pytest.mark.parametrize(("num_pages", "hours_apart"), [(40, 1), (4000, 100)])
def test_a_week_is_read_by_an_index(
    goatcounter: DatabaseConfig, indexes: str, num_pages: int, hours_apart: int
) -> None:
    prepare(
        goatcounter,
        f"""insert into paths (path_id, site_id, path)
            select 100 + number, 1 + number % 2, '/' || number from generate_series(1, {num_pages}) as number""",
        # A year of each page's hours, in the order of time, as they come.
        f"""insert into hit_counts
            select path.site_id, path.path_id, hour, 1
            from generate_series('2024-01-01'::timestamp, '2024-12-31 23:00', '1 hour')
                with ordinality as year (hour, number)
            inner join paths as path on path.path_id > 100 and (path.path_id + year.number) % {hours_apart} = 0
            order by hour""",
        indexes,
        "analyze",
    )
    nodes = explain(goatcounter, "goatcounter", ["1"], "2024-05-01", "2024-05-08", "Europe/Paris")
    # Which index depends on the version and on how many pages there are: (site_id, hour), (site_id, path_id, hour) for
    # each page, or the one of hours alone. Each finds the week.
    conditions = [node["Index Cond"] for node in nodes if node.get("Index Name", "").startswith("hit_counts#")]
    assert any("hour >= " in condition and "hour < " in condition for condition in conditions), nodes
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "hit_counts"]
    sites = [node for node in explain_sites(goatcounter, "goatcounter") if node.get("Relation Name") == "hit_counts"]
    assert {node["Index Name"] for node in sites} == {"hit_counts#site_id#path_id#hour"}
    assert max(node["Actual Rows"] for node in sites) <= 1  # a page


def test_only_its_tables_are_read(goatcounter: DatabaseConfig) -> None:
    nodes = explain(goatcounter, "goatcounter", ["1"], "2024-05-01", "2024-05-08", "UTC")
    nodes += explain_sites(goatcounter, "goatcounter")
    assert read_tables(nodes) <= {*SOURCE.tables}


def test_missing_table(database: DatabaseConfig) -> None:
    prepare(database, SCHEMA, "drop table hit_counts")
    with pytest.raises(MissingTable) as raised:
        list_metrics(database, SOURCE)
    assert str(raised.value) == (
        f"The database {database.name} has no table hit_counts, as goatcounter would. Check DB_NAME, or set "
        "data.source to the analytics tool whose tables to read."
    )


def test_missing_right(goatcounter: DatabaseConfig) -> None:
    prepare(
        goatcounter,
        "drop role if exists goatcounter_reader",
        "create role goatcounter_reader login",
        "grant select on sites to goatcounter_reader",
    )
    with pytest.raises(MissingTable) as raised:
        list_metrics(goatcounter, SOURCE, user="goatcounter_reader")
    prepare(goatcounter, "drop owned by goatcounter_reader", "drop role goatcounter_reader")
    assert str(raised.value) == (
        f"The user goatcounter_reader may not read public.paths, public.hit_counts in the database {goatcounter.name}. "
        'Ask its owner to run: GRANT SELECT ON public.paths TO "goatcounter_reader"; '
        'GRANT SELECT ON public.hit_counts TO "goatcounter_reader";'
    )


def test_before_2_4_views_are_counted_by_another_column(goatcounter: DatabaseConfig) -> None:
    """`total` counted every view then, and `total_unique` what `total` counts since."""
    prepare(goatcounter, "alter table hit_counts add total_unique integer not null default 0")
    rows = "(1, 1, '2024-05-01 09:00', 50, 10), (1, 2, '2024-05-01 10:00', 9, 0), (1, 1, '2024-05-02 09:00', 7, 7)"
    prepare(goatcounter, f"insert into hit_counts (site_id, path_id, hour, total, total_unique) values {rows}")
    days = read_days(goatcounter, SOURCE, ["1"], first="2024-05-01", until="2024-05-03")
    assert days == {("1", "page_visits", "2024-05-01"): 10, ("1", "page_visits", "2024-05-02"): 7}
    assert read_hours(goatcounter, SOURCE, ["1"], first="2024-05-01", until="2024-05-03") == {
        ("1", "2024-05-01"): {9},
        ("1", "2024-05-02"): {9},
    }
