"""forecasting.daily brought up to date: what is read, what is kept, and that the source is only read."""

import asyncio
import datetime as dt
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from forecasting.domain import Kind, SourceName, Verdict, to_date
from forecasting.errors import CannotConnect, DuplicateDays, MissingTable, SourceTooSlow, WarehouseError, WouldLoseDays
from forecasting.invocation import show_command
from forecasting.panel import Panel
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig, MetricConfig, VerdictConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.ingest import UpdateResult, update
from forecasting.warehouse.panel_loader import read_panel
from scripts.bench.harness import PATIENCE_SECONDS
from tests import PROJECT
from tests.warehouse.csv.test_formats import GA4_REPORT
from tests.warehouse.ingesting import (
    GUARDED,
    anew,
    as_user,
    ask_own,
    bring,
    contents,
    days,
    events_of,
    judged,
    progress,
    stored,
    views,
)  # fmt: skip
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import BLOG, FIRST_TABLES, MIGRATIONS, SHOP, SITES, UMAMI, VISITS

LATE = "2024-06-11 09:00"  # when most tests begin: the 10th is the last complete day
METRICS = ["bounce_rate", "page_visits", "unique_visitors", "visit_duration", "visits"]


def read(config: Config, *, today: str, **options: Any) -> Panel:  # Any: of read_panel
    async def run() -> Panel:
        connection = await connect(config.cache_database or config.database)
        try:
            return await read_panel(
                connection,
                data=config.data,
                metrics=config.metrics,
                masked=config.verdicts.masked,
                today=dt.date.fromisoformat(today),
                **options,
            )
        finally:
            await connection.close()

    return asyncio.run(run())


def test_a_first_update_reads_all_days_and_the_next_one_the_last_days(database: DatabaseConfig) -> None:
    config = events_of(database)
    first = bring(config, LATE, UMAMI, views("2024-06-01 10:00+00", 3), days("2024-06-02", "2024-06-11"))
    assert (first.num_days, first.num_rows, first.database) == (10, 10 * 5, database)
    expected: dict[str, float | None] = {"2024-06-01": 3.0} | {f"2024-06-{day:02d}": 60.0 for day in range(2, 11)}
    assert stored(database) == expected
    assert progress(database) == "2024-06-11"
    # The day that has just ended, and the three before it; of them only the day itself is new.
    following = bring(config, "2024-06-12 09:00")
    assert (following.num_days, following.num_rows) == (3 + 1, 5)
    assert stored(database) == expected | {"2024-06-11": 60.0}


def test_all_metrics_of_a_day(database: DatabaseConfig) -> None:
    # Two people with three views each: every view of a person is of one visit, at one moment.
    bring(events_of(database), LATE, UMAMI, views("2024-06-10 10:00+00", 6, people=2), days("2024-06-09", "2024-06-09"))
    expected = {"page_visits": 6, "unique_visitors": 2, "visits": 2, "bounce_rate": 0, "visit_duration": 0}
    assert {metric: stored(database, metric)["2024-06-10"] for metric in METRICS} == expected


def test_nothing_is_written_where_nothing_changed(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, days("2024-05-01", "2024-06-11"), days("2024-06-03", "2024-06-05", site=SHOP))
    statement = "select *, xmin::text from forecasting.daily order by site, metric, day"
    before = ask_own(database, statement)
    again = bring(config, LATE)
    assert (again.num_rows, again.num_days) == (0, 3)
    assert ask_own(database, statement) == before
    assert bring(config, LATE, whole=True).num_rows == 0
    assert ask_own(database, statement) == before


def test_of_a_changed_day_one_row_a_metric_is_written(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, days("2024-05-01", "2024-06-11"))
    before = {tuple(row) for row in ask_own(database, "select * from forecasting.daily")}
    # Late on the 9th: one more view, person and visit; that there are bounces only, and of no length, stays so.
    assert bring(config, LATE, views("2024-06-09 10:30+00")).num_rows == 3
    after = {tuple(row) for row in ask_own(database, "select * from forecasting.daily")}
    assert sorted(row[1:4] for row in after - before) == [
        (metric, dt.date(2024, 6, 9), 61.0) for metric in ("page_visits", "unique_visitors", "visits")
    ]


def test_an_unfinished_day_is_left_out_where_the_site_is(database: DatabaseConfig) -> None:
    zones = ["Blog=Pacific/Auckland", "Shop=America/Los_Angeles"]
    config = events_of(database, timezones=zones)
    both = [
        views(f"2024-06-{day:02d} {hour:02d}:30+00", number=1 + hour, site=site)
        for day in range(6, 12)
        for hour in (0, 6, 7, 11, 12, 23)
        for site in (BLOG, SHOP)
    ]
    # 11:30 UTC of the 10th is 23:30 of the 10th in Auckland (UTC+12) and 04:30 of the 10th in Los Angeles (UTC-7).
    bring(config, "2024-06-10 11:59", UMAMI, *both)
    # A day of Auckland is from 12:00 UTC on the day before: 13 + 24, then 1 + 7 + 8 + 12 views.
    assert stored(database, site="Blog") == {"2024-06-06": 28.0, "2024-06-07": 65, "2024-06-08": 65, "2024-06-09": 65}
    # One of Los Angeles begins at 07:00 UTC: 8 + 12 + 13 + 24, then 1 + 7 views of the next.
    assert stored(database, site="Shop") == {"2024-06-05": 8.0} | {f"2024-06-{day:02d}": 65.0 for day in range(6, 10)}
    bring(config, "2024-06-10 12:00")
    assert stored(database, site="Blog")["2024-06-10"] == 65
    assert "2024-06-10" not in stored(database, site="Shop")
    bring(config, "2024-06-11 06:59")
    assert "2024-06-10" not in stored(database, site="Shop")
    bring(config, "2024-06-11 07:00")
    assert stored(database, site="Shop")["2024-06-10"] == 65


