"""Our own schema, made by earlier versions of this program, by newer ones, and by the database's owner."""

import datetime as dt
from dataclasses import replace

import pytest

from forecasting.errors import SchemaNotWritable, WarehouseError
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.queries import load_query
from forecasting.warehouse.schema import MIGRATIONS, list_migrations, load_schema
from tests.warehouse.ingesting import ask_own, make_schema
from tests.warehouse.sources.asking import prepare

OF_0_1_0 = load_query("schema/001_days"), "drop table forecasting.schema_version"
FORECASTS = """
    insert into forecasting.daily (site, metric, day, value) values ('Blog', 'visits', '2024-01-01', 5);
    insert into forecasting.forecasts (site, metric, cutoff, day, version, made_at, quantiles)
    select site, 'visits', cutoff, cutoff + ahead, 'v1', now(), '{1, 2, 3, 4, 5, 6, 7}'
    from unnest(array['Blog', 'Gone']) as site
    cross join unnest(array[date '2024-01-01', '2024-01-02']) as cutoff
    cross join generate_series(1, 2) as ahead;
"""


def read_version(database: DatabaseConfig) -> int:
    [row] = ask_own(database, "select number from forecasting.schema_version")
    return int(row["number"])


def describe(database: DatabaseConfig) -> list[tuple[str, ...]]:
    """Every column of the schema, with its type."""
    statement = """
        select table_name, column_name, data_type, is_nullable, coalesce(column_default, '') as filled_with
        from information_schema.columns where table_schema = 'forecasting' order by 1, 2
    """
    return [tuple(row) for row in ask_own(database, statement)]


def test_migrations_are_numbered_in_their_order(database: DatabaseConfig) -> None:
    names = list_migrations()
    assert [int(name.removeprefix("schema/")[:3]) for name in names] == list(range(1, len(names) + 1))
    for number, name in enumerate(names, 1):
        prepare(database, load_query(name))
        assert read_version(database) == number
    prepare(database, load_schema())  # changes nothing
    assert read_version(database) == len(names)


@pytest.mark.parametrize("older", [(), ("alter table forecasting.daily drop column hours",)])
def test_a_schema_of_an_earlier_version_is_brought_up_to_date(
    database: DatabaseConfig, embedded: DatabaseConfig, older: tuple[str, ...]
) -> None:
    prepare(database, *OF_0_1_0, *older, FORECASTS)
    before = ask_own(database, "select * from forecasting.forecasts order by site, cutoff, day")
    make_schema(database)
    assert read_version(database) == len(list_migrations())
    upgraded = describe(database)
    assert ask_own(database, "select * from forecasting.forecasts order by site, cutoff, day") == before
    prepare(database, "drop schema forecasting cascade")
    make_schema(database)
    assert upgraded == describe(database)


def test_forecasts_of_sites_that_earlier_versions_forgot_are_not_the_newest(database: DatabaseConfig) -> None:
    prepare(database, *OF_0_1_0, FORECASTS)
    make_schema(database)
    rows = ask_own(database, "select site, cutoff, day from forecasting.latest order by day")
    newest = dt.date(2024, 1, 2)
    assert [tuple(row) for row in rows] == [("Blog", newest, newest + dt.timedelta(days=ahead)) for ahead in (1, 2)]


def test_a_schema_of_a_newer_version_is_left_alone(database: DatabaseConfig) -> None:
    newer = len(list_migrations()) + 1
    prepare(database, load_schema(), f"update forecasting.schema_version set number = {newer}")  # noqa: S608 - ours
    with pytest.raises(WarehouseError) as caught:
        make_schema(database)
    assert str(caught.value) == (
        f"The schema forecasting of the database {database.name} has version {newer}, and this program knows version "
        f"{newer - 1}. Update the program, or keep the schema elsewhere with CACHE_URL."
    )


def test_who_may_write_but_not_change_tables_is_told_what_the_owner_must_run(database: DatabaseConfig) -> None:
    grants = """
        create role follower login; grant usage on schema forecasting to follower;
        grant select, insert, update, delete on all tables in schema forecasting to follower;
    """
    prepare(database, *OF_0_1_0, grants)
    follower = replace(database, user="follower")
    try:
        with pytest.raises(SchemaNotWritable) as caught:
            make_schema(follower)
        scripts = ", ".join(f"{name.removeprefix('schema/')}.sql" for name in list_migrations())
        assert str(caught.value) == (
            f"The schema forecasting of the database {database.name} was made by an earlier version of this program, "
            f"and the user follower may not change it. Ask its owner to run {scripts} "
            f'in {MIGRATIONS}, and then: GRANT USAGE ON SCHEMA forecasting TO "follower"; '
            'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA forecasting TO "follower";'
        )
        prepare(database, load_schema(), str(caught.value).split("and then: ")[1])
        make_schema(follower)
    finally:
        prepare(database, "drop owned by follower; drop role follower")
