"""Forecasts of Ray datasets. CI has no Ray, whose start alone takes longer than the other engines' tests."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from forecasting import TrafficForecaster
from forecasting.errors import DataError
from tests.frames.engine_rows import assert_same, make_rows, write_files

ray = pytest.importorskip("ray", reason="the ray extra is not installed")
data = pytest.importorskip("ray.data", reason="the ray extra is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", object_store_memory=300 * 2**20)
    data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return make_rows()


@pytest.fixture(scope="module")
def base() -> TrafficForecaster:
    return TrafficForecaster()


def test_series_in_two_files_are_forecast_as_by_pandas(
    cluster: None, base: TrafficForecaster, rows: pd.DataFrame, tmp_path: Path
) -> None:
    dataset = data.read_parquet(str(write_files(rows, tmp_path / "cut", cut=40)))
    forecasts = base.forecast(dataset, level=[80], num_partitions=2)
    assert isinstance(forecasts, data.Dataset)
    read = pd.DataFrame(forecasts.take_all()).astype({"ds": "datetime64[us]"})
    assert_same(read, base.forecast(rows, level=[80]))


def test_cut_series_are_noticed(cluster: None, base: TrafficForecaster, rows: pd.DataFrame) -> None:
    start = int((rows["unique_id"] == "site 05").argmax())
    dataset = data.from_pandas([rows[: start + 40], rows[start + 40 :]])
    forecasts = base.forecast(dataset, assume_whole_series=True, drop_short=True)
    with pytest.raises(Exception, match="The rows of series 'site 05' are in two partitions"):
        forecasts.take_all()


def test_wrong_frames(cluster: None, base: TrafficForecaster, rows: pd.DataFrame) -> None:
    dataset = data.from_pandas(rows)
    wrong = [
        (dataset.groupby("unique_id"),
         "A ray.data.grouped_data.GroupedData cannot be forecast. Give a ray.data.Dataset: forecast it before it is "
         "grouped."),
        (data.from_pandas(rows.assign(ds=rows["ds"].dt.date)),
         "Column ds has Python objects, whose type is not known before they are read. Make days datetimes with "
         "pd.to_datetime, ids text, and numbers floats."),
    ]  # fmt: skip
    for df, text in wrong:
        with pytest.raises(DataError) as caught:
            base.forecast(df)
        assert str(caught.value) == text
