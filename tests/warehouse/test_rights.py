"""Sources that show a user only a part: some schemas, columns or rows; and servers that can only be read."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from forecasting.domain import SourceName
from forecasting.errors import MissingTable, SchemaNotWritable
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.cluster import Cluster
from forecasting.warehouse.ingest import update
from forecasting.warehouse.source_report import check_source
from tests.warehouse.ingesting import bring, days, events_of, stored
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import UMAMI

LATE = "2024-06-11 09:00"
NOW = dt.datetime(2024, 6, 11, 9, tzinfo=dt.UTC)
DAYS = days("2024-05-01", "2024-06-10")
READER = "part_reader"
# Of Umami's tables only what is needed, on the two tables and the columns of them.
COLUMNS = f"""
grant select (website_id, name, domain, reset_at, deleted_at) on website to {READER};
grant select (website_id, session_id, visit_id, created_at, event_type) on website_event to {READER};
"""
HIDDEN = "alter table {table} enable row level security; grant select on website, website_event to {reader};"


@pytest.fixture
def reader(database: DatabaseConfig, embedded: DatabaseConfig) -> Iterator[DatabaseConfig]:
    """Umami's tables as a user sees them who has no right yet. Our own schema is in the embedded PostgreSQL."""
    prepare(database, "drop table daily_metrics, page_visits", UMAMI, DAYS, f"create role {READER} login")
    yield replace(database, user=READER, pgdata=embedded.pgdata)
    prepare(database, f"drop owned by {READER}; drop role {READER};")


def check(config: Config) -> str:
    return asyncio.run(check_source(config, now=NOW))


def refuse(config: Config) -> str:
    """What both the check and an update say."""
    texts = set()
    for attempt in (lambda: check(config), lambda: asyncio.run(update(config, now=NOW))):
        with pytest.raises(MissingTable) as caught:
            attempt()
        texts.add(str(caught.value))
    [text] = texts
    return text


def test_rights_on_columns_are_enough(database: DatabaseConfig, reader: DatabaseConfig) -> None:
    prepare(database, COLUMNS)
    config = events_of(reader)
    assert f"rights: {READER} may read website, website_event\n" in check(config)
    updated = asyncio.run(update(config, now=NOW))
    assert set(stored(updated.database).values()) == {60.0}


def test_a_column_that_is_missing_among_the_rights(database: DatabaseConfig, reader: DatabaseConfig) -> None:
    prepare(database, COLUMNS.replace("session_id, ", ""))
    with pytest.raises(MissingTable) as caught:
        asyncio.run(update(events_of(reader), now=NOW))
    text = str(caught.value)
    assert text == (
        f"The user {READER} may read only some columns of public.website, public.website_event in the database "
        f"{database.name}, and umami needs others too. Ask its owner to run: GRANT SELECT ON public.website TO "
        f'"{READER}"; GRANT SELECT ON public.website_event TO "{READER}";'
    )
    prepare(database, text.split("owner to run: ")[1])
    assert asyncio.run(update(events_of(reader), now=NOW)).num_rows == 41 * 5


def test_columns_of_daily_metrics_that_may_not_be_read(database: DatabaseConfig, reader: DatabaseConfig) -> None:
    table = """
        create table daily_metrics (date date, visits integer, revenue integer);
        insert into daily_metrics select date '2024-05-01' + day, 7, 8 from generate_series(0, 40) as day;
    """
    prepare(database, table, f"grant select (date, visits) on daily_metrics to {READER}")
    config = Config(database=reader)
    updated = asyncio.run(update(config, now=NOW))
    assert updated.notes == ("the column revenue of daily_metrics may not be read by this user, so it is left out",)
    assert set(stored(updated.database, "visits", database.name).values()) == {7.0}
    assert stored(updated.database, "revenue", database.name) == {}


@pytest.mark.parametrize("table", ["website", "website_event"])
def test_row_level_security_that_hides_everything(database: DatabaseConfig, reader: DatabaseConfig, table: str) -> None:
    prepare(database, HIDDEN.format(table=table, reader=READER))
    text = refuse(events_of(reader))
    assert text == (
        f"Row level security hides every row of public.{table} in the database {database.name} from the user "
        f"{READER}. Ask its owner to run: CREATE POLICY website_traffic_forecasting ON public.{table} FOR SELECT TO "
        f'"{READER}" USING (true);'
    )
    prepare(database, text.split("owner to run: ")[1])
    assert asyncio.run(update(events_of(reader), now=NOW)).num_rows == 41 * 5
    assert (
        f"warning: row level security applies to public.{table}: rows that it hides from {READER} are not counted"
    ) in check(events_of(reader))


