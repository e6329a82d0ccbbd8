"""Daily totals that the source no longer has, or has in another form: what was read stays, and is named."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from forecasting.domain import SourceName
from forecasting.errors import WouldLoseDays
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.source_report import check_source, describe_update
from tests.warehouse.ingesting import ask_own, bring, contents, stored
from tests.warehouse.sources.asking import prepare
from tests.warehouse.test_ingest import LATE

TO_FORGET = "To forget them, run: traffic-forecast sources --update --whole"
# 240 days, 2023-10-15..2024-06-10, of two metrics.
WIDE = """
drop table daily_metrics;
create table daily_metrics (date date, page_visits integer, signups integer);
insert into daily_metrics
    select date '2024-06-10' - n, 1000 + n, n from generate_series(0, 239) as n;
"""
PARTITIONED = """
drop table daily_metrics;
create table daily_metrics (date date, page_visits integer, signups integer) partition by range (date);
create table year_2023 partition of daily_metrics for values from ('2023-01-01') to ('2024-01-01');
create table year_2024 partition of daily_metrics for values from ('2024-01-01') to ('2025-01-01');
create table others partition of daily_metrics default;
insert into daily_metrics
    select date '2024-06-10' - n, 1000 + n, n from generate_series(0, 239) as n;
"""
WITH_SITES = """
drop table daily_metrics;
create table daily_metrics (date date, page_visits integer, site text);
insert into daily_metrics
    select date '2024-06-10' - n, 1000 + n, name
    from generate_series(0, 99) as n cross join unnest(array['blog', 'shop', 'news']) as name;
