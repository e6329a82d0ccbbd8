"""A query of the user's own as a source: what it may be, what it says, and what is refused."""

import asyncio
import datetime as dt
import math
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from forecasting.domain import Kind, SourceName
from forecasting.errors import InvalidQuery, MissingTable, SettingError, WarehouseError
from forecasting.settings.schema import DatabaseConfig, DataConfig
from forecasting.warehouse.connection import OwnConnection, connect
from forecasting.warehouse.sources.query import UserQuery, open_source
from forecasting.warehouse.sources.source import MetricDefinition, Site, Source, Span
from tests.warehouse.sources.asking import ask, list_metrics, list_sites, prepare, read_all, read_days

# Days as a shop may have them: amounts by day and shop, two months around midsummer.
ORDERS = """
create table orders (
    id bigint generated always as identity primary key, shop varchar(20), moment timestamptz not null,
    amount numeric(10, 2) not null
);
create index orders_moment_idx on orders (moment);
insert into orders (shop, moment, amount) values
    ('tea', '2024-06-05 10:00+02', 10.50), ('tea', '2024-06-05 23:59:59.999+02', 4.50),
    ('tea', '2024-06-06 00:00+02', 7), ('tea', '2024-06-09 12:00+02', 3),
    ('coffee', '2024-06-05 12:00+02', 20);
create sequence numbers;
create table log (text text);
"""
DAYS = """
select shop as site, 'orders' as metric, (moment at time zone 'Europe/Paris')::date as day, count(*) as value
from orders
group by 1, 3
"""
PARTS = """
-- Only what is asked for; it is read by the index.
select
    shop as site, 'orders' as metric, (moment at time zone 'Europe/Paris')::date as day, count(*) as value
from orders
where
    moment >= $1::date::timestamp at time zone 'Europe/Paris'
    and moment < $2::date::timestamp at time zone 'Europe/Paris'
group by 1, 3
"""
ALL_DAYS = {
    ("coffee", "orders", "2024-06-05"): 1,
    ("tea", "orders", "2024-06-05"): 2,  # 10:00 and the last moment before midnight
    ("tea", "orders", "2024-06-06"): 1,  # midnight
    ("tea", "orders", "2024-06-09"): 1,
}
ROW = "select 'a' as site, 'visits' as metric, date '2024-06-05' as day, 1 as value"
READER = "do $$ begin create role query_reader login; exception when duplicate_object then null; end $$;"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where scripts are run, so that messages name the file as it is said."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shops(database: DatabaseConfig, folder: Path) -> DatabaseConfig:
    prepare(database, ORDERS)
    return database


def source(text: str, *, timezone: str = "UTC", timezones: list[str] | None = None) -> UserQuery:
    Path("traffic.sql").write_text(text, encoding="utf-8")
    data = DataConfig(source=SourceName.query, query=Path("traffic.sql"), timezone=timezone, timezones=timezones or [])
    return open_source(data)


def refuse(database: DatabaseConfig, text: str) -> str:
    with pytest.raises(InvalidQuery) as caught:
        list_metrics(database, source(text))
    return str(caught.value)


def read(
    database: DatabaseConfig, text: str, *, first: str = "2024-06-01", until: str = "2024-07-01"
) -> dict[tuple[str, str, str], float]:
    return read_days(database, source(text), ["tea", "coffee", "a"], first=first, until=until)


def test_it_is_a_source(folder: Path) -> None:
    opened = source(ROW)
    assert isinstance(opened, Source)
    assert (opened.name, opened.quiet_is_zero) == ("query", False)


@pytest.mark.parametrize("text", [DAYS, PARTS])
def test_days(shops: DatabaseConfig, text: str) -> None:
    assert read(shops, text) == ALL_DAYS
    days = read_days(shops, source(text), ["tea"], first="2024-06-05", until="2024-06-06")
    assert days == {("tea", "orders", "2024-06-05"): 2}
    assert read_days(shops, source(text), [], first="2024-06-01", until="2024-07-01") == {}
    assert read(shops, text, first="2024-06-05", until="2024-06-05") == {}
    assert read_days(shops, source(text), ["nobody"], first="2024-06-01", until="2024-07-01") == {}


