"""Regressors from a table of the user's to our own copy, on the real PostgreSQL: what changes, and what is refused."""

import asyncio
import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from forecasting.card import SeriesCard
from forecasting.domain import Kind, to_day
from forecasting.errors import DataError, MissingTable
from forecasting.known_days.regressors import RegressorEffect, Regressors
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.connection import connected
from forecasting.warehouse.ingest import UpdateResult, update
from forecasting.warehouse.regressor_store import (
    copy_regressors,
    load_regressors,
    read_regressors,
    read_regressors_of,
)
from tests.warehouse.ingesting import as_user, ask_own, make_schema
from tests.warehouse.sources.asking import prepare

WEATHER = """
create table weather (
    id serial primary key, date date, site text, temperature numeric(5, 2), sale boolean, rain real,
    created_at timestamp default now()
);
insert into weather (date, site, temperature, sale, rain) values
    ('2025-01-01', null, 4, false, 1.5), ('2025-01-02', null, 5.25, true, null), ('2025-01-04', null, -3, false, 'NaN'),
    ('2025-01-02', 'blog', 9, null, 0);
"""
FIRST = to_day(dt.date(2025, 1, 1))


def copy(database: DatabaseConfig, regressors: str | Path = "weather") -> None:
    data = DataConfig(regressors=str(regressors))

    async def run() -> None:
        async with connected(database) as source, connected(database, writable=True) as own:
            await copy_regressors(data, source, own)

    asyncio.run(run())


def read(database: DatabaseConfig, regressors: str | Path = "weather", **options: list[str]) -> Regressors:
    async def run() -> Regressors:
        async with connected(database) as connection:
            return await read_regressors(connection, DataConfig(regressors=str(regressors)), **options)

    return asyncio.run(run())


def find(regressors: Regressors, site: str) -> dict[str, list[float]]:
    columns = regressors.find(site, regressors.names, first_day=FIRST, num_days=4).T
    return dict(zip(regressors.names, columns.tolist(), strict=True))


def revision(database: DatabaseConfig) -> int:
    return int(ask_own(database, "select number from forecasting.revision")[0]["number"])


@pytest.fixture
def own(database: DatabaseConfig) -> DatabaseConfig:
    """With our own schema and the table weather."""
    make_schema(database)
    prepare(database, WEATHER)
    return database


def test_the_copy_is_what_the_table_says(own: DatabaseConfig) -> None:
    copy(own)
    regressors = read(own)
    nan = float("nan")
    everywhere = {"temperature": [4, 5.25, nan, -3], "sale": [0, 1, nan, 0], "rain": [1.5, nan, nan, nan]}
    assert regressors.names == ["rain", "sale", "temperature"]
    np.testing.assert_equal(find(regressors, "shop"), everywhere)
    own_values = {"temperature": [4, 9, nan, -3], "rain": [1.5, 0, nan, nan]}
    np.testing.assert_equal(find(regressors, "blog"), everywhere | own_values)
    assert find(read(own, sites=["shop"]), "blog")["temperature"][1] == 5.25


def test_only_changes_are_written_and_each_makes_forecasts_anew(own: DatabaseConfig) -> None:
    copy(own)
    before = revision(own)
    copy(own)
    assert revision(own) == before
    prepare(own, "update weather set temperature = 6 where site = 'blog'")
    copy(own)
    assert revision(own) == before + 1
    assert find(read(own), "blog")["temperature"][1] == 6
    prepare(own, "delete from weather where site = 'blog'; alter table weather drop column rain")
    copy(own)
    np.testing.assert_equal(find(read(own), "blog"), find(read(own), "shop"))
    assert read(own).names == ["sale", "temperature"]
    [changes] = ask_own(own, "select num_foreign from forecasting.revision")
    assert changes["num_foreign"] == 0


