"""What scripts/sources.py prints about an Umami whose unusual days are all known."""

import asyncio
import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from forecasting.domain import SourceName
from forecasting.errors import MissingTable, SourceTooSlow
from forecasting.invocation import show_command
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.day_report import list_days
from forecasting.warehouse.source_report import check_source, describe_sources
from forecasting.warehouse.sources import shynet, siteanalytics, umami
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import ANNOTATIONS, BLOG, SHOP, UMAMI

NOW = dt.datetime(2024, 3, 15, 12, tzinfo=dt.UTC)
# The blog has 2 visits with one view in each hour from 1 January to 14 March, Paris time. There is nothing on 20
# February, and nothing from noon on 1 March. On 8 March one visitor loads 200 more pages. On 10 March another does, and
# a note announces it.
TRAFFIC = f"""
insert into website_event (website_id, session_id, visit_id, created_at)
    select '{BLOG}', md5(moment::text || n)::uuid, md5(moment::text || n)::uuid, moment at time zone 'Europe/Paris'
    from generate_series(timestamp '2024-01-01 00:30', timestamp '2024-03-14 23:30', interval '1 hour') as moment,
        generate_series(1, 2) as n
    where moment::date <> '2024-02-20' and not (moment >= '2024-03-01 12:00' and moment < '2024-03-02');
insert into website_event (website_id, session_id, visit_id, created_at)
    select '{BLOG}', md5(day::text)::uuid, md5(day::text)::uuid, day + n * interval '1 second'
    from unnest(array['2024-03-08 12:00+01', '2024-03-10 12:00+01']::timestamptz[]) as day,
        generate_series(1, 200) as n;
insert into annotation (website_id, date, all_day, note)
    values ('{BLOG}', '2024-03-09 23:00Z', true, 'Load test');
insert into website_event (website_id, session_id, visit_id, created_at) values
    ('{SHOP}', gen_random_uuid(), gen_random_uuid(), '2024-03-12 10:00Z');
"""  # noqa: S608 - ours


@pytest.fixture
def config(database: DatabaseConfig) -> Config:
    prepare(database, "drop table daily_metrics, page_visits", UMAMI, ANNOTATIONS, TRAFFIC)
    return Config(database=database, data=DataConfig(source=SourceName.umami, timezone="Europe/Paris"))


def check(config: Config) -> list[str]:
    return asyncio.run(check_source(config, now=NOW)).splitlines()


def test_every_definition_is_shown() -> None:
    text = " ".join(describe_sources().split())
    for metric in (*umami.DEFINITIONS, *siteanalytics.EVENT_DEFINITIONS, *shynet.SOURCE.definitions):
        assert " ".join(metric.text.split()[:4]) in text
    assert all(source.value in text for source in SourceName)


def test_check_shows_sites_days_warnings_and_rights(config: Config) -> None:
    first, *rest = check(config)
    assert first.startswith(f"umami in the database {config.database.name}, PostgreSQL 18")
    assert rest == [
        "rights: postgres (a superuser) may read website, website_event, and may write to website, website_event, "
        "which is not needed",
        f"our own schema: forecasting in the database {config.database.name}; postgres may create it",
        "metrics: page_visits, unique_visitors, visits, bounce_rate, visit_duration",
        "",
        "site   first day   last day    days  time zone",
        "Blog   2024-01-01  2024-03-14  74    Europe/Paris",
        "Quiet  no day                  0     Europe/Paris",
        "Shop   2024-03-12  2024-03-12  1     Europe/Paris",
        "",
        "events: 1, 0 of them not over yet: Load test",
        "no holidays and no events are known of Quiet, Shop: if the visitors live in FR, as Europe/Paris suggests, set "
        "data.country=FR",
        "",
        "warning: Quiet has no day yet",
        "warning: Shop has 1 day; at least 30 are needed",
        "warning: Shop has no data from the last 3 days: its forecasts begin after its last day",
    ]


def test_check_writes_nothing_and_needs_no_more_than_select(config: Config) -> None:
    reader = replace(config, database=replace(config.database, user="onlooker"))
    prepare(config.database, "create role onlooker login; grant select on website, website_event to onlooker")
    try:
        lines = check(reader)
        assert lines[1] == "rights: onlooker may read website, website_event"
        assert lines[2] == (
            f"our own schema: forecasting in the database {config.database.name}; onlooker may neither create nor "
            "write to it: it is kept in the embedded PostgreSQL instead, or where CACHE_URL points"
        )
        assert (
            "warning: onlooker may not read annotation, so its notes on days are ignored. Ask its owner to run: "
            'GRANT SELECT ON annotation TO "onlooker";'
        ) in lines
        prepare(config.database, "revoke select on website_event from onlooker")
        with pytest.raises(MissingTable) as caught:
            check(reader)
        assert str(caught.value) == (
            f"The user onlooker may not read public.website_event in the database {config.database.name}. Ask its "
            'owner to run: GRANT SELECT ON public.website_event TO "onlooker";'
        )
    finally:
        prepare(config.database, "drop owned by onlooker; drop role onlooker")
    prepare(config.database, "do $$ begin assert to_regnamespace('forecasting') is null; end $$")


