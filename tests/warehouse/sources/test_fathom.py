"""Fathom Lite: its tables as migrations 5, 24 and 25 of its PostgreSQL store make them."""

# ruff: noqa: S608 - the values are written above
import datetime as dt

import pytest

from forecasting.domain import Kind, Unit
from forecasting.errors import MissingTable
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.sources.fathom import SOURCE
from tests.warehouse.sources.asking import list_metrics, list_sites, prepare, read_days, read_hours
from tests.warehouse.sources.plans import explain, explain_sites

SCHEMA = """
    create table sites (id serial primary key not null, tracking_id varchar(8) unique, name varchar(100) not null);
    create table site_stats (
        site_id integer not null default 1,
        pageviews integer not null,
        visitors integer not null,
        sessions integer not null,
        bounce_rate float not null,
        known_durations integer not null default 0,
        avg_duration float not null,
        ts timestamp not null
    );
    create unique index unique_site_stats on site_stats (site_id, ts);
    insert into sites (id, tracking_id, name) values (1, 'AAAAA', 'blog'), (2, 'BBBBB', 'shop'), (3, 'CCCCC', 'quiet');
"""
Row = tuple[int, str, int, int, int, float, float]


@pytest.fixture
def fathom(database: DatabaseConfig) -> DatabaseConfig:
    prepare(database, SCHEMA)
    return database


def count(config: DatabaseConfig, *rows: Row) -> None:
    """Rows of (site, hour in UTC, pageviews, visitors, sessions, bounce_rate, avg_duration)."""
    columns = "site_id, ts, pageviews, visitors, sessions, bounce_rate, avg_duration"
    prepare(config, f"insert into site_stats ({columns}) values {', '.join(str(row) for row in rows)}")


def test_hours_become_a_day(fathom: DatabaseConfig) -> None:
    count(
        fathom,
        (1, "2024-05-01 09:00", 10, 4, 4, 0.5, 30.0),  # 2 of 4 bounced
        (1, "2024-05-01 17:00", 30, 12, 16, 0.25, 60.0),  # 4 of 16
        (1, "2024-05-02 08:00", 1, 1, 1, 1.0, 0.0),
        (2, "2024-05-01 09:00", 7, 5, 5, 0.2, 10.0),
    )
    actual = read_days(fathom, SOURCE, ["1"], first="2024-05-01", until="2024-05-03")
    assert actual == {
        ("1", "page_visits", "2024-05-01"): 40,
        ("1", "unique_visitors", "2024-05-01"): 16,
        ("1", "visits", "2024-05-01"): 20,
        ("1", "bounce_rate", "2024-05-01"): 6 / 20,  # a mean of the hours would be 0.375
        ("1", "visit_duration", "2024-05-01"): (10 * 30 + 30 * 60) / 40,  # 52.5; a mean of the hours would be 45
        ("1", "page_visits", "2024-05-02"): 1,
        ("1", "unique_visitors", "2024-05-02"): 1,
        ("1", "visits", "2024-05-02"): 1,
        ("1", "bounce_rate", "2024-05-02"): 1,
        ("1", "visit_duration", "2024-05-02"): 0,
    }
    assert read_hours(fathom, SOURCE, ["1"], first="2024-05-01", until="2024-05-03") == {
        ("1", "2024-05-01"): {9, 17},
        ("1", "2024-05-02"): {8},
    }
    both = read_days(fathom, SOURCE, ["1", "2", "3"], first="2024-05-01", until="2024-05-02")
    assert {key: value for (key, metric, _), value in both.items() if metric == "page_visits"} == {"1": 40, "2": 7}
    assert read_days(fathom, SOURCE, ["1"], first="2024-05-01", until="2024-05-01") == {}
    assert read_days(fathom, SOURCE, ["3"], first="2024-05-01", until="2024-05-03") == {}
    assert read_days(fathom, SOURCE, [], first="2024-05-01", until="2024-05-03") == {}


