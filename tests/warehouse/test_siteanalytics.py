"""daily_metrics as a source, in every state that people's tables are in."""

import asyncio
import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from forecasting.domain import Kind, Missing, Unit, Verdict, to_date, to_day
from forecasting.errors import (
    AmbiguousUnit,
    DuplicateDays,
    ForecastingError,
    MissingTable,
    TooFewDays,
    UnknownMetric,
    UnknownSite,
    WarehouseError,
)
from forecasting.panel import Panel
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig, MetricConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.ingest import update
from forecasting.warehouse.panel_loader import read_panel

TODAY = dt.date(2024, 3, 1)
# A table of the user's own: 40 days, 2024-01-21..2024-02-29, without the documented one's constraints.
OWN = """
drop table daily_metrics;
create table daily_metrics (id serial, date date, page_visits integer);
insert into daily_metrics (date, page_visits)
    select date '2024-02-29' - day, 1000 + day from generate_series(0, 39) as day;
"""
SITE_COLUMN = """
alter table daily_metrics add site text;
update daily_metrics set site = 'blog';
insert into daily_metrics (date, page_visits, site) select date, 2 * page_visits, 'shop' from daily_metrics;
"""


async def prepare(config: DatabaseConfig, *scripts: str) -> None:
    connection = await connect(config, writable=True)
    try:
        for script in scripts:
            await connection.execute(script)
    finally:
        await connection.close()


def read(
    config: DatabaseConfig,
    *scripts: str,
    data: DataConfig | None = None,
    metrics: dict[str, MetricConfig] | None = None,
    num_days: int | None = None,
    today: dt.date = TODAY,
    share: tuple[int, int] = (0, 1),
) -> Panel:
    """The panel after the scripts have changed the database."""

    async def run() -> Panel:
        await prepare(config, *scripts)
        settings = Config(database=config, data=data or DataConfig(), metrics=metrics or {})
        updated = await update(settings)
        connection = await connect(updated.database)
        try:
            panel = await read_panel(
                connection, data=settings.data, metrics=settings.metrics, num_days=num_days, today=today, share=share
            )
        finally:
            await connection.close()
        return replace(panel, notes=(*updated.notes, *panel.notes))

    return asyncio.run(run())


def names(panel: Panel) -> list[str]:
    return [series.metric for series in panel.series]


def test_last_days_up_to_the_last_one_in_the_data(database: DatabaseConfig) -> None:
    whole, tail = read(database, OWN), read(database, num_days=30, today=dt.date(2030, 1, 1))
    assert (whole.num_days, tail.num_days) == (40, 30)
    assert to_date(tail.cutoff) == to_date(whole.cutoff) == dt.date(2024, 2, 29)
    np.testing.assert_array_equal(tail.values, whole.values[:, 10:])
    np.testing.assert_array_equal(whole.values[0], np.arange(1039, 999, -1))


def test_order_of_rows_changes_nothing(database: DatabaseConfig) -> None:
    shuffle = """
        create table shuffled as select * from daily_metrics order by md5(date::text);
        truncate daily_metrics;
        insert into daily_metrics select * from shuffled;
    """
    ordered, shuffled = read(database, OWN), read(database, shuffle)
    np.testing.assert_array_equal(ordered.values, shuffled.values)
    assert ordered.first_day == shuffled.first_day


def test_further_numeric_columns_are_metrics_by_their_type(database: DatabaseConfig) -> None:
    columns = """
        create domain amount as bigint;
        alter table daily_metrics
            add "Sign Ups" smallint default 3, add orders amount default 4, add m real default 0.5,
            add revenue numeric(12, 2) default 19.99, add seconds double precision default 61.25,
            add comment text default 'quiet', add holiday boolean default false, add empty_one integer,
            add data jsonb default '{"page_visits": 1}';
    """
    panel = read(database, OWN, columns)
    assert names(panel) == ["page_visits", "Sign Ups", "orders", "m", "revenue", "seconds"]
    kinds = [Kind.count] * 3 + [Kind.other] * 3
    assert [series.kind for series in panel.series] == kinds
    assert [series.additive for series in panel.series] == [True] * 3 + [False] * 3
    np.testing.assert_array_equal(panel.values[1:, 0], np.array([3, 4, 0.5, 19.99, 61.25], np.float32))


