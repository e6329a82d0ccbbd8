"""Umami as a source, with its tables as its own migrations make them."""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest

from forecasting.errors import MissingTable
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import OwnConnection
from forecasting.warehouse.queries import load_query
from forecasting.warehouse.sources.source import KnownEvent, MetricDefinition, Site, Source
from forecasting.warehouse.sources.umami import DEFINITIONS, SOURCE
from tests.warehouse.sources.asking import ask, list_metrics, list_sites, prepare, read_all, read_days, read_hours

PARIS = "Europe/Paris"
BLOG, SHOP, QUIET = (f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abc")
VIEW, CUSTOM, LINK, PIXEL, PERFORMANCE = range(1, 6)
METRICS = ("page_visits", "unique_visitors", "visits", "bounce_rate", "visit_duration")

# prisma/migrations: 01_init, then what later ones add.
FIRST_TABLES = """
create table website (
    website_id uuid not null primary key, name varchar(100) not null, domain varchar(500), share_id varchar(50),
    reset_at timestamptz(6), user_id uuid, created_at timestamptz(6) default current_timestamp,
    updated_at timestamptz(6), deleted_at timestamptz(6)
);
create table website_event (
    event_id uuid not null primary key default gen_random_uuid(), website_id uuid not null, session_id uuid not null,
    created_at timestamptz(6) default current_timestamp, url_path varchar(500) not null default '/',
    url_query varchar(500), page_title varchar(500), event_type integer not null default 1, event_name varchar(50)
);
create index website_created_at_idx on website (created_at);
create index website_event_created_at_idx on website_event (created_at);
create index website_event_session_id_idx on website_event (session_id);
create index website_event_website_id_idx on website_event (website_id);
create index website_event_website_id_created_at_idx on website_event (website_id, created_at);
create index website_event_website_id_session_id_created_at_idx
    on website_event (website_id, session_id, created_at);
"""
VISITS = """  -- 05_add_visit_id
alter table website_event add column visit_id uuid not null;
create index website_event_visit_id_idx on website_event (visit_id);
create index website_event_website_id_visit_id_created_at_idx on website_event (website_id, visit_id, created_at);
"""
ANNOTATIONS = """  -- 25_add_annotation
create table annotation (
    annotation_id uuid not null primary key default gen_random_uuid(), website_id uuid not null, user_id uuid,
    date timestamptz(6) not null, all_day boolean not null default true, note varchar(500) not null,
    created_at timestamptz(6) default current_timestamp, updated_at timestamptz(6)
);
create index annotation_website_id_date_idx on annotation (website_id, date);
"""
LATER_INDEX = """  -- 27_optimize_website_event_indexes
create index website_event_website_created_type_session_visit_idx
    on website_event (website_id, created_at, event_type, session_id, visit_id);
"""
ENGAGEMENT = """  -- 27_add_website_engagement
create table website_engagement (
    engagement_id uuid not null primary key default gen_random_uuid(), website_id uuid not null,
    session_id uuid not null, visit_id uuid not null, url_path varchar(500) not null, engagement_time integer not null,
    created_at timestamptz(6) not null default current_timestamp
);
"""
MIGRATIONS = """  -- made by prisma itself
create table _prisma_migrations (
    id varchar(36) not null primary key default gen_random_uuid()::text, checksum varchar(64) not null default '',
    finished_at timestamptz, migration_name varchar(255) not null, logs text, rolled_back_at timestamptz,
    started_at timestamptz not null default now(), applied_steps_count integer not null default 0
);
"""
SITES = f"""
insert into website (website_id, name, domain) values
    ('{BLOG}', 'Blog', 'blog.example'), ('{SHOP}', 'Shop', 'shop.example'), ('{QUIET}', 'Quiet', null);
"""  # noqa: S608 - ours
UMAMI = FIRST_TABLES + VISITS + SITES


@dataclass(frozen=True)
class Event:
    moment: str  # with its offset from UTC
    visit: int = 1
    session: int = 1
    site: str = BLOG
    kind: int = VIEW


def write(events: Sequence[Event]) -> str:
    rows = ", ".join(
        f"('{e.site}', '{UUID(int=e.session)}', '{UUID(int=e.visit)}', '{e.moment}', {e.kind})" for e in events
    )
    return f"insert into website_event (website_id, session_id, visit_id, created_at, event_type) values {rows};"  # noqa: S608 - ours


def read(database: DatabaseConfig, day: str, until: str, *, site: str = BLOG) -> dict[str, tuple[float, ...]]:
    """Each day's values in the order of METRICS, in Paris."""
    actual = read_days(database, SOURCE, [site], first=day, until=until, timezone=PARIS)
    assert {metric for _, metric, _ in actual} <= set(METRICS)
    days = sorted({day for _, _, day in actual})
    return {day: tuple(actual[site, metric, day] for metric in METRICS) for day in days}


def test_it_is_a_source() -> None:
    assert isinstance(SOURCE, Source)
    assert (SOURCE.name, SOURCE.quiet_is_zero) == ("umami", True)


def test_a_normal_day(database: DatabaseConfig) -> None:
    events = [
        Event("2024-06-05 10:00:00+02", visit=1, session=1),
        Event("2024-06-05 10:00:30.900+02", visit=1, session=1),  # visit 1: 3 views in 90.5 s, 90 whole ones
        Event("2024-06-05 10:01:30.500+02", visit=1, session=1),
        Event("2024-06-05 15:00:00+02", visit=2, session=1),  # session 1 again: visit 2, a bounce
        Event("2024-06-05 15:59:59+02", visit=3, session=2),  # visit 3: 2 views in 31 s
        Event("2024-06-05 16:00:30+02", visit=3, session=2),
        Event("2024-06-05 23:00:00+02", visit=4, session=3),  # visit 4: a bounce
    ]
    prepare(database, UMAMI, write(events))
    # 7 views; sessions 1 to 3; visits 1 to 4, of which 2 bounce; (90 + 0 + 31 + 0) / 4 seconds
    assert read(database, "2024-06-01", "2024-07-01") == {"2024-06-05": (7, 3, 4, 2 / 4, 121 / 4)}
    hours = read_hours(database, SOURCE, [BLOG], first="2024-06-01", until="2024-07-01", timezone=PARIS)
    assert hours == {(BLOG, "2024-06-05"): {10, 15, 16, 23}}


def test_all_metrics_of_a_day_have_the_same_hours(database: DatabaseConfig) -> None:
    prepare(database, UMAMI, write([Event("2024-06-05 10:00:00+02"), Event("2024-06-05 12:00:00+02")]))
    actual = read_all(database, SOURCE, [BLOG], "2024-06-01", "2024-07-01", PARIS)
    assert {hours for _, hours in actual.values()} == {1 << 10 | 1 << 12}
    assert len(actual) == len(METRICS)


def test_a_day_begins_and_ends_at_local_midnight(database: DatabaseConfig) -> None:
    events = [
        Event("2024-06-04 23:59:59.999+02", visit=1),
        Event("2024-06-05 00:00:00+02", visit=2),
        Event("2024-06-05 23:59:59.999+02", visit=3),
        Event("2024-06-06 00:00:00+02", visit=4),
    ]
    prepare(database, UMAMI, write(events))
    days = read(database, "2024-06-04", "2024-06-07")
    assert {day: values[0] for day, values in days.items()} == {"2024-06-04": 1, "2024-06-05": 2, "2024-06-06": 1}
    assert read(database, "2024-06-05", "2024-06-06") == {"2024-06-05": (2, 1, 2, 1, 0)}
    hours = read_hours(database, SOURCE, [BLOG], first="2024-06-04", until="2024-06-07", timezone=PARIS)
    assert hours == {(BLOG, "2024-06-04"): {23}, (BLOG, "2024-06-05"): {0, 23}, (BLOG, "2024-06-06"): {0}}


def test_a_day_of_23_hours(database: DatabaseConfig) -> None:
    # Paris 2024-03-31 is from 23:00 UTC to 22:00 UTC; there is no 02:00.
    events = [
        Event("2024-03-30 22:59:59.999+00", visit=1),
        Event("2024-03-30 23:00:00+00", visit=2),  # 00:00
        Event("2024-03-31 00:59:59+00", visit=3),  # 01:59:59
        Event("2024-03-31 01:00:00+00", visit=3),  # 03:00:00, a second later
        Event("2024-03-31 21:59:59.999+00", visit=4),  # 23:59:59
        Event("2024-03-31 22:00:00+00", visit=5),
    ]
    prepare(database, UMAMI, write(events))
    # visits 2, 3 and 4, of which 2 and 4 bounce, and 3 lasts one second
    assert read(database, "2024-03-31", "2024-04-01") == {"2024-03-31": (4, 1, 3, 2 / 3, 1 / 3)}
    hours = read_hours(database, SOURCE, [BLOG], first="2024-03-31", until="2024-04-01", timezone=PARIS)
    assert hours == {(BLOG, "2024-03-31"): {0, 1, 3, 23}}


def test_a_day_of_25_hours(database: DatabaseConfig) -> None:
    # Paris 2024-10-27 is from 22:00 UTC to 23:00 UTC; 02:00 comes twice.
    events = [
        Event("2024-10-26 21:59:59.999+00", visit=1),
        Event("2024-10-26 22:00:00+00", visit=2),  # 00:00
        Event("2024-10-27 00:30:00+00", visit=3),  # 02:30, in summer time
        Event("2024-10-27 01:30:00+00", visit=3),  # 02:30, an hour later
        Event("2024-10-27 22:59:59.999+00", visit=4),  # 23:59:59
        Event("2024-10-27 23:00:00+00", visit=5),
    ]
    prepare(database, UMAMI, write(events))
    assert read(database, "2024-10-27", "2024-10-28") == {"2024-10-27": (4, 1, 3, 2 / 3, 3600 / 3)}
    hours = read_hours(database, SOURCE, [BLOG], first="2024-10-27", until="2024-10-28", timezone=PARIS)
    assert hours == {(BLOG, "2024-10-27"): {0, 2, 23}}


def test_events_that_are_not_views(database: DatabaseConfig) -> None:
    events = [
        Event("2024-06-05 10:00:00+02", visit=1),
        Event("2024-06-05 10:05:00+02", visit=1, kind=CUSTOM),  # does not make the visit longer, nor less of a bounce
        Event("2024-06-05 11:00:00+02", visit=2, session=2, kind=CUSTOM),  # a visit without a view is none
        Event("2024-06-05 12:00:00+02", visit=3, session=3, kind=PERFORMANCE),
        Event("2024-06-05 13:00:00+02", visit=4, session=4, kind=LINK),
        Event("2024-06-05 14:00:00+02", visit=5, session=5, kind=PIXEL),
        Event("2024-06-05 14:00:10+02", visit=5, session=5, kind=PIXEL),
        Event("2024-06-06 10:00:00+02", visit=6, kind=CUSTOM),  # a day without a view has no row
    ]
    prepare(database, UMAMI, write(events))
    # views: 1, a link's, a pixel's two; visits 1, 4 and 5, of which 1 and 4 bounce, and 5 lasts 10 s
    assert read(database, "2024-06-01", "2024-07-01") == {"2024-06-05": (4, 3, 3, 2 / 3, 10 / 3)}
    hours = read_hours(database, SOURCE, [BLOG], first="2024-06-01", until="2024-07-01", timezone=PARIS)
    assert hours == {(BLOG, "2024-06-05"): {10, 13, 14}}


def test_since_3_3_a_visit_with_a_custom_event_is_no_bounce(database: DatabaseConfig) -> None:
    events = [
        Event("2024-06-05 10:00:00+02", visit=1),
        Event("2024-06-05 10:05:00+02", visit=1, kind=CUSTOM),  # no bounce, but still one view, which takes no time
        Event("2024-06-05 11:00:00+02", visit=2, session=2),  # a bounce
        Event("2024-06-05 12:00:00+02", visit=3, session=3, kind=CUSTOM),  # a visit without a view is none
        Event("2024-06-05 13:00:00+02", visit=4, session=4),  # a bounce whatever its performance
        Event("2024-06-05 13:00:00+02", visit=4, session=4, kind=PERFORMANCE),
        Event("2024-06-05 14:00:00+02", visit=5, session=5),
        Event("2024-06-05 14:00:10+02", visit=5, session=5),
        Event("2024-06-06 10:00:00+02", visit=6, kind=CUSTOM),  # a day without a view has no row
    ]
    prepare(database, UMAMI, write(events))
    assert read(database, "2024-06-01", "2024-07-01") == {"2024-06-05": (5, 4, 4, 3 / 4, 10 / 4)}
    prepare(database, ENGAGEMENT)
    assert read(database, "2024-06-01", "2024-07-01") == {"2024-06-05": (5, 4, 4, 2 / 4, 10 / 4)}
    hours = read_hours(database, SOURCE, [BLOG], first="2024-06-01", until="2024-07-01", timezone=PARIS)
    assert hours == {(BLOG, "2024-06-05"): {10, 11, 13, 14}}


def test_a_visit_over_midnight_counts_on_both_days(database: DatabaseConfig) -> None:
    events = [
        Event("2024-06-05 23:59:00+02"),
        Event("2024-06-05 23:59:20+02"),
        Event("2024-06-06 00:01:00+02"),
    ]
    prepare(database, UMAMI, write(events))
    # As Umami says of each day alone: 2 views in 20 s, then one, which is a bounce there.
    expected = {"2024-06-05": (2, 1, 1, 0, 20), "2024-06-06": (1, 1, 1, 1, 0)}
    assert read(database, "2024-06-05", "2024-06-07") == expected


def test_a_visit_of_two_sessions_bounces_once_at_most(database: DatabaseConfig) -> None:
    events = [  # whoever is identified goes on with the same visit as another session
        Event("2024-06-05 10:00:00+02", visit=1, session=1),
        Event("2024-06-05 10:00:10+02", visit=1, session=2),
    ]
    prepare(database, UMAMI, write(events))
    assert read(database, "2024-06-01", "2024-07-01") == {"2024-06-05": (2, 2, 1, 1, 0)}


def test_sites_do_not_mix(database: DatabaseConfig) -> None:
    events = [
        Event("2024-06-05 10:00:00+02", site=BLOG, visit=1, session=1),
        Event("2024-06-05 10:00:10+02", site=SHOP, visit=1, session=1),  # the same ids, which Umami would not make
        Event("2024-06-05 10:00:30+02", site=SHOP, visit=1, session=1),
    ]
    prepare(database, UMAMI, write(events))
    assert read(database, "2024-06-01", "2024-07-01", site=BLOG) == {"2024-06-05": (1, 1, 1, 1, 0)}
    assert read(database, "2024-06-01", "2024-07-01", site=SHOP) == {"2024-06-05": (2, 1, 1, 0, 20)}
    both = read_days(database, SOURCE, [BLOG, SHOP], first="2024-06-01", until="2024-07-01", timezone=PARIS)
    assert {key: value for key, value in both.items() if key[1] == "page_visits"} == {
        (BLOG, "page_visits", "2024-06-05"): 1,
        (SHOP, "page_visits", "2024-06-05"): 2,
    }


def test_nothing_is_said_of_nothing(database: DatabaseConfig) -> None:
    prepare(database, UMAMI, write([Event("2024-06-05 10:00:00+02")]))
    assert read(database, "2024-06-05", "2024-06-05") == {}  # an empty range
    assert read(database, "2024-06-06", "2024-07-01") == {}
    assert read(database, "2024-06-01", "2024-07-01", site=QUIET) == {}
    assert read_days(database, SOURCE, [], first="2024-06-01", until="2024-07-01") == {}
    stranger = "99999999-0000-4000-8000-000000000000"
    assert read(database, "2024-06-01", "2024-07-01", site=stranger) == {}


def test_sites_with_their_first_and_last_events(database: DatabaseConfig) -> None:
    events = [
        Event("2024-06-05 10:00:00+02", site=BLOG),
        Event("2024-06-07 10:00:00+02", site=BLOG),
        Event("2024-06-06 10:00:00+02", site=BLOG),
        Event("2024-06-06 12:00:00+02", site=SHOP),
    ]
    gone = "dddddddd-0000-4000-8000-000000000000"
    others = f"""
        insert into website (website_id, name, domain, deleted_at) values ('{gone}', 'Gone', null, now());
        insert into website (website_id, name, domain) values
            ('11111111-0000-4000-8000-000000000000', 'Twice', null),
            ('22222222-0000-4000-8000-000000000000', 'Twice', null),
            ('33333333-0000-4000-8000-000000000000', '', 'nameless.example'),
            ('44444444-0000-4000-8000-000000000000', '', '');
    """  # noqa: S608 - ours
    prepare(database, UMAMI, others, write([*events, Event("2024-06-05 10:00:00+02", site=gone)]))
    moment = dt.datetime(2024, 6, 5, 8, tzinfo=dt.UTC)
    day = dt.timedelta(days=1)
    assert list_sites(database, SOURCE) == [
        Site("44444444-0000-4000-8000-000000000000", "44444444-0000-4000-8000-000000000000"),
        Site(BLOG, "Blog", first=moment, last=moment + 2 * day),
        Site(QUIET, "Quiet"),
        Site(SHOP, "Shop", first=moment + day + dt.timedelta(hours=2), last=moment + day + dt.timedelta(hours=2)),
        Site("11111111-0000-4000-8000-000000000000", "Twice (11111111)"),
        Site("22222222-0000-4000-8000-000000000000", "Twice (22222222)"),
        Site("33333333-0000-4000-8000-000000000000", "nameless.example"),
    ]


def test_what_is_older_than_a_reset_is_not_the_sites(database: DatabaseConfig) -> None:
    events = [
        Event("2024-06-03 10:00:00+02", visit=1),  # left over
        Event("2024-06-05 11:59:59+02", visit=2),  # in the reset's own day, before it
        Event("2024-06-05 12:00:00+02", visit=3),
        Event("2024-06-05 18:00:00+02", visit=4),
        Event("2024-06-03 10:00:00+02", visit=5, site=SHOP),  # was not reset
    ]
    reset = f"update website set reset_at = '2024-06-05 12:00:00+02' where website_id = '{BLOG}'"  # noqa: S608 - ours
    prepare(database, UMAMI, write(events), reset)
    assert read(database, "2024-06-01", "2024-07-01") == {"2024-06-05": (2, 1, 2, 1, 0)}
    assert list(read(database, "2024-06-01", "2024-07-01", site=SHOP)) == ["2024-06-03"]
    began = dt.datetime(2024, 6, 5, 10, tzinfo=dt.UTC)
    blog = Site(BLOG, "Blog", began=began, first=began, last=began + dt.timedelta(hours=6))
    assert list_sites(database, SOURCE)[0] == blog


def test_a_site_is_reset_and_then_quiet(database: DatabaseConfig) -> None:
    reset = f"update website set reset_at = '2024-06-05 12:00:00+02' where website_id = '{BLOG}'"  # noqa: S608 - ours
    prepare(database, UMAMI, write([Event("2024-06-03 10:00:00+02")]), reset)
    assert list_sites(database, SOURCE)[0] == Site(BLOG, "Blog", began=dt.datetime(2024, 6, 5, 10, tzinfo=dt.UTC))


def test_before_visits_had_ids(database: DatabaseConfig) -> None:
    views = f"""
        insert into website_event (website_id, session_id, created_at) values
            ('{BLOG}', '{UUID(int=1)}', '2023-06-05 10:00+02'), ('{BLOG}', '{UUID(int=1)}', '2023-06-05 11:00+02'),
            ('{BLOG}', '{UUID(int=2)}', '2023-06-05 11:00+02');
    """  # noqa: S608 - ours
    prepare(database, FIRST_TABLES, SITES, views)
    assert list_metrics(database, SOURCE) == [metric for metric in DEFINITIONS if metric.metric in METRICS[:2]]
    assert read_all(database, SOURCE, [BLOG], "2023-06-01", "2023-07-01", PARIS) == {
        (BLOG, "page_visits", "2023-06-05"): (3, 1 << 10 | 1 << 11),
        (BLOG, "unique_visitors", "2023-06-05"): (2, 1 << 10 | 1 << 11),
    }
    assert list_events(database) == []


def test_all_metrics_are_listed(database: DatabaseConfig) -> None:
    prepare(database, UMAMI)
    actual: list[MetricDefinition] = list_metrics(database, SOURCE)
    assert [metric.metric for metric in actual] == list(METRICS)
    assert [metric.additive for metric in actual] == [True, False, True, False, False]


def list_events(database: DatabaseConfig, *, timezone: str = PARIS) -> list[KnownEvent]:
    return list(ask(database, lambda connection: SOURCE.list_events(connection, timezone=timezone)))


def test_annotations_of_days_and_of_moments(database: DatabaseConfig) -> None:
    notes = f"""
        insert into annotation (website_id, date, all_day, note) values
            ('{BLOG}', '2024-06-05 00:00+02', true, 'noted in Paris'),
            ('{BLOG}', '2024-06-07 00:00+00', true, 'noted in London, or by the API'),
            ('{BLOG}', '2024-06-08 00:00-04', true, 'noted in New York'),
            ('{BLOG}', '2024-06-09 00:00+09', true, 'noted in Tokyo'),
            ('{BLOG}', '2024-06-10 12:00+02', true, 'noon of a day'),
            ('{SHOP}', '2024-06-11 23:59:59+02', false, 'a release, late'),
            ('{SHOP}', '2024-06-12 00:00+02', false, 'a release, at midnight');
    """  # noqa: S608 - ours
    prepare(database, UMAMI, ANNOTATIONS, notes)
    assert list_events(database) == [
        KnownEvent(BLOG, dt.date(2024, 6, 5), "noted in Paris"),
        KnownEvent(BLOG, dt.date(2024, 6, 7), "noted in London, or by the API"),
        KnownEvent(BLOG, dt.date(2024, 6, 8), "noted in New York"),
        KnownEvent(BLOG, dt.date(2024, 6, 9), "noted in Tokyo"),
        KnownEvent(BLOG, dt.date(2024, 6, 10), "noon of a day"),
        KnownEvent(SHOP, dt.date(2024, 6, 11), "a release, late"),
        KnownEvent(SHOP, dt.date(2024, 6, 12), "a release, at midnight"),
    ]
    # Whose days nobody said, as UTC's: a whole day is still the day that was meant.
    whole = [event for event in list_events(database, timezone="UTC") if event.key == BLOG]
    assert [event.day.day for event in whole] == [5, 7, 8, 9, 10]


def test_a_day_without_visits_as_they_are_now(database: DatabaseConfig) -> None:
    migrations = """
        insert into _prisma_migrations (migration_name, finished_at, rolled_back_at) values
            ('01_init', '2023-01-01 10:00+00', null),
            ('05_add_visit_id', null, '2024-04-10 20:00+00'),
            ('05_add_visit_id', '2024-04-10 22:30+00', null);
    """
    prepare(database, UMAMI, MIGRATIONS, migrations)
    assert list_events(database) == []  # nothing is older: a new Umami
    prepare(database, write([Event("2024-04-10 22:29:00+00")]))
    # 22:30 UTC is 00:30 of the 11th in Paris: the 12th is the first whole day.
    text = "visit_id was introduced (Umami 2.11); earlier visits were made up, about 5% more"
    assert list_events(database) == [
        KnownEvent(None, dt.date(2024, 4, 12), text, metric=metric)
        for metric in ("visits", "bounce_rate", "visit_duration")
    ]
    assert {event.day for event in list_events(database, timezone="UTC")} == {dt.date(2024, 4, 11)}


def test_a_new_umami_into_which_older_events_were_imported_has_always_counted_visits(database: DatabaseConfig) -> None:
    migrations = """
        insert into _prisma_migrations (migration_name, finished_at) values
            ('01_init', '2024-04-10 22:28:12+00'), ('05_add_visit_id', '2024-04-10 22:30:00+00');
    """
    prepare(database, UMAMI, MIGRATIONS, migrations, write([Event("2023-08-01 10:00:00+00")]))
    assert list_events(database) == []


READER = """
do $$ begin create role umami_reader login; exception when duplicate_object then null; end $$;
"""


def test_a_reader_without_the_notes(database: DatabaseConfig) -> None:
    grants = "grant select on website, website_event to umami_reader;"
    prepare(database, UMAMI, ANNOTATIONS, MIGRATIONS, READER, grants)
    requested = ask(database, lambda connection: SOURCE.list_events(connection, timezone=PARIS), user="umami_reader")
    assert list(requested) == []
    assert len(list_metrics(database, SOURCE, user="umami_reader")) == 5


def test_a_missing_table(database: DatabaseConfig) -> None:
    prepare(database, "create table website (website_id uuid)")
    with pytest.raises(MissingTable) as caught:
        list_metrics(database, SOURCE)
    assert str(caught.value) == (
        f"The database {database.name} has no table website_event, as umami would. Check DB_NAME, or set "
        "data.source to the analytics tool whose tables to read."
    )


def test_a_table_that_may_not_be_read(database: DatabaseConfig) -> None:
    prepare(database, UMAMI, READER, "grant select on website to umami_reader;")
    with pytest.raises(MissingTable) as caught:
        list_metrics(database, SOURCE, user="umami_reader")
    assert str(caught.value) == (
        f"The user umami_reader may not read public.website_event in the database {database.name}. "
        'Ask its owner to run: GRANT SELECT ON public.website_event TO "umami_reader";'
    )


MANY = f"""
insert into website_event (website_id, session_id, visit_id, created_at)
    select
        case when number % 2 = 0 then '{BLOG}'::uuid else '{SHOP}'::uuid end, gen_random_uuid(), gen_random_uuid(),
        '2022-01-01 00:00+00'::timestamptz + number * interval '1 hour'
    from generate_series(1, 20000) as number;
analyze;
"""  # noqa: S608 - ours


def list_nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:  # Any: json
    return [plan, *(node for part in plan.get("Plans", []) for node in list_nodes(part))]


async def explain(connection: OwnConnection, name: str, *values: object) -> list[dict[str, Any]]:  # Any: json
    (actual,) = json.loads(await connection.fetchval(f"explain (format json) {load_query(name)}", *values))
    return list_nodes(actual["Plan"])


@pytest.mark.parametrize("more", ["", LATER_INDEX])
def test_days_are_read_by_an_index(database: DatabaseConfig, more: str) -> None:
    prepare(database, UMAMI + more, MANY)
    values = ([BLOG], dt.date(2024, 1, 1), dt.date(2024, 1, 8), PARIS)
    nodes = ask(database, lambda connection: explain(connection, "sources/umami", *values))
    (scan,) = [node for node in nodes if "created_at" in node.get("Index Cond", "")]
    assert "created_at >=" in scan["Index Cond"]
    assert "created_at <" in scan["Index Cond"]
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "website_event"]


