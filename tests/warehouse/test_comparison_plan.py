"""Large tables are compared only if PostgreSQL has counted changes, and whatever changed is known in time nevertheless.

What a session changes with track_counts off is not counted: it shows whether days were compared.
"""

import asyncio
import datetime as dt
import logging
from dataclasses import replace

import pytest

from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.comparison_plan import COMPARE_DAYS, Comparison, find_reason
from forecasting.warehouse.connection import OwnConnection
from forecasting.warehouse.source_report import check_source
from forecasting.warehouse.sources import open_source
from forecasting.warehouse.sources.change_counts import ChangeCounts, CountedTable, read_change_counts
from forecasting.warehouse.sources.source import RecentEvents
from tests.warehouse.ingesting import anew, bring, contents, days, events_of, stored, views
from tests.warehouse.sources.asking import ask, prepare
from tests.warehouse.sources.test_umami import UMAMI
from tests.warehouse.test_misdated import DAYS, TABLES, Tables, configure

FLUSH = "select pg_stat_force_next_flush()"  # else a change would be counted a second later
LARGE = """
alter table {table} add column filler text default repeat('x', 7000);
alter table {table} alter filler set storage plain;
"""  # each row that comes now fills a page
UNCOUNTED = "set track_counts = off; {change}; reset track_counts;"
OLDER = "were inserted, or inserted and rolled back, that are not of the latest days"
MONDAY = dt.datetime(2024, 6, 10, 9, tzinfo=dt.UTC)
COUNTS = ChangeCounts("this server", 1000, 20, 3)
STORED = Comparison(COUNTS, MONDAY - dt.timedelta(days=3), RecentEvents(100, 2), MONDAY)


@pytest.mark.parametrize(
    ("inserted", "updated", "deleted", "recent", "hours", "updates_rows", "reason"),
    [
        (0, 0, 0, 100, 24 * COMPARE_DAYS - 1, False, None),
        (0, 0, 0, 100, 24 * COMPARE_DAYS, False, "they were last compared on 2024-06-10"),
        (50, 0, 0, 150, 24, False, None),
        (52, 0, 0, 150, 24, False, None),  # two of the minute before may have been counted late
        (
            53,
            0,
            0,
            150,
            24,
            False,
            f"3 rows {OLDER}",
        ),
        (45, 0, 0, 150, 24, False, None),  # five of this minute are not counted yet
        (
            44,
            0,
            0,
            150,
            24,
            False,
            "PostgreSQL has not counted all of the latest events yet, 6 fewer",
        ),
        (0, 0, 1, 100, 1, False, "1 row was deleted"),
        (0, 0, 2, 100, 1, True, "2 rows were deleted"),
        (0, 1, 0, 100, 1, False, "1 row was updated"),
        (0, 7, 0, 100, 23, True, None),
        (0, 7, 0, 100, 24, True, "7 rows were updated"),
    ],
)
def test_what_is_counted_decides(
    inserted: int, updated: int, deleted: int, recent: int, hours: int, updates_rows: bool, reason: str | None
) -> None:
    counts = replace(COUNTS, num_inserted=1000 + inserted, num_updated=20 + updated, num_deleted=3 + deleted)
    current = replace(STORED, counts=counts, compared_at=MONDAY + dt.timedelta(hours=hours))
    assert find_reason(STORED, current, RecentEvents(recent, 5), updates_rows=updates_rows) == reason
    other = replace(current, counts=replace(counts, identity="another server"))
    assert find_reason(STORED, other, RecentEvents(recent, 5), updates_rows=updates_rows) == (
        "PostgreSQL's counts began anew, or the table, the settings or forecasting.daily were changed"
    )


def test_events_are_compared_when_older_ones_have_changed(
    database: DatabaseConfig, caplog: pytest.LogCaptureFixture
) -> None:
    config = events_of(database)
    caplog.set_level(logging.INFO, "forecasting.warehouse")
    large = UMAMI + LARGE.format(table="website_event")
    bring(config, "2024-06-11 09:00", large, days("2024-05-01", "2024-06-10"), FLUSH)
    hidden = UNCOUNTED.format(change=views("2024-05-05 10:00+00"))
    bring(config, "2024-06-12 09:00", days("2024-06-11", "2024-06-11"), views("2024-06-09 10:00+00"), hidden, FLUSH)
    assert (stored(database)["2024-06-11"], stored(database)["2024-06-09"]) == (60, 61)  # read again anyway
    assert (stored(database)["2024-05-05"], caplog.messages) == (60, [])
    bring(config, "2024-06-12 09:20", views("2024-05-04 10:00+00"), FLUSH, compare=False)
    assert (stored(database)["2024-05-04"], caplog.messages) == (60, [])
    bring(config, "2024-06-12 09:40")
    assert (stored(database)["2024-05-04"], len(caplog.messages)) == (61, 1)
    inserted = f"1 row {OLDER}".replace("were", "was")
    for change, reason in (
        (views("2024-05-06 10:00+00"), inserted),
        ("delete from website_event where created_at = '2024-05-07 08:01+00'", "1 row was deleted"),
        ("update website_event set created_at = '2024-05-09' where created_at = '2024-05-08 08:01+00'",
         "1 row was updated"),
    ):  # fmt: skip
        caplog.clear()
        bring(config, "2024-06-12 10:00", change, FLUSH)
        assert caplog.messages == [f"umami: all days are compared: {reason}"]
    assert [stored(database)[f"2024-05-0{day}"] for day in range(5, 10)] == [61, 61, 59, 59, 61]
    bring(config, "2024-06-12 11:00", hidden, FLUSH)
    assert stored(database)["2024-05-05"] == 61
    caplog.clear()
    bring(config, "2024-06-19 10:00")
    assert caplog.messages == ["umami: all days are compared: they were last compared on 2024-06-12"]
    assert stored(database)["2024-05-05"] == 62
    assert contents(database) == anew(config, "2024-06-19 10:00")


