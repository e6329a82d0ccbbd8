"""Rows with an impossible date in each kind of source: they are left out and told, and everything else is read."""

# ruff: noqa: S608 - the values are written below
from dataclasses import dataclass
from pathlib import Path

import pytest

from forecasting.domain import SourceName
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.panel_loader import load_panel
from tests.warehouse.ingesting import bring, contents
from tests.warehouse.sources import test_ahoy, test_fathom, test_goatcounter, test_kaunta, test_shynet, test_umami
from tests.warehouse.sources.asking import prepare

NOW = "2024-05-11 09:00"
DAYS = "generate_series(timestamp '2024-04-01 12:00', '2024-05-10 12:00', interval '1 day') as day"
IMPOSSIBLE = ("4713-01-01 BC", "0001-01-01", "0026-05-10", "1970-01-01", "9999-12-31", "20266-11-05")
INFINITE = ("-infinity", "infinity")
ALL_TOLD = "8 rows dated before 1990 or in the future (from -infinity to infinity), left out. Correct their dates, and "
ALL_TOLD += "check the clock of the writer"
SESSION = "aaaaaaaa-0000-4000-8000-00000000000a"


@dataclass(frozen=True)
class Tables:
    """A source with a site `name`; `insert` ends where the rows begin: SELECT moments."""

    source: SourceName
    schema: str
    insert: str
    name: str
    settings: tuple[tuple[str, str], ...] = ()


TABLES = [
    Tables(
        SourceName.siteanalytics,
        "drop table page_visits; truncate daily_metrics; alter table daily_metrics drop constraint "
        "daily_metrics_date_key;",
        "insert into daily_metrics (date, page_visits) select moment::date, 7",
        "",
    ),
    Tables(
        SourceName.siteanalytics,
        "drop table daily_metrics;",
        "insert into page_visits (visitor_id, session_id, timestamp) select 'ann', 'a1', moment",
        "",
        (("writer_timezone", "UTC"),),
    ),
    Tables(
        SourceName.umami,
        test_umami.UMAMI,
        "insert into website_event (website_id, session_id, visit_id, created_at) "
        f"select '{test_umami.BLOG}', '{SESSION}', '{SESSION}', moment at time zone 'UTC'",
        "Blog",
    ),
    Tables(
        SourceName.kaunta,
        test_kaunta.SCHEMA
        + test_kaunta.SITES
        + "create table rest partition of website_event default; "
        + f"insert into session (session_id, website_id) values ('{SESSION}', '{test_kaunta.BLOG}');",
        "insert into website_event (website_id, session_id, visit_id, created_at) "
        f"select '{test_kaunta.BLOG}', '{SESSION}', '{SESSION}', moment at time zone 'UTC'",
        "blog",
    ),
    Tables(
        SourceName.shynet,
        test_shynet.TABLES + f"insert into core_service (uuid, name) values ('{test_shynet.BLOG}', 'Blog');",
        "insert into analytics_session (uuid, service_id, start_time, last_seen) "
        f"select gen_random_uuid(), '{test_shynet.BLOG}', moment at time zone 'UTC', moment at time zone 'UTC'",
        "Blog",
    ),
    Tables(
        SourceName.goatcounter,
        test_goatcounter.SCHEMA + test_goatcounter.SITES,
        "insert into hit_counts (site_id, path_id, hour, total) select 1, 1, moment, 7",
        "blog",
    ),
    Tables(
        SourceName.fathom,
        test_fathom.SCHEMA,
        "insert into site_stats (site_id, pageviews, visitors, sessions, bounce_rate, avg_duration, ts) "
        "select 1, 7, 5, 6, 0.5, 30, moment",
        "blog",
    ),
    Tables(SourceName.ahoy, test_ahoy.TABLES, "insert into ahoy_visits (started_at) select moment", ""),
]


def configure(database: DatabaseConfig, tables: Tables) -> Config:
    return Config(database=database, data=DataConfig(source=tables.source, **dict(tables.settings)))


@pytest.mark.parametrize("tables", TABLES, ids=[f"{row.source}-{number}" for number, row in enumerate(TABLES)])
def test_rows_with_an_impossible_date_are_left_out_and_told(database: DatabaseConfig, tables: Tables) -> None:
    config = configure(database, tables)
    sentence = f"{tables.name or database.name} has {ALL_TOLD}"
    usual = bring(config, NOW, tables.schema, f"{tables.insert} from (select day as moment from {DAYS}) as usual")
    assert sentence not in usual.notes
    expected = contents(database)
    assert expected
    moments = ", ".join(f"timestamp '{moment}'" for moment in IMPOSSIBLE + INFINITE)
    strays = f"{tables.insert} from unnest(array[{moments}]) as moment"
    again = bring(config, NOW, strays)
    assert sentence in again.notes
    assert (again.num_rows, contents(database)) == (0, expected)
    # The same if they were there from the beginning.
    prepare(database, "drop schema forecasting cascade")
    assert sentence in bring(config, NOW).notes
    assert contents(database) == expected


def test_a_site_whose_every_date_is_impossible_has_no_day(database: DatabaseConfig) -> None:
    tables = TABLES[2]
    result = bring(
        configure(database, tables),
        NOW,
        tables.schema,
        f"{tables.insert} from unnest(array[timestamp '1970-01-01']) as moment",
    )
    assert result.notes == (
        "Blog has 1 row dated before 1990 or in the future (1970-01-01), left out. Correct its date, and check the "
        "clock of the writer",
    )
    assert contents(database) == []


def test_a_query_with_impossible_dates(database: DatabaseConfig, tmp_path: Path) -> None:
    days = ", ".join(f"(date '{day}')" for day in (*IMPOSSIBLE, *INFINITE, "2024-05-09", "2024-05-10"))
    query = tmp_path / "traffic.sql"
    query.write_text(f"select 'shop' as site, 'orders' as metric, day, 7 as value from (values {days}) as own (day)")
    config = Config(database=database, data=DataConfig(source=SourceName.query, query=query))
    result = bring(config, NOW)
    assert result.notes == (f"shop has {ALL_TOLD}",)
    assert [str(row[2]) for row in contents(database)] == ["2024-05-09", "2024-05-10"]


def test_impossible_dates_of_a_table_that_others_fill_are_not_read(database: DatabaseConfig) -> None:
    """forecasting.daily, without any source."""
    config = Config(database=database)
    moments = ", ".join(f"date '{day}'" for day in IMPOSSIBLE + INFINITE)
    bring(config, "2020-08-20 09:00")
    prepare(
        database,
        "drop table daily_metrics, page_visits; delete from forecasting.sites; delete from forecasting.daily;",
        f"insert into forecasting.daily (site, metric, day, value) select 'own', 'orders', day::date, 7 from {DAYS}",
        f"insert into forecasting.daily (site, metric, day, value) select 'own', 'orders', day, 7 "
        f"from unnest(array[{moments}]) as day",
    )
    panel = load_panel(config)
    assert panel.num_days == 40
    assert panel.notes == ("forecasting.daily has 8 rows dated before 1990 or after 9999, left out",)
