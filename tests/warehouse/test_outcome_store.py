"""What became of forecasts, in the real PostgreSQL, against sums made here, and after corrections."""

import asyncio
import datetime as dt
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from forecasting.baselines import seasonal_naive
from forecasting.domain import to_day
from forecasting.model.forecaster import LEVELS
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.daily import read_expected
from forecasting.warehouse.outcome_store import OutcomeQuery, count_outcomes, read_outcomes
from forecasting.warehouse.schema import load_schema
from tests.warehouse.ingesting import ask_own
from tests.warehouse.sources.asking import prepare

MONDAY = dt.date(2024, 1, 1)
TODAY = MONDAY + dt.timedelta(days=70)
UNKNOWN = {30, 44, 51}  # days that are masked, have no value, or no row
# Two sites of 70 days, and ten days ahead from each of the last 25 of them.
DAYS = """
insert into forecasting.daily (site, metric, day, value)
    select site, 'visits', date '2024-01-01' + d, 100 + (d * 37) % 50 + length(site)
    from unnest(array['shop', 'blog']) as site, generate_series(0, 69) as d;
update forecasting.daily set verdict = 'outage' where day = date '2024-01-01' + 30;
update forecasting.daily set value = 'NaN' where day = date '2024-01-01' + 44;
delete from forecasting.daily where day = date '2024-01-01' + 51;
insert into forecasting.forecasts (site, metric, version, cutoff, day, made_at, quantiles)
    select site, 'visits', 'v1', date '2024-01-01' + c, date '2024-01-01' + c + ahead, '2024-03-01',
        array(select 110 + (c * 7 + ahead * 3) % 20 + 6 * level from generate_series(-3, 3) as level)
    from unnest(array['shop', 'blog']) as site, generate_series(40, 64) as c, generate_series(1, 10) as ahead;
"""
CORRECTION = "update forecasting.daily set value = 500, read_at = '2024-03-20' where day = '2024-02-20'"


@pytest.fixture
def kept(database: DatabaseConfig) -> DatabaseConfig:
    prepare(database, load_schema(), DAYS)
    return database


def count(database: DatabaseConfig, *, since: dt.datetime | None = None, today: dt.date = TODAY) -> int:
    async def run() -> int:
        connection = await connect(database, writable=True)
        number = await count_outcomes(connection, today=today, since=since, masked=["outage"], levels=LEVELS)
        await connection.close()
        return number

    return asyncio.run(run())


def read(database: DatabaseConfig) -> list[tuple[Any, ...]]:
    rows = ask_own(database, "select * from forecasting.outcomes order by site, metric, version, days_ahead, week")
    return [tuple(row) for row in rows]