def test_days_of_23_and_25_hours_are_the_querys(shops: DatabaseConfig) -> None:
    # Paris has no 02:00 on 2024-03-31, and two of them on 2024-10-27.
    moments = """
        delete from orders;
        insert into orders (shop, moment, amount) values
            ('tea', '2024-03-30 22:59:59+00', 1), ('tea', '2024-03-30 23:00+00', 1), ('tea', '2024-03-31 21:59+00', 1),
            ('tea', '2024-03-31 22:00+00', 1), ('tea', '2024-10-26 22:00+00', 1), ('tea', '2024-10-27 00:30+00', 1),
            ('tea', '2024-10-27 01:30+00', 1), ('tea', '2024-10-27 22:59+00', 1), ('tea', '2024-10-27 23:00+00', 1);
    """
    prepare(shops, moments)
    for text in (DAYS, PARTS):
        spring = read(shops, text, first="2024-03-31", until="2024-04-01")
        autumn = read(shops, text, first="2024-10-27", until="2024-10-28")
        assert spring == {("tea", "orders", "2024-03-31"): 2}
        assert autumn == {("tea", "orders", "2024-10-27"): 4}


def test_hours_are_not_known(shops: DatabaseConfig) -> None:
    actual = read_all(shops, source(DAYS), ["tea"], "2024-06-01", "2024-07-01", "UTC")
    assert {hours for _, hours in actual.values()} == {None}


def test_only_what_is_asked_for_is_read(shops: DatabaseConfig) -> None:
    # A query that fails beyond the days that it is asked for.
    text = PARTS.replace("count(*)", "1 / sum(case when moment >= '2024-06-09' then 0 else 1 end)")
    assert read(shops, text, until="2024-06-08").keys() == {key for key in ALL_DAYS if key[2] < "2024-06-08"}
    with pytest.raises(WarehouseError) as caught:
        read(shops, text)
    assert str(caught.value) == "PostgreSQL failed while running traffic.sql: division by zero."


def test_columns_in_any_order_and_further_ones(shops: DatabaseConfig) -> None:
    text = "select 5 as value, now() as ignored, date '2024-06-05' as day, 1 as x, 2 as x, 'n' as metric, 'a' as site"
    assert read(shops, text) == {("a", "n", "2024-06-05"): 5}


@pytest.mark.parametrize(
    ("value", "expected", "kind"),
    [
        ("7::smallint", 7, Kind.count),
        ("7::integer", 7, Kind.count),
        ("9007199254740993::bigint", 2.0**53, Kind.count),  # as near as a double comes
        ("12.25::numeric(10, 2)", 12.25, Kind.other),
        ("7::numeric", 7, Kind.other),  # not told by its values
        ("0.5::real", 0.5, Kind.other),
        ("0.1::double precision", 0.1, Kind.other),
    ],
)
def test_types_of_values(shops: DatabaseConfig, value: str, expected: float, kind: Kind) -> None:
    text = f"select 'a' as site, 'revenue' as metric, date '2024-06-05' as day, {value} as value"
    assert read(shops, text) == {("a", "revenue", "2024-06-05"): expected}
    (actual,) = list_metrics(shops, source(text))
    assert actual == MetricDefinition("revenue", "the metric in traffic.sql", kind=kind, additive=kind is Kind.count)


def test_sites_and_metrics_of_other_types_are_text(shops: DatabaseConfig) -> None:
    text = "select 17::bigint as site, 'm'::char(3) as metric, date '2024-06-05' as day, 1 as value"
    assert read_days(shops, source(text), ["17"], first="2024-06-01", until="2024-07-01") == {
        ("17", "m", "2024-06-05"): 1
    }
    unusual = "select 'Café ☕ \"1\"' as site, 'ünïts' as metric, date '2024-06-05' as day, 1 as value"
    assert read_days(shops, source(unusual), ['Café ☕ "1"'], first="2024-06-01", until="2024-07-01") == {
        ('Café ☕ "1"', "ünïts", "2024-06-05"): 1
    }


