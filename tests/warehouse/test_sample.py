"""The sample site, as shipped and as loaded."""

import asyncio
import csv
import datetime as dt
import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np

from forecasting import warehouse
from forecasting.domain import Kind, Verdict, to_day
from forecasting.settings.loading import load_config
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.ingest import update
from forecasting.warehouse.panel_loader import read_panel

FILE = Path(warehouse.__file__).parent / "sample" / "daily_metrics.csv.gz"
TOTALS = {  # as pandas adds up the source that the file was made from
    "page_visits": 8_921_516,
    "unique_visitors": 6_378_882,
    "first_time_visitors": 5_269_763,
    "returning_visitors": 1_109_119,
}
FIRST, LAST = dt.date(2014, 9, 14), dt.date(2020, 8, 19)


def test_file_holds_the_published_days_and_totals() -> None:
    with gzip.open(FILE, "rt") as lines:
        rows = list(csv.DictReader(lines))
    dates = [dt.date.fromisoformat(row["date"]) for row in rows]
    assert dates == [FIRST + dt.timedelta(days=day) for day in range(2167)]
    assert dates[-1] == LAST
    assert {name: sum(int(row[name]) for row in rows) for name in TOTALS} == TOTALS


def test_every_value_arrives_in_the_panel(database: DatabaseConfig) -> None:
    async def read() -> object:
        await update(replace(config, database=database))
        connection = await connect(database)
        try:
            return await read_panel(connection, data=config.data, metrics=config.metrics)
        finally:
            await connection.close()

    config = load_config(environ={})
    panel = asyncio.run(read())
    assert [series.metric for series in panel.series] == list(TOTALS)
    assert {series.site for series in panel.series} == {database.name}
    assert {series.kind for series in panel.series} == {Kind.count}
    assert [series.additive for series in panel.series] == [True, False, True, False]
    assert (panel.first_day, panel.cutoff) == (to_day(FIRST), to_day(LAST))
    with gzip.open(FILE, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", skiprows=1, usecols=(1, 2, 3, 4))
    np.testing.assert_array_equal(panel.values[:, :-1], table[:-1].T.astype(np.float32))
    assert set(panel.verdicts[:, :-1].ravel()) == {Verdict.observed}
    assert set(panel.verdicts[:, -1]) == {Verdict.partial}  # all four metrics end at about 57% of what was usual
    assert np.isnan(panel.values[:, -1]).all()


def test_documented_tables_and_columns_are_there(embedded: DatabaseConfig) -> None:
    async def read_names() -> dict[str, list[str]]:
        connection = await connect(embedded)
        rows = await connection.fetch(
            "select table_name, column_name from information_schema.columns where table_schema = 'public' "
            "order by table_name, ordinal_position"
        )
        await connection.close()
        names: dict[str, list[str]] = {}
        for table, column in rows:
            names.setdefault(table, []).append(column)
        return names

    names = asyncio.run(read_names())
    assert sorted(names) == ["daily_metrics", "page_visits", "predictions"]
    documented = "id date page_visits page_views avg_time_on_page bounce_rate unique_visitors created_at updated_at"
    assert set(documented.split()) <= set(names["daily_metrics"])
    documented = (
        "id page_url visitor_id session_id timestamp time_on_page referrer user_agent ip_address event_name event_data "
        "country created_at"
    )
    assert set(documented.split()) <= set(names["page_visits"])
    documented = "metric_name predicted_date predicted_value confidence_interval model_version"
    assert set(documented.split()) <= set(names["predictions"])
