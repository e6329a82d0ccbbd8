"""Forecasts of Dask data frames, in two processes."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from forecasting import TrafficForecaster
from forecasting.errors import DataError
from tests.frames.engine_rows import assert_same, make_rows, write_files

dask = pytest.importorskip("dask", reason="the dask extra is not installed")
dd = pytest.importorskip("dask.dataframe", reason="the dask extra is not installed")

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # Dask reads Parquet with it


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return make_rows()


@pytest.fixture(scope="module")
def base() -> TrafficForecaster:
    return TrafficForecaster()


@pytest.fixture(scope="module")
def files(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series is in both."""
    return write_files(rows, tmp_path_factory.mktemp("files") / "cut", cut=40)


def read(frame: Any, **scheduler: Any) -> pd.DataFrame:
    rows = frame.compute(**(scheduler or {"scheduler": "threads"}))
    days = {name: "datetime64[us]" for name in ("ds", "cutoff") if name in rows}
    return rows.astype({"unique_id": "str", **days})


def test_series_in_two_files_are_forecast_as_by_pandas(
    base: TrafficForecaster, rows: pd.DataFrame, files: Path
) -> None:
    frame = dd.read_parquet(files)
    forecasts = base.forecast(frame, level=[80])
    assert isinstance(forecasts, dd.DataFrame)
    assert list(forecasts.dtypes[["unique_id", "ds"]]) == list(frame.dtypes[["unique_id", "ds"]])
    assert_same(read(forecasts, scheduler="processes", num_workers=2), base.forecast(rows, level=[80]))


def test_rows_are_spread_over_partitions(base: TrafficForecaster, rows: pd.DataFrame) -> None:
    frame = dd.from_pandas(rows, npartitions=1)
    assert base.forecast(frame).npartitions > 1
    assert base.forecast(frame, num_partitions=5).npartitions == 5


@pytest.mark.parametrize("kind", ["category", "int64"])
def test_ids_keep_their_type(base: TrafficForecaster, rows: pd.DataFrame, kind: str) -> None:
    ids = rows["unique_id"].str[-2:].astype("int64") if kind == "int64" else rows["unique_id"].astype("category")
    frame = dd.from_pandas(rows.assign(unique_id=ids), npartitions=3, sort=False)
    past = base.cross_validation(frame, n_windows=2, num_partitions=2)
    assert past.dtypes["unique_id"] == kind == past.compute(scheduler="threads").dtypes["unique_id"]
    expected = base.cross_validation(rows.assign(unique_id=ids.astype("str")), n_windows=2)
    assert_same(read(past), expected.astype({"unique_id": "str"}))


def test_whole_series_need_no_shuffle(base: TrafficForecaster, rows: pd.DataFrame, tmp_path: Path) -> None:
    frame = dd.read_parquet(write_files(rows, tmp_path / "whole"))
    unusual = base.detect_anomalies(frame, assume_whole_series=True)
    assert_same(read(unusual), base.detect_anomalies(rows))


def test_cut_series_are_noticed(base: TrafficForecaster, files: Path) -> None:
    forecasts = base.forecast(dd.read_parquet(files), assume_whole_series=True, drop_short=True)
    with pytest.raises(DataError) as caught:
        forecasts.compute(scheduler="threads")
    assert str(caught.value) == (
        "The rows of series 'site 05' are in two partitions, or in two places of one, though assume_whole_series says "
        "that they are together. Leave it out: rows are then shuffled by unique_id."
    )


def test_wrong_frames(base: TrafficForecaster, rows: pd.DataFrame) -> None:
    frame = dd.from_pandas(rows, npartitions=2)
    with dask.config.set({"dataframe.convert-string": False}):
        dates = dd.from_pandas(rows.assign(ds=rows["ds"].dt.date), npartitions=2)
    wrong = [
        (frame["y"],
         "A dask.dataframe.dask_expr._collection.Series cannot be forecast. Give a dask.dataframe.DataFrame: of a bag "
         "or delayed frames it is made by dask.dataframe."),
        (frame.drop(columns="ds"),
         "There is no column 'ds'; the frame has: unique_id, y. Name yours with time_col=."),
        (dates,
         "Column ds has Python objects, whose type is not known before they are read. Make days datetimes with "
         "pd.to_datetime, ids text, and numbers floats."),
    ]  # fmt: skip
    for df, text in wrong:
        with pytest.raises(DataError) as caught:
            base.forecast(df)
        assert str(caught.value) == text
