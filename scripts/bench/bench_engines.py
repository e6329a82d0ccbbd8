"""Measures forecasts of data frames by Spark and Dask beside plain ones: Parquet in, Parquet out, in local mode.

CPU seconds are those of whole process trees, with starting Python, Java and the workers. Each way runs once, one after
another; what it writes is compared with the plain forecasts.
"""

import argparse
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import clean_environment

from forecasting import TrafficForecaster
from forecasting.errors import CannotStart
from forecasting.runtime.machine import describe_processor
from forecasting.runtime.process import run

NUM_DAYS, NUM_FILES, LEVEL = 90, 8, [80]
CORES, PARTITIONS = 2, 8
PR_SET_CHILD_SUBREAPER = 36  # of Linux's prctl
KEYS = [("unique_id", "ascending"), ("ds", "ascending")]
WAYS = {
    "plain": "plain",
    "spark": "Spark",
    "spark-whole": "Spark, assume_whole_series",
    "dask": "Dask",
    "dask-whole": "Dask, assume_whole_series",
}


@dataclass(frozen=True)
class Run:
    seconds: float
    cpu_seconds: float  # of all processes
    note: str


def main() -> None:
    arguments = parse_arguments()
    if arguments.way:
        WORKERS[arguments.way](arguments.folder / "in", arguments.folder / arguments.way)
        return
    adopt_orphans()
    ways = arguments.ways.split(",")
    print(f"{describe_processor()}: {arguments.series:,} series of {NUM_DAYS} days, {CORES} cores", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder / "in", arguments.series)
        print(f"  {'':30}{'CPU':>9}{'in all':>9}{'beyond plain':>14}{'difference':>12}")
        expected: tuple[float, pa.Table] | None = None
        for way in ways:
            measured = measure(way, folder)
            forecasts = pq.read_table(folder / way).sort_by(KEYS)
            expected = expected or (measured.cpu_seconds, forecasts)
            print_row(way, measured, forecasts, *expected)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=200_000, help="number of series (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="2,000 series")
    parser.add_argument("--ways", default=",".join(WAYS), help="the first is what others compare with (%(default)s)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # in the processes that are measured
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.series = 2000
    return arguments


def write_series(folder: Path, number: int) -> None:
    """Files of whole series, as a job that writes them by site would."""
    folder.mkdir()
    rng = np.random.default_rng(7)
    days = np.datetime64("2024-01-01") + np.arange(NUM_DAYS)
    week = 1 + 0.3 * np.sin(np.arange(NUM_DAYS) * 2 * np.pi / 7)
    for place, part in enumerate(np.array_split(np.arange(number), NUM_FILES)):
        level = 50.0 * (1 + part % 17)
        table = pa.table(
            {
                "unique_id": pa.array(np.repeat([f"site {each:09}" for each in part], NUM_DAYS)),
                "ds": pa.array(np.tile(days, len(part)).astype("datetime64[us]")),
                "y": rng.poisson(np.outer(level, week)).ravel(),
            }
        )
        pq.write_table(table, folder / f"{place}.parquet")


def measure(way: str, folder: Path) -> Run:
    environment = clean_environment(PYSPARK_PYTHON=sys.executable, SPARK_LOCAL_IP="127.0.0.1", OMP_NUM_THREADS="1")
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
    before, began = count_cpu_seconds(), time.perf_counter()
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    wait_for_all()
    if result.returncode:
        raise CannotStart(f"{WAYS[way]} ended with {result.returncode}:\n{result.stderr[-4000:]}")
    return Run(seconds, count_cpu_seconds() - before, result.stdout.strip())


def adopt_orphans() -> None:
    """Processes whose parent has ended become children of this one: it can count all that a tree has used (Linux)."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise CannotStart("This kernel cannot count the CPU seconds of process trees.")


def wait_for_all() -> None:
    with suppress(ChildProcessError):
        while True:
            os.wait()


def count_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_row(way: str, measured: Run, forecasts: pa.Table, plain_seconds: float, plain: pa.Table) -> None:
    if forecasts.select(["unique_id", "ds"]).to_pandas().astype(str).ne(
        plain.select(["unique_id", "ds"]).to_pandas().astype(str)
    ).to_numpy().any():  # fmt: skip
        raise CannotStart(f"{WAYS[way]} forecast other series or days than the plain way.")
    difference = max(
        float(np.max(np.abs(forecasts[name].to_numpy() / plain[name].to_numpy() - 1)))
        for name in plain.column_names[2:]
    )
    print(
        f"  {WAYS[way]:30}{measured.cpu_seconds:7.1f} s{measured.seconds:7.1f} s"
        f"{measured.cpu_seconds - plain_seconds:12.1f} s{difference:12.1e}  {measured.note}",
        flush=True,
    )


def forecast_plain(source: Path, target: Path) -> None:
    forecaster, table = TrafficForecaster(), pq.read_table(source)
    before = os.times()
    forecasts = forecaster.forecast(table, level=LEVEL)
    after = os.times()
    target.mkdir()
    pq.write_table(forecasts, target / "0.parquet")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"of which {after.user + after.system - before.user - before.system:.1f} s forecasting; {memory:.1f} GiB")


def forecast_spark(source: Path, target: Path, **arguments: int) -> None:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local[{CORES}]").config("spark.ui.enabled", "false")
    session = builder.config("spark.driver.memory", "2g").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    forecasts = TrafficForecaster().forecast(session.read.parquet(str(source)), level=LEVEL, **arguments)
    forecasts.write.parquet(str(target))
    session.stop()


def forecast_dask(source: Path, target: Path, **arguments: int) -> None:
    import dask
    import dask.dataframe as dd

    with dask.config.set(scheduler="processes", num_workers=CORES):
        TrafficForecaster().forecast(dd.read_parquet(source), level=LEVEL, **arguments).to_parquet(target)


WORKERS: Mapping[str, Callable[[Path, Path], None]] = {
    "plain": forecast_plain,
    "spark": partial(forecast_spark, num_partitions=PARTITIONS),
    "spark-whole": partial(forecast_spark, assume_whole_series=True),
    "dask": partial(forecast_dask, num_partitions=PARTITIONS),
    "dask-whole": partial(forecast_dask, assume_whole_series=True),
}


if __name__ == "__main__":
    run(main)