def test_settings_win_over_types(database: DatabaseConfig) -> None:
    settings = {"page_visits": MetricConfig(kind=Kind.other, additive=True), "seconds": MetricConfig(kind=Kind.count)}
    panel = read(database, OWN, "alter table daily_metrics add seconds real default 2", metrics=settings)
    assert [series.kind for series in panel.series] == [Kind.other, Kind.count]
    assert [series.additive for series in panel.series] == [True, True]


def test_named_metrics_alone_are_read(database: DatabaseConfig) -> None:
    panel = read(database, data=DataConfig(metrics=["returning_visitors", "page_visits"]))
    assert names(panel) == ["page_visits", "returning_visitors"]


def test_site_is_the_databases_name_where_no_column_says(database: DatabaseConfig) -> None:
    assert read(database, OWN).series[0].site == database.name


def test_site_column_is_honoured(database: DatabaseConfig) -> None:
    panel = read(database, OWN, SITE_COLUMN)
    assert [(series.site, series.metric) for series in panel.series] == [
        ("blog", "page_visits"),
        ("shop", "page_visits"),
    ]
    np.testing.assert_array_equal(panel.values[1], 2 * panel.values[0])
    only = read(database, data=DataConfig(sites=["shop"]))
    assert [series.site for series in only.series] == ["shop"]
    np.testing.assert_array_equal(only.values[0], panel.values[1])


def test_cutoff_is_that_of_the_sites_asked_for(database: DatabaseConfig) -> None:
    ended = "delete from daily_metrics where site = 'blog' and date > '2024-02-25'"
    panel = read(database, OWN, SITE_COLUMN, ended, data=DataConfig(sites=["blog"]), num_days=30)
    assert (to_date(panel.cutoff), panel.num_days) == (dt.date(2024, 2, 25), 30)


SITES = """
alter table daily_metrics add site text, add signups integer default 3;
update daily_metrics set site = 'site 0';
insert into daily_metrics (date, page_visits, site)
    select date, number * page_visits, 'site ' || number from daily_metrics, generate_series(1, 9) as number;
delete from daily_metrics where site <> 'site 4' and date > '2024-02-27';
"""


@pytest.mark.parametrize("num_days", [None, 35])
def test_shares_are_disjoint_and_together_the_whole(database: DatabaseConfig, num_days: int | None) -> None:
    whole = read(database, OWN, SITES, num_days=num_days)
    shares = [read(database, share=(number, 3), num_days=num_days) for number in range(3)]
    assert sorted(series.name for share in shares for series in share.series) == sorted(
        series.name for series in whole.series
    )
    assert len(whole.series) == 20
    for share in shares:
        assert share.cutoff == whole.cutoff
        for row, series in enumerate(share.series):
            expected = whole.values[whole.series.index(series), -share.num_days :]
            np.testing.assert_array_equal(share.values[row], expected)


def test_sites_in_another_share_are_no_unknown_ones(database: DatabaseConfig) -> None:
    requested = DataConfig(sites=["site 1", "site 2", "site 3"], metrics=["page_visits", "signups"])
    shares = [
        read(database, *scripts, data=requested, share=(number, 2)) for number, scripts in ((0, (OWN, SITES)), (1, ()))
    ]
    assert [len(share.series) for share in shares] != [6, 6]
    assert sum(len(share.series) for share in shares) == 6
    with pytest.raises(UnknownSite, match="There is no site 'site 11'"):
        read(database, data=DataConfig(sites=["site 1", "site 11"]), share=(0, 2))


