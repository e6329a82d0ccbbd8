"""forecasting.daily: made, kept equal to daily_metrics, and read in bulk."""

import asyncio
import datetime as dt
from dataclasses import replace

import asyncpg
import numpy as np
import pytest

from forecasting.domain import Kind, Unit, to_date
from forecasting.errors import (
    AmbiguousUnit,
    DuplicateDays,
    MissingTable,
    SchemaNotWritable,
    SettingError,
    TooFewDays,
    UnknownMetric,
    UnknownSite,
)
from forecasting.panel import Panel
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig, MetricConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.daily import count_series, read_pages
from forecasting.warehouse.ingest import update
from forecasting.warehouse.pages import DailyQuery, Page
from forecasting.warehouse.panel_loader import read_panel
from forecasting.warehouse.schema import load_schema
from tests.warehouse.ingesting import make_schema

from .sources.plans import explain_query
from .test_siteanalytics import OWN, SITES, TODAY, prepare, read

ODD = 'it\'s\n-- $1 "odd"\\'
RENAME = "update forecasting.daily set site = $x${}$x$ where site = 'site 5'"
RAGGED = """
drop table daily_metrics;
insert into forecasting.daily (site, metric, day, value)
    select 'site ' || n, metric, date '2024-02-29' - 3 * n - d, nullif(1000 * n + d, 1005)
    from generate_series(0, 12) as n, generate_series(0, 40 + 5 * n) as d, unnest(array['clicks', 'visits']) as metric
    where (n + d) % 7 <> 3;
"""


def bring_up_to_date(config: DatabaseConfig, *scripts: str) -> int | None:
    async def run() -> int | None:
        await prepare(config, *scripts)
        return (await update(Config(database=config))).num_rows

    return asyncio.run(run())


def query(config: DatabaseConfig, statement: str) -> list[asyncpg.Record]:
    async def run() -> list[asyncpg.Record]:
        connection = await connect(config)
        rows = await connection.fetch(statement)
        await connection.close()
        return list(rows)

    return asyncio.run(run())


def pages(config: DatabaseConfig, query: DailyQuery, *, page_size: int) -> list[Page]:
    async def run() -> list[Page]:
        connection = await connect(config)
        actual = [page async for page in read_pages(connection, query, page_size=page_size)]
        if query.num_days:
            assert await count_series(connection, query) == sum(len(page.keys) for page in actual)
        await connection.close()
        return actual

    return asyncio.run(run())