def test_late_events_count_where_days_are_read_again(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, days("2024-05-20", "2024-06-10"))
    late = [views(f"2024-06-{day:02d} 23:59:59+00") for day in (7, 8)]
    bring(config, "2024-06-12 00:00", *late, compare=False)
    assert (stored(database)["2024-06-07"], stored(database)["2024-06-08"]) == (60, 61)
    bring(config, "2024-06-12 00:00", whole=True)
    assert (stored(database)["2024-06-07"], stored(database)["2024-06-08"]) == (61, 61)


def test_more_days_are_read_again_where_it_is_said(database: DatabaseConfig) -> None:
    config = events_of(database, reread_days=10)
    bring(config, LATE, UMAMI, days("2024-05-20", "2024-06-10"))
    late = views("2024-05-31 10:00+00"), views("2024-06-01 10:00+00")
    assert bring(config, LATE, *late, compare=False).num_days == 10
    assert (stored(database)["2024-05-31"], stored(database)["2024-06-01"]) == (60, 61)


def test_quiet_days_are_zero_between_days_with_events_and_unknown_after_them(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, "2024-06-20 09:00", UMAMI, views("2024-06-05 10:00+00", 3), views("2024-06-08 10:00+00", 4))
    quiet = {"2024-06-06": 0.0, "2024-06-07": 0.0}
    for metric in ("page_visits", "unique_visitors", "visits"):
        assert stored(database, metric) == {"2024-06-05": 3.0, **quiet, "2024-06-08": 4.0}
    busy = {"2024-06-05": 1.0, "2024-06-08": 1.0}  # visits of one view
    assert stored(database, "bounce_rate") == busy | dict.fromkeys(quiet)
    assert judged(database, "bounce_rate") == dict.fromkeys(quiet, "unmeasured") | {"2024-06-05": "partial"}
    hours = {row["hours"] for row in ask_own(database, "select hours from forecasting.daily where day = '2024-06-06'")}
    assert hours == {0}


def test_a_long_quiet_time_is_filled_when_events_come_again(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, days("2024-06-01", "2024-06-05"))
    for day in range(12, 31):
        assert bring(config, f"2024-06-{day} 09:00").num_rows == 0
    bring(config, "2024-07-01 09:00", views("2024-06-30 10:00+00", 7))
    actual = stored(database)
    assert actual == {f"2024-06-{day:02d}": 60.0 if day < 6 else 0.0 for day in range(1, 30)} | {"2024-06-30": 7.0}
    assert contents(database) == anew(config, "2024-07-01 09:00")


def test_days_that_the_source_has_dropped_stay(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, "2024-06-21 09:00", UMAMI, days("2024-06-01", "2024-06-20"))
    before = contents(database)
    # Only the second half of the 11th is left.
    dropped = "delete from website_event where created_at < '2024-06-11 14:00+00'"
    for whole in (False, True):
        assert bring(config, "2024-06-21 10:00", dropped, whole=whole).num_rows == 0
        assert contents(database) == before
    bring(config, "2024-06-22 10:00", days("2024-06-21", "2024-06-21"), whole=True)
    assert stored(database) == {f"2024-06-{day:02d}": 60.0 for day in range(1, 22)}
    assert judged(database) == {"2024-06-01": "partial"}


def test_of_days_that_were_dropped_before_they_were_read_nobody_knows(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, "2024-06-06 09:00", UMAMI, days("2024-06-01", "2024-06-05"))
    # While nothing was read, everything before the middle of the 20th came, and went.
    left = days("2024-06-20", "2024-06-20", hours=(14, 20)), days("2024-06-22", "2024-06-24")
    bring(config, "2024-06-25 10:00", "truncate website_event", *left)
    old, new = range(1, 6), range(22, 25)
    assert stored(database) == {f"2024-06-{day:02d}": 60.0 for day in (*old, *new)} | {"2024-06-21": 0.0}


def test_a_site_that_was_reset_is_forgotten(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, days("2024-06-01", "2024-06-10"), days("2024-06-01", "2024-06-10", site=SHOP))
    reset = f"update website set reset_at = '2024-06-08 10:00+00' where website_id = '{BLOG}'"  # noqa: S608 - ours
    updated = bring(config, LATE, reset)
    assert updated.notes == ("the site Blog was reset in umami: its days are read again",)
    # Of the 8th, what came from 10:00 on: 10 hours of 5.
    assert stored(database) == {"2024-06-08": 50.0, "2024-06-09": 60.0, "2024-06-10": 60.0}
    assert len(stored(database, site="Shop")) == 10
    assert bring(config, LATE).notes == ()


def test_a_site_that_was_deleted_keeps_its_days_until_told_to_go(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, days("2024-06-01", "2024-06-10"), days("2024-05-01", "2024-06-10", site=SHOP))
    before = contents(database)
    updated = bring(config, LATE, f"update website set deleted_at = now() where website_id = '{BLOG}'")  # noqa: S608
    assert contents(database) == before
    assert updated.notes == ("the site Blog is no longer in umami: its days are kept",)
    kept = (
        "umami no longer has the site Blog, whose 10 days (2024-06-01..2024-06-10) are kept. To forget them, run: "
        "traffic-forecast sources --update --whole",
    )
    assert updated.kept == bring(config, LATE).kept == kept
    assert [series.site for series in read(config, today="2024-06-11").series] == ["Shop"] * len(METRICS)
    updated = bring(config, LATE, whole=True)
    assert (stored(database), len(stored(database, site="Shop")), updated.kept) == ({}, 41, ())