def test_daily_totals_are_compared_when_any_row_has_changed(
    database: DatabaseConfig, caplog: pytest.LogCaptureFixture
) -> None:
    config, now = Config(database=database), "2024-06-11 09:00"
    table = "drop table daily_metrics; create table daily_metrics (date date, site text, page_visits integer);"
    fill = "insert into daily_metrics select date '2024-06-11' - n, 'site ' || s, 1000 + n "
    fill += "from generate_series(0, 99) as n cross join generate_series(1, 25) as s"
    caplog.set_level(logging.INFO, "forecasting.warehouse")
    bring(config, now, table, LARGE.format(table="daily_metrics"), fill, FLUSH)
    correct = "update daily_metrics set page_visits = 7 where site = 'site 3' and date = '2024-05-0{day}'"
    bring(config, now, UNCOUNTED.format(change=correct.format(day=1)))
    assert (stored(database, site="site 3")["2024-05-01"], caplog.messages) == (1041, [])
    line = "older days: compared when PostgreSQL has counted changes of daily_metrics that are not new days, and every "
    assert f"{line}7 days" in asyncio.run(check_source(config)).splitlines()
    bring(config, now, correct.format(day=2), FLUSH)
    assert caplog.messages == ["siteanalytics: all days are compared: 1 row was updated"]
    assert [stored(database, site="site 3")[f"2024-05-0{day}"] for day in (1, 2)] == [7, 7]
    assert "2024-06-11" not in stored(database, site="site 3")
    assert bring(config, "2024-06-12 09:00").num_rows == 25  # what was today's unfinished day is over
    prepare(database, "alter table daily_metrics rename to kept; create view daily_metrics as select * from kept")
    bring(config, "2024-06-12 10:00", UNCOUNTED.format(change=correct.format(day=3).replace("daily_metrics", "kept")))
    assert stored(database, site="site 3")["2024-05-03"] == 7
    assert contents(database) == anew(config, "2024-06-12 10:00")


def test_our_own_copy_is_compared_when_others_have_changed_it(database: DatabaseConfig) -> None:
    config, now = Config(database=database), "2024-06-11 09:00"
    fill = "insert into daily_metrics (date, page_visits) select date '2024-06-10' - n, 1000 + n "
    fill += "from generate_series(0, 2999) as n"
    bring(config, now, "truncate daily_metrics", LARGE.format(table="daily_metrics"), fill, FLUSH)
    before = contents(database)
    bring(config, now, "update forecasting.daily set value = 7 where day = '2024-05-01'")
    assert contents(database) == before


@pytest.mark.parametrize(
    ("script", "gap"),
    [
        ("create view daily as select 1", "daily is not a table, so PostgreSQL does not count its changes"),
        ("create table daily (n integer); alter role postgres set track_counts = off", "track_counts is off"),
        ("create table daily (n integer) partition by range (n)", None),
    ],
)
def test_changes_that_are_not_counted_are_told(database: DatabaseConfig, script: str, gap: str | None) -> None:
    prepare(database, script)
    try:
        assert read_table(database, "daily").gap == gap
    finally:
        prepare(database, "alter role postgres reset track_counts")


def test_partitions_are_counted_together(database: DatabaseConfig) -> None:
    prepare(
        database,
        "create table daily (n integer) partition by range (n); create table a partition of daily default; "
        "insert into daily select generate_series(1, 5)",
        "delete from daily where n > 3",
        FLUSH,
    )
    before = read_table(database, "daily").counts
    assert (before.num_inserted, before.num_updated, before.num_deleted) == (5, 0, 2)
    for change in ("truncate a", "alter table daily add column m integer", "drop table a", "select pg_stat_reset()"):
        prepare(database, change)
        after = read_table(database, "daily").counts
        assert after.identity != before.identity
        before = after


def read_table(database: DatabaseConfig, name: str) -> CountedTable:
    return ask(database, lambda connection: read_change_counts(connection, name))


@pytest.mark.parametrize("tables", TABLES[1:], ids=lambda tables: f"{tables.source}")
def test_each_source_counts_its_latest_events(database: DatabaseConfig, tables: Tables) -> None:
    """DAYS end on 2024-05-10 at noon."""
    data, since = configure(database, tables).data, dt.datetime(2024, 5, 8, 12, tzinfo=dt.UTC)
    usual = f"{tables.insert} from (select day as moment from {DAYS}) as usual"  # noqa: S608 - ours
    prepare(database, tables.schema, usual)

    async def count(connection: OwnConnection) -> RecentEvents:
        return await (await open_source(data, connection)).count_recent(connection, since)

    assert ask(database, count) == RecentEvents(3, 0)
    prepare(database, f"{tables.insert} from (select now() at time zone 'UTC' as moment) as newest")
    assert ask(database, count) == RecentEvents(4, 1)