def test_a_value_that_is_null_is_passed_on(shops: DatabaseConfig) -> None:
    text = f"{ROW} union all select 'a', 'visits', date '2024-06-06', null"
    actual = read(shops, text)
    assert actual.keys() == {("a", "visits", "2024-06-05"), ("a", "visits", "2024-06-06")}
    assert math.isnan(actual["a", "visits", "2024-06-06"])


def test_many_rows(shops: DatabaseConfig) -> None:
    text = """
        select 'a' as site, 'm' || metric as metric, date '2024-01-01' + day as day, 1000 * metric + day as value
        from generate_series(0, 364) as day, generate_series(1, 70) as metric
    """
    actual = read(shops, text, first="2024-01-01", until="2025-01-01")
    first = dt.date(2024, 1, 1)
    assert actual == {
        ("a", f"m{metric}", str(first + dt.timedelta(days=day))): 1000 * metric + day
        for day in range(365)
        for metric in range(1, 71)
    }


def test_metrics_have_the_kinds_that_their_names_say(shops: DatabaseConfig) -> None:
    names = ("page_visits", "unique_visitors", "visits", "bounce_rate", "visit_duration", "revenue")
    text = " union all ".join(ROW.replace("visits", name).replace("1 as", "1.5 as") for name in names)
    by = "the metric in traffic.sql"
    assert list_metrics(shops, source(text)) == [
        MetricDefinition("bounce_rate", by, kind=Kind.rate, additive=False),
        MetricDefinition("page_visits", by),
        MetricDefinition("revenue", by, kind=Kind.other, additive=False),
        MetricDefinition("unique_visitors", by, additive=False),
        MetricDefinition("visit_duration", by, kind=Kind.other, additive=False),
        MetricDefinition("visits", by),
    ]


@pytest.mark.parametrize("text", [DAYS, PARTS])
def test_sites_with_their_days(shops: DatabaseConfig, text: str) -> None:
    opened = source(text, timezone="America/New_York", timezones=["tea=Asia/Tokyo"])
    tokyo, york = ZoneInfo("Asia/Tokyo"), ZoneInfo("America/New_York")
    noon = dt.datetime(2024, 6, 5, 12, tzinfo=york)
    assert list_sites(shops, opened) == [
        Site("coffee", "coffee", first=noon, last=noon),
        Site(
            "tea",
            "tea",
            first=dt.datetime(2024, 6, 5, 12, tzinfo=tokyo),
            last=dt.datetime(2024, 6, 9, 12, tzinfo=tokyo),
        ),
    ]


def test_nothing_is_known_of_events(shops: DatabaseConfig) -> None:
    assert ask(shops, lambda connection: source(DAYS).list_events(connection, timezone="UTC")) == []


def test_an_empty_result(shops: DatabaseConfig) -> None:
    text = f"{ROW} where false"
    assert (list_metrics(shops, source(text)), list_sites(shops, source(text)), read(shops, text)) == ([], [], {})
    assert ask(shops, source(text).find_warnings) == []


