"""What runs in the processes of Spark, Dask and Ray, without any of them; and what is refused before they start."""

import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from forecasting import TrafficForecaster
from forecasting.artifact import Artifact
from forecasting.card import SeriesCard
from forecasting.domain import Kind
from forecasting.errors import DataError, SettingError, TooFewDays
from forecasting.frames.engines.dispatch import ENGINES, find_engine, import_part
from forecasting.frames.engines.pages import Call, bring_together, cut_pages
from forecasting.frames.engines.plan import Request, name_needed, plan
from forecasting.frames.reading import Columns
from forecasting.predictor import usual_bands
from tests.frames.engine_rows import NUM_SERIES, assert_same, make_rows

WriteVersion = Callable[..., Artifact]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return make_rows()


@pytest.fixture(scope="module")
def table(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows, preserve_index=False)


@pytest.fixture(scope="module")
def base() -> TrafficForecaster:
    return TrafficForecaster()


def make_call(forecaster: TrafficForecaster, schema: pa.Schema, method: str = "forecast", **arguments: Any) -> Call:
    """As engines make it."""
    defaults = {"h": 7, "level": [80]} if method == "forecast" else {}
    is_whole = arguments.pop("is_whole", False)
    return plan(Request(forecaster, method, Columns(), {**defaults, **arguments}), schema, is_whole=is_whole)


def run(call: Call, table: pa.Table, batch_rows: int = 100) -> pd.DataFrame:
    """In another process the call is a copy."""
    copy = pickle.loads(pickle.dumps(call))  # noqa: S301 - our own
    return pa.Table.from_batches(copy.run(table.to_batches(batch_rows)), call.output).to_pandas()


@pytest.mark.parametrize("batch_rows", [1, 37, 142, 10_000])
@pytest.mark.parametrize("page_rows", [1, 150, 10_000])
def test_pages_have_whole_series(table: pa.Table, batch_rows: int, page_rows: int) -> None:
    pages = list(cut_pages(table.to_batches(batch_rows), "unique_id", num_rows=page_rows))
    assert pa.concat_tables(pages).equals(table)
    ids = [name for page in pages for name in page["unique_id"].unique().to_pylist()]
    assert len(ids) == NUM_SERIES == len(set(ids))
    assert len(pages) > 1 or page_rows == 10_000 or batch_rows == 10_000


def test_rows_of_a_series_are_brought_together(rows: pd.DataFrame, table: pa.Table) -> None:
    mixed = rows.sample(frac=1, random_state=2)
    together = bring_together(pa.Table.from_pandas(mixed.astype({"unique_id": "category"}), preserve_index=False),
                              "unique_id")  # fmt: skip
    ids = together["unique_id"].to_pandas()
    assert (ids != ids.shift()).sum() == NUM_SERIES
    assert_same(together.to_pandas(), mixed)
    assert bring_together(table, "unique_id") is table


def test_forecasts_are_those_of_pandas(base: TrafficForecaster, rows: pd.DataFrame, table: pa.Table) -> None:
    call = make_call(base, table.schema)
    assert_same(run(call, table), base.forecast(rows, level=[80]))
    mixed = table.take(np.random.default_rng(1).permutation(len(table)))
    assert_same(call.run_table(mixed).to_pandas(), base.forecast(rows, level=[80]))


def test_backtests_and_unusual_days_are_those_of_pandas(
    base: TrafficForecaster, rows: pd.DataFrame, table: pa.Table
) -> None:
    windows = {"h": 5, "n_windows": 2, "step_size": 9}
    assert_same(run(make_call(base, table.schema, "cross_validation", **windows), table),
                base.cross_validation(rows, **windows))  # fmt: skip
    unusual = rows.assign(y=rows["y"].where(rows.index != 50, 5000))
    odd = base.detect_anomalies(unusual, level=90)
    assert odd["anomaly"].any()
    call = make_call(base, table.schema, "detect_anomalies", level=90)
    assert_same(run(call, pa.Table.from_pandas(unusual, preserve_index=False)), odd)