def test_a_session_counts_on_the_day_in_which_it_began(fathom: DatabaseConfig) -> None:
    # A session from 23:50 to 00:10 with two views on each side of midnight: Fathom writes it to the hour of its first.
    count(fathom, (1, "2024-05-01 23:00", 2, 1, 1, 0.0, 300.0), (1, "2024-05-02 00:00", 2, 0, 0, 0.0, 200.0))
    actual = read_days(fathom, SOURCE, ["1"], first="2024-05-01", until="2024-05-03")
    assert actual == {
        ("1", "page_visits", "2024-05-01"): 2,
        ("1", "unique_visitors", "2024-05-01"): 1,
        ("1", "visits", "2024-05-01"): 1,
        ("1", "bounce_rate", "2024-05-01"): 0,
        ("1", "visit_duration", "2024-05-01"): 300,
        ("1", "page_visits", "2024-05-02"): 2,
        ("1", "unique_visitors", "2024-05-02"): 0,
        ("1", "visits", "2024-05-02"): 0,  # and no rate of nothing
        ("1", "visit_duration", "2024-05-02"): 200,
    }


def test_an_hour_without_a_view_is_nothing(fathom: DatabaseConfig) -> None:
    count(fathom, (1, "2024-05-01 09:00", 0, 0, 0, 0.0, 0.0))
    assert read_days(fathom, SOURCE, ["1"], first="2024-05-01", until="2024-05-02") == {}


def test_a_day_is_the_sites_own(fathom: DatabaseConfig) -> None:
    # New York, 4 hours behind: 2024-05-02 is from 04:00 to before 04:00 of 2024-05-03 in UTC.
    count(
        fathom,
        (1, "2024-05-02 03:00", 1, 1, 1, 0.0, 0.0),  # until 23:59:59.999 of the day before
        (1, "2024-05-02 04:00", 10, 1, 1, 0.0, 0.0),  # from 00:00:00
        (1, "2024-05-03 03:00", 100, 1, 1, 0.0, 0.0),
        (1, "2024-05-03 04:00", 1000, 1, 1, 0.0, 0.0),
    )
    actual = read_days(fathom, SOURCE, ["1"], first="2024-05-02", until="2024-05-03", timezone="America/New_York")
    assert {day for _, _, day in actual} == {"2024-05-02"}
    assert actual["1", "page_visits", "2024-05-02"] == 10 + 100
    hours = read_hours(fathom, SOURCE, ["1"], first="2024-05-02", until="2024-05-03", timezone="America/New_York")
    assert hours == {("1", "2024-05-02"): {0, 23}}


@pytest.mark.parametrize(
    ("day", "until", "first_hour", "num_hours"),
    [("2024-03-31", "2024-04-01", "2024-03-30 23:00", 23), ("2024-10-27", "2024-10-28", "2024-10-26 22:00", 25)],
)
def test_days_when_clocks_change(fathom: DatabaseConfig, day: str, until: str, first_hour: str, num_hours: int) -> None:
    prepare(
        fathom,
        # One view an hour, from two hours before the day to two hours behind it.
        f"""insert into site_stats (site_id, ts, pageviews, visitors, sessions, bounce_rate, avg_duration)
            select 1, '{first_hour}'::timestamp + make_interval(hours => number), 1, 1, 1, 1, 0
            from generate_series(-2, {num_hours} + 1) as number""",
    )
    actual = read_days(fathom, SOURCE, ["1"], first=day, until=until, timezone="Europe/Paris")
    assert actual["1", "page_visits", day] == actual["1", "visits", day] == num_hours
    assert {day for _, _, day in actual} == {day}


def test_an_hour_across_midnight_belongs_to_the_day_in_which_it_begins(fathom: DatabaseConfig) -> None:
    # Kolkata, 5.5 hours ahead: 18:00 in UTC is 23:30 to 00:30.
    count(fathom, (1, "2024-05-01 18:00", 8, 1, 1, 0.0, 0.0), (1, "2024-05-01 19:00", 1, 1, 1, 0.0, 0.0))
    actual = {
        day: read_days(fathom, SOURCE, ["1"], first=day, until=until, timezone="Asia/Kolkata")["1", "page_visits", day]
        for day, until in (("2024-05-01", "2024-05-02"), ("2024-05-02", "2024-05-03"))
    }
    assert actual == {"2024-05-01": 8, "2024-05-02": 1}