def test_rows_without_a_site_a_metric_or_a_day(shops: DatabaseConfig) -> None:
    text = f"""
        {ROW}
        union all select null, 'visits', date '2024-06-05', 1
        union all select null, 'visits', date '2024-06-06', 1
        union all select 'a', null, date '2024-06-05', 1
        union all select 'a', 'visits', null, 1
        union all select 'a', 'visits', 'infinity', 1
        union all select 'a', 'visits', '-infinity', 1
    """
    assert read(shops, text) == {("a", "visits", "2024-06-05"): 1}
    noon = dt.datetime(2024, 6, 5, 12, tzinfo=ZoneInfo("UTC"))
    assert list_sites(shops, source(text)) == [Site("a", "a", None, noon, noon, None, 2, "-infinity", "infinity")]
    assert [metric.metric for metric in list_metrics(shops, source(text))] == ["visits"]
    assert ask(shops, source(text).find_warnings) == [
        "traffic.sql returns 2 rows without a site, left out",
        "traffic.sql returns 1 row without a metric, left out",
        "traffic.sql returns 1 row without a day, left out",
    ]
    assert ask(shops, source(ROW).find_warnings) == []


@pytest.mark.parametrize(
    "text",
    [
        f"{ROW};",
        f"{ROW}\n;\n\n",
        f"{ROW};;",
        f"{ROW} -- a comment without an end of line",
        f"{ROW} -- a comment; with a semicolon",
        f"{ROW};\n-- what follows; and so on\n/* and; /* nested; */ */\n",
        f"-- first; of all\n/* $1 */ {ROW}; -- last",
        f"\ufeff{ROW}",
        ROW.replace("'a'", "$q$a$q$"),
        f"select * from ({ROW}, 'a;b$1 $9' as x, $$;--$$ as y, e'\\';' as z, 1 as \";\") as it where x like '%;%';",  # noqa: S608 - ours
        f"with it as ({ROW}) table it;",
        "table answers",
        ROW.replace("\n", "\r\n").replace(", ", ",\r\n"),
    ],
)  # fmt: skip
def test_what_surrounds_a_query_changes_nothing(shops: DatabaseConfig, text: str) -> None:
    prepare(shops, f"create view answers as {ROW}")
    assert read(shops, text) == {("a", "visits", "2024-06-05"): 1}
    assert len(list_sites(shops, source(text))) == 1


def test_texts_that_look_like_parameters_stay_as_they_are(shops: DatabaseConfig) -> None:
    text = PARTS.replace("'orders'", "'costs $1 or $2, or $7' /* $3 */").replace("count(*)", "count(*) -- $1;\n")
    metric = "costs $1 or $2, or $7"
    assert read(shops, text) == {(site, metric, day): value for (site, _, day), value in ALL_DAYS.items()}


def test_errors_of_syntax_name_the_line(shops: DatabaseConfig) -> None:
    assert refuse(shops, "seletc 1") == 'traffic.sql, line 1: syntax error at or near "seletc".'
    text = "select\n\n  shopp as site\nfrom orders"
    assert refuse(shops, text) == (
        'traffic.sql, line 3: column "shopp" does not exist. Perhaps you meant to reference the column "orders.shop".'
    )
    assert refuse(shops, "-- é\r\nselect 'x'\r\nfrom visitz") == (
        'traffic.sql, line 3: relation "visitz" does not exist.'
    )
    assert refuse(shops, f"{ROW} /* open") == 'traffic.sql, line 1: unterminated /* comment at or near "/* open".'
    assert refuse(shops, f"{ROW}) as given; delete from orders; select (1") == (  # noqa: S608 - ours
        'traffic.sql, line 1: syntax error at or near ")".'
    )
    assert refuse(shops, f"{ROW})") == 'traffic.sql, line 1: syntax error at or near ")".'
    assert refuse(shops, ROW.replace("2024-06-05", "2024-06-35")) == (
        'traffic.sql, line 1: date/time field value out of range: "2024-06-35". '
        'Perhaps you need a different "DateStyle" setting.'
    )