def contents(pages: list[Page]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """The rows of each series, oldest first."""
    series = {}
    for page in pages:
        ends = page.counts.cumsum()
        for key, start, end in zip(page.keys, ends - page.counts, ends, strict=True):
            assert key not in series
            series[key] = sorted(zip(page.days[start:end].tolist(), page.values[start:end].tolist(), strict=True))
    return series


def test_refreshing_twice_changes_nothing(database: DatabaseConfig) -> None:
    assert bring_up_to_date(database, OWN) == 40
    before = query(database, "select * from forecasting.daily order by day")
    assert bring_up_to_date(database) == 0
    assert query(database, "select * from forecasting.daily order by day") == before
    assert [(row["value"], row["verdict"]) for row in before] == [
        (1000.0 + day, "observed") for day in range(39, -1, -1)
    ]


def test_refreshing_writes_what_changed_and_no_more(database: DatabaseConfig) -> None:
    bring_up_to_date(database, OWN)
    changes = """
        update daily_metrics set page_visits = 5 where date = '2024-02-10';
        update daily_metrics set page_visits = null where date = '2024-02-11';
        delete from daily_metrics where date = '2024-02-12';
        insert into daily_metrics (date, page_visits) values ('2024-03-01', 7);
    """
    assert bring_up_to_date(database, changes) == 3
    rows = {row["day"]: (row["value"], row["verdict"]) for row in query(database, "select * from forecasting.daily")}
    assert len(rows) == 41
    assert rows[dt.date(2024, 2, 10)] == (5.0, "observed")
    assert rows[dt.date(2024, 2, 11)] == (None, "unmeasured")
    assert rows[dt.date(2024, 3, 1)] == (7.0, "observed")
    assert rows[dt.date(2024, 2, 12)] == (1017.0, "observed")  # it stays
    # Read at first, read again, and new.
    assert query(database, "select count(distinct read_at) from forecasting.daily")[0][0] == 3


def test_other_series_are_left_alone(database: DatabaseConfig) -> None:
    bring_up_to_date(database, OWN)
    own = "insert into forecasting.daily (site, metric, day, value) values ('shop', 'page_visits', '2020-01-01', 1)"
    assert bring_up_to_date(database, own) == 0
    assert query(database, "select count(*) from forecasting.daily where site = 'shop'")[0][0] == 1


def test_columns_begin_and_end_with_their_values(database: DatabaseConfig) -> None:
    column = """
        alter table daily_metrics add signups int, add nothing int;
        update daily_metrics set signups = 3 where date between '2024-02-01' and '2024-02-20' and date <> '2024-02-09';
    """
    assert bring_up_to_date(database, OWN, column) == 60
    rows = query(database, "select day, value from forecasting.daily where metric = 'signups' order by day")
    assert (rows[0]["day"], rows[-1]["day"], len(rows)) == (dt.date(2024, 2, 1), dt.date(2024, 2, 20), 20)
    assert [row["day"] for row in rows if row["value"] is None] == [dt.date(2024, 2, 9)]
    assert query(database, "select count(*) from forecasting.daily where metric = 'nothing'")[0][0] == 0


def test_refreshing_refuses_two_rows_of_one_day(database: DatabaseConfig) -> None:
    twice = "insert into daily_metrics (date, page_visits) values ('2024-02-10', 7)"
    with pytest.raises(DuplicateDays) as caught:
        bring_up_to_date(database, OWN, twice)
    assert str(caught.value) == (
        f"page_visits of {database.name} has more than one value for 1 day, the first on 2024-02-10. "
        "Keep one row a day, or add a `site` column if the rows are of different sites."
    )


def test_refreshes_at_once_come_one_after_another(database: DatabaseConfig) -> None:
    async def run() -> list[int | None]:
        await prepare(database, OWN)
        done = await asyncio.gather(*(update(Config(database=database)) for _ in range(4)))
        return sorted(result.num_rows or 0 for result in done)

    assert asyncio.run(run()) == [0, 0, 0, 40]


def test_without_daily_metrics_what_is_there_is_taken(database: DatabaseConfig) -> None:
    with pytest.raises(MissingTable) as caught:
        bring_up_to_date(database, "drop table daily_metrics")
    assert str(caught.value) == (
        f"The database {database.name} has no table daily_metrics. Check DB_NAME, set data.source to the analytics "
        "tool whose tables to read, or create the table: one row per day, a `date` column, and a numeric column "
        "for each metric."
    )
    row = "insert into forecasting.daily values ('s', 'm', '2024-01-01', 1)"
    assert bring_up_to_date(database, load_schema(), row) is None


def test_events_whose_clock_nobody_knows_do_not_stand_before_it(database: DatabaseConfig) -> None:
    """As long as it is not filled from the same source: then it would be out of date, and nobody would say so."""
    event = "truncate daily_metrics; insert into page_visits (visitor_id, timestamp) values ('ann', '2024-01-01 12:00')"
    row = "insert into forecasting.daily values ('s', 'm', '2024-01-01', 1)"
    assert bring_up_to_date(database, load_schema(), event, row) is None
    refill = "truncate page_visits; insert into daily_metrics (date, page_visits) values ('2024-01-01', 5)"
    assert bring_up_to_date(database, refill) == 1
    with pytest.raises(SettingError, match=r"^daily_metrics has no row, so page_visits is read\."):
        bring_up_to_date(database, event)


def test_the_advised_grants_help(database: DatabaseConfig) -> None:
    """A user without rights, then with exactly those that the errors name: to make the schema, or to write to it."""
    writer = replace(database, user="writer")
    asyncio.run(prepare(database, OWN, "create role writer login; grant select on daily_metrics to writer"))
    try:
        with pytest.raises(SchemaNotWritable) as caught:
            make_schema(writer)
        assert str(caught.value) == (
            f"The database {database.name} has no schema forecasting with its tables, and the user writer may not "
            f'create it. Ask its owner to run: GRANT CREATE ON DATABASE "{database.name}" TO "writer";'
        )
        asyncio.run(prepare(database, str(caught.value).split("owner to run: ")[1]))
        assert bring_up_to_date(writer) == 40
        asyncio.run(prepare(database, "drop schema forecasting cascade"))
        assert bring_up_to_date(database) == 40
        with pytest.raises(SchemaNotWritable) as caught:
            make_schema(writer)
        assert str(caught.value).startswith(
            f"The user writer may not write to the schema forecasting of the database {database.name}. Ask its owner "
        )
        asyncio.run(prepare(database, str(caught.value).split("owner to run: ")[1]))
        assert bring_up_to_date(writer) == 0
    finally:
        asyncio.run(prepare(database, "drop owned by writer; drop role writer"))


@pytest.mark.parametrize("num_days", [None, 35])
def test_panel_is_the_one_of_daily_metrics(database: DatabaseConfig, num_days: int | None) -> None:
    asyncio.run(prepare(database, OWN, SITES, "update daily_metrics set page_visits = null where date = '2024-02-10'"))
    requested = DataConfig(sites=["site 4", "site 2"], metrics=["signups", "page_visits"])
    expected = [read(database, num_days=num_days), read(database, num_days=num_days, data=requested)]
    bring_up_to_date(database)
    actual = [
        read(database, "truncate daily_metrics", num_days=num_days),
        read(database, num_days=num_days, data=requested),
    ]
    for ours, theirs in zip(actual, expected, strict=True):
        assert_equal(ours, theirs)


def assert_equal(ours: Panel, theirs: Panel) -> None:
    """Whatever the order of series."""
    assert (ours.first_day, ours.num_days) == (theirs.first_day, theirs.num_days)
    assert sorted(ours.notes) == sorted(theirs.notes)
    rows = [theirs.find(metric=series.metric, site=series.site) for series in ours.series]
    assert sorted(rows) == list(range(len(theirs.series)))
    assert [theirs.series[row] for row in rows] == list(ours.series)
    np.testing.assert_array_equal(ours.values, theirs.values[rows])
    np.testing.assert_array_equal(ours.verdicts, theirs.verdicts[rows])


def test_shares_of_the_panel_are_disjoint_and_together_the_whole(database: DatabaseConfig) -> None:
    whole = read(database, load_schema(), RAGGED)
    shares = [read(database, share=(number, 3)) for number in range(3)]
    assert sorted(series.name for share in shares for series in share.series) == sorted(
        series.name for series in whole.series
    )
    assert {share.cutoff for share in shares} == {whole.cutoff}
    with pytest.raises(TooFewDays, match=r"^No series is in share \d of 2\. Use fewer processes"):
        [read(database, data=DataConfig(sites=["site 1"], metrics=["clicks"]), share=(n, 2)) for n in range(2)]


@pytest.mark.parametrize(
    ("requested", "error", "text"),
    [
        ({"sites": ["x"]}, UnknownSite, "There is no site 'x'. Sites: blog, shop."),
        ({"metrics": ["x"]}, UnknownMetric, "There is no metric 'x'. Metrics: clicks, visits."),
        ({"sites": ["shop"]}, TooFewDays,
         "The site 'shop' has no value of any metric since 2024-01-21. Load newer days, or leave it out."),
        ({"metrics": ["clicks"]}, TooFewDays,
         "The metric 'clicks' has no value since 2024-01-21. Load newer days, or leave it out."),
    ],
)  # fmt: skip
def test_what_was_asked_for_and_is_not_there_is_named(
    database: DatabaseConfig, requested: dict[str, list[str]], error: type[Exception], text: str
) -> None:
    filled = """
        drop table daily_metrics;
        insert into forecasting.daily (site, metric, day, value)
            select 'blog', 'visits', date '2024-02-29' - d, d from generate_series(0, 60) as d;
        insert into forecasting.daily (site, metric, day, value)
            select 'shop', 'clicks', date '2023-02-28' - d, d from generate_series(0, 60) as d;
        insert into forecasting.daily (site, metric, day, value) values ('blog', 'clicks', '2023-01-01', 1);
    """
    asyncio.run(prepare(database, load_schema(), filled))
    # The last day is that of the sites and metrics asked for: with the other's beside them, they have nothing since.
    both = requested
    if error is TooFewDays:
        both = {"sites": ["blog", "shop"]} if "sites" in requested else {"metrics": ["visits", "clicks"]}
    with pytest.raises(error) as caught:
        read(database, data=DataConfig(**both), num_days=40)
    assert str(caught.value) == text


def test_units_are_asked_for(database: DatabaseConfig) -> None:
    asyncio.run(
        prepare(
            database, f"drop table daily_metrics; {load_schema()}",
            "insert into forecasting.daily (site, metric, day, value) "
            "select 'blog', 'bounce_rate', date '2024-02-29' - d, 10 + d / 64.0 from generate_series(0, 39) as d",
        )
    )  # fmt: skip
    rate = MetricConfig(kind=Kind.rate)
    with pytest.raises(AmbiguousUnit, match=r"set metrics\.bounce_rate\.unit=fraction or metrics\.bounce_rate\.unit="):
        read(database, metrics={"bounce_rate": rate})
    panel = read(database, metrics={"bounce_rate": replace(rate, unit=Unit.percent)})
    np.testing.assert_allclose(panel.values[0, ::-1], (10 + np.arange(40) / 64) / 100, rtol=1e-6)
    assert panel.series[0].unit_scale == 100


@pytest.mark.parametrize("page_size", [1, 7, 26, 100])
def test_pages_of_any_size_hold_every_row(database: DatabaseConfig, page_size: int) -> None:
    bring_up_to_date(database, OWN)
    asyncio.run(prepare(database, RAGGED, RENAME.format(ODD)))
    rows = query(database, "select site, metric, day, coalesce(value, 'NaN') as value from forecasting.daily")
    expected: dict[tuple[str, str], list[tuple[dt.date, float]]] = {}
    for row in sorted(rows, key=lambda row: row["day"]):
        expected.setdefault((row["site"], row["metric"]), []).append((row["day"], row["value"]))
    everything = contents(pages(database, DailyQuery(TODAY), page_size=page_size))
    recent = contents(pages(database, DailyQuery(TODAY, num_days=20), page_size=page_size))
    named = {(key, to_date(day), str(value)) for key, of in everything.items() for day, value in of}
    assert named == {(key, day, str(value)) for key, of in expected.items() for day, value in of}
    assert {key: [to_date(day) for day, _ in of] for key, of in recent.items()} == {
        key: [day for day, _ in of[-20:]] for key, of in expected.items()
    }
    assert len(everything) == 27  # of which the one of the database's own


def test_days_from_today_on_are_not_read(database: DatabaseConfig) -> None:
    bring_up_to_date(database, OWN)
    early = dt.date(2024, 2, 20)
    for query in (DailyQuery(early), DailyQuery(early, num_days=10)):
        [(_, rows)] = contents(pages(database, query, page_size=5)).items()
        assert to_date(rows[-1][0]) == dt.date(2024, 2, 19)
    [(_, none)] = contents(pages(database, DailyQuery(dt.date(2000, 1, 1), num_days=10), page_size=5)).items()
    assert none == []
    assert pages(database, DailyQuery(dt.date(2000, 1, 1)), page_size=5) == []


def test_serving_reads_it_too(database: DatabaseConfig) -> None:
    """By way of a pool's connection, in whose session nothing is left changed."""

    async def run() -> str:
        connection = await connect(database)
        await read_panel(connection, data=DataConfig(), metrics={}, today=TODAY)
        setting = await connection.fetchval("select current_setting('enable_seqscan')")
        await connection.close()
        return str(setting)

    bring_up_to_date(database, OWN)
    asyncio.run(prepare(database, "drop table daily_metrics"))
    assert asyncio.run(run()) == "on"


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("list_series", ("", "", 100, [], [], 0, 1, "")),
        ("list_series", ("site 3", "clicks", None, ["site 5"], [], 0, 1, "")),
        ("read_last_days", (["site 5", "site 1"], ["clicks", "visits"], TODAY, 20, ["bot"])),
        ("read_days", ("", "", 100, [], [], 0, 1, "", TODAY, dt.date(2024, 1, 1), ["bot"])),
    ],
)
def test_pages_are_read_by_the_primary_key_alone(
    database: DatabaseConfig, analyzed: bool, name: str, values: tuple[object, ...]
) -> None:
    """Whatever the statistics are: nothing is sorted, and the table is never read as a whole."""
    asyncio.run(prepare(database, load_schema(), RAGGED, *(["analyze"] if analyzed else [])))
    nodes = explain_query(database, name, *values, before="prefer_index")
    scans = [node for node in nodes if node.get("Relation Name") == "daily"]
    assert scans
    assert {
        (node["Node Type"].removesuffix(" Only Scan").removesuffix(" Scan"), node["Index Name"]) for node in scans
    } == {("Index", "daily_pkey")}
    assert not [node for node in nodes if "Sort" in node["Node Type"] or node["Node Type"] == "HashAggregate"]
    assert all("site" in node["Index Cond"] for node in scans if name != "read_days")


def test_the_last_days_of_long_histories_are_read_alone(database: DatabaseConfig) -> None:
    """20 rows of a series of 4,000 days, wherever it ends."""
    long = """
        insert into forecasting.daily (site, metric, day, value)
            select 'site ' || n, 'visits', date '2024-02-29' - 100 * n - d, d
            from generate_series(1, 5) as n, generate_series(0, 3999) as d;
    """
    asyncio.run(prepare(database, load_schema(), long))
    sites = [f"site {number}" for number in range(1, 6)]
    values = (sites, ["visits"] * 5, TODAY, 20, [])
    nodes = explain_query(database, "read_last_days", *values, before="prefer_index", analyze=True)
    (scan,) = [node for node in nodes if node.get("Relation Name") == "daily"]
    assert scan["Actual Loops"] == 5
    assert scan["Actual Rows"] == 20