def test_sites_change_their_names(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, days("2024-06-01", "2024-06-10"), days("2024-06-01", "2024-06-10", site=SHOP, an_hour=1))
    bring(config, LATE, f"update website set name = 'Diary' where website_id = '{BLOG}'")  # noqa: S608 - ours
    assert (stored(database), len(stored(database, site="Diary"))) == ({}, 10)
    bring(config, LATE, f"delete from website_event where created_at < '2024-06-05' and website_id = '{BLOG}'")  # noqa: S608 - ours
    bring(config, LATE, f"update website set name = 'Blog' where website_id = '{BLOG}'")  # noqa: S608 - ours
    assert len(stored(database)) == 10  # a name is no reason to forget what the source has dropped
    bring(config, LATE, f"update website set name = 'Diary' where website_id = '{BLOG}'")  # noqa: S608 - ours
    swapped = "update website set name = case name when 'Diary' then 'Shop' when 'Shop' then 'Diary' else name end"
    bring(config, LATE, swapped)
    assert set(stored(database, site="Diary").values()) == {12.0}
    assert set(stored(database, site="Shop").values()) == {60.0}


def test_another_time_zone_is_another_day(database: DatabaseConfig) -> None:
    bring(events_of(database), LATE, UMAMI, *(views(f"2024-06-{day:02d} 23:00+00", day) for day in range(1, 11)))
    bring(events_of(database, timezone="Europe/Paris"), LATE)
    assert stored(database) == {f"2024-06-{day + 1:02d}": float(day) for day in range(1, 10)}  # the 11th is not over
    bring(events_of(database), LATE)
    assert stored(database) == {f"2024-06-{day:02d}": float(day) for day in range(1, 11)}


def test_days_that_cannot_be_read_again_are_not_forgotten(database: DatabaseConfig, tmp_path: Path) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, days("2024-06-01", "2024-06-10"))
    prepare(database, "delete from website_event where created_at < '2024-06-05'")
    before = contents(database)
    with pytest.raises(WouldLoseDays) as caught:
        bring(events_of(database, timezone="Europe/Paris"), LATE)
    assert str(caught.value) == (
        "forecasting.daily has days of Blog in the time zone UTC since 2024-06-01, but umami only has data since "
        "2024-06-05: in the time zone Europe/Paris the older days would be lost. Set data.timezone=UTC, or, if they "
        "may be lost, run: traffic-forecast sources --update --whole"
    )
    file = tmp_path / "traffic.csv"
    file.write_text("site,metric,date,value\nBlog,page_visits,2024-06-01,7\n")
    of_file = Config(database=database, data=DataConfig(source=SourceName.csv, csv=file))
    with pytest.raises(WouldLoseDays) as caught:
        bring(of_file, LATE)
    assert str(caught.value) == (
        "csv has a site Blog, but forecasting.daily already has days of a site with that name from umami, since "
        "2024-06-01. They would be deleted. Rename one of the two sites, keep the sources apart with CACHE_URL, or, if "
        "those days may be deleted, run: "
        "traffic-forecast sources --update --whole --source csv"
    )
    assert contents(database) == before
    updated = bring(of_file, LATE, whole=True)
    assert updated.notes == ("the days of Blog copied from umami are deleted: csv has a site with the same name",)
    assert stored(database) == {"2024-06-01": 7.0}
    bring(config, LATE, whole=True)
    assert list(stored(database)) == [f"2024-06-{day:02d}" for day in range(5, 11)]


@pytest.mark.parametrize("emptied", ["update website set deleted_at = now()", "delete from website"])
def test_a_source_without_any_site_loses_nothing(database: DatabaseConfig, emptied: str) -> None:
    config = events_of(database, verdicts=VerdictConfig(breaks=["2024-06-05"]))
    bring(config, LATE, UMAMI, days("2024-06-01", "2024-06-10"))
    before = contents(database)
    updated = bring(config, LATE, emptied)
    assert (updated.num_rows, updated.notes) == (0, ())
    assert contents(database) == before


def test_a_query_without_any_row_loses_nothing(database: DatabaseConfig, tmp_path: Path) -> None:
    file = tmp_path / "traffic.sql"
    file.write_text("select site, metric, day, value from given")
    data = DataConfig(source=SourceName.query, query=file)
    given = """
        create table given as
            select 'a' as site, 'visits' as metric, date '2024-06-01' + n as day, n as value
            from generate_series(1, 5) as n
    """
    bring(Config(database=database, data=data), LATE, given)
    before = contents(database)
    assert len(before) == 5
    bring(Config(database=database, data=data), LATE, "delete from given")
    assert contents(database) == before


def test_a_metric_that_appears_is_read_from_the_beginning(database: DatabaseConfig) -> None:
    """Umami before 2.11, which gets visit_id at noon of June 9th: older events get one then, of their hour. The user
    masks what was made up.
    """
    breaks = [f"{metric}=2024-06-10" for metric in ("visits", "bounce_rate", "visit_duration")]
    config = events_of(database, verdicts=VerdictConfig(breaks=breaks))
    old = """
        insert into website_event (website_id, session_id, created_at)
            select website_id, gen_random_uuid(), day + interval '10 hours'
            from website cross join generate_series(timestamptz '2024-04-20 00:00+00', '2024-06-08', '1 day') as day
            where name = 'Blog'
    """
    assert bring(config, "2024-06-09 09:00", FIRST_TABLES, MIGRATIONS, SITES, old).num_rows == 50 * 2
    visits = VISITS.replace("not null", "not null default gen_random_uuid()")
    columns = "migration_name, finished_at"
    migrated = f"insert into _prisma_migrations ({columns}) values ('05_add_visit_id', '2024-06-09 12:00+00')"  # noqa: S608 - ours
    updated = bring(config, "2024-06-09 13:00", visits, migrated)
    assert (updated.num_days, updated.num_rows) == (50, 50 * 3)
    assert judged(database, "visits") == {"2024-04-20": "partial"}  # the first whole day of the new way is to come
    bring(config, "2024-06-10 13:00", days("2024-06-09", "2024-06-12", an_hour=1, hours=(10, 11)))
    assert judged(database, "visits") == {"2024-04-20": "partial"}
    for day in (11, 12):
        bring(config, f"2024-06-{day} 13:00")
        older = {str(dt.date(2024, 4, 20) + dt.timedelta(number)): "definition_break" for number in range(51)}
        for metric in ("visits", "bounce_rate", "visit_duration"):
            assert judged(database, metric) == older  # up to June 9th, when it was made
        assert judged(database) == {"2024-04-20": "partial"}
    bring(config, "2024-06-12 13:00", whole=True)
    assert judged(database, "visits") == older
    assert contents(database) == anew(config, "2024-06-12 13:00")