@pytest.mark.parametrize("text", [f"{ROW}; {ROW}", f"{ROW}; drop table orders", f"; {ROW}; commit;"])
def test_more_than_one_statement_is_refused(shops: DatabaseConfig, text: str) -> None:
    assert refuse(shops, text) == "traffic.sql holds more than one statement. Keep one SELECT."


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-- nothing; yet\n",
        ";",
        "insert into log values ('x')",
        "insert into log values ('x;y') returning 'a' as site, 'm' as metric, current_date as day, 1 as value;",
        f"with gone as (delete from orders returning 1) {ROW};",  # noqa: S608 - ours
        "show timezone",
        f"explain {ROW}",
        f"copy ({ROW}) to stdout",
        ROW.replace(" as value", " as value into other"),
        "begin",
        "drop table orders",
    ],
)
def test_what_is_no_select_is_refused(shops: DatabaseConfig, text: str) -> None:
    assert refuse(shops, text) == (
        "traffic.sql is not a SELECT. It must hold exactly one, which returns site, metric, day and value."
    )


def test_missing_columns_are_named(shops: DatabaseConfig) -> None:
    assert refuse(shops, "select shop, moment::date as day, amount as value from orders") == (
        "traffic.sql returns no column `site`. It returns shop, day, value; it must return site, metric, day and "
        "value. Name the columns with `as`."
    )
    assert refuse(shops, ROW.replace("as metric", 'as "Metric"')) == (
        "traffic.sql returns no column `metric`. It returns site, Metric, day, value; it must return site, metric, "
        "day and value. Name the columns with `as`."
    )
    assert refuse(shops, f"{ROW}, 2 as value") == (
        "traffic.sql returns 2 columns `value`. It returns site, metric, day, value, value; it must return site, "
        "metric, day and value. Name the columns with `as`."
    )


@pytest.mark.parametrize(
    ("day", "type_", "cast"),
    [
        ("now()", "timestamptz", "(moment at time zone 'Europe/Paris')::date"),
        (
            "now()::timestamp",
            "timestamp",
            "(moment at time zone 'UTC' at time zone 'Europe/Paris')::date if it holds UTC, or moment::date",
        ),
        ("'2024-06-05'", "text", "moment::date"),
        ("null", "text", "moment::date"),
    ],
)
def test_a_day_must_be_a_date(shops: DatabaseConfig, day: str, type_: str, cast: str) -> None:
    assert refuse(shops, ROW.replace("date '2024-06-05'", day)) == (
        f"The column `day` of traffic.sql has the type {type_}, but must be a date: only the query knows in which time "
        f"zone a day begins. Write {cast} as day."
    )


@pytest.mark.parametrize(
    ("value", "type_", "cast"),
    [
        ("'7'", "text", "value::double precision"),
        ("true", "bool", "value::integer"),
        ("interval '1 s'", "interval", "extract(epoch from value)"),
        ("'$1'::money", "money", "value::numeric"),
    ],
)
def test_a_value_must_be_a_number(shops: DatabaseConfig, value: str, type_: str, cast: str) -> None:
    assert refuse(shops, ROW.replace("1 as", f"{value} as")) == (
        f"The column `value` of traffic.sql has the type {type_}, which is not a number. Write {cast} as value."
    )


@pytest.mark.parametrize(
    ("condition", "parameters"),
    [
        ("current_date > $1", "$1 date"),
        ("now() >= $1 and now() < $2", "$1 timestamptz and $2 timestamptz"),
        ("current_date between $1 and $2 and 'x' = $3", "$1 date and $2 date and $3 text"),
    ],
)
def test_parameters_are_two_dates_or_none(shops: DatabaseConfig, condition: str, parameters: str) -> None:
    assert refuse(shops, f"{ROW} where {condition}") == (
        f"traffic.sql has the parameters {parameters}. It may have none, or two: $1::date, the first day, and "
        "$2::date, the day to stop before."
    )


def test_nothing_is_run_to_check_a_query(shops: DatabaseConfig) -> None:
    # It would fail if it ran, but what it lacks is said first.
    assert refuse(shops, "select 1 / 0 as value, 'a' as site, 'm' as metric").startswith("traffic.sql returns no")