"""


def kept_of(name: str, number: str, span: str) -> str:
    return f"siteanalytics no longer has {number} of {name} ({span}), which are kept as they were read. {TO_FORGET}"


@pytest.mark.parametrize(
    ("table", "purge"),
    [
        (WIDE, "delete from daily_metrics where date < '2024-05-02'"),
        (WIDE, "create table rest as select * from daily_metrics where date >= '2024-05-02'; truncate daily_metrics; "
               "insert into daily_metrics select * from rest"),
        (PARTITIONED, "drop table year_2023; delete from daily_metrics where date < '2024-05-02'"),
    ],
)  # fmt: skip
def test_purged_rows_stay_and_are_counted(database: DatabaseConfig, table: str, purge: str) -> None:
    config = Config(database=database)
    assert bring(config, LATE, table).kept == ()
    before = contents(database)
    expected = kept_of(database.name, "200 days", "2023-10-15..2024-05-01")
    for _ in range(2):
        updated = bring(config, LATE, purge)
        assert (updated.num_rows, updated.kept, contents(database)) == (0, (expected,), before)
        purge = "select 1"
    assert describe_update(updated, config).endswith(f"\nnote: {expected}")
    back = "insert into daily_metrics select date '2024-06-10' - n, 1000 + n, n from generate_series(40, 100) as n"
    updated = bring(config, LATE, back)
    assert (updated.num_rows, contents(database)) == (0, before)
    assert updated.kept == (kept_of(database.name, "139 days", "2023-10-15..2024-03-01"),)
    rest = "insert into daily_metrics select date '2024-06-10' - n, 1000 + n, n from generate_series(101, 239) as n"
    updated = bring(config, LATE, rest)
    assert (updated.num_rows, updated.kept, contents(database)) == (0, (), before)


def test_purged_rows_go_when_told_and_this_is_said_before(
    database: DatabaseConfig, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(database=database)
    bring(config, LATE, WIDE)
    prepare(database, "delete from daily_metrics where date < '2024-05-02'")
    before = contents(database)
    days = f"200 days of {database.name} (2023-10-15..2024-05-01)"
    # By hashes that were read before, or not yet.
    for _ in range(2):
        warning = f"warning: siteanalytics no longer has {days}, which are kept as they were read. {TO_FORGET}"
        assert warning in asyncio.run(check_source(config)).splitlines()
        assert contents(database) == before
        bring(config, LATE)
    updated = bring(config, LATE, whole=True)
    assert f"siteanalytics no longer has {days}: they are forgotten now" in caplog.messages
    assert list(stored(database, site=database.name)) == [
        str(row["date"]) for row in ask_own(database, "select date from daily_metrics order by date")
    ]
    assert updated.kept == bring(config, LATE).kept == ()


def test_a_truncated_table_loses_nothing_and_is_named(database: DatabaseConfig) -> None:
    config = Config(database=database)
    bring(config, LATE, WIDE)
    before = contents(database)
    for whole in (False, True):
        updated = bring(config, LATE, "truncate daily_metrics", whole=whole)
        assert updated.kept == (
            f"siteanalytics has no row any more: 240 days of {database.name} (2023-10-15..2024-06-10) are kept as they "
            "were read",
        )
        assert contents(database) == before
    # Filled again, from the day after on.
    updated = bring(config, "2024-06-13 09:00", "insert into daily_metrics values ('2024-06-12', 7, 7)")
    assert (updated.num_rows, len(contents(database))) == (2, len(before) + 2)
    assert updated.kept == (kept_of(database.name, "240 days", "2023-10-15..2024-06-10"),)


def test_a_retention_job_of_every_night_deletes_nothing(database: DatabaseConfig) -> None:
    config = Config(database=database)
    bring(config, LATE, WIDE)
    for day in range(11, 20):
        night = f"""
            insert into daily_metrics values ('2024-06-{day}', {day}, {day});
            delete from daily_metrics where date < date '2024-06-{day}' - 30;
        """  # noqa: S608 - ours
        updated = bring(config, f"2024-06-{day + 1} 03:00", night)
        assert (updated.num_days, updated.num_rows) == (1 + 28, 2)
    assert len(stored(database, site=database.name)) == 240 + 9
    assert updated.kept == (kept_of(database.name, "218 days", "2023-10-15..2024-05-19"),)


def test_a_day_deleted_amid_others_is_kept_and_named_until_told_to_go(database: DatabaseConfig) -> None:
    """It may have been deleted to be written again, so it is not forgotten by itself."""
    config = Config(database=database)
    bring(config, LATE, WIDE)
    before = contents(database)
    updated = bring(config, LATE, "delete from daily_metrics where date = '2024-03-05'")
    assert (contents(database), updated.kept) == (before, (kept_of(database.name, "1 day", "2024-03-05"),))
    bring(config, LATE, whole=True)
    assert "2024-03-05" not in stored(database, site=database.name)


def test_values_that_were_corrected_are_taken_beside_days_that_are_kept(database: DatabaseConfig) -> None:
    config = Config(database=database)
    bring(config, LATE, WIDE)
    change = """
        delete from daily_metrics where date < '2024-02-01';
        update daily_metrics set page_visits = 5 where date in ('2024-02-01', '2024-06-10');
        update daily_metrics set signups = null where date in ('2024-03-12', '2024-04-11', '2024-06-10');
    """
    updated = bring(config, LATE, change)
    assert updated.num_rows == 5
    visits, signups = (stored(database, metric, database.name) for metric in ("page_visits", "signups"))
    assert [visits[day] for day in ("2024-01-31", "2024-02-01", "2024-06-10")] == [1131, 5, 5]
    assert [signups[day] for day in ("2024-03-12", "2024-04-11", "2024-06-10")] == [None, None, None]
    assert updated.kept == (kept_of(database.name, "109 days", "2023-10-15..2024-01-31"),)
    assert bring(config, LATE).num_days == 0


def test_sites_that_vanish_keep_their_days_and_find_them_again(database: DatabaseConfig) -> None:
    config = Config(database=database)
    bring(config, LATE, WITH_SITES)
    before = contents(database)
    updated = bring(config, LATE, "delete from daily_metrics where site <> 'blog'")
    assert contents(database) == before
    assert set(updated.notes) == {
        f"the site {site} is no longer in siteanalytics: its days are kept" for site in ("shop", "news")
    }
    assert updated.kept == (
        "siteanalytics no longer has 2 sites, news, shop, whose 200 days (2024-03-03..2024-06-10) are kept. "
        f"{TO_FORGET}",
    )
    updated = bring(config, LATE, "insert into daily_metrics values ('2024-06-10', 7, 'shop')")
    shop = stored(database, site="shop")
    assert (len(shop), shop["2024-06-09"], shop["2024-06-10"]) == (100, 1001, 7)
    assert updated.kept == (
        kept_of("shop", "99 days", "2024-03-03..2024-06-09"),
        f"siteanalytics no longer has the site news, whose 100 days (2024-03-03..2024-06-10) are kept. {TO_FORGET}",
    )
    assert bring(config, LATE, whole=True).kept == ()
    assert (len(stored(database, site="shop")), stored(database, site="news")) == (1, {})


def test_events_do_not_replace_days_of_a_table_that_was_emptied(database: DatabaseConfig) -> None:
    config = Config(database=database, data=DataConfig(writer_timezone="UTC"))
    bring(config, LATE, WIDE)
    before = contents(database)
    emptied = """
        truncate daily_metrics;
        insert into page_visits (visitor_id, session_id, timestamp) values ('ann', 'a', '2024-06-09 12:00');
    """
    with pytest.raises(WouldLoseDays) as caught:
        bring(config, LATE, emptied)
    assert str(caught.value) == (
        "daily_metrics has no row any more, and the events in page_visits would replace the days that were read from "
        "it. Fill daily_metrics again, or, if those days may be replaced, run: "
        "traffic-forecast sources --update --whole"
    )
    assert contents(database) == before
    bring(config, LATE, whole=True)
    assert stored(database, site=database.name)["2024-06-09"] == 1


def write_long(file: Path, first: int, last: int) -> None:
    rows = [f"blog,{metric},2024-04-{day:02d},{day}" for metric in ("signups", "sales") for day in range(first, last)]
    file.write_text("\n".join(["site,metric,date,value", *rows]) + "\n")


def write_wide(file: Path, first: int, last: int) -> None:
    rows = [f"blog,2024-04-{day:02d},{day},{day}" for day in range(first, last)]
    file.write_text("\n".join(["site,date,signups,sales", *rows]) + "\n")


@pytest.mark.parametrize("write", [write_long, write_wide])
def test_a_file_that_begins_later_keeps_the_days_before(
    database: DatabaseConfig, tmp_path: Path, write: Callable[[Path, int, int], None]
) -> None:
    file = tmp_path / "traffic.csv"
    config = Config(database=database, data=DataConfig(source=SourceName.csv, csv=file))
    write(file, 1, 21)
    bring(config, LATE)
    write(file, 11, 31)
    updated = bring(config, LATE)
    assert updated.num_rows == 20
    assert stored(database, "signups", "blog") == {f"2024-04-{day:02d}": float(day) for day in range(1, 31)}
    assert updated.kept == (
        f"csv no longer has 10 days of blog (2024-04-01..2024-04-10), which are kept as they were read. {TO_FORGET}",
    )
    bring(config, LATE, whole=True)
    assert list(stored(database, "sales", "blog")) == [f"2024-04-{day}" for day in range(11, 31)]


def test_a_query_that_returns_fewer_rows_keeps_the_others(database: DatabaseConfig, tmp_path: Path) -> None:
    file = tmp_path / "traffic.sql"
    file.write_text("select 'a' as site, metric, day, value from given")
    config = Config(database=database, data=DataConfig(source=SourceName.query, query=file))
    given = """
        create table given as
            select metric, date '2024-04-01' + n as day, n as value
            from generate_series(0, 39) as n cross join unnest(array['visits', 'orders']) as metric
    """
    bring(config, LATE, given)
    before = contents(database)
    purge = "delete from given where (metric = 'visits' and day < '2024-04-11') or metric = 'orders'"
    updated = bring(config, LATE, purge)
    assert contents(database) == before
    assert updated.kept == (
        f"query no longer has 10 days of a (2024-04-01..2024-04-10), which are kept as they were read. {TO_FORGET}",
        f"query no longer has the metric orders, whose 40 days (2024-04-01..2024-05-10) are kept. {TO_FORGET}",
    )
    bring(config, LATE, whole=True)
    assert len(contents(database)) == 30