def random_events(random: np.random.Generator, *, num_days: int) -> list[tuple[str, dt.datetime, int]]:
    """Some thousand events of two sites from 2024-02-20 on: quiet days, spikes, days cut short; site, moment, person.

    All within six hours, of which those of the spikes are by three people.
    """
    events = []
    for site in (BLOG, SHOP):
        for day in range(num_days):
            midnight = dt.datetime(2024, 2, 20, tzinfo=dt.UTC) + dt.timedelta(days=day)
            what = random.choice(["usual", "none", "spike", "cut"], p=[0.88, 0.05, 0.04, 0.03])
            number = {"usual": 30, "none": 0, "spike": 400, "cut": 15}[str(what)]
            until = 11 if what == "cut" else 14
            people = random.integers(0, 3 if what == "spike" else 10**6, number)
            seconds = random.integers(8 * 3600, until * 3600, number)
            events += [
                (site, midnight + dt.timedelta(seconds=int(second)), int(person))
                for second, person in zip(seconds, people, strict=True)
            ]
    return events


async def insert(database: DatabaseConfig, events: list[tuple[str, dt.datetime, int]]) -> None:
    connection = await connect(database, writable=True)
    people = [f"00000000-0000-4000-8000-{person:012d}" for _, _, person in events]
    rows = [(site, who, who, moment) for (site, moment, _), who in zip(events, people, strict=True)]
    columns = ["website_id", "session_id", "visit_id", "created_at"]
    await connection.copy_records_to_table("website_event", records=rows, columns=columns)
    await connection.close()


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a second an example: not to be made smaller
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**31),
    updates=st.lists(st.floats(10, 100), min_size=1, max_size=6),
    whole=st.booleans(),
    reread_days=st.integers(1, 5),
)
def test_however_it_was_read_the_same_is_known(
    database: DatabaseConfig, seed: int, updates: list[float], whole: bool, reread_days: int
) -> None:
    """A few updates, events arriving late between them, leave what one update of everything at the end leaves."""
    prepare(database, "drop schema if exists forecasting cascade; drop table if exists website, website_event", UMAMI)
    random = np.random.default_rng(seed)
    events = random_events(random, num_days=101)
    verdicts = VerdictConfig(partial_hours=3, breaks=["2024-03-25", "visits=2024-04-20"])
    zones = ["Blog=Pacific/Auckland", "Shop=America/Los_Angeles"]
    config = events_of(database, timezones=zones, reread_days=reread_days, verdicts=verdicts)
    start = dt.datetime(2024, 2, 20, tzinfo=dt.UTC)
    moments = [start + dt.timedelta(days=day) for day in sorted(updates)]
    delays = np.where(random.random(len(events)) < 0.05, random.uniform(0, reread_days, len(events)), 0)
    arrivals = [moment + dt.timedelta(days=delay) for (_, moment, _), delay in zip(events, delays, strict=True)]

    async def run() -> None:
        before = start
        for number, now in enumerate(moments):
            arrived = [e for e, arrival in zip(events, arrivals, strict=True) if before <= arrival < now]
            await insert(database, arrived)
            await update(config, now=now, whole=whole and number == len(moments) - 1)
            before = now

    asyncio.run(run())
    assert contents(database) == anew(config, moments[-1].isoformat())


def test_the_property_above_sees_all_verdicts(database: DatabaseConfig) -> None:
    prepare(database, UMAMI)
    asyncio.run(insert(database, random_events(np.random.default_rng(0), num_days=101)))
    bring(events_of(database, verdicts=VerdictConfig(partial_hours=3, breaks=["2024-03-25"])), "2024-06-01")
    actual = {row[4] for row in contents(database)}
    assert actual == {"observed", "partial", "outage", "bot", "definition_break", "unmeasured"}


@pytest.mark.timeout(60)
def test_many_sites_take_in_proportion(database: DatabaseConfig) -> None:
    """400 sites, 28,000 days of five metrics: some seconds. Where rows are compared with all others, an hour."""
    sites = """
        insert into website (website_id, name)
            select gen_random_uuid(), 'site ' || number from generate_series(1, 400) as number;
        insert into website_event (website_id, session_id, visit_id, created_at)
            select website_id, made.id, made.id, day + interval '12 hours'
            from website
            cross join generate_series(timestamptz '2024-04-02 00:00+00', '2024-06-10', interval '1 day') as day
            cross join lateral (select gen_random_uuid() as id where day is not null) as made
            where website.name like 'site %' and extract(day from day) <> 5;
    """
    config = events_of(database)
    assert bring(config, LATE, UMAMI, sites).num_rows == 400 * 70 * 5
    actual = [row["value"] for row in ask_own(database, "select value from forecasting.daily where metric = 'visits'")]
    assert (actual.count(1.0), actual.count(0.0)) == (400 * 67, 400 * 3)  # quiet on the 5th of each month
    assert bring(config, LATE).num_rows == 0


def test_sites_of_one_name_are_told_apart(database: DatabaseConfig) -> None:
    keys = [f"{beginning}-0000-4000-8000-000000000000" for beginning in ("11111111", "22222222", "22222222")]
    keys[2] = keys[2].replace("4000", "4001")
    config = events_of(database)
    sites = [f"insert into website (website_id, name) values ('{key}', 'Twice')" for key in keys]  # noqa: S608 - ours
    seen = [views("2024-06-10 10:00+00", 2 + place, site=key) for place, key in enumerate(keys)]
    bring(config, LATE, UMAMI, *sites, *seen)
    names = ["Twice (11111111)", f"Twice ({keys[1]})", f"Twice ({keys[2]})"]
    assert [stored(database, site=name) for name in names] == [{"2024-06-10": 2}, {"2024-06-10": 3}, {"2024-06-10": 4}]


