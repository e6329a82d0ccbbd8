"""Measures how a large Umami becomes daily totals: the first read, then updates, beside fetching into pandas. Then
the same for a large daily_metrics, and scripts/forecast.py after it.

In a database of its own on the configured server, with made events: 12 million take 10 GiB, most of it Umami's own
indexes. The totals are compared with one plain query over everything.
"""

import argparse
import asyncio
import datetime as dt
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from asyncpg import Record
from daily_totals import Effort, find_median, measure_forecasts, measure_totals, measure_update
from rich.console import Console
from rich.progress import Progress
from scratch_database import connected, read_server_version, scratch_database

from forecasting.runtime.machine import describe_processor
from forecasting.runtime.process import run
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import OwnConnection
from forecasting.warehouse.ingest import Advance, update
from forecasting.warehouse.queries import load_query

ZONE = "Europe/Paris"
SETTINGS = ("data.source=umami", f"data.timezone={ZONE}")
FIRST, UNTIL = dt.date(2023, 1, 1), dt.date(2025, 1, 1)
NEW_DAYS = 5  # updates of which the median is shown
CHUNK_DAYS = 28  # made by one statement
SAMPLE = 1_000_000  # events for pandas, which needs 800 bytes of memory for each
GIB = 2**30
SESSION = (  # for making and checking; what is measured has connections of its own
    "set work_mem = '256MB'",
    "set maintenance_work_mem = '1GB'",
    "set synchronous_commit = off",
    "select setseed(0.5)",
)