def test_share_without_a_series_is_refused(database: DatabaseConfig) -> None:
    texts = []
    for number in range(2):
        try:
            assert len(read(database, *([OWN] if not number else []), share=(number, 2)).series) == 1
        except TooFewDays as error:
            texts.append((number, str(error)))
    [(number, text)] = texts
    assert text == f"No series is in share {number} of 2. Use fewer processes, or load more series."


def test_missing_days_are_zero_or_masked_as_said(database: DatabaseConfig) -> None:
    zero = read(database, OWN, "delete from daily_metrics where date = '2024-02-10'")
    mask = read(database, data=DataConfig(missing=Missing.mask))
    place = to_day(dt.date(2024, 2, 10)) - zero.first_day
    assert zero.verdicts[0, place] == mask.verdicts[0, place] == Verdict.gap
    assert zero.values[0, place] == 0
    assert np.isnan(mask.values[0, place])


def assert_masked(database: DatabaseConfig, value: str, *, verdict: Verdict, described: str) -> None:
    """A table of which one day has this value: that day alone is unknown, and is told."""
    alter = "alter table daily_metrics alter page_visits type double precision"
    spoil = f"update daily_metrics set page_visits = {value} where date = '2024-02-10'"  # noqa: S608 - ours
    panel = read(database, OWN, alter, spoil)
    place = to_day(dt.date(2024, 2, 10)) - panel.first_day
    assert panel.verdicts[0, place] == verdict
    assert np.isnan(panel.values[0]).nonzero()[0].tolist() == [place]
    assert panel.notes == (f"page_visits of {database.name}: 1 day {described}, masked (2024-02-10)",)


@pytest.mark.parametrize("value", ["null", "'NaN'"])
def test_rows_without_a_value_are_masked_though_missing_days_are_zero(database: DatabaseConfig, value: str) -> None:
    assert_masked(database, value, verdict=Verdict.unmeasured, described="without a value in its row")


def test_a_column_that_was_added_later_begins_with_its_first_value(database: DatabaseConfig) -> None:
    panel = read(database, OWN, "alter table daily_metrics add signups int",
                 "update daily_metrics set signups = 3 where date >= '2024-01-28'")  # fmt: skip
    row = panel.find(metric="signups")
    begun = to_day(dt.date(2024, 1, 28)) - panel.first_day
    assert (panel.verdicts[row, :begun] == Verdict.before).all()
    assert (panel.verdicts[row, begun:] == Verdict.observed).all()


@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "1e300"])
def test_values_that_cannot_be_are_masked(database: DatabaseConfig, value: str) -> None:
    assert_masked(database, f"'{value}'", verdict=Verdict.invalid, described="with an impossible value")


def test_negative_counts_are_masked(database: DatabaseConfig) -> None:
    panel = read(database, OWN, "update daily_metrics set page_visits = -5 where date >= '2024-02-28'")
    assert panel.verdicts[0, -3:].tolist() == [Verdict.observed, Verdict.invalid, Verdict.invalid]


def test_today_and_the_future_are_left_out(database: DatabaseConfig) -> None:
    later = "insert into daily_metrics (date, page_visits) values ('2024-03-01', 7), ('2024-03-05', 8)"
    panel = read(database, OWN, later, num_days=30)
    assert (to_date(panel.cutoff), panel.num_days) == (dt.date(2024, 2, 29), 30)
    assert panel.notes == (
        "2024-03-01 is not over: it is left out",
        f"page_visits of {database.name}: 1 day in the future left out (2024-03-05; today is 2024-03-01)",
    )


def test_rows_without_a_date_are_left_out_and_told(database: DatabaseConfig) -> None:
    undated = "insert into daily_metrics (date, page_visits) values (null, 7), ('infinity', 8), ('-infinity', 9)"
    panel = read(database, OWN, undated)
    assert panel.num_days == 40
    assert panel.notes == (
        "daily_metrics has 1 row without a date, left out",
        f"{database.name} has 2 rows dated before 1990 or in the future (from -infinity to infinity), left out. "
        "Correct their dates, and check the clock of the writer",
    )