MANY_DAYS = days("2024-03-01", "2024-06-10", an_hour=1, hours=(9, 12)), days("2024-04-01", "2024-06-10", site=SHOP)


def test_updates_at_once_leave_what_one_leaves(database: DatabaseConfig) -> None:
    config = events_of(database)
    prepare(database, UMAMI, *MANY_DAYS)

    async def run(whole: list[bool]) -> list[UpdateResult]:
        now = dt.datetime(2024, 6, 11, 9, tzinfo=dt.UTC)
        return list(await asyncio.gather(*(update(config, now=now, whole=flag) for flag in whole)))

    done = asyncio.run(run([False] * 4))
    actual = contents(database)
    assert (
        sorted(result.num_rows or 0 for result in done)[-1]
        <= len(actual)
        == sum(result.num_rows or 0 for result in done)
    )
    assert sum(result.num_rows or 0 for result in asyncio.run(run([True, False, True, False]))) == 0
    assert contents(database) == actual
    assert actual == anew(config, LATE)


def test_all_is_read_again_though_others_read_meanwhile(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, LATE, UMAMI, *MANY_DAYS)
    prepare(database, views("2024-03-05 10:00+00"), views("2024-06-09 10:00+00"))

    async def run() -> None:
        now = dt.datetime(2024, 6, 11, 9, tzinfo=dt.UTC)
        await asyncio.gather(*(update(config, now=now, whole=flag) for flag in (False, True, False, False)))

    asyncio.run(run())
    assert (stored(database)["2024-03-05"], stored(database)["2024-06-09"]) == (4, 4)


PROGRAM = """
import asyncio, datetime as dt, sys
from forecasting.domain import SourceName
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.ingest import update

def advance(num_days, of):
    print(num_days, "of", of, flush=True)

config = Config(
    database=DatabaseConfig(embedded=False, host=sys.argv[1], name=sys.argv[2]),
    data=DataConfig(source=SourceName.umami),
)
asyncio.run(update(config, now=dt.datetime(2024, 6, 11, 9, tzinfo=dt.UTC), advance=advance))
"""


def start(database: DatabaseConfig) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROGRAM, database.host, database.name]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_processes_at_once_leave_what_one_leaves(database: DatabaseConfig) -> None:
    prepare(database, UMAMI, *MANY_DAYS)
    programs = [start(database) for _ in range(2)]
    for program in programs:
        _, errors = program.communicate(timeout=PATIENCE_SECONDS)
        assert (program.returncode, errors) == (0, "")
    actual = contents(database)
    assert len(actual) == (102 + 71) * 5
    assert actual == anew(events_of(database), LATE)


# Each of the events read takes a while, but for those that only tell the first and the last day.
SLOW = """
alter table website_event rename to events;
create function wait(moment timestamptz) returns boolean cost 100000 language plpgsql as $$
    begin perform pg_sleep({seconds}); return moment is not null; end
$$;
create view website_event as select * from events where wait(created_at);
"""
# Those of the 29th day and later ones take forever, but for the newest, which tell the last day.
STUCK = SLOW.format(seconds="case when moment between '2024-03-29' and '2024-06-01' then 3600 else 0 end")
END_OTHERS = """
select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
"""
A_DAY = days("2024-03-01", "2024-06-10", an_hour=1, hours=(9, 10))  # 102 of them


def test_a_killed_update_is_gone_on_with(database: DatabaseConfig) -> None:
    prepare(database, UMAMI, A_DAY, STUCK)
    program = start(database)
    assert program.stdout is not None
    assert program.stdout.readline() == "28 of 102\n"
    program.send_signal(signal.SIGKILL)  # while it reads the next days
    program.communicate(timeout=PATIENCE_SECONDS)
    prepare(database, END_OTHERS, "create or replace view website_event as select * from events")
    assert list(stored(database)) == [str(dt.date(2024, 3, 1) + dt.timedelta(number)) for number in range(28)]
    assert progress(database) == "2024-03-29"
    config = events_of(database)
    assert bring(config, LATE).num_days == 102 - 28 + 3
    assert contents(database) == anew(config, LATE)


async def find_running(database: DatabaseConfig, query: str) -> int:
    """Waits for somebody to run such a query; its process."""
    connection = await connect(database)
    while True:
        actual = await connection.fetch(
            """
            select pid from pg_stat_activity
            where datname = $1 and state = 'active' and query ilike $2 and pid <> pg_backend_pid()
            """,
            database.name,
            query,
        )
        if actual:
            await connection.close()
            return int(actual[0]["pid"])
        await asyncio.sleep(0.02)


async def terminate(database: DatabaseConfig, process: int) -> None:
    connection = await connect(database)
    assert await connection.fetchval("select pg_terminate_backend($1)", process)
    await connection.close()


async def count_others(database: DatabaseConfig) -> int:
    """Connections, but for who asks."""
    connection = await connect(database)
    statement = "select count(*) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()"
    actual = await connection.fetchval(statement, database.name)
    await connection.close()
    return int(actual)


def test_a_connection_that_is_lost_loses_what_is_being_read_alone(database: DatabaseConfig) -> None:
    prepare(database, UMAMI, A_DAY, SLOW.format(seconds=0.03))
    config, now = events_of(database), dt.datetime(2024, 6, 11, 9, tzinfo=dt.UTC)
    terminations = []

    async def terminate_soon() -> None:
        await terminate(database, await find_running(database, "%website_event%"))

    def advance(num_days: int, of: int) -> None:
        terminations.append(asyncio.get_running_loop().create_task(terminate_soon()))

    with pytest.raises(CannotConnect) as caught:
        asyncio.run(update(config, now=now, advance=advance))
    assert str(caught.value) == (
        "The connection to PostgreSQL was lost while reading the days 2024-03-29..2024-05-23 from umami (days read "
        "earlier are kept): connection was closed in the middle of operation: terminating connection due to "
        "administrator command. Try again."
    )
    assert len(terminations) == 1
    assert progress(database) == "2024-03-29"
    assert len(stored(database)) == 28
    prepare(database, "create or replace view website_event as select * from events")
    assert bring(config, LATE).num_days == 102 - 28 + 3
    assert contents(database) == anew(config, LATE)