@pytest.mark.parametrize(
    ("call", "what"),
    [("setval('numbers', 7)", "setval()"), ("nextval('numbers')", "nextval()"), ("write_log()", "INSERT")],
)
@pytest.mark.parametrize("writable", [False, True])
def test_a_query_cannot_write(shops: DatabaseConfig, call: str, what: str, writable: bool) -> None:
    function = """
        create function write_log() returns integer language sql volatile as
            'insert into log values (''x''); select 1';
    """
    prepare(shops, function)
    opened = source(f"select 'a' as site, 'm' as metric, date '2024-06-05' as day, x as value from {call} as x")  # noqa: S608 - ours

    async def run() -> None:
        connection = await connect(shops, writable=writable)
        try:
            async with connection.transaction():
                with pytest.raises(InvalidQuery) as caught:
                    await opened.copy_days(
                        connection, Span(["a"], dt.date(2024, 6, 1), dt.date(2024, 7, 1), "UTC"), write=keep
                    )
                assert str(caught.value) == (
                    f"traffic.sql writes, but may only read: cannot execute {what} in a read-only transaction."
                )
                # What surrounds it goes on, and may write what it could before.
                if writable:
                    await connection.execute("insert into log values ('ours')")
            assert await connection.fetch("select text from log") == ([("ours",)] if writable else [])
            assert await connection.fetchval("select is_called from numbers") is False
        finally:
            await connection.close()

    async def keep(chunk: bytes) -> None: ...

    asyncio.run(run())


def test_a_query_cannot_allow_itself_to_write(shops: DatabaseConfig) -> None:
    text = ROW.replace("1 as", "length(set_config('transaction_read_only', 'off', true)) as")
    with pytest.raises(WarehouseError) as caught:
        read(shops, text)
    assert str(caught.value) == (
        "PostgreSQL failed while running traffic.sql: cannot set transaction read-write mode inside a read-only "
        "transaction."
    )


def test_a_table_that_may_not_be_read(shops: DatabaseConfig) -> None:
    prepare(shops, READER)
    with pytest.raises(MissingTable) as caught:
        list_metrics(shops, source(DAYS), user="query_reader")
    assert str(caught.value) == (
        "traffic.sql reads a table that this user may not read: permission denied for table orders. Ask its owner to "
        "grant SELECT on it."
    )


def test_the_file_must_be_said_and_there(folder: Path) -> None:
    with pytest.raises(SettingError) as caught:
        open_source(DataConfig(source=SourceName.query))
    assert str(caught.value) == (
        "data.source=query runs a query of your own. Set data.query to its file, such as data.query=traffic.sql: one "
        "SELECT that returns site, metric, day and value."
    )
    with pytest.raises(SettingError) as caught:
        open_source(DataConfig(source=SourceName.query, query=Path("no.sql")))
    assert (
        str(caught.value) == "data.query is no.sql, which cannot be read (No such file or directory). Check the path."
    )
    (folder / "latin.sql").write_bytes("select 'é'".encode("latin-1"))
    with pytest.raises(SettingError) as caught:
        open_source(DataConfig(source=SourceName.query, query=Path("latin.sql")))
    assert str(caught.value) == "data.query is latin.sql, which is not UTF-8. Save it as UTF-8."


def test_a_query_with_parameters_is_read_by_its_index(shops: DatabaseConfig) -> None:
    many = """
        insert into orders (shop, moment, amount)
            select 'tea', '2022-01-01 00:00+00'::timestamptz + number * interval '1 hour', 1
            from generate_series(1, 20000) as number;
        analyze;
    """
    prepare(shops, many)
    opened = source(PARTS)

    async def explain(connection: OwnConnection) -> str:
        checked = await opened._check(connection)
        values = (dt.date(2024, 1, 1), dt.date(2024, 1, 8), ["tea"])
        rows = await connection.fetch(f"explain {checked.followed_by('query')}", *values)
        return "\n".join(row[0] for row in rows)

    plan = ask(shops, explain)
    assert "orders_moment_idx" in plan
    assert "Index Cond: ((moment >=" in plan
    assert "Seq Scan" not in plan
