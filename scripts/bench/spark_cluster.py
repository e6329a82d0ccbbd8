"""Forecasts on a Spark cluster of two workers on this machine, whose executors get the package as an archive.

The executors' Python has every package but this one, which is built as a wheel and given to --py-files. Prints from
where each executor imported it, and compares its forecasts with plain ones.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from forecasting import TrafficForecaster
from forecasting.runtime.process import run

PROJECT = Path(__file__).resolve().parents[2]
PACKED = ("forecasting", "configs", "handlers", "model_store/base", "pyproject.toml", "README.md", "LICENSE")
CLUSTER = "local-cluster[2,1,1024]"  # Spark's own: executors in processes of their own; workers, cores, MiB of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=2000, help="number of series (%(default)s)")
    rows = make_rows(parser.parse_args().series)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive, python = build_archive(folder), make_python(folder)
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), folder / "rows.parquet")
        forecasts, places = forecast(folder, archive, python)
    print(f"executors imported the package from {', '.join(sorted(places))}")
    if not all(f"{archive.name}/forecasting" in place for place in places):
        sys.exit("an executor did not import the package from the archive")
    compare(forecasts, TrafficForecaster().forecast(rows, level=[80]))


def make_rows(number: int) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    days = pd.date_range("2024-01-01", periods=90, unit="us")
    ids = np.repeat([f"site {each:06}" for each in range(number)], len(days))
    return pd.DataFrame({"unique_id": ids, "ds": np.tile(days, number), "y": rng.poisson(80.0, len(ids))})


def build_archive(folder: Path) -> Path:
    """The wheel, by the name of a zip, which Spark asks for."""
    source = folder / "source"
    for name in PACKED:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / name, source / name)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    return next(folder.glob("*.whl")).rename(folder / "forecasting.zip")


def make_python(folder: Path) -> Path:
    """With the packages that are installed here, but for editable ones: this package is one of them."""
    venv.create(folder / "python", with_pip=False, symlinks=True)
    variables = {"base": str(folder / "python"), "platbase": str(folder / "python")}
    site_packages = Path(sysconfig.get_path("purelib", vars=variables))
    (site_packages / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "python" / "bin" / "python"


def forecast(folder: Path, archive: Path, python: Path) -> tuple[pd.DataFrame, set[str]]:
    os.environ.pop("PYTHONPATH", None)  # which executors would get, too
    os.environ.update(PYSPARK_PYTHON=str(python), SPARK_WORKER_DIR=str(folder / "work"), SPARK_LOCAL_IP="127.0.0.1")
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(CLUSTER)
    builder = builder.config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "Europe/Berlin")
    session = builder.config("spark.local.dir", str(folder / "local")).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    session.sparkContext.addPyFile(str(archive))
    frame = session.read.parquet(str(folder / "rows.parquet"))
    forecasts = TrafficForecaster().forecast(frame, level=[80], num_partitions=4).toArrow().to_pandas()
    places = session.sparkContext.parallelize(range(2), 2).mapPartitions(find_package).distinct().collect()
    session.stop()
    return forecasts, set(places)


def find_package(numbers: Iterable[int]) -> Iterator[Any]:
    import forecasting

    yield str(Path(forecasting.__file__).parent)


def compare(forecasts: pd.DataFrame, plain: pd.DataFrame) -> None:
    rows, expected = (each.sort_values(["unique_id", "ds"], ignore_index=True) for each in (forecasts, plain))
    if list(rows["unique_id"]) != list(expected["unique_id"]) or list(rows["ds"]) != list(expected["ds"]):
        sys.exit("the cluster forecast other series or days")
    names = [name for name in expected if name.startswith("forecast")]
    difference = float(np.max(np.abs(rows[names].to_numpy() / expected[names].to_numpy() - 1)))
    print(f"{len(rows):,} forecasts of {rows['unique_id'].nunique():,} series; difference from plain {difference:.1e}")


if __name__ == "__main__":
    run(main)
