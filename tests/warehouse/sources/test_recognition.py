"""Which tool a database belongs to, told when the source that was asked for is another one."""

# ruff: noqa: S608 - only shown
import asyncio

import pytest

from forecasting.domain import SourceName
from forecasting.errors import MissingTable
from forecasting.invocation import show_command
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.source_report import check_source
from tests.warehouse.sources import test_ahoy, test_fathom, test_goatcounter, test_kaunta, test_shynet, test_umami
from tests.warehouse.sources.asking import prepare

NOTHING = "drop table daily_metrics, page_visits;"
SCHEMAS = {
    SourceName.umami: test_umami.UMAMI,
    SourceName.kaunta: test_kaunta.SCHEMA,
    SourceName.shynet: test_shynet.TABLES,
    SourceName.goatcounter: test_goatcounter.SCHEMA,
    SourceName.ahoy: test_ahoy.TABLES,
    SourceName.fathom: test_fathom.SCHEMA,
}
NAMES = {"goatcounter": "GoatCounter", "fathom": "Fathom Lite"}
UMAMI_1 = """
    create table website (website_id serial primary key, website_uuid uuid, name varchar(100), domain varchar(500));
    create table session (session_id serial primary key, website_id integer, created_at timestamptz);
    create table pageview (view_id serial primary key, website_id integer, session_id integer, created_at timestamptz,
        url varchar(500));
"""


def refuse(database: DatabaseConfig, source: SourceName) -> str:
    config = Config(database=database, data=DataConfig(source=source))
    with pytest.raises(MissingTable) as caught:
        asyncio.run(check_source(config))
    return str(caught.value)


def suggest(source: SourceName) -> str:
    name = NAMES.get(source.value, source.value.capitalize())
    return f"The database looks like one of {name}. Run: {show_command('sources', '--check', '--source', source.value)}"


@pytest.mark.parametrize("schema", [None, "analytics"])
@pytest.mark.parametrize("source", SCHEMAS)
def test_the_default_source_says_whose_database_it_is(
    database: DatabaseConfig, source: SourceName, schema: str | None
) -> None:
    place = f"create schema {schema}; set search_path to {schema};" if schema else ""
    prepare(database, NOTHING, place + SCHEMAS[source])
    assert refuse(database, SourceName.siteanalytics) == (
        f"The database {database.name} has no table daily_metrics. {suggest(source)}"
    )


@pytest.mark.parametrize("source", SCHEMAS)
def test_a_source_finds_its_own_tables(database: DatabaseConfig, source: SourceName) -> None:
    """Beside those of another tool."""
    prepare(database, SCHEMAS[source])
    other = SourceName.shynet if source is SourceName.ahoy else SourceName.ahoy
    prepare(database, SCHEMAS[other])
    assert "metrics: " in asyncio.run(check_source(Config(database=database, data=DataConfig(source=source))))


@pytest.mark.parametrize(
    ("requested", "there"), [(SourceName.kaunta, SourceName.umami), (SourceName.umami, SourceName.kaunta)]
)
def test_tables_of_the_same_names_are_told_apart(
    database: DatabaseConfig, requested: SourceName, there: SourceName
) -> None:
    prepare(database, SCHEMAS[there])
    assert refuse(database, requested) == (
        f"The tables website, website_event are not as {requested} makes them. {suggest(there)}"
    )


def test_a_missing_table_of_another_tool(database: DatabaseConfig) -> None:
    prepare(database, SCHEMAS[SourceName.fathom])
    assert refuse(database, SourceName.goatcounter) == (
        f"The database {database.name} has no table paths, hit_counts, as goatcounter would. "
        f"{suggest(SourceName.fathom)}"
    )