def test_the_wrong_source_is_named(config: Config) -> None:
    with pytest.raises(MissingTable) as caught:
        check(replace(config, data=DataConfig(source=SourceName.shynet)))
    assert str(caught.value) == (
        f"The database {config.database.name} has no table core_service, analytics_session, analytics_hit, as shynet "
        "would. The database looks like one of Umami. Run: "
        f"{show_command('sources', '--check', '--source', 'umami')}"
    )


def test_a_time_zone_for_an_unknown_site_is_a_warning(config: Config) -> None:
    zones = ["Blgo=Asia/Tokyo", "Shop=Asia/Tokyo"]
    lines = check(replace(config, data=replace(config.data, timezones=zones, csv=Path("of another source"))))
    assert lines[0].startswith("umami in the database")
    assert "warning: data.timezones names the site 'Blgo', which does not exist" in lines
    assert not any("'Shop'" in line for line in lines)


def test_check_counts_holidays_and_events(config: Config, tmp_path: Path) -> None:
    """France had New Year, and will have 11 holidays in the next 365 days."""
    file = tmp_path / "events.csv"
    file.write_text("site,first_day,last_day,name\nBlog,2024-03-01,2024-03-20,Sale\nBlgo,2024-05-02,,Launch\n")
    data = replace(config.data, country=["Blog=FR"], events=file, timezone="UTC")
    lines = check(replace(config, data=data))
    assert lines[10:14] == [
        "holidays of FR: 1 since 2023-12-31, 11 in the next 365 days, for 1 site",
        "events: 3, 2 of them not over yet: Launch, Load test, Sale",
        "no holidays and no events are known of Quiet, Shop: set data.country or data.events",
        "",
    ]
    assert "warning: the event Launch (2024-05-02) is of the site 'Blgo', which does not exist" in lines


def test_a_source_without_a_day_is_a_warning(database: DatabaseConfig) -> None:
    prepare(database, "truncate daily_metrics")
    assert check(Config(database=database))[-1] == (
        "warning: siteanalytics has no site yet. Check the database and data.source"
    )


def test_a_value_that_cannot_be_is_listed_without_it(database: DatabaseConfig) -> None:
    prepare(database, "update daily_metrics set page_visits = -7 where date = '2020-02-01'")
    report = asyncio.run(list_days(Config(database=database)))
    assert f"{database.name}: 2020-02-01 invalid: page_visits" in report.splitlines()


def test_a_query_that_takes_too_long_names_the_setting(config: Config, tmp_path: Path) -> None:
    file = tmp_path / "slow.sql"
    file.write_text("select 'a' as site, 'orders' as metric, current_date as day, 1 as value from pg_sleep(30)")
    slow = DataConfig(source=SourceName.query, query=file, statement_timeout_seconds=1.0)
    with pytest.raises(SourceTooSlow) as caught:
        check(replace(config, data=slow))
    assert str(caught.value) == (
        f"{file} did not return all of its rows within data.statement_timeout_seconds (1). Raise the timeout, or make "
        "the query faster."
    )


def test_unusual_days_are_listed_with_their_reasons(config: Config) -> None:
    lines = asyncio.run(list_days(config)).splitlines()
    names = "page_visits, unique_visitors, visits, bounce_rate, visit_duration"
    assert [" ".join(line.split()) for line in lines] == [
        "series observed unmeasured outage partial bot",
        *(f"{name} of Blog 70 0 1 2 1" for name in ("page_visits", "unique_visitors", "visits")),
        *(f"{name} of Blog 70 1 0 2 1" for name in ("bounce_rate", "visit_duration")),
        "",
        f"Blog: 2024-01-01 partial: {names} (page_visits 48)",
        "Blog: 2024-02-20 unmeasured: bounce_rate, visit_duration",
        "Blog: 2024-02-20 outage: page_visits, unique_visitors, visits (page_visits 0)",
        f"Blog: 2024-03-01 partial: {names} (page_visits 24)",
        f"Blog: 2024-03-08 bot: {names} (page_visits 248)",
        "known: 2024-03-10, Blog: Load test",
        *(
            f"note: {name} of Shop has 1 day of data; at least 30 are needed: it is left out"
            for name in names.split(", ")
        ),
    ]


def test_check_names_a_half_counted_last_day(tmp_path: Path, database: DatabaseConfig) -> None:
    rows = [(dt.date(2024, 1, 1) + dt.timedelta(day), 600 + day % 3, 200 + day % 2) for day in range(60)]
    file = tmp_path / "shop.csv"
    lines = ["date,page_visits,sessions", *(f"{day},{visits},{sessions}" for day, visits, sessions in rows)]
    file.write_text("\n".join([*lines, "2024-03-01,350,121"]) + "\n")
    config = Config(database=database, data=DataConfig(source=SourceName.csv, csv=file))
    sentence = (
        "warning: the last day of shop, 2024-03-01, looks half-counted (page_visits 350, sessions 121). It is masked "
        "until the source has other values for it, or a later day"
    )
    now = dt.datetime(2024, 3, 2, 12, tzinfo=dt.UTC)
    assert asyncio.run(check_source(config, now=now)).splitlines()[-1] == sentence
    # While the day lasts, it is left out, as any unfinished day.
    assert asyncio.run(check_source(config, now=now - dt.timedelta(days=1))).splitlines()[-1] == "no warnings"
    file.write_text("\n".join([*lines, "2024-03-01,601,200"]) + "\n")
    assert asyncio.run(check_source(config, now=now)).splitlines()[-1] == "no warnings"