# As Umami's migrations make them, without `session`, which nothing reads. Being unlogged halves the time to fill them,
# and does not change how they are read.
TABLES = """
create table website (
    website_id uuid not null primary key, name varchar(100) not null, domain varchar(500), share_id varchar(50) unique,
    reset_at timestamptz(6), user_id uuid, created_at timestamptz(6) default current_timestamp,
    updated_at timestamptz(6), deleted_at timestamptz(6), created_by uuid, team_id uuid
);
create unlogged table website_event (
    event_id uuid not null, website_id uuid not null, session_id uuid not null,
    created_at timestamptz(6) default current_timestamp, url_path varchar(500) not null, url_query varchar(500),
    referrer_path varchar(500), referrer_query varchar(500), referrer_domain varchar(500), page_title varchar(500),
    event_type integer not null default 1, event_name varchar(50), visit_id uuid not null, tag varchar(50),
    fbclid varchar(255), gclid varchar(255), li_fat_id varchar(255), msclkid varchar(255), ttclid varchar(255),
    twclid varchar(255), utm_campaign varchar(255), utm_content varchar(255), utm_medium varchar(255),
    utm_source varchar(255), utm_term varchar(255), hostname varchar(100)
);
"""
INDEXES = (  # of website_event, by migrations 01 to 26
    "created_at",
    "session_id",
    "visit_id",
    "website_id",
    "website_id, created_at",
    "website_id, created_at, url_path",
    "website_id, created_at, url_query",
    "website_id, created_at, referrer_domain",
    "website_id, created_at, page_title",
    "website_id, created_at, event_name",
    "website_id, created_at, tag",
    "website_id, created_at, hostname",
    "website_id, session_id, created_at",
    "website_id, visit_id, created_at",
)
NEWEST_INDEXES = (  # 27_optimize_website_event_indexes has these instead of four
    *(
        columns
        for columns in INDEXES
        if columns.rpartition(" ")[2] not in ("url_path", "referrer_domain", "page_title", "event_name")
    ),
    "website_id, created_at, event_type, session_id, visit_id",
    "website_id, created_at, url_path, event_type, session_id",
    "website_id, created_at, referrer_domain, event_type, session_id, hostname",
    "website_id, created_at, page_title, event_type, session_id",
    "website_id, created_at, event_name, event_type, session_id",
)
# Eight sites, with half of all visits down to a hundredth; growth, seasons, weekends and noise.
# $1 visits from $2 until the day before $3; then more of them until the day before $4, for days that are made later.
PLAN = """
with site as (
    insert into website (website_id, name, domain)
    select md5(listed.name)::uuid, listed.name, listed.name || '.example'
    from unnest(array['shop', 'news', 'docs', 'blog', 'forum', 'wiki', 'club', 'home']) as listed (name)
    returning website_id, name
),

busy as (
    select
        site.website_id,
        day::date,
        share.share
        * exp(0.0006 * (day::date - $2::date))
        * (1 + 0.15 * sin((day::date - $2::date) * 2 * pi() / 365.25))
        * case when extract(isodow from day) < 6 then 1 else 0.6 end
        * (0.9 + 0.2 * random()) as visits
    from site
    inner join unnest(
        array['shop', 'news', 'docs', 'blog', 'forum', 'wiki', 'club', 'home'],
        array[0.5, 0.2, 0.1, 0.08, 0.05, 0.04, 0.02, 0.01]
    ) as share (name, share) on share.name = site.name
    cross join generate_series($2::timestamp, $4::timestamp - interval '1 day', interval '1 day') as day
)

insert into planned (website_id, day, num_visits)
select
    busy.website_id,
    busy.day,
    round($1::integer * busy.visits / sum(busy.visits) filter (where busy.day < $3) over ())
from busy
"""
# Visits of 1 to 10 views, 40 s apart on average, most in the afternoon; one in seven has a custom event as well.
# Frequent visitors keep their session for a month. All but event_id, which nothing depends on, is the same in each run.
EVENTS = """
insert into website_event (
    event_id, website_id, session_id, visit_id, created_at, url_path, referrer_domain, page_title, hostname,
    event_type, event_name
)
select
    gen_random_uuid(),
    visit.website_id,
    visit.session_id,
    visit.visit_id,
    visit.began + (event.number - random()) * interval '40 seconds' as created_at,
    '/articles/' || visit.page || '/part-' || event.number,
    case when event.number = 1 and visit.page % 2 = 0 then 'www.search.example' end,
    'Article ' || visit.page || ', part ' || event.number,
    'www.site.example',
    case when event.number <= visit.num_views then 1 else 2 end,
    case when event.number > visit.num_views then 'signup' end
from (
    select
        planned.website_id,
        md5(
            planned.website_id || to_char(planned.day, 'YYYY-MM') || floor(12 * planned.num_visits * random() ^ 2)
        )::uuid as session_id,
        md5(random()::text)::uuid as visit_id,
        planned.day + (0.1 + (random() + random() + random()) / 3) * interval '1 day' as began,
        floor(500 * random() ^ 3)::integer as page,
        least(10, 1 + floor(-2.2 * ln(1 - random())))::integer as num_views,
        (random() < 0.15)::integer as num_custom
    from planned
    cross join generate_series(1, planned.num_visits)
    where planned.day >= $1 and planned.day < $2
) as visit
cross join generate_series(1, visit.num_views + visit.num_custom) as event (number)
order by created_at
"""
# Of the largest site, at noon of the day $1.
LATE_EVENT = """
insert into website_event (event_id, website_id, session_id, visit_id, created_at, url_path)
select gen_random_uuid(), website_id, gen_random_uuid(), gen_random_uuid(), $1::date + interval '12 hours', '/late'
from website where name = 'shop'
"""
EVENTS_A_VISIT = 2.86  # sum of exp(-n / 2.2) for n from 0 to 9, and 0.15
SIZES = """
select
    (select count(*) from website_event) as events,
    (select count(*) from website) as sites,
    pg_table_size('website_event') as table,
    pg_indexes_size('website_event') as indexes,
    (select count(*) from pg_index where indrelid = 'website_event'::regclass) as num_indexes
"""
# Written independently of umami.sql, without its ranges: totals of all days before $2, in the time zone $1.
PLAIN = """
with view as (
    select website.name as site, event.*, (event.created_at at time zone $1)::date as day
    from website_event as event
    inner join website using (website_id)
    where event.event_type not in (2, 5)
),

visit as (
    select site, day, visit_id, count(*) as views, max(created_at) - min(created_at) as lasted
    from view
    group by site, day, visit_id
),

visits as (
    select
        site,
        day,
        count(*)::double precision as number,
        sum(views) as views,
        count(*) filter (where views = 1) as bounces,
        sum(floor(extract(epoch from lasted))) as seconds
    from visit
    group by site, day
),

visitors as (
    select site, day, count(distinct session_id) as number
    from view
    group by site, day
),

plain as (
    select site, day, metric, value
    from visits
    inner join visitors using (site, day)
    cross join lateral (
        values
            ('page_visits', visits.views::double precision),
            ('unique_visitors', visitors.number),
            ('visits', visits.number),
            ('bounce_rate', visits.bounces / visits.number),
            ('visit_duration', visits.seconds / visits.number)
    ) as measured (metric, value)
    where day < $2
)

-- A day without a view has no row here, and zeros or nothing in forecasting.daily.
select
    count(plain.value) as totals,
    count(*) filter (where coalesce(plain.value, 0) is distinct from coalesce(stored.value, 0)) as different
from plain
full join forecasting.daily as stored using (site, metric, day)
"""
SAMPLED = (
    "select website_id, session_id, visit_id, created_at, event_type from website_event order by created_at limit $1"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--events", type=int, default=12_000_000, help="about how many to make (%(default)s); 0 for none"
    )
    parser.add_argument("--newest", action="store_true", help="with the indexes that Umami has since its migration 27")
    parser.add_argument("--sites", type=int, default=5_000, help="sites of daily_metrics (%(default)s); 0 for none")
    parser.add_argument("--repetitions", type=int, default=3, help="with daily_metrics and nothing new (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="300,000 events, and 200 sites")
    arguments = parser.parse_args()
    num_events, num_sites = (300_000, 200) if arguments.quick else (arguments.events, arguments.sites)
    with scratch_database() as database:
        if num_events:
            asyncio.run(measure(database, num_events, NEWEST_INDEXES if arguments.newest else INDEXES))
        if num_sites:
            asyncio.run(measure_totals(database, num_sites, repetitions=arguments.repetitions))
            measure_forecasts(database, repetitions=arguments.repetitions)


async def measure(database: DatabaseConfig, num_events: int, indexes: Sequence[str]) -> None:
    config = replace(load_config(SETTINGS), database=database, source_database=None, cache_database=None)
    async with connected(database) as connection:
        version = await read_server_version(connection)
        print(f"{describe_processor()}, PostgreSQL {version} on the same cores", flush=True)
        num_events = await make_umami(connection, num_events, indexes)
        speed = await read_first(config, num_events)
        until = await read_new_days(connection, config)
        await check_totals(connection, until)
        await explain(connection, until - dt.timedelta(days=config.data.reread_days + 1), until)
        await compare_pandas(connection, speed)


async def make_umami(connection: OwnConnection, num_events: int, indexes: Sequence[str]) -> int:
    """Its tables after two years. Returns how many events there are."""
    began = time.perf_counter()
    await make_tables(connection, num_events)
    await make_events(connection)
    await make_indexes(connection, indexes)
    sizes = await connection.fetchrow(SIZES)
    seconds = time.perf_counter() - began
    print(
        f"made {sizes['events']:,} events of {sizes['sites']} sites on {(UNTIL - FIRST).days} days in {seconds:.0f} s: "
        f"{sizes['table'] / GIB:.1f} GiB, and {sizes['indexes'] / GIB:.1f} GiB of {sizes['num_indexes']} indexes",
        flush=True,
    )
    return sizes["events"]


async def make_tables(connection: OwnConnection, num_events: int) -> None:
    for statement in SESSION:
        await connection.execute(statement)
    await connection.execute(TABLES)
    await connection.execute("create temporary table planned (website_id uuid, day date, num_visits integer)")
    last = UNTIL + dt.timedelta(days=NEW_DAYS)
    await connection.execute(PLAN, round(num_events / EVENTS_A_VISIT), FIRST, UNTIL, last)


async def make_events(connection: OwnConnection) -> None:
    num_days = (UNTIL - FIRST).days
    with progress("making events", num_days) as advance:
        for start in range(0, num_days, CHUNK_DAYS):
            end = min(start + CHUNK_DAYS, num_days)
            await make_days(connection, *(FIRST + dt.timedelta(days=day) for day in (start, end)))
            advance(end - start)


async def make_indexes(connection: OwnConnection, indexes: Sequence[str]) -> None:
    with progress("making indexes", len(indexes)) as advance:
        await connection.execute("alter table website_event add primary key (event_id)")
        for columns in indexes:
            await connection.execute(f"create index on website_event ({columns})")
            advance(1)
    await connection.execute("vacuum analyze website_event")


async def make_days(connection: OwnConnection, first: dt.date, until: dt.date) -> int:
    """Returns how many events they have."""
    return int((await connection.execute(EVENTS, first, until)).split()[-1])


async def read_first(config: Config, num_events: int) -> float:
    """Prints the first read; returns events a second."""
    with progress("reading days", (UNTIL - FIRST).days) as advance:
        effort = await time_update(config, UNTIL, advance=lambda days, _: advance(days))
    speed = num_events / effort.seconds
    totals = f"{effort.updated.num_days:,} days, {effort.updated.num_rows:,} totals"
    spent = f"{effort.seconds:.1f} s ({effort.cpu_seconds:.1f} CPU s)"
    print(f"\nfirst read: {totals} in {spent}, {speed:,.0f} events/s", flush=True)
    return speed


async def time_update(config: Config, today: dt.date, *, advance: Advance | None = None) -> Effort:
    now = dt.datetime.combine(today, dt.time(12), ZoneInfo(ZONE))
    return await measure_update(lambda: update(config, now=now, advance=advance), config.database)


async def read_new_days(connection: OwnConnection, config: Config) -> dt.date:
    """Prints how long updates take, after a new day each and with nothing new. Returns the day that is not over."""
    num_events: list[int] = []
    efforts: dict[str, list[Effort]] = {"new": [], "again": [], "old": []}
    for number in range(NEW_DAYS):
        day = UNTIL + dt.timedelta(days=number)
        num_events.append(await make_days(connection, day, day + dt.timedelta(days=1)))
        for kind in ("new", "again"):
            efforts[kind].append(await time_update(config, day + dt.timedelta(days=1)))
        await connection.execute(LATE_EVENT, FIRST + dt.timedelta(days=100))
        efforts["old"].append(await time_update(config, day + dt.timedelta(days=1)))
    print(f"updates, medians of {NEW_DAYS}:")
    print(f"  {median(num_events):,.0f} events of a new day  {find_median(efforts['new'])}")
    print(f"  nothing new  {find_median(efforts['again'])}")
    print(f"  1 event of an old day, so all days are compared  {find_median(efforts['old'])}", flush=True)
    return UNTIL + dt.timedelta(days=NEW_DAYS)


async def check_totals(connection: OwnConnection, until: dt.date) -> None:
    began = time.perf_counter()
    counts = await connection.fetchrow(PLAIN, ZONE, until)
    seconds = time.perf_counter() - began
    if counts["different"]:
        sys.exit(f"{counts['different']:,} of {counts['totals']:,} totals are not those of one plain query")
    print(
        f"all {counts['totals']:,} totals are those of one plain query over everything, which takes {seconds:.1f} s",
        flush=True,
    )


async def explain(connection: OwnConnection, first: dt.date, until: dt.date) -> None:
    """Prints how PostgreSQL reads the totals of an update's days."""
    keys = [row["key"] for row in await connection.fetch("select website_id::text as key from website")]
    query = f"explain (analyze, buffers, format json) {load_query('sources/umami')}"
    (plan,) = json.loads(await connection.fetchval(query, keys, first, until, ZONE))
    print(f"\nthe totals of {first}..{until - dt.timedelta(days=1)} alone: {plan['Execution Time']:.0f} ms")
    for node in walk(plan["Plan"]):
        if "Index Name" in node or node.get("Relation Name") == "website_event":
            print(f"  {describe(node)}", flush=True)


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for part in node.get("Plans", []):
        yield from walk(part)


def describe(node: dict[str, Any]) -> str:
    rows, loops = node["Actual Rows"] * node["Actual Loops"], node["Actual Loops"]
    pages = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
    place = node.get("Index Name") or node["Relation Name"]
    work = f"{rows:,.0f} rows in {loops} loops, {pages:,} pages"
    return f"{node['Node Type']} of {place}: {work}, {node['Actual Total Time']:.0f} ms"


async def compare_pandas(connection: OwnConnection, speed: float) -> None:
    """Prints events a second if they are fetched and then grouped here, as many would do it."""
    began = time.perf_counter()
    rows = await connection.fetch(SAMPLED, SAMPLE)
    num_totals = len(total_with_pandas(rows))
    seconds = time.perf_counter() - began
    pandas_speed = len(rows) / seconds
    print(
        f"\nfetch and pandas: {num_totals:,} days of the first {len(rows):,} events in {seconds:.1f} s, "
        f"{pandas_speed:,.0f} events/s\nthe first read was {speed / pandas_speed:.1f} times as fast"
    )


def total_with_pandas(rows: Sequence[Record]) -> pd.DataFrame:
    events = pd.DataFrame(rows, columns=["site", "session", "visit", "moment", "type"])
    views = events[~events.type.isin([2, 5])]
    views = views.assign(day=views.moment.dt.tz_convert(ZONE).dt.date)
    visits = views.groupby(["site", "day", "visit"]).moment.agg(["size", "min", "max"])
    visits["seconds"] = (visits["max"] - visits["min"]).dt.total_seconds() // 1
    visits["bounced"] = visits["size"] == 1
    days = visits.groupby(["site", "day"]).agg({"size": "sum", "bounced": "mean", "seconds": "mean"})
    return days.assign(visitors=views.groupby(["site", "day"]).session.nunique())


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if that is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)


if __name__ == "__main__":
    run(main)