def test_a_table_and_a_file_do_not_mix(own: DatabaseConfig, tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("date,price\n2025-01-01,3\n2025-01-03,4.5\n")
    copy(own)
    copy(own, file)
    np.testing.assert_equal(find(read(own, file), "blog"), {"price": [3, float("nan"), 4.5, float("nan")]})
    assert read(own).names == ["rain", "sale", "temperature"]


def test_a_view_in_another_schema_is_read(own: DatabaseConfig) -> None:
    prepare(own, "create schema shop; create view shop.days as select date, temperature from weather where id < 4")
    copy(own, "shop.days")
    assert find(read(own, "shop.days"), "blog")["temperature"][:2] == [4, 5.25]


def test_series_get_the_regressors_of_their_sites_under_any_name(own: DatabaseConfig) -> None:
    copy(own)
    effect = RegressorEffect("temperature", 0.1, 0.0, 1.0, -10.0, 30.0)
    card = SeriesCard("weblog", "page_visits", Kind.count, True, 1.0, (1.0,) * 30, 0.5, regressors=(effect,))

    async def run(*cards: SeriesCard) -> Regressors:
        async with connected(own) as connection:
            data = DataConfig(regressors="weather")
            return await read_regressors_of(connection, data, cards, sites=["blog"] * len(cards))

    assert find(asyncio.run(run(card)), "weblog")["temperature"][1] == 9
    plain = SeriesCard("weblog", "page_visits", Kind.count, True, 1.0, (1.0,) * 30, 0.5)
    assert asyncio.run(run(plain)).names == []


REFUSED = {
    "create table days (date date, sky text, rain real)": (
        "The column sky of days has the type text, which is not a number. Make a view without it, or with a number in "
        "its place, and name it in data.regressors."
    ),
    "create table days (date timestamptz, rain real)": (
        "The column date of days has the type timestamptz, but must be a date: only you know in which time zone a day "
        "begins. Make a view with date::date as date, and name it in data.regressors."
    ),
    "create table days (day date, rain real)": (
        "data.regressors is days, which has no column date: its columns are day, rain. It must have date, site (if "
        "values differ by site), and a column of numbers for each regressor."
    ),
    "create table days (id int, date date, site text)": (
        "days has no column of numbers beside date and site. Add one for each regressor."
    ),
    "create table days (date date, rain real)": (
        "data.regressors is days, which has no row. Fill it, or leave data.regressors out."
    ),
    "create table days as select * from weather union all select * from weather where site = 'blog'": (
        "days has 2 rows of 2025-01-02 for the site blog. Keep one row a day."
    ),
    "select 1": (
        "data.regressors is days, but the database {name} has no such table or view. Check the name, or name a file "
        "that ends with .csv."
    ),
}


def test_tables_that_cannot_be_read_are_refused(own: DatabaseConfig) -> None:
    for script, text in REFUSED.items():
        prepare(own, script)
        with pytest.raises((DataError, MissingTable)) as error:
            copy(own, "days")
        assert str(error.value) == text.format(name=own.name)
        prepare(own, "drop table if exists days")
    with pytest.raises(MissingTable) as missing:
        copy(own, "other.weather")
    assert str(missing.value) == (
        f"data.regressors is other.weather, but the database {own.name} has no such table or view. Check the name, or "
        "name a file that ends with .csv."
    )


def test_a_table_that_the_user_may_not_read_is_refused(own: DatabaseConfig) -> None:
    prepare(own, "create schema shop; create table shop.days (date date, rain real); create role guest login")
    try:
        with pytest.raises(MissingTable) as error:
            load_regressors(as_user(Config(database=own, data=DataConfig(regressors="weather")), "guest"))
        assert str(error.value) == (
            f"The user guest may not read public.weather in the database {own.name}. Ask its owner to run: GRANT "
            'SELECT ON public.weather TO "guest";'
        )
        prepare(own, "grant usage on schema shop to guest")
        with pytest.raises(MissingTable) as error:
            load_regressors(as_user(Config(database=own, data=DataConfig(regressors="shop.days")), "guest"))
        assert str(error.value) == (
            "data.regressors is shop.days, which the user guest may not read. Ask its owner to run: GRANT SELECT ON "
            '"shop"."days" TO "guest";'
        )
    finally:
        prepare(own, "drop owned by guest; drop role guest")


def bring(database: DatabaseConfig) -> UpdateResult:
    return asyncio.run(update(Config(database=database, data=DataConfig(regressors="weather"))))


def test_a_broken_table_does_not_keep_new_days_from_being_read(database: DatabaseConfig) -> None:
    prepare(database, WEATHER)
    assert not any("regressors" in note for note in bring(database).notes)
    prepare(
        database,
        "alter table weather alter temperature type text;"
        "insert into daily_metrics (date, page_visits) values ('2020-08-20', 77)",
    )
    again = bring(database)
    error = (
        "The column temperature of weather has the type text, which is not a number. Make a view without it, or with a "
        "number in its place, and name it in data.regressors."
    )
    assert f"forecasts use the regressors that were read before: {error}" in again.notes
    [row] = ask_own(database, "select value from forecasting.daily where day = '2020-08-20' and metric = 'page_visits'")
    assert row["value"] == 77
    assert read(database).names == ["rain", "sale", "temperature"]
