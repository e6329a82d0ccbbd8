"""Unusual days that the daily job keeps, in the real PostgreSQL: told once, told again if corrected, and withdrawn."""

import asyncio
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from forecasting import TrafficForecaster
from forecasting.domain import Kind, Unit
from forecasting.jobs.forecast_all import forecast_everything
from forecasting.monitoring.listing import list_anomalies
from forecasting.settings.schema import AlertConfig, Config, DatabaseConfig, MetricConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.schema import load_schema

# Four weekly sites until yesterday. That of `low` drops on the last day, that of `high` rises on the last two.
SITES = """
drop table daily_metrics;
insert into forecasting.daily (site, metric, day, value)
    select site, 'page_visits', current_date - 1 - d, 1000 + 10 * ((current_date - 1 - d - date '2024-01-01') % 7)
    from unnest(array['high', 'low', 'usual', 'quiet']) as site, generate_series(0, 119) as d;
update forecasting.daily set value = 0 where site = 'low' and day = current_date - 1;
update forecasting.daily set value = 9000 where site = 'high' and day >= current_date - 2;
update forecasting.daily set value = 0 where site = 'quiet' and day = current_date - 1;
"""
CORRECTIONS = """
update forecasting.daily set value = 1100, read_at = now() where site = 'low' and day = current_date - 1;
update forecasting.daily set value = 1, read_at = now() where site = 'quiet' and day = current_date - 1;
"""
# As if a day had passed: all days are a day older. In two steps, since no two days may meet.
NEXT_DAY = """
update forecasting.daily set day = day + 9999;
update forecasting.daily set day = day - 10000;
update forecasting.judged set until = until - 1;
update forecasting.anomalies set day = day + 9999, first_day = first_day - 1;
update forecasting.anomalies set day = day - 10000;
"""


def run(database: DatabaseConfig, statement: str) -> list[Any]:
    async def ask() -> list[Any]:
        connection = await connect(database, writable=True)
        rows = await connection.fetch(statement)
        await connection.close()
        return list(rows)

    return asyncio.run(ask())


def execute(database: DatabaseConfig, *scripts: str) -> None:
    async def tell() -> None:
        connection = await connect(database, writable=True)
        for script in scripts:
            await connection.execute(script)
        await connection.close()

    asyncio.run(tell())


def read(database: DatabaseConfig) -> list[tuple[Any, ...]]:
    rows = run(
        database,
        "select site, current_date - day as age, direction, kind, value, told_at is not null, "
        "withdrawn_at is not null, value_before, current_date - first_day as run "
        "from forecasting.anomalies order by site, day",
    )
    return [tuple(row) for row in rows]


def judge_frame(database: DatabaseConfig) -> "pd.Series[float]":
    """The scores of the same days as TrafficForecaster judges a data frame."""
    rows = run(database, "select site, day, value from forecasting.daily order by site, day")
    frame = pd.DataFrame([tuple(row) for row in rows], columns=["unique_id", "ds", "y"]).astype(
        {"ds": "datetime64[ns]"}
    )
    return TrafficForecaster().detect_anomalies(frame).set_index(["unique_id", "ds"])["score"]


@pytest.fixture
def sites(database: DatabaseConfig) -> DatabaseConfig:
    execute(database, load_schema(), SITES)
    return database


def test_days_are_judged_once_and_again_after_a_correction(
    sites: DatabaseConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "forecasting")
    alerts = AlertConfig(sensitivity=["medium", "quiet=off"])
    config = Config(database=sites, model_dir=tmp_path, model_version="base", alerts=alerts)
    forecast_everything(config)
    drop = ("low", 1, "low", "day", 0.0, True, False, None, 1)
    assert read(sites) == [
        ("high", 2, "high", "day", 9000.0, True, False, None, 2),
        ("high", 1, "high", "day", 9000.0, False, False, None, 2),  # goes on with the day before
        drop,
        ("quiet", 1, "low", "day", 0.0, False, False, None, 1),
    ]
    assert " s: 2 unusual, 2 that are told at a higher sensitivity or go on with others\n" in caplog.text
    [row] = run(sites, "select * from forecasting.anomalies where site = 'low'")
    assert row["text"].startswith("0 page visits on ")
    assert row["sensitivity"] == "low"
    assert row["score"] < -3.75
    assert row["lower"] < row["expected"] < row["upper"]
    assert row["expected"] == round(row["expected"])  # a count is whole
    scores = judge_frame(sites)
    for stored in run(sites, "select site, day, score from forecasting.anomalies"):
        assert scores[stored["site"], pd.Timestamp(stored["day"])] == pytest.approx(stored["score"], rel=1e-3)

    listed = asyncio.run(list_anomalies(config)).splitlines()
    assert len(listed) == 3
    assert listed[-1].startswith(f"{row['day']} low page_visits: {row['text']} ")
    assert " 1 other site" not in listed[-1]
    assert listed[-1].endswith("Another site on the same day.")

    before = run(sites, "select * from forecasting.anomalies order by id")
    forecast_everything(config)
    assert run(sites, "select * from forecasting.anomalies order by id") == before

    execute(sites, CORRECTIONS)
    caplog.clear()
    forecast_everything(config)
    [*_, corrected, quiet] = read(sites)
    assert corrected == ("low", 1, "low", "day", 1100.0, True, True, 0.0, 1)  # it was told, and is withdrawn
    assert quiet == ("quiet", 1, "low", "day", 1.0, False, False, 0.0, 1)
    assert "judged the new days of 2 series in " in caplog.text
    assert " s: 1 unusual after a correction, 1 as expected after a correction\n" in caplog.text