@pytest.mark.parametrize("how", ["own connection", "cancelled"])
def test_an_update_that_ends_amid_a_chunk_leaves_nothing_behind(database: DatabaseConfig, how: str) -> None:
    prepare(database, UMAMI, A_DAY, SLOW.format(seconds=0.1))
    config, now = events_of(database), dt.datetime(2024, 6, 11, 9, tzinfo=dt.UTC)

    async def run() -> object:
        updating = asyncio.create_task(update(config, now=now))
        process = await find_running(database, "copy%incoming%")  # for 2.8 s
        if how == "cancelled":
            updating.cancel()
        else:
            await terminate(database, process)
        (ended,) = await asyncio.wait_for(asyncio.gather(updating, return_exceptions=True), 30)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        for _ in range(100):
            if not await count_others(database):
                return ended
            await asyncio.sleep(0.05)
        raise TimeoutError("connections are left")

    ended = asyncio.run(run())
    if how == "cancelled":
        assert isinstance(ended, asyncio.CancelledError)
    else:
        assert isinstance(ended, CannotConnect)
        assert str(ended).startswith("The connection to PostgreSQL was lost while writing to forecasting.daily: ")
    assert stored(database) == {}


def test_days_that_take_too_long_are_read_fewer_at_once(database: DatabaseConfig) -> None:
    prepare(database, UMAMI, A_DAY, "delete from website_event where created_at < '2024-05-14'")  # 28 days are left
    config = events_of(database, statement_timeout_seconds=1.0)
    advanced: list[int] = []
    # Of 28 days, 1.7 s.
    bring(config, LATE, SLOW.format(seconds=0.06), advance=lambda num_days, of: advanced.append(num_days))
    assert sum(advanced) == 28
    assert max(advanced) < 28
    assert stored(database) == {str(dt.date(2024, 5, 14) + dt.timedelta(number)): 1.0 for number in range(28)}


def test_a_day_that_takes_too_long_is_named(database: DatabaseConfig) -> None:
    prepare(database, UMAMI, days("2024-06-08", "2024-06-10", an_hour=1), SLOW.format(seconds=0.1))  # 1.2 s a day
    with pytest.raises(SourceTooSlow) as caught:
        bring(events_of(database, statement_timeout_seconds=1.0), LATE)
    assert str(caught.value) == (
        "umami did not return the days 2024-06-08..2024-06-08 within data.statement_timeout_seconds. Days read earlier "
        "are kept. Raise the timeout, and check that the table has an index on the time of events."
    )


def test_updates_that_fail_do_not_ask_for_more_and_more(database: DatabaseConfig) -> None:
    config = events_of(database, statement_timeout_seconds=1.0)
    bring(config, LATE, UMAMI, days("2024-05-01", "2024-06-12", an_hour=1))
    prepare(database, SLOW.format(seconds=0.1))
    texts = set()
    for _ in range(2):
        with pytest.raises(SourceTooSlow) as caught:
            bring(config, "2024-06-12 09:00")
        texts.add(str(caught.value).partition(" within")[0])
    assert texts == {"umami did not return the days 2024-06-08..2024-06-08"}
    prepare(database, "create or replace view website_event as select * from events")
    assert bring(config, "2024-06-12 09:00").num_days == 4


READER = "do $$ begin create role cache_reader login; exception when duplicate_object then null; end $$;"


def objects(database: DatabaseConfig) -> list[Any]:  # Any: PostgreSQL's types
    statement = "select relnamespace::regnamespace::text, relname, relkind, xmin::text from pg_class order by oid"
    return [tuple(row) for row in ask_own(database, statement)]