def test_metrics(fathom: DatabaseConfig) -> None:
    definitions = {definition.metric: definition for definition in list_metrics(fathom, SOURCE)}
    assert set(definitions) == {"page_visits", "unique_visitors", "visits", "bounce_rate", "visit_duration"}
    assert {metric for metric, definition in definitions.items() if definition.additive} == {"page_visits", "visits"}
    assert "upper bound" in definitions["unique_visitors"].text
    assert (definitions["bounce_rate"].kind, definitions["bounce_rate"].unit) == (Kind.rate, Unit.fraction)
    assert definitions["visit_duration"].kind is Kind.other


def test_sites_and_a_name_that_occurs_twice(fathom: DatabaseConfig) -> None:
    count(
        fathom,
        (1, "2024-05-01 09:00", 1, 1, 1, 0.0, 0.0),
        (1, "2024-05-09 10:00", 1, 1, 1, 0.0, 0.0),
        (1, "2024-05-05 10:00", 1, 1, 1, 0.0, 0.0),
    )
    prepare(fathom, "insert into sites (id, tracking_id, name) values (4, 'DDDDD', 'shop'), (5, 'EEEEE', '')")
    first, last = dt.datetime(2024, 5, 1, 9, tzinfo=dt.UTC), dt.datetime(2024, 5, 9, 10, tzinfo=dt.UTC)
    assert [(site.key, site.name, site.first, site.last) for site in list_sites(fathom, SOURCE)] == [
        ("5", "5", None, None),
        ("1", "blog", first, last),
        ("3", "quiet", None, None),
        ("2", "shop (2)", None, None),
        ("4", "shop (4)", None, None),
    ]


def test_a_week_is_read_by_the_index(fathom: DatabaseConfig) -> None:
    prepare(
        fathom,
        """insert into site_stats (site_id, ts, pageviews, visitors, sessions, bounce_rate, avg_duration)
            select site.id, hour, 1, 1, 1, 1, 0
            from sites as site
            cross join generate_series('2020-01-01'::timestamp, '2024-12-31 23:00', '1 hour') as hour""",
        "analyze",
    )
    nodes = explain(fathom, "fathom", ["1", "2"], "2024-05-01", "2024-05-08", "Europe/Paris")
    (read,) = [node for node in nodes if "Index Cond" in node]
    assert read["Index Name"] == "unique_site_stats"
    assert "ts >= '2024-04-30 22:00:00'" in read["Index Cond"]
    assert "ts < '2024-05-07 22:00:00'" in read["Index Cond"]
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}
    steps = [node for node in explain_sites(fathom, "fathom") if "Index Name" in node]
    assert [(step["Index Name"], step["Actual Rows"], step["Actual Loops"]) for step in steps] == [
        ("unique_site_stats", 1, 3),
        ("unique_site_stats", 1, 3),
        ("unique_site_stats", 0, 3),  # these two count hours with an impossible date
        ("unique_site_stats", 0, 3),
    ]


def test_missing_table(database: DatabaseConfig) -> None:
    with pytest.raises(MissingTable) as raised:
        list_metrics(database, SOURCE)
    assert str(raised.value) == (
        f"The database {database.name} has no table sites, site_stats, as fathom would. Check DB_NAME, or set "
        "data.source to the analytics tool whose tables to read."
    )


def test_missing_right(fathom: DatabaseConfig) -> None:
    prepare(
        fathom,
        "drop role if exists fathom_reader",
        "create role fathom_reader login",
        "grant select on sites to fathom_reader",
    )
    with pytest.raises(MissingTable) as raised:
        list_metrics(fathom, SOURCE, user="fathom_reader")
    prepare(fathom, "drop owned by fathom_reader", "drop role fathom_reader")
    assert str(raised.value) == (
        f"The user fathom_reader may not read public.site_stats in the database {fathom.name}. "
        'Ask its owner to run: GRANT SELECT ON public.site_stats TO "fathom_reader";'
    )