def expect() -> list[tuple[Any, ...]]:
    """The same by a loop over the days."""
    sums: dict[tuple[Any, ...], np.ndarray] = defaultdict(lambda: np.zeros(6))
    for site in ("blog", "shop"):
        values = np.array([100 + (day * 37) % 50 + len(site) for day in range(70)], float)
        values[list(UNKNOWN)] = np.nan
        for cutoff in range(40, 65):
            naive = seasonal_naive(values[None, cutoff - 34 : cutoff + 1], days_ahead=10)[0]
            for ahead in range(1, 11):
                day = cutoff + ahead
                if day >= 70 or np.isnan(values[day]):
                    continue
                quantiles = 110 + (cutoff * 7 + ahead * 3) % 20 + 6 * np.arange(-3, 4)
                errors = values[day] - quantiles
                pinball = np.mean(np.maximum(np.array(LEVELS) * errors, (np.array(LEVELS) - 1) * errors))
                inside = [quantiles[low] <= values[day] <= quantiles[-1 - low] for low in (1, 0)]
                week = MONDAY + dt.timedelta(days=day // 7 * 7)
                sums[site, "visits", "v1", ahead, week] += [
                    1, abs(errors[3]), abs(values[day] - naive[ahead - 1]), pinball, *inside
                ]  # fmt: skip
    return [(*key, *sums[key]) for key in sorted(sums)]


def test_every_known_day_counts_once(kept: DatabaseConfig) -> None:
    number = count(kept)
    rows, expected = read(kept), expect()
    assert [row[:5] for row in rows] == [row[:5] for row in expected]
    np.testing.assert_allclose([row[5:] for row in rows], [row[5:] for row in expected], rtol=1e-6)
    assert number == sum(row[5] for row in rows) > 300
    assert count(kept) == number
    assert read(kept) == rows
    [shown] = ask_own(
        kept, "select * from forecasting.realised where site = 'shop' and days_ahead = 3 and week = '2024-02-26'"
    )
    [row] = [row for row in rows if row[:1] == ("shop",) and row[3:5] == (3, dt.date(2024, 2, 26))]
    assert shown["relative_error"] == pytest.approx(row[6] / row[7])
    assert shown["coverage_80"] == row[9] / row[5]


def test_corrections_and_new_days_count_again(kept: DatabaseConfig) -> None:
    """Also if only what changed since then is looked at: all is as if it had been counted at once."""
    count(kept, today=TODAY - dt.timedelta(days=5))
    prepare(kept, "update forecasting.daily set read_at = '2024-03-01'", CORRECTION)
    count(kept, since=dt.datetime(2024, 3, 19, tzinfo=dt.UTC))
    incremental = read(kept)
    prepare(kept, "truncate forecasting.outcomes")
    count(kept)
    at_once = read(kept)
    assert [row[:5] for row in incremental] == [row[:5] for row in at_once]
    np.testing.assert_allclose([row[5:] for row in incremental], [row[5:] for row in at_once], rtol=1e-12)


def test_what_became_of_pruned_forecasts_stays(kept: DatabaseConfig) -> None:
    count(kept)
    before = read(kept)
    prepare(kept, "delete from forecasting.forecasts")
    assert count(kept, today=TODAY + dt.timedelta(days=200)) == 0
    assert read(kept) == before


def test_weeks_are_summed_over_days_ahead(kept: DatabaseConfig) -> None:
    count(kept)
    query = OutcomeQuery(dt.date(2024, 2, 21), 7, sites=["shop"])

    async def run() -> Any:
        connection = await connect(kept)
        outcomes = await read_outcomes(connection, query)
        await connection.close()
        return outcomes

    [outcomes] = asyncio.run(run())
    rows = [row for row in read(kept) if row[0] == "shop" and row[3] <= 7 and row[4] >= dt.date(2024, 2, 19)]
    assert outcomes.num_days.sum() == sum(row[5] for row in rows)
    assert outcomes.absolute_error.sum() == pytest.approx(sum(row[6] for row in rows))
    assert outcomes.inside_80 == sum(row[9] for row in rows)
    assert len(outcomes.weeks) == len({row[4] for row in rows}) == 3


def test_the_newest_forecast_has_one_row_a_day_ahead(kept: DatabaseConfig) -> None:
    newer = (
        "insert into forecasting.forecasts (site, metric, version, cutoff, day, made_at, quantiles) "
        "select site, metric, 'v2', cutoff, day, made_at + interval '1 hour', quantiles from forecasting.forecasts "
        "where cutoff >= '2024-03-04' and day <= cutoff + 7"
    )
    prepare(kept, newer)
    rows = ask_own(kept, "select version, day, cutoff from forecasting.latest where site = 'shop' order by day")
    cutoff = MONDAY + dt.timedelta(days=64)
    assert [(row["version"], (row["day"] - cutoff).days) for row in rows] == [
        *(("v2", ahead) for ahead in range(1, 8)), *(("v1", ahead) for ahead in range(8, 11))
    ]  # fmt: skip
    assert {row["cutoff"] for row in rows} == {cutoff}


def test_what_was_expected_is_the_newest_forecast_of_the_day_before(kept: DatabaseConfig) -> None:
    newer = """
        insert into forecasting.forecasts (site, metric, version, cutoff, day, made_at, quantiles)
            values ('shop', 'visits', 'v2', '2024-02-20', '2024-02-21', '2024-03-02', '{1,2,3,4,5,6,7}');
    """
    prepare(kept, newer)
    first = dt.date(2024, 2, 15)

    async def run() -> dict[int, tuple[float, float, float]]:
        connection = await connect(kept)
        expected = await read_expected(connection, ("shop", "visits"), first_date=first)
        await connection.close()
        return expected

    expected = asyncio.run(run())
    cutoffs = range((first - MONDAY).days - 1, 65)
    medians = {to_day(MONDAY) + cutoff + 1: 110 + (cutoff * 7 + 3) % 20 for cutoff in cutoffs}
    bands = {day: (median - 12.0, float(median), median + 12.0) for day, median in medians.items()}
    assert expected == bands | {to_day(dt.date(2024, 2, 21)): (2, 4, 6)}