def test_sites_are_listed_by_an_index(database: DatabaseConfig) -> None:
    prepare(database, UMAMI, MANY)
    nodes = ask(database, lambda connection: explain(connection, "sources/umami_sites"))
    scans = [node for node in nodes if node.get("Relation Name") == "website_event"]
    assert len(scans) == 4
    ends = [scan for scan in scans if "ROW(website_id, created_at)" in scan["Index Cond"]]
    assert len(ends) == 2
    assert not [scan for scan in ends if "Filter" in scan]
    for scan in scans:  # the others count events with an impossible date
        assert "created_at" in scan["Index Cond"]


def make_events(seed: int) -> pd.DataFrame:
    """Events of two sites around both clock changes in Paris, and in a summer week."""
    random = np.random.default_rng(seed)
    starts = pd.to_datetime(["2024-03-29", "2024-10-25", "2024-07-01"], utc=True)
    num = 4000
    seconds = random.integers(0, 5 * 86400, num)
    moments = starts[random.integers(0, 3, num)] + pd.to_timedelta(seconds * 1000 + random.integers(0, 1000, num), "ms")
    visits = random.integers(1, 900, num)
    return pd.DataFrame(
        {
            "site": random.choice([BLOG, SHOP], num, p=[0.7, 0.3]),
            "moment": moments,
            "visit": visits,
            "session": np.where(random.random(num) < 0.05, visits // 3 + 1, visits // 3),  # some go on as another
            "kind": random.choice([VIEW, CUSTOM, LINK, PIXEL, PERFORMANCE], num, p=[0.7, 0.1, 0.05, 0.05, 0.1]),
        }
    )


def total(events: pd.DataFrame, *, custom_engages: bool) -> dict[tuple[str, str, str], tuple[float, int]]:
    """What Umami would say of each site's days, by loops over them."""
    views = events[~events.kind.isin([CUSTOM, PERFORMANCE])]
    local = views.moment.dt.tz_convert(PARIS)
    every = events.assign(day=events.moment.dt.tz_convert(PARIS).dt.date)
    custom = every[every.kind == CUSTOM]
    engaged = set(zip(custom.site, custom.day, custom.session, custom.visit, strict=True)) if custom_engages else set()
    totals = {}
    for (site, day), rows in views.groupby([views.site, local.dt.date]):
        bounces, seconds = 0, 0
        for ids, visit in rows.groupby(["session", "visit"]):
            bounces += len(visit) == 1 and (site, day, *ids) not in engaged
            seconds += (visit.moment.max() - visit.moment.min()) // pd.Timedelta(seconds=1)
        visits = rows.visit.nunique()
        values = (len(rows), rows.session.nunique(), visits, min(bounces, visits) / visits, seconds / visits)
        hours = reduce(or_, (1 << hour for hour in local[rows.index].dt.hour))
        totals |= {(site, metric, str(day)): (value, hours) for metric, value in zip(METRICS, values, strict=True)}
    return totals


@pytest.mark.parametrize(("seed", "more"), [(0, ""), (1, ""), (0, ENGAGEMENT)])
def test_days_are_those_of_another_program(database: DatabaseConfig, seed: int, more: str) -> None:
    created = make_events(seed)
    events = [
        Event(row.moment.isoformat(), visit=row.visit, session=row.session, site=row.site, kind=row.kind)
        for row in created.itertuples()
    ]
    prepare(database, UMAMI + more, write(events))
    expected = total(created, custom_engages=bool(more))
    actual = read_all(database, SOURCE, [BLOG, SHOP, QUIET], "2024-01-01", "2025-01-01", PARIS)
    assert len(expected) >= 2 * 15 * len(METRICS)
    assert actual.keys() == expected.keys()
    assert {key: hours for key, (_, hours) in actual.items()} == {key: hours for key, (_, hours) in expected.items()}
    for key, (value, _) in actual.items():
        assert value == pytest.approx(expected[key][0], rel=1e-12), key
