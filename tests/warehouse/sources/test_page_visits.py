"""The documented backend's events, on days worked out by hand. Their column `timestamp` does not say its time zone."""

import pytest

from forecasting.errors import SettingError
from forecasting.invocation import show_command
from forecasting.settings.schema import DatabaseConfig, DataConfig
from forecasting.warehouse.sources import open_source
from forecasting.warehouse.sources.siteanalytics import DailyMetrics, PageVisits

from .asking import ask, list_metrics, list_sites, prepare, read_days, read_hours
from .plans import explain

EMPTY = "truncate daily_metrics"
# Written by a server in New York: 18:00 there is midnight in Paris, but from 10 to 31 March 2024 it is 19:00.
EVENTS = """
insert into page_visits (visitor_id, session_id, timestamp, time_on_page, event_name) values
    ('ann', 'a1', '2024-03-04 17:59:59.999', 10, null),      -- Paris: Monday the 4th, 23:59:59.999
    ('ann', 'a1', '2024-03-04 18:00:00', 20, null),          -- Tuesday the 5th, 0:00, the same session
    ('ann', 'a1', '2024-03-04 18:05:00', null, null),        -- the 5th, 0:05
    ('bob', 'b1', '2024-03-05 03:00:00', 40, null),          -- the 5th, 9:00, a bounce
    ('bob', 'b1', '2024-03-05 03:01:00', null, 'signup'),    -- no view
    ('bob', 'b2', '2024-03-05 17:00:00', 60, null),          -- the 5th, 23:00, bob again: a bounce
    ('cid', 'c1', '2024-03-30 18:59:59', 5, null),           -- Saturday the 30th, 23:59:59: New York is 5 hours behind
    ('cid', 'c1', '2024-03-30 19:00:00', 5, null),           -- Sunday the 31st, 0:00, which has 23 hours
    ('dot', 'd1', '2024-03-31 17:59:59', 7, null),           -- the 31st, 23:59:59: 6 hours behind again
    ('dot', 'd1', '2024-03-31 18:00:00', 9, null),           -- Monday the 1st of April
    (null, null, '2024-04-02 12:00:00', null, null);         -- nobody knows who
"""
IN_NEW_YORK, IN_UTC = (PageVisits(writer_timezone=zone) for zone in ("America/New_York", "UTC"))
IN_PARIS = {"timezone": "Europe/Paris"}


def days(config: DatabaseConfig, first: str, until: str) -> dict[tuple[str, str], float]:
    actual = read_days(config, IN_NEW_YORK, [config.name], first=first, until=until, **IN_PARIS)
    return {(metric, day): value for (_, metric, day), value in actual.items()}


def test_a_day_of_views(database: DatabaseConfig) -> None:
    prepare(database, EMPTY, EVENTS)
    assert days(database, "2024-03-05", "2024-03-06") == {
        ("page_visits", "2024-03-05"): 4,  # a1 twice, b1, b2
        ("unique_visitors", "2024-03-05"): 2,  # ann and bob
        ("visits", "2024-03-05"): 3,  # a1, b1, b2
        ("bounce_rate", "2024-03-05"): pytest.approx(2 / 3),  # b1 and b2
        ("avg_time_on_page", "2024-03-05"): 40,  # (20 + 40 + 60) / 3: one is not known
    }


def test_midnight_is_that_of_the_site_whatever_the_writers_clock(database: DatabaseConfig) -> None:
    prepare(database, EMPTY, EVENTS)
    views = {
        day: value for (metric, day), value in days(database, "2024-03-01", "2024-04-03").items()
        if metric == "page_visits"
    }  # fmt: skip
    assert views == {
        "2024-03-04": 1, "2024-03-05": 4, "2024-03-30": 1, "2024-03-31": 2, "2024-04-01": 1, "2024-04-02": 1,
    }  # fmt: skip
    hours = read_hours(
        database,
        IN_NEW_YORK,
        [database.name],
        first="2024-03-05",
        until="2024-04-01",
        **IN_PARIS,
    )
    assert hours == {
        (database.name, "2024-03-05"): {0, 9, 23},
        (database.name, "2024-03-30"): {23},
        (database.name, "2024-03-31"): {0, 23},
    }


def test_who_is_unknown_is_no_visitor_and_no_visit(database: DatabaseConfig) -> None:
    prepare(database, EMPTY, EVENTS)
    assert days(database, "2024-04-02", "2024-04-03") == {("page_visits", "2024-04-02"): 1}
    assert days(database, "2024-05-01", "2024-06-01") == {}


def test_the_site_is_the_database(database: DatabaseConfig) -> None:
    prepare(database, EMPTY, EVENTS)
    [site] = list_sites(database, IN_NEW_YORK)
    assert (site.key, site.name, site.timezone) == (database.name, database.name, None)
    assert (str(site.first), str(site.last)) == ("2024-03-04 22:59:59.999000+00:00", "2024-04-02 16:00:00+00:00")
    assert read_days(database, IN_UTC, ["other"], first="2024-03-01", until="2024-04-01") == {}


def test_events_are_read_where_daily_metrics_has_no_row(database: DatabaseConfig) -> None:
    prepare(database, EVENTS)
    data = DataConfig(writer_timezone="America/New_York")
    assert isinstance(ask(database, lambda connection: open_source(data, connection)), DailyMetrics)
    prepare(database, EMPTY)
    source = ask(database, lambda connection: open_source(data, connection))
    assert source == IN_NEW_YORK
    assert [metric.metric for metric in list_metrics(database, source)] == [
        "page_visits", "unique_visitors", "visits", "bounce_rate", "avg_time_on_page",
    ]  # fmt: skip
    with pytest.raises(SettingError) as caught:
        ask(database, lambda connection: open_source(DataConfig(), connection))
    assert str(caught.value) == (
        "daily_metrics has no row, so page_visits is read. The time zone of its column `timestamp` is not stored: set "
        "data.writer_timezone to the zone in which it was written, such as data.writer_timezone=UTC. Run: "
        f"{show_command('sources', '--check', 'data.writer_timezone=UTC')}"
    )
    prepare(database, "truncate page_visits")
    assert isinstance(ask(database, lambda connection: open_source(DataConfig(), connection)), DailyMetrics)


def test_an_index_on_the_time_is_used(database: DatabaseConfig) -> None:
    """The documented table has none; whoever makes one has it used."""
    many = """
        insert into page_visits (visitor_id, session_id, timestamp)
            select n % 500, n % 900, timestamp '2022-01-01' + n * interval '1 minute'
            from generate_series(0, 400000) as n;
        create index on page_visits (timestamp);
        analyze page_visits;
    """
    prepare(database, EMPTY, many)
    steps = explain(
        database, "page_visits", [database.name], "2022-06-01", "2022-06-08", "Europe/Paris", "America/New_York"
    )
    (scan,) = [step for step in steps if step.get("Relation Name") == "page_visits"]
    assert "Seq Scan" not in {step["Node Type"] for step in steps}
    condition = next(step["Index Cond"] for step in steps if "Index Cond" in step)
    assert "2022-05-31 18:00:00" in condition  # midnight in Paris, on New York's clock
    assert "2022-06-07 18:00:00" in condition
    assert scan["Node Type"] in ("Index Scan", "Bitmap Heap Scan")