def test_two_rows_of_one_day_are_refused(database: DatabaseConfig) -> None:
    twice = "insert into daily_metrics (date, page_visits) values ('2024-02-10', 7)"
    with pytest.raises(DuplicateDays) as caught:
        read(database, OWN, twice)
    assert str(caught.value) == (
        f"page_visits of {database.name} has more than one value for 1 day, the first on 2024-02-10. "
        "Keep one row a day, or add a `site` column if the rows are of different sites."
    )


@pytest.mark.parametrize(
    ("column_type", "zone", "days"),
    [("timestamp", "UTC", 40), ("timestamptz", "UTC", 40), ("timestamptz", "America/New_York", 40)],
)
def test_moments_count_as_their_day(database: DatabaseConfig, column_type: str, zone: str, days: int) -> None:
    stored = f"set timezone = '{zone}'; alter table daily_metrics alter date type {column_type} using date::timestamp"
    panel = read(database, OWN, stored, data=DataConfig(timezone=zone))
    assert (to_date(panel.first_day), panel.num_days) == (dt.date(2024, 1, 21), days)


def test_moments_are_of_the_configured_time_zone(database: DatabaseConfig) -> None:
    stored = "alter table daily_metrics alter date type timestamptz using date::timestamp at time zone 'UTC'"
    panel = read(database, OWN, stored, data=DataConfig(timezone="America/New_York"))
    assert to_date(panel.first_day) == dt.date(2024, 1, 20)


def test_thirty_days_are_enough(database: DatabaseConfig) -> None:
    panel = read(database, OWN, "delete from daily_metrics where date < '2024-01-31'")
    assert panel.num_days == 30


@pytest.mark.parametrize(
    ("change", "num_days", "text"),
    [
        ("delete from daily_metrics where date < '2024-02-01'", None,
         "page_visits of {site} has 29 days of data; at least 30 are needed. Wait for more, or load older days."),
        ("delete from daily_metrics where date < '2024-02-01'", 32,
         "page_visits of {site} has 29 days of data; at least 30 are needed. Wait for more, or load older days. "
         "Only the last 32 days were read, 2024-01-29..2024-02-29."),
        ("truncate daily_metrics", None, "There is no complete day of data; at least 30 are needed."),
        ("update daily_metrics set date = date + 100", 84, "There is no complete day of data; at least 30 are needed."),
        ("select 1", 29, "29 days were asked for; at least 30 are needed."),
    ],
)  # fmt: skip
def test_too_few_days_are_counted_and_refused(
    database: DatabaseConfig, change: str, num_days: int | None, text: str
) -> None:
    for named in ([], ["page_visits"]):
        with pytest.raises(TooFewDays) as caught:
            read(database, OWN, change, data=DataConfig(metrics=named), num_days=num_days)
        assert str(caught.value) == text.format(site=database.name)


BOUNCE = "alter table daily_metrics add bounce_rate real; update daily_metrics set bounce_rate = {} + id / 64.0;"
RATE = MetricConfig(kind=Kind.rate)
ASK = (
    "bounce_rate is a rate, and rates are stored as 0..1 or as 0..100; its values are 10.0156..10.625. The unit is "
    "never guessed: set metrics.bounce_rate.unit=fraction or metrics.bounce_rate.unit=percent."
)


def test_percent_is_divided_and_said(database: DatabaseConfig) -> None:
    settings = {"bounce_rate": replace(RATE, unit=Unit.percent)}
    panel = read(database, OWN, BOUNCE.format(10), metrics=settings)
    assert (panel.series[1].kind, panel.series[1].unit_scale, panel.series[1].additive) == (Kind.rate, 100.0, False)
    expected = (10 + np.arange(40, 0, -1) / 64) / 100
    np.testing.assert_allclose(panel.values[1], expected, rtol=1e-6)