def test_countries_and_events_reach_the_pages_of_their_series(
    base: TrafficForecaster, rows: pd.DataFrame, table: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forecasting.frames.engines.pages.PAGE_ROWS", 1)
    last = rows.groupby("unique_id")["ds"].max()
    events = pd.DataFrame(
        {"unique_id": ["site 03", None], "ds": [last["site 03"] + pd.Timedelta(2, "D"), "2024-05-10"],
         "event": ["sale", "launch"], "size": [3.0, 0.5]}
    )  # fmt: skip
    known = {"country": {"site 01": "DE", "site 04": "US"}, "events": events.astype({"ds": "datetime64[us]"})}
    expected = base.forecast(rows, level=[80], **known)
    assert not np.allclose(expected["forecast"], base.forecast(rows, level=[80])["forecast"], rtol=0.1)
    assert_same(run(make_call(base, table.schema, **known), table, batch_rows=60), expected)


def test_short_series_are_left_out_of_pages(base: TrafficForecaster, rows: pd.DataFrame, table: pa.Table) -> None:
    """Even if a page has no other."""
    short = table.filter(pa.array(rows["unique_id"] != "site 02")).to_pandas()
    short = pd.concat([short, rows[rows["unique_id"] == "site 02"][:9]])
    mixed = pa.Table.from_pandas(short, preserve_index=False)
    call = make_call(base, table.schema, drop_short=True)
    with pytest.warns(UserWarning, match="It is left out"):
        left = run(call, mixed)
    assert_same(left, base.forecast(rows[rows["unique_id"] != "site 02"], level=[80]))
    assert len(run(call, mixed.slice(len(mixed) - 9))) == 0
    with pytest.raises(TooFewDays, match="Series 'site 02' has 9 days with a value"):
        run(make_call(base, table.schema), mixed)


CUT = (
    "The rows of series 'site 04' are in two partitions, or in two places of one, though assume_whole_series says that "
    "they are together. Leave it out: rows are then shuffled by unique_id."
)


@pytest.mark.filterwarnings("ignore:Series 'site 04' has 5 days")
def test_cut_series_are_refused(base: TrafficForecaster, rows: pd.DataFrame, table: pa.Table) -> None:
    """Also if a part is so short that it has no forecast, or if rows come with a wider type than was said."""
    schema = table.schema.set(0, pa.field("unique_id", pa.string()))
    assert table.schema != schema
    call = make_call(base, schema, is_whole=True, drop_short=True)
    start = int(np.flatnonzero(rows["unique_id"] == "site 04")[0])
    for cut in (start + 34, start + 5):
        parts = [call.run_table(table.slice(0, cut)), call.run_table(table.slice(cut))]
        with pytest.raises(DataError) as caught:
            call.check_whole_table(pa.concat_tables(parts))
        assert str(caught.value) == CUT
    parts = [call.run_table(table.slice(0, start)), call.run_table(table.slice(start))]
    assert_same(call.check_whole_table(pa.concat_tables(parts)).to_pandas(), base.forecast(rows, level=[80]))


def test_a_part_too_short_says_that_it_may_be_cut(base: TrafficForecaster, table: pa.Table) -> None:
    call = make_call(base, table.schema, is_whole=True)
    with pytest.raises(TooFewDays) as caught:
        call.run_table(table.slice(0, 20))
    assert str(caught.value) == (
        "Series 'site 00' has 20 days with a value, 20 of them among the last 56; a forecast needs 30, and 28 among "
        "the last 56. Add the missing days. If partitions may cut series in two, leave out assume_whole_series: rows "
        "are then shuffled by unique_id."
    )


def test_wrong_rows_are_named(base: TrafficForecaster, table: pa.Table) -> None:
    twice = pa.concat_tables([table, table.slice(len(table) - 1)])
    with pytest.raises(DataError) as caught:
        make_call(base, table.schema).run_table(twice.slice(len(table) - 82))
    assert str(caught.value) == (
        "Rows 81 and 82 (counted from 0) of series 'site 11' are both of 2024-05-11. Keep one row a day. Rows are "
        "counted within a page of whole series."
    )


def test_versions_are_sent_whole(
    write_untrained: WriteVersion, rows: pd.DataFrame, table: pa.Table, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The other process has no folder of versions. A version knows its sites there, too."""
    cards = tuple(
        SeriesCard(
            site=f"site {number:02}", metric="page_visits", kind=Kind.count, additive=True, unit_scale=1.0,
            band_scale=(2.0,) * len(usual_bands(7).scale), day_correlation=0.5,
        )
        for number in range(3)
    )  # fmt: skip
    version = write_untrained(tmp_path_factory.mktemp("sent"), "v7", series=cards, data={"missing": "zero"})
    forecaster = TrafficForecaster(version.folder)
    call = make_call(forecaster, table.schema)
    expected = forecaster.forecast(rows, level=[80])
    version.folder.rename(version.folder.with_name("away"))
    assert_same(run(call, table), expected)


NEEDED = pa.schema({"unique_id": pa.string(), "ds": pa.date32(), "y": pa.int64()})
WRONG: list[tuple[pa.Schema, dict[str, Any], str]] = [
    (NEEDED, {"h": 31}, "h is 31; it must be a whole number of days, 1 to 30."),
    (NEEDED, {"level": [120]}, "level has 120; write widths of bands in percent, such as level=[80, 95]."),
    (NEEDED, {"kind": "visits"},
     "kind is 'visits'; it must be count, rate, other, or a column that has these words."),
    (NEEDED, {"country": {"blog": "XX"}},
     "country['blog'] is 'XX', a country whose holidays are not known. Write an ISO code such as US or DE-BY, or off."),
    (NEEDED, {"events": pd.DataFrame({"unique_id": ["a"], "ds": ["2024-02-30"], "event": ["sale"]})},
     "events: Row 0 (counted from 0): ds is '2024-02-30', which is no date written as year-month-day. Write "
     "2024-01-31, or convert the column: pd.to_datetime(df[\"ds\"], format=...)."),
    (NEEDED, {"events": [1]}, "events is a list; give a data frame with ds and event."),
    (NEEDED.set(0, pa.field("unique_id", pa.float64())), {},
     "Column unique_id is of the type double; it must have text or whole numbers."),
    (NEEDED.set(1, pa.field("ds", pa.int64())), {},
     "Column ds is of the type int64; it must have dates, datetimes or text such as 2024-01-31."),
    (NEEDED.set(2, pa.field("y", pa.string())), {}, "Column y is of the type string; it must have numbers."),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "arguments", "text"), WRONG)
def test_refused_before_an_engine_starts(
    base: TrafficForecaster, schema: pa.Schema, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises((DataError, SettingError)) as caught:
        make_call(base, schema, **arguments)
    assert str(caught.value) == text


def test_columns_that_are_sent(base: TrafficForecaster) -> None:
    request = Request(base, "forecast", Columns("site", "day", "visits"), {"kind": "what"})
    assert name_needed(request, ["what", "x", "day", "site", "visits"]) == ["site", "day", "visits", "what"]
    with pytest.raises(DataError) as caught:
        name_needed(request, ["unique_id", "day", "visits"])
    assert str(caught.value) == (
        "There is no column 'site'; the frame has: unique_id, day, visits. Name yours with id_col=."
    )


@pytest.mark.parametrize(("argument", "value"), [("num_partitions", 8), ("assume_whole_series", True)])
def test_arguments_of_engines_are_refused_for_pandas(
    base: TrafficForecaster, rows: pd.DataFrame, argument: str, value: int
) -> None:
    with pytest.raises(SettingError) as caught:
        base.forecast(rows, **{argument: value})
    assert str(caught.value) == (
        f"{argument} is for frames of Spark, Dask and Ray, and this is a pandas.DataFrame. Leave it out."
    )


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "forecasting.frames.engines.spark", raising=False)
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(SettingError) as caught:
        import_part(ENGINES["pyspark"], "spark")
    assert str(caught.value) == ("Forecasts of a pyspark.sql.DataFrame need the package pyspark: pip install pyspark.")


def test_pandas_needs_no_engine(rows: pd.DataFrame) -> None:
    assert find_engine(rows) is None