def test_row_level_security_of_an_empty_table_hides_nothing(database: DatabaseConfig, reader: DatabaseConfig) -> None:
    prepare(database, "truncate website_event", HIDDEN.format(table="website_event", reader=READER))
    assert asyncio.run(update(events_of(reader), now=NOW)).num_rows == 0


def test_row_level_security_beneath_a_query(database: DatabaseConfig, reader: DatabaseConfig, tmp_path: Path) -> None:
    prepare(database, HIDDEN.format(table="website_event", reader=READER))
    file = tmp_path / "traffic.sql"
    file.write_text(
        "select 'blog' as site, 'views' as metric, created_at::date as day, count(*) as value "
        "from website_event group by 3"
    )
    config = Config(database=reader, data=DataConfig(source=SourceName.query, query=file))
    assert refuse(config).startswith("Row level security hides every row of public.website_event in the database")


def test_a_schema_that_is_set_is_searched_alone(database: DatabaseConfig) -> None:
    elsewhere = """
        create schema stats;
        alter table website set schema stats;
        alter table website_event set schema stats;
        create table website_event (like stats.website_event);  -- another tool's
    """
    prepare(database, "drop table daily_metrics, page_visits", UMAMI, DAYS, elsewhere)
    assert bring(events_of(database, schema="stats"), LATE).num_rows == 41 * 5
    of_url = replace(database, schema="stats")
    assert bring(replace(events_of(database), source_database=of_url), LATE).num_rows == 0
    with pytest.raises(MissingTable) as caught:
        bring(events_of(database, schema="nowhere"), LATE)
    assert str(caught.value) == (
        f"The table website of the database {database.name} is in the schema stats, which is not searched (searched: "
        "none). Set data.schema=stats."
    )


@pytest.fixture
def replica(short_folder: Path, embedded: DatabaseConfig) -> Iterator[DatabaseConfig]:
    """A server in recovery, as a replica is for good, with the sample's tables."""
    from forecasting.warehouse.embedded import find_server

    folder = short_folder / "replica"
    find_server(folder).join("siteanalytics")
    find_server(folder).leave()
    cluster = Cluster(folder)
    (cluster.data / "standby.signal").touch()
    cluster.start()
    yield DatabaseConfig(embedded=False, host=str(cluster.socket_folder), pgdata=embedded.pgdata)
    cluster.stop()


def test_a_replica_is_read_and_the_schema_kept_elsewhere(replica: DatabaseConfig) -> None:
    config = Config(database=replica)
    assert (
        "our own schema: forecasting in the database siteanalytics, which is a replica, which can only be read: it is "
        "kept in the embedded PostgreSQL instead, or where CACHE_URL points\n"
    ) in check(config)
    updated = asyncio.run(update(config))
    assert updated.database.embedded
    assert str(updated.refusal) == (
        "The database siteanalytics is a replica, which can only be read, so the schema forecasting cannot be kept "
        "there. Set CACHE_URL to a database that can be written, such as the primary's."
    )
    assert len(stored(updated.database, site="siteanalytics")) == 2167


def test_a_database_that_is_read_only(database: DatabaseConfig, embedded: DatabaseConfig) -> None:
    prepare(database, f"alter database {database.name} set default_transaction_read_only = on")
    config = Config(database=replace(database, pgdata=embedded.pgdata))
    assert str(asyncio.run(update(config)).refusal) == (
        f"The database {database.name} is read-only (default_transaction_read_only is on), so the schema forecasting "
        "cannot be kept there. Set CACHE_URL to a database that can be written, such as the primary's."
    )
    own = Config(database=config.database, cache_database=config.database)
    with pytest.raises(SchemaNotWritable):
        asyncio.run(update(own))
    assert (
        "is read-only (default_transaction_read_only is on): nothing can be read until it can. Set CACHE_URL to "
        "another database, or to embedded\n"
    ) in check(own)