def test_fraction_stays_as_it_is(database: DatabaseConfig) -> None:
    panel = read(database, OWN, BOUNCE.format(0), metrics={"bounce_rate": MetricConfig(unit=Unit.fraction)})
    assert (panel.series[1].kind, panel.series[1].unit_scale) == (Kind.rate, 1.0)
    np.testing.assert_array_equal(panel.values[1], (np.arange(40, 0, -1) / 64).astype(np.float32))


def test_rate_of_unknown_unit_is_left_out_with_a_note(database: DatabaseConfig) -> None:
    panel = read(database, OWN, BOUNCE.format(10), metrics={"bounce_rate": RATE})
    assert names(panel) == ["page_visits"]
    assert panel.notes == (f"bounce_rate of {database.name} is left out. {ASK}",)


def test_rate_of_unknown_unit_that_was_asked_for_is_refused(database: DatabaseConfig) -> None:
    with pytest.raises(AmbiguousUnit) as caught:
        read(database, OWN, BOUNCE.format(10), metrics={"bounce_rate": RATE}, data=DataConfig(metrics=["bounce_rate"]))
    assert str(caught.value) == ASK


def test_table_of_nothing_but_rates_of_unknown_unit_is_refused(database: DatabaseConfig) -> None:
    only = "alter table daily_metrics drop page_visits"
    with pytest.raises(AmbiguousUnit) as caught:
        read(database, OWN, BOUNCE.format(10), only, metrics={"bounce_rate": RATE})
    assert str(caught.value) == ASK


def test_percent_that_is_called_a_fraction_is_refused(database: DatabaseConfig) -> None:
    with pytest.raises(AmbiguousUnit) as caught:
        read(database, OWN, BOUNCE.format(10), metrics={"bounce_rate": replace(RATE, unit=Unit.fraction)})
    assert str(caught.value) == (
        f"bounce_rate of {database.name} has the unit fraction, 0..1, but its values are 10.0156..10.625. "
        "Set metrics.bounce_rate.unit=percent if they are 0..100."
    )


@pytest.mark.parametrize(
    ("requested", "error", "text"),
    [
        ({"metrics": ["visits"]}, UnknownMetric,
         "There is no metric 'visits'. "
         "Metrics: first_time_visitors, page_visits, returning_visitors, unique_visitors."),
        ({"metrics": ["page_views"]}, UnknownMetric,
         "The metric 'page_views' has no value on any day. "
         "Metrics with values: first_time_visitors, page_visits, returning_visitors, unique_visitors."),
        ({"sites": ["shop"]}, UnknownSite, "There is no site 'shop'. Sites: {site}."),
    ],
)  # fmt: skip
def test_unknown_names_are_answered_with_those_there_are(
    database: DatabaseConfig, requested: dict[str, list[str]], error: type[ForecastingError], text: str
) -> None:
    with pytest.raises(error) as caught:
        read(database, data=DataConfig(**requested), num_days=84)
    assert str(caught.value) == text.format(site=database.name)


def test_metric_that_ended_long_ago_is_no_unknown_one(database: DatabaseConfig) -> None:
    ended = "update daily_metrics set returning_visitors = null where date > '2019-12-31'"
    with pytest.raises(TooFewDays) as caught:
        read(database, ended, data=DataConfig(metrics=["returning_visitors"]), num_days=84)
    assert str(caught.value) == (
        "The metric 'returning_visitors' has no value since 2020-05-28. Load newer days, or leave it out."
    )
    with pytest.raises(TooFewDays) as caught:  # as serving asks for it
        read(database, data=DataConfig(metrics=["returning_visitors"], sites=[database.name]), num_days=84)
    assert str(caught.value) == (
        f"The site '{database.name}' has no value of returning_visitors since 2020-05-28. "
        "Load newer days, or leave it out."
    )
    assert names(read(database, num_days=84)) == ["page_visits", "unique_visitors", "first_time_visitors"]


