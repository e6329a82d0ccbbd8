"""The documented table `predictions`: the newest forecast of the only site, once, and nobody else's rows."""

import asyncio
from typing import Any

import pytest

from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.predictions_table import write_predictions
from forecasting.warehouse.schema import load_schema
from tests.warehouse.ingesting import ask_own
from tests.warehouse.sources.asking import prepare

FORECASTS = """
insert into forecasting.sites (site, source, key, timezone) values ('shop', 'siteanalytics', 'shop', 'UTC');
insert into forecasting.forecasts (site, metric, version, cutoff, day, made_at, quantiles)
    select 'shop', metric, 'v1', '2024-01-01', date '2024-01-01' + ahead, now(), '{1,2,3,4.5,5,6,7}'
    from unnest(array['page_visits', 'unique_visitors']) as metric, generate_series(1, 3) as ahead;
"""
LATER = """
insert into forecasting.forecasts (site, metric, version, cutoff, day, made_at, quantiles)
    select 'shop', 'page_visits', 'v1', '2024-01-02', date '2024-01-02' + ahead, now(), '{2,3,4,9,10,11,12}'
    from generate_series(1, 3) as ahead;
"""


def write(database: DatabaseConfig, *, user: str | None = None) -> str:
    async def run() -> str:
        connection = await connect(database)
        named = DatabaseConfig(embedded=False, host=database.host, name=database.name, user=user or database.user)
        sentence = await write_predictions(connection, Config(database=named))
        await connection.close()
        return sentence

    return asyncio.run(run())


def read(database: DatabaseConfig) -> list[tuple[Any, ...]]:
    rows = ask_own(database, "select * from predictions order by metric_name, predicted_date, model_version")
    return [
        (row["metric_name"], row["predicted_date"].day, row["predicted_value"], row["model_version"]) for row in rows
    ]


@pytest.fixture
def kept(database: DatabaseConfig) -> DatabaseConfig:
    prepare(database, load_schema(), FORECASTS)
    return database


def test_the_newest_forecast_is_written_once(kept: DatabaseConfig) -> None:
    prepare(
        kept, "insert into predictions (metric_name, predicted_date, model_version) values ('mine', '2024-01-01', 'x')"
    )
    assert write(kept) == "6 rows of predictions are new or changed"
    assert write(kept) == "0 rows of predictions are new or changed"
    [band] = ask_own(
        kept, "select distinct confidence_interval::text as text from predictions where model_version = 'v1'"
    )
    assert band["text"] == '{"level": 0.8, "lower": 2, "upper": 6}'
    prepare(kept, LATER)
    assert write(kept) == "3 rows of predictions are new or changed"
    assert read(kept) == [
        ("mine", 1, None, "x"),
        ("page_visits", 2, 4.5, "v1"),
        ("page_visits", 3, 9.0, "v1"),
        ("page_visits", 4, 9.0, "v1"),
        ("page_visits", 5, 9.0, "v1"),
        *[("unique_visitors", day, 4.5, "v1") for day in (2, 3, 4)],
    ]


def test_writers_at_the_same_time_take_turns(kept: DatabaseConfig) -> None:
    async def run() -> list[str]:
        connections = [await connect(kept) for _ in range(4)]
        sentences = await asyncio.gather(
            *(write_predictions(connection, Config(database=kept)) for connection in connections)
        )
        for connection in connections:
            await connection.close()
        return list(sentences)

    assert sorted(asyncio.run(run()))[-1].startswith("6 rows")
    assert len(read(kept)) == 6


@pytest.mark.parametrize(
    "change",
    [
        "drop table predictions",
        "alter table predictions drop column model_version",
        "alter table predictions alter column confidence_interval type text using confidence_interval::text",
        "insert into forecasting.sites (site, source, key, timezone) values ('blog', 'siteanalytics', 'blog', 'UTC')",
        "truncate forecasting.forecasts",
    ],
    ids=["no table", "another table", "another type", "two sites", "no forecast"],
)
def test_nothing_is_written_where_it_does_not_belong(kept: DatabaseConfig, change: str) -> None:
    prepare(kept, change)
    assert write(kept) == ""


def test_who_may_not_write_is_told(kept: DatabaseConfig) -> None:
    prepare(kept, "create role reader_of_predictions login; grant select on predictions to reader_of_predictions")
    try:
        assert write(kept, user="reader_of_predictions") == (
            "The table predictions is not written: this user may not. Grant SELECT, INSERT and UPDATE."
        )
    finally:
        prepare(kept, "drop owned by reader_of_predictions; drop role reader_of_predictions")