def test_a_day_is_told_on_the_day_it_comes(sites: DatabaseConfig, tmp_path: Path) -> None:
    """Day after day: the same as all at once, each told once."""
    config = Config(database=sites, model_dir=tmp_path, model_version="base")
    forecast_everything(config)
    execute(sites, NEXT_DAY)
    execute(
        sites,
        "insert into forecasting.daily (site, metric, day, value) "
        "select site, metric, current_date - 1, case site when 'usual' then 10 else value end "
        "from forecasting.daily where day = current_date - 8;",
    )
    forecast_everything(replace(config, alerts=AlertConfig(sensitivity=["low"])))
    rows = [row for row in read(sites) if row[1] == 1]
    assert ("usual", 1, "low", "day", 10.0, True, False, None, 1) in rows
    assert {row[0] for row in rows} <= {"usual", "high", "low", "quiet"}
    assert run(sites, "select count(*) = 4 as all from forecasting.judged where until = current_date - 1")[0]["all"]


# Rates in percent and durations, which repeat every week but for the last day.
MEASURED = """
drop table daily_metrics;
insert into forecasting.daily (site, metric, day, value)
    select 'shop', metric, current_date - 1 - back, case
        when back = 0 then case metric when 'bounce_rate' then 50 else 45 end
        when metric = 'bounce_rate' then 80 + 0.5 * ((current_date - 1 - back - date '2024-01-01') % 7)
        else 130 + 2.0 * ((current_date - 1 - back - date '2024-01-01') % 7)
    end
    from unnest(array['bounce_rate', 'visit_duration']) as metric, generate_series(0, 119) as back;
"""


def test_rates_and_durations_are_judged_forecast_and_told_in_their_units(
    database: DatabaseConfig, tmp_path: Path
) -> None:
    execute(database, load_schema(), MEASURED)
    metrics = {"bounce_rate": MetricConfig(unit=Unit.percent), "visit_duration": MetricConfig(kind=Kind.other)}
    forecast_everything(Config(database=database, model_dir=tmp_path, model_version="base", metrics=metrics))
    rate, duration = run(database, "select * from forecasting.anomalies order by metric")
    yesterday = f"{rate['day']:%A}"
    assert re.match(
        rf"Bounce rate was 50\.0% on {yesterday}, 8\d\.\d% was expected \([78]\d\.\d to 8\d\.\d\)\. ", rate["text"]
    )
    assert re.match(
        rf"Visit duration was 45 s on {yesterday}, 2 min \d+ s was expected \(2 min \d+ s to 2 min \d+ s\)\. ",
        duration["text"],
    )
    assert (rate["value"], duration["value"]) == (50.0, 45.0)
    assert 80 <= rate["expected"] <= 83
    assert 130 <= duration["expected"] <= 142
    ends = run(
        database,
        "select metric, min(quantiles[1]) as low, max(quantiles[7]) as high from forecasting.forecasts "
        "group by metric order by metric",
    )
    assert all(0 < row["low"] < row["high"] for row in ends)
    assert ends[0]["high"] <= 100
    [message] = run(database, "select * from forecasting.messages where kind = 'unusual'")
    assert message["title"] == (
        f"▼ shop: {'bounce rate' if rate['score'] < duration['score'] else 'visit duration'} unusually low on "
        f"{yesterday}, {rate['day'].day} {rate['day']:%B}"
    )
    assert "Both metrics fell alike" in message["body"]