def refuse_table(config: DatabaseConfig, *scripts: str) -> str:
    with pytest.raises(WarehouseError) as caught:
        read(config, *scripts)
    return str(caught.value)


NUMBER = r"'^\s*[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?\s*$'"


AS_NUMBER = f"CASE WHEN \"Sales\" ~ {NUMBER} THEN replace(\"Sales\", ',', '')::double precision END"


@pytest.mark.parametrize(
    ("type_", "value", "sql", "expected"),
    [
        ("text", "' 1,205'", f"double precision USING {AS_NUMBER}", 1205.0),
        ("character varying", "'7.5'", f"double precision USING {AS_NUMBER}", 7.5),
        ("money", "12.34", 'numeric USING "Sales"::numeric', 12.34),
        ("interval", "'1 hour'", 'double precision USING extract(epoch from "Sales")', 3600.0),
    ],
)
def test_a_column_of_numbers_in_another_type_is_named_with_sql_that_works(
    database: DatabaseConfig, type_: str, value: str, sql: str, expected: float
) -> None:
    panel = read(database, OWN, f'alter table daily_metrics add "Sales" {type_} default {value}')
    [note] = panel.notes
    assert note == (
        f"the column Sales of daily_metrics has the type {type_}, which is no number, so it is left out. To make it a "
        f'metric, run: ALTER TABLE daily_metrics ALTER COLUMN "Sales" DROP DEFAULT, ALTER COLUMN "Sales" TYPE {sql};'
    )
    panel = read(database, note.split("run: ")[1])
    assert (names(panel), panel.notes) == (["page_visits", "Sales"], ())
    np.testing.assert_allclose(panel.values[1], expected)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("bigint", "extract(epoch from date)"),
        ("bigint", "extract(epoch from date) * 1000"),
        ("bigint", "extract(epoch from date) * 1000000"),
        ("integer", "to_char(date, 'YYYYMMDD')::integer"),
        ("integer", "date - date '1970-01-01'"),
        ("text", "date::text"),
        ("text", "to_char(date, 'YYYYMMDD')"),
        ("text", "to_char(date, 'DD.MM.YYYY')"),
        ("text", "to_char(date, 'MM/DD/YYYY')"),
        ("text", "to_char(date, 'DD/MM/YYYY')"),
    ],
)
def test_days_in_another_type_are_named_with_sql_that_works(database: DatabaseConfig, type_: str, value: str) -> None:
    expected = read(database, OWN)
    change = f"alter table daily_metrics alter date type {type_} using {value.format()}"
    text = refuse_table(database, change)
    assert text.startswith(f"The column `date` of daily_metrics has the type {type_}, which does not hold days. Run: ")
    panel = read(database, text.split("Run: ")[1])
    assert panel.first_day == expected.first_day
    np.testing.assert_array_equal(panel.values, expected.values)


def test_days_in_a_type_that_nobody_can_read(database: DatabaseConfig) -> None:
    assert refuse_table(database, OWN, "alter table daily_metrics alter date type text using 'day ' || id") == (
        "The column `date` of daily_metrics has the type text, which does not hold days. Change it to the type date, "
        "or create a view whose column `date` is one."
    )


def test_missing_table(database: DatabaseConfig) -> None:
    assert refuse_table(database, "drop table daily_metrics") == (
        f"The database {database.name} has no table daily_metrics. Check DB_NAME, set data.source to the analytics "
        "tool whose tables to read, or create the table: one row per day, a `date` column, and a numeric column "
        "for each metric."
    )


def test_table_in_another_schema(database: DatabaseConfig) -> None:
    assert refuse_table(database, "create schema stats; alter table daily_metrics set schema stats") == (
        f"The table daily_metrics of the database {database.name} is in the schema stats, which is not searched "
        "(searched: public). Set data.schema=stats."
    )


