"""Verdicts in forecasting.daily and in the panel, of Umami's events; each expected one by hand."""

import asyncio
import datetime as dt
import math

import numpy as np
import pytest

from forecasting.domain import Kind, Verdict, to_day
from forecasting.latest_windows import LatestWindows, cut_latest_windows
from forecasting.panel import Panel
from forecasting.settings.schema import Config, DatabaseConfig, VerdictConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.daily import read_last_days
from forecasting.warehouse.panel_loader import read_panel
from tests.warehouse.ingesting import ask_own, bring, contents, days, events_of, judged, stored, views
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import ANNOTATIONS, BLOG, SHOP, UMAMI
from tests.warehouse.test_ingest import METRICS, read

NOW = "2024-06-11 09:00"
BEGAN = {"2024-05-01": "partial"}  # nobody knows when on its first day a site began
USUAL = days("2024-05-01", "2024-06-10")  # 60 people a day, from 8:00 to 20:00
BOTS = views("2024-06-05 10:00+00", 500, people=1)  # 560 views of 61 people


def test_a_day_without_events_amid_busy_ones_is_an_outage(database: DatabaseConfig) -> None:
    bring(events_of(database), NOW, UMAMI, days("2024-05-01", "2024-06-04"), days("2024-06-07", "2024-06-10"))
    dark = ("2024-06-05", "2024-06-06")
    for metric in METRICS:
        verdict = "outage" if metric in ("page_visits", "unique_visitors", "visits") else "unmeasured"
        assert judged(database, metric) == BEGAN | dict.fromkeys(dark, verdict)


def test_a_day_without_some_of_its_hours_is_partial(database: DatabaseConfig) -> None:
    # From 14:00 on nothing was counted: 6 of 12 usual hours. On the day before, 5 hours are missing.
    scripts = [
        days("2024-05-01", "2024-06-03"),
        days("2024-06-04", "2024-06-04", hours=(8, 15)),
        days("2024-06-05", "2024-06-05", hours=(8, 14)),
        days("2024-06-06", "2024-06-10"),
    ]
    config = events_of(database)
    bring(config, NOW, UMAMI, *scripts)
    assert all(judged(database, metric) == BEGAN | {"2024-06-05": "partial"} for metric in METRICS)
    # Its events come late: it is whole then.
    bring(events_of(database, reread_days=10), NOW, days("2024-06-05", "2024-06-05", hours=(14, 20)))
    assert judged(database) == BEGAN


def test_views_without_more_people_are_bots_unless_it_was_announced(database: DatabaseConfig) -> None:
    config = events_of(database)
    bring(config, NOW, UMAMI, ANNOTATIONS, USUAL, days("2024-05-01", "2024-06-10", site=SHOP), BOTS)
    assert stored(database)["2024-06-05"] == 560
    assert all(judged(database, metric) == BEGAN | {"2024-06-05": "bot"} for metric in METRICS)
    assert judged(database, site="Shop") == BEGAN
    read_at = "select read_at, value, hours from forecasting.daily order by site, metric, day"
    before = ask_own(database, read_at)
    for site, verdicts in ((SHOP, {"2024-06-05": "bot"}), (BLOG, {})):
        note = f"insert into annotation (website_id, date, note) values ('{site}', '2024-06-05', 'on the news')"  # noqa: S608 - ours
        assert bring(config, NOW, note).num_rows == 0
        assert judged(database) == BEGAN | verdicts
    assert bring(config, NOW, "delete from annotation").num_rows == 0
    assert judged(database) == BEGAN | {"2024-06-05": "bot"}
    assert ask_own(database, read_at) == before


def test_another_threshold_judges_anew_without_reading_the_source(database: DatabaseConfig) -> None:
    bring(events_of(database), NOW, UMAMI, USUAL, BOTS)
    # What is gone from the source cannot be read again: 560 views are 9.3 times the median.
    prepare(database, "truncate website_event")
    bring(events_of(database, verdicts=VerdictConfig(bot_factor=10.0)), NOW)
    assert judged(database) == BEGAN
    bring(events_of(database, verdicts=VerdictConfig(bot_factor=9.0)), NOW)
    assert judged(database) == BEGAN | {"2024-06-05": "bot"}


def test_days_before_a_break_are_of_another_definition_once_it_has_come(database: DatabaseConfig) -> None:
    """In however many parts the days are read: 150 of them are more than one."""
    first, last = dt.date(2024, 1, 2), dt.date(2024, 5, 20)
    older = {str(first + dt.timedelta(number)): "definition_break" for number in range((last - first).days)}
    config = events_of(database, verdicts=VerdictConfig(breaks=["visits=2024-05-20"]))
    bring(config, "2024-05-20 12:00", UMAMI, days(str(first), "2024-05-31", an_hour=2))
    assert judged(database, "visits") == {str(first): "partial"}
    for day in (21, 22, 28):
        bring(config, f"2024-05-{day} 12:00")
        assert judged(database, "visits") == older
        assert judged(database) == {str(first): "partial"}
    assert bring(config, "2024-05-28 12:00", whole=True).num_rows == 0
    assert judged(database, "visits") == older
    bring(events_of(database), "2024-05-28 12:00")
    assert judged(database, "visits") == {str(first): "partial"}