def test_a_source_is_only_read(
    database: DatabaseConfig, embedded: DatabaseConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """By a user who may read and nothing else: our own schema is then in the embedded PostgreSQL, which is told."""
    own = events_of(replace(database, pgdata=embedded.pgdata), statement_timeout_seconds=7.0)
    config = as_user(own, "cache_reader")
    prepare(
        database,
        UMAMI,
        days("2024-06-01", "2024-06-10"),
        READER,
        GUARDED,
        "grant select on website, website_event to cache_reader",
    )
    before = objects(database)
    with caplog.at_level(logging.INFO, "forecasting.warehouse"):
        updated = bring(config, LATE)
    refusal = (
        f"The database {database.name} has no schema forecasting with its tables, and the user cache_reader may not "
        f'create it. Ask its owner to run: GRANT CREATE ON DATABASE "{database.name}" TO "cache_reader";'
    )
    assert str(updated.refusal) == refusal
    lines = [record.getMessage() for record in caplog.records]
    line = f"the schema forecasting is kept in the embedded PostgreSQL in {embedded.pgdata}. {refusal}"
    assert lines.count(line) == 1
    assert updated.database.embedded
    assert updated.database.name.startswith("traffic_cache_")
    assert stored(updated.database) == {f"2024-06-{day:02d}": 60.0 for day in range(1, 11)}
    assert bring(config, LATE).num_rows == 0
    assert objects(database) == before


def test_our_own_schema_may_be_in_another_database(database: DatabaseConfig, embedded: DatabaseConfig) -> None:
    elsewhere = DatabaseConfig(embedded=True, pgdata=embedded.pgdata, name=f"cache_of_{database.name}")
    config = replace(events_of(database), cache_database=elsewhere)
    prepare(database, UMAMI)
    before = objects(database)
    updated = bring(config, LATE, days("2024-05-01", "2024-06-10"))
    assert (updated.database, updated.refusal) == (elsewhere, None)
    assert len(stored(elsewhere)) == 41
    assert objects(database) == before
    assert read(config, today="2024-06-11").num_days == 41


def test_a_source_may_be_in_another_database(database: DatabaseConfig, embedded: DatabaseConfig) -> None:
    elsewhere = DatabaseConfig(embedded=True, pgdata=embedded.pgdata, name=f"own_of_{database.name}")
    config = replace(events_of(elsewhere), source_database=database)
    updated = bring(config, LATE, UMAMI, days("2024-06-01", "2024-06-10"))
    assert updated.database == elsewhere
    assert len(stored(elsewhere)) == 10
    assert ask_own(database, "select to_regnamespace('forecasting') as found")[0]["found"] is None


OWN_DAYS = """
drop table daily_metrics;
create table daily_metrics (id serial, date date, page_visits integer, signups integer);
insert into daily_metrics (date, page_visits, signups)
    select date '2024-06-10' - day, 1000 + day, day from generate_series(0, 99) as day;
"""


def site_of(database: DatabaseConfig) -> str:
    return str(database.name)


def test_values_corrected_on_any_day_are_seen(database: DatabaseConfig) -> None:
    config = Config(database=database)
    assert bring(config, LATE, OWN_DAYS).num_rows == 200
    corrected = "update daily_metrics set page_visits = 5 where date in ('2024-03-15', '2024-06-01')"
    assert bring(config, LATE, corrected).num_rows == 2
    actual = stored(database, site=site_of(database))
    assert (actual["2024-03-15"], actual["2024-06-01"], actual["2024-03-16"]) == (5, 5, 1086)


def test_days_that_were_wrong_go_when_all_are_read_again(database: DatabaseConfig) -> None:
    config = Config(database=database)
    wrong = "insert into daily_metrics (date, page_visits) values ('2124-01-01', 1), ('1994-01-01', 1)"
    bring(config, LATE, OWN_DAYS, wrong)
    assert len(stored(database, site=site_of(database))) == 101  # a day that is still to come is none
    bring(config, LATE, "delete from daily_metrics where extract(year from date) <> 2024", whole=True)
    assert len(stored(database, site=site_of(database))) == 100
    bring(config, LATE, "delete from daily_metrics where date < '2024-04-01' or date > '2024-06-05'", whole=True)
    actual = list(stored(database, site=site_of(database)))
    assert (actual[0], actual[-1], len(actual)) == ("2024-04-01", "2024-06-05", 66)
    assert contents(database) == anew(config, LATE)


def test_of_totals_the_last_days_may_be_asked_for(database: DatabaseConfig) -> None:
    """In whole blocks of 28 days, of which one begins on May 9th."""
    config = Config(database=database)
    bring(config, LATE, OWN_DAYS)
    corrected = "update daily_metrics set page_visits = 5 where date in ('2024-05-08', '2024-06-01', '2024-05-09')"
    updated = bring(config, LATE, corrected, recent_days=10, compare=False)
    assert (updated.num_days, updated.num_rows) == (28, 2)
    actual = stored(database, site=site_of(database))
    assert [actual[day] for day in ("2024-05-08", "2024-05-09", "2024-06-01")] == [1033, 5, 5]
    assert bring(config, LATE, recent_days=10).num_rows == 1  # a day that was read before


def test_a_site_that_ended_does_not_make_the_last_days_many(database: DatabaseConfig) -> None:
    config = Config(database=database)
    ended = """
        alter table daily_metrics add site text;
        update daily_metrics set site = 'new';
        insert into daily_metrics (date, page_visits, site) values ('2020-01-01', 1, 'old');
    """
    assert bring(config, LATE, OWN_DAYS, ended, recent_days=10).num_days == 33  # from May 9th on
    assert len(contents(database)) == 33 * 2
    bring(config, LATE)
    assert len(contents(database)) == 201


def test_each_sites_own_day_is_the_one_that_is_not_over(database: DatabaseConfig) -> None:
    """In Kiritimati it is the 11th by then, elsewhere still the 10th."""
    data = DataConfig(timezones=["east=Pacific/Kiritimati"])
    sites = """
        alter table daily_metrics add site text;
        update daily_metrics set site = 'west';
        insert into daily_metrics (date, page_visits, signups, site)
            select date, page_visits, signups, 'east' from daily_metrics;
    """
    bring(Config(database=database, data=data), "2024-06-10 15:00", OWN_DAYS, sites)
    last = {site: list(stored(database, site=site))[-1] for site in ("east", "west")}
    assert last == {"east": "2024-06-10", "west": "2024-06-09"}


def test_a_column_that_was_dropped_keeps_its_days_until_told_to_go(database: DatabaseConfig) -> None:
    config = Config(database=database)
    bring(config, LATE, OWN_DAYS)
    before = contents(database)
    updated = bring(config, LATE, "alter table daily_metrics drop signups")
    assert (updated.num_rows, contents(database)) == (0, before)
    assert updated.kept == (
        "siteanalytics no longer has the metric signups, whose 100 days (2024-03-03..2024-06-10) are kept. To forget "
        "them, run: traffic-forecast sources --update --whole",
    )
    updated = bring(config, LATE, "alter table daily_metrics add signups integer")  # its values are gone, too
    assert (updated.num_rows, contents(database)) == (0, before)
    bring(config, LATE, "update daily_metrics set signups = 7 where date = '2024-06-10'")
    assert [stored(database, "signups", site_of(database))[f"2024-06-{day}"] for day in ("09", "10")] == [1, 7]
    bring(config, LATE, "alter table daily_metrics drop signups", whole=True)
    assert {row[1] for row in contents(database)} == {"page_visits"}


@pytest.mark.parametrize(
    ("type_", "repair"),
    [
        (
            "text",
            ", so it is left out. To make it a metric, run: ALTER TABLE daily_metrics ALTER COLUMN "
            '"page_visits" TYPE double precision USING CASE WHEN "page_visits" ~ '
            r"'^\s*[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?\s*$' THEN "
            """replace("page_visits", ',', '')::double precision END;""",
        ),
        ("boolean using page_visits > 0", "."),
    ],
)
def test_a_column_that_became_unreadable_does_not_delete_its_days(
    database: DatabaseConfig, type_: str, repair: str
) -> None:
    config = Config(database=database)
    bring(config, LATE, OWN_DAYS)
    before = contents(database)
    with pytest.raises(WarehouseError) as caught:
        bring(config, LATE, f"alter table daily_metrics alter page_visits type {type_}")
    assert str(caught.value) == (
        "Metrics that were read earlier cannot be read any more: the column page_visits of daily_metrics has the type "
        f"{type_.split(maxsplit=1)[0]}, which is no number{repair} Or, if their days may be deleted, run: "
        f"{show_command('sources', '--update', '--whole')}"
    )
    assert contents(database) == before
    bring(config, LATE, whole=True)
    assert {row[1] for row in contents(database)} == {"signups"}


@pytest.mark.parametrize("change", ["rename to gone", "rename date to gone"])
def test_a_table_that_is_gone_after_it_was_read_is_an_error(database: DatabaseConfig, change: str) -> None:
    """Its days would be out of date, and nobody would say so."""
    config = Config(database=database)
    bring(config, LATE, OWN_DAYS)
    before = contents(database)
    with pytest.raises(WarehouseError, match="daily_metrics"):
        bring(config, LATE, f"alter table daily_metrics {change}")
    assert contents(database) == before


def test_two_rows_of_one_day_are_refused_and_nothing_is_lost(database: DatabaseConfig) -> None:
    config = Config(database=database)
    bring(config, LATE, OWN_DAYS)
    before = contents(database)
    with pytest.raises(DuplicateDays) as caught:
        bring(config, LATE, "insert into daily_metrics (date, page_visits, signups) values ('2024-05-05', 1, 1)")
    assert str(caught.value) == (
        f"page_visits of {database.name} has more than one value for 1 day, the first on 2024-05-05. "
        "Keep one row a day, or add a `site` column if the rows are of different sites."
    )
    assert contents(database) == before


def test_a_file_becomes_a_panel(database: DatabaseConfig, tmp_path: Path) -> None:
    file = tmp_path / "ga4.csv"
    lines = [f"{number:04d},{100 + number}" for number in range(40)]
    head = "# ----------------\n# 20240501-20240609\n# ----------------\n\nNth day,Sessions\n"
    file.write_text(head + "\n".join(lines) + "\n")
    config = Config(database=database, data=DataConfig(source=SourceName.csv, csv=file))
    assert bring(config, LATE).num_rows == 40
    panel = read(config, today="2024-06-11")
    assert [series.metric for series in panel.series] == ["visits"]
    assert panel.values.tolist() == [[100.0 + number for number in range(40)]]
    assert (to_date(panel.first_day), panel.verdicts.tolist()) == (dt.date(2024, 5, 1), [[Verdict.observed] * 40])
    assert bring(config, LATE).num_rows == 0
    file.write_text(head + "\n".join(lines).replace("0003,103", "0003,7") + "\n")
    assert bring(config, LATE).num_rows == 1


def test_a_rate_of_a_file_keeps_its_unit(database: DatabaseConfig, tmp_path: Path) -> None:
    file = tmp_path / "ga4.csv"
    file.write_text(GA4_REPORT)
    config = Config(database=database, data=DataConfig(source=SourceName.csv, csv=file))
    bring(config, LATE)
    assert stored(database, "bounce_rate", "ga4") == {
        "2024-02-29": 0.5,
        "2024-03-01": 0.25,
        "2024-03-02": 0.4,
    }
    (row,) = ask_own(database, "select kind, unit from forecasting.metrics where metric = 'bounce_rate'")
    assert (row["kind"], row["unit"]) == ("rate", "fraction")


def test_a_query_becomes_a_panel(database: DatabaseConfig, tmp_path: Path) -> None:
    file = tmp_path / "traffic.sql"
    file.write_text("""
        select shop as site, 'orders' as metric, day, number as value
        from orders
        where day >= $1::date and day < $2::date
    """)
    orders = """
        create table orders (shop text, day date, number integer);
        insert into orders select shop, date '2024-05-01' + n, n + length(shop)
            from unnest(array['tea', 'coffee']) as shop, generate_series(0, 39) as n
    """
    metrics = {"orders": MetricConfig(kind=Kind.count)}
    data = DataConfig(source=SourceName.query, query=file)
    config = Config(database=database, data=data, metrics=metrics)
    assert bring(config, LATE, orders).num_rows == 80
    panel = read(config, today="2024-06-11")
    assert [(series.site, series.metric) for series in panel.series] == [("coffee", "orders"), ("tea", "orders")]
    assert panel.values.tolist() == [[number + 6.0 for number in range(40)], [number + 3.0 for number in range(40)]]
    changed = "update orders set number = 500 where shop = 'tea' and day in ('2024-05-02', '2024-06-08')"
    assert bring(config, LATE, changed, recent_days=5, compare=False).num_rows == 1
    assert bring(config, LATE).num_rows == 1
    gone = "delete from orders where shop = 'coffee'"
    assert bring(config, LATE, gone).notes == ("the site coffee is no longer in query: its days are kept",)
    assert [series.site for series in read(config, today="2024-06-11").series] == ["tea"]


def test_before_anything_was_read_the_panel_says_how(database: DatabaseConfig) -> None:
    with pytest.raises(MissingTable) as caught:
        read(events_of(database), today="2024-06-11")
    assert str(caught.value) == (
        "This database has no schema forecasting with its tables yet: nothing was read from umami. "
        "Run: traffic-forecast sources --update"
    )