def test_the_advised_statements_help(database: DatabaseConfig, embedded: DatabaseConfig) -> None:
    """A reader without rights, then with exactly those that the two errors name."""
    reader = replace(database, user="reader", pgdata=embedded.pgdata)
    asyncio.run(
        prepare(database, "create role reader login; create schema stats; grant usage on schema stats to reader")
    )
    stats = DataConfig(schema="stats")
    try:
        asyncio.run(prepare(database, "alter table daily_metrics set schema stats"))
        with pytest.raises(MissingTable) as caught:
            read(reader, data=stats)
        asyncio.run(prepare(database, str(caught.value).split("owner to run: ")[1]))
        assert str(caught.value) == (
            f"The user reader may not read stats.daily_metrics in the database {database.name}. Ask its owner to run: "
            'GRANT SELECT ON stats.daily_metrics TO "reader";'
        )
        assert read(reader, data=stats).num_days == 2167
    finally:
        asyncio.run(prepare(database, "drop owned by reader; drop role reader"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("alter table daily_metrics rename date to day",
         "daily_metrics has no column `date`. Its columns: id, day, page_visits. Rename the column that holds the day, "
         "or create a view with that name."),
        ("alter table daily_metrics alter date type text",
         "The column `date` of daily_metrics has the type text, which does not hold days. Run: "
         "ALTER TABLE daily_metrics ALTER COLUMN date TYPE date USING date::date;"),
    ],
)  # fmt: skip
def test_table_without_days(database: DatabaseConfig, change: str, text: str) -> None:
    assert refuse_table(database, OWN, change) == text


def test_a_view_will_do(database: DatabaseConfig) -> None:
    view = "create view daily_metrics as select day as date, page_visits from daily"
    rename = "alter table daily_metrics rename date to day; alter table daily_metrics rename to daily"
    assert read(database, OWN, rename, view).num_days == 40


def test_value_that_no_float_holds_is_a_warehouse_error(database: DatabaseConfig) -> None:
    huge = """
        alter table daily_metrics alter page_visits type numeric;
        update daily_metrics set page_visits = 1e400 where date = '2024-02-10';
    """
    text = refuse_table(database, OWN, huge)
    assert text.startswith(
        "PostgreSQL failed while reading the days 2024-01-21..2024-02-29 from siteanalytics (days read earlier are "
        "kept): "
    )
    assert text.endswith("is out of range for type double precision.")


def test_lost_connection_is_a_warehouse_error(database: DatabaseConfig) -> None:
    async def run() -> None:
        connection = await connect(database)
        killer = await connect(database)
        await killer.execute("select pg_terminate_backend($1)", connection.get_server_pid())
        await killer.close()
        await read_panel(connection, data=DataConfig(), metrics={})

    with pytest.raises(
        WarehouseError, match=r"^The connection to PostgreSQL was lost while reading forecasting.daily: "
    ):
        asyncio.run(run())


def test_reading_changes_nothing_in_the_session(database: DatabaseConfig) -> None:
    """A pool's connection goes on to other uses."""

    async def run() -> tuple[str, str]:
        connection = await connect(database)
        before = await connection.fetchval("select current_setting('TimeZone')")
        await read_panel(connection, data=DataConfig(timezone="Asia/Tokyo"), metrics={})
        after = await connection.fetchval("select current_setting('TimeZone')")
        await connection.close()
        return before, after

    stored = "alter table daily_metrics alter date type timestamptz using date::timestamp at time zone 'UTC'"
    read(database, OWN, stored)
    before, after = asyncio.run(run())
    assert before == after != "Asia/Tokyo"


def test_today_is_that_of_the_time_zone() -> None:
    east, west = (DataConfig(timezone=zone).today() for zone in ("Pacific/Kiritimati", "Etc/GMT+12"))  # 26 hours apart
    assert (east - west).days in (1, 2)