@pytest.mark.parametrize("masked", [None, [], ["outage"]])
def test_what_is_masked_is_not_in_the_panel(database: DatabaseConfig, masked: list[str] | None) -> None:
    verdicts = VerdictConfig() if masked is None else VerdictConfig(masked=masked)
    config = events_of(database, verdicts=verdicts)
    last = views("2024-06-10 10:00+00", 500, people=1)  # a series does not end before its last day
    bring(config, NOW, UMAMI, days("2024-05-01", "2024-06-04"), days("2024-06-06", "2024-06-10"), last)
    panel = read(config, today="2024-06-11")
    row = panel.find(metric="page_visits")
    assert panel.num_days == 41
    assert panel.cutoff == to_day(dt.date(2024, 6, 10))
    places = [
        to_day(dt.date.fromisoformat(day)) - panel.first_day for day in ("2024-05-01", "2024-06-05", "2024-06-10")
    ]
    seen = [(Verdict(panel.verdicts[row, place]), float(panel.values[row, place])) for place in places]
    expected = [(Verdict.partial, 60.0), (Verdict.outage, 0.0), (Verdict.bot, 560.0)]
    for (verdict, value), (actual, shown) in zip(expected, seen, strict=True):
        if masked is None or verdict.name in masked:
            assert actual is verdict
            assert math.isnan(shown)
        else:
            assert (actual, shown) == (Verdict.observed, value)
    others = [place for place in range(41) if place not in places]
    assert set(panel.values[row, others]) == {60.0}
    assert set(panel.verdicts[row, others]) == {Verdict.observed}


def test_a_verdict_rests_on_days_of_another_update(database: DatabaseConfig) -> None:
    """Read day by day, then at once: what came before a day is looked at however it was read."""
    config = events_of(database)
    bring(config, "2024-06-01 09:00", UMAMI, USUAL, BOTS)
    for day in range(2, 12):
        bring(config, f"2024-06-{day:02d} 09:00")
    actual = contents(database)
    assert judged(database) == BEGAN | {"2024-06-05": "bot"}
    prepare(database, "drop schema forecasting cascade")
    bring(config, NOW)
    assert contents(database) == actual


TOTALS = """
    drop table page_visits;
    truncate daily_metrics;
    insert into daily_metrics (date, page_visits, unique_visitors)
        select day, 600 + 20 * (day - '2024-05-01') % 3, 200 + 5 * (day - '2024-05-01') % 3
        from (select generate_series(date '2024-05-01', '2024-06-10', interval '1 day')::date) as days (day);
"""
HALF = "update daily_metrics set page_visits = 350, unique_visitors = 130 where date = '2024-06-10'"


@pytest.mark.parametrize(
    "later",
    [
        "update daily_metrics set page_visits = 610, unique_visitors = 205 where date = '2024-06-10'",
        "insert into daily_metrics (date, page_visits, unique_visitors) values ('2024-06-11', 610, 205)",
    ],
    ids=["the whole day", "a later day"],
)
def test_a_half_counted_last_day_is_partial_until_more_is_known(database: DatabaseConfig, later: str) -> None:
    config = Config(database=database)
    bring(config, "2024-06-11 09:00", TOTALS, HALF)
    half = {"2024-06-10": "partial"}
    assert judged(database, site=database.name) == half
    assert judged(database, "unique_visitors", site=database.name) == half
    panel = read_totals(config)
    assert panel.cutoff == to_day(dt.date(2024, 6, 10))
    assert [math.isnan(value) for value in panel.values[0, -2:]] == [False, True]
    assert f"page_visits of {database.name}: 1 day counted in part, masked (2024-06-10)" in panel.notes
    bring(config, "2024-06-12 09:00", later)
    assert judged(database, site=database.name) == judged(database, "unique_visitors", site=database.name) == {}


def test_a_half_counted_last_day_is_in_the_window_that_forecasts_are_made_from(database: DatabaseConfig) -> None:
    """The cutoff stays the last day of the data: a forecast of days that have passed helps nobody."""
    config = Config(database=database)
    bring(config, "2024-06-11 09:00", TOTALS, HALF)

    async def read_window() -> LatestWindows:
        connection = await connect(database)
        try:
            page = await read_last_days(
                connection,
                [(database.name, "page_visits")],
                today=dt.date(2024, 6, 11),
                num_days=91,
                masked=config.verdicts.masked,
            )
        finally:
            await connection.close()
        return cut_latest_windows(page.counts, page.days, page.values, [Kind.count], context_length=56)

    window = asyncio.run(read_window())
    assert window.cutoffs.tolist() == [to_day(dt.date(2024, 6, 10))]
    assert np.flatnonzero(np.isnan(window.history[0, 20:])).tolist() == [35]
    assert window.enough.tolist() == [True]


def read_totals(config: Config) -> Panel:
    async def run() -> Panel:
        connection = await connect(config.database)
        try:
            return await read_panel(connection, data=config.data, metrics=config.metrics, today=dt.date(2024, 6, 11))
        finally:
            await connection.close()

    return asyncio.run(run())