def test_versions_that_are_too_old_are_named(database: DatabaseConfig) -> None:
    prepare(database, test_shynet.TABLES, "alter table analytics_hit drop column service_id")
    assert refuse(database, SourceName.shynet) == (
        "The tables core_service, analytics_session, analytics_hit are not as shynet makes them. The database looks "
        "like one of Shynet before 0.8. They cannot be read: update Shynet to version 0.8 or later, and run its "
        "migrations."
    )
    prepare(database, UMAMI_1)
    assert refuse(database, SourceName.umami) == (
        f"The database {database.name} has no table website_event, as umami would. The database looks like one of "
        "Umami 1. Umami 1 cannot be read: update Umami to version 2 or later, which takes the old data along."
    )


@pytest.mark.parametrize(
    ("table", "name", "query"),
    [
        (
            "page_views (id bigserial, path text, viewed_at timestamptz)",
            "The database has a table page_views.",
            "select 'site' as site, 'page_visits' as metric, (viewed_at at time zone 'UTC')::date as day, count(*) as "
            "value from page_views group by 3",
        ),
        (
            "page_visits (id bigserial, url text, created_at timestamp)",
            "The database has a table page_visits.",
            "select 'site' as site, 'page_visits' as metric, created_at::date as day, count(*) as value from "
            "page_visits group by 3",
        ),
        (
            '"WebsiteEvent" ("websiteId" text, "sessionId" text, "eventType" integer, "createdAt" timestamptz)',
            "The database looks like one of Tianji.",
            """select "websiteId" as site, 'page_visits' as metric, ("createdAt" at time zone 'UTC')::date as day, """
            """count(*) as value from "WebsiteEvent" where "eventType" = 1 group by 1, 3""",
        ),
        (
            "application_requests (id serial, date date, req_type integer, count integer)",
            "The database looks like one of Discourse.",
            "select 'forum' as site, 'page_visits' as metric, date as day, sum(count) as value from "
            "application_requests where req_type in (6, 7) group by 3",
        ),
        (
            "active_analytics_views_per_days (site text, page text, date date, total bigint)",
            "The database looks like one of active_analytics.",
            "select site, 'page_visits' as metric, date as day, sum(total) as value from "
            "active_analytics_views_per_days group by 1, 3",
        ),
        (
            "website_track (id serial, page_id integer, visit_datetime timestamp)",
            "The database looks like one of Odoo.",
            "select 'website' as site, 'page_visits' as metric, visit_datetime::date as day, count(*) as value from "
            "website_track group by 3",
        ),
    ],
)
def test_tables_that_no_source_reads_get_a_query_that_works(
    database: DatabaseConfig, table: str, name: str, query: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    prepare(database, NOTHING, f"create table {table}")
    command = show_command("sources", "--check", "--source", "query", "data.query=traffic.sql")
    assert refuse(database, SourceName.siteanalytics) == (
        f"The database {database.name} has no table daily_metrics. {name} Read them by a query of your own: write into "
        f"traffic.sql: {query}; then run: {command}"
    )
    file = tmp_path_factory.mktemp("query") / "traffic.sql"
    file.write_text(query)
    config = Config(database=database, data=DataConfig(source=SourceName.query, query=file))
    assert "no day" not in asyncio.run(check_source(config))


def test_events_of_another_program_are_not_taken_for_the_documented_ones(database: DatabaseConfig) -> None:
    prepare(
        database,
        NOTHING,
        "create table page_visits (id bigserial, url text, created_at timestamp)",
        "insert into page_visits (created_at) values ('2024-05-01')",
    )
    command = show_command("sources", "--check", "--source", "query", "data.query=traffic.sql")
    assert refuse(database, SourceName.siteanalytics) == (
        "There are no days in daily_metrics, and the table page_visits has no column visitor_id, session_id, "
        "timestamp, time_on_page, event_name, as the documented backend's would. The database has a table "
        "page_visits. Read them by a query of your own: write into traffic.sql: select 'site' as site, 'page_visits' "
        "as metric, created_at::date as day, count(*) as value from page_visits group by 3; then run: "
        f"{command}"
    )
