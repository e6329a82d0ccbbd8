"""The series of a file, CSV or Parquet, or of a folder of such files."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from forecasting.domain import SeriesKey, to_date
from forecasting.errors import DataError, DuplicateDays, SettingError
from forecasting.panel import Observations
from forecasting.settings.schema import DataConfig, MetricConfig
from forecasting.warehouse.csv.observations import CsvSeries, read_csv_series, unify_kinds

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".tsv", ".txt", ".gz")
NEEDS_ARROW = "needs the package pyarrow: pip install pyarrow."


def read_files(path: Path, *, data: DataConfig, metrics: Mapping[str, MetricConfig] | None = None) -> CsvSeries:
    """Every series of a file, or of the files in a folder, in the order of their names. A series may be spread over
    several files, such as one a month; its site is named in them, else each file is a site of its own.

    Raises DataError, DuplicateDays, AmbiguousUnit and SettingError, naming the file and its line.
    """
    if not path.is_dir():
        return _read_file(path, data, metrics)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in (*CSV, *PARQUET))
    if not files:
        raise DataError(f"The folder {path} has no file that ends with {', '.join((*CSV, *PARQUET))}.")
    contents = [_read_file(file, data, metrics) for file in files]
    origins = [file for file, content in zip(files, contents, strict=True) for _ in content.observations]
    observations = unify_kinds([row for content in contents for row in content.observations])
    return CsvSeries(_join(observations, origins), [note for content in contents for note in content.notes])


def _join(observations: Sequence[Observations], origins: Sequence[Path]) -> list[Observations]:
    """One of each series. Raises DuplicateDays for a day that two files have."""
    parts: dict[SeriesKey, list[int]] = {}
    for place, row in enumerate(observations):
        parts.setdefault(row.series.key, []).append(place)
    return [
        _join_series([observations[place] for place in places], [origins[place] for place in places])
        for places in parts.values()
    ]


def _join_series(rows: Sequence[Observations], origins: Sequence[Path]) -> Observations:
    days = np.concatenate([row.days for row in rows])
    file = np.repeat(np.arange(len(rows)), [len(row.days) for row in rows])
    order = np.argsort(days, kind="stable")
    same = np.flatnonzero(np.diff(days[order]) == 0)
    if same.size:
        first, second = (origins[file[place]].name for place in order[same[0] : same[0] + 2])
        raise DuplicateDays(
            f"{origins[0].parent}: {first} and {second} both have {rows[0].series.name} on "
            f"{to_date(days[order[same[0]]])}. Keep one of them."
        )
    verdicts = {day: verdict for row in rows for day, verdict in row.verdicts.items()}
    values = np.concatenate([row.values for row in rows])
    return replace(rows[0], days=days[order], values=values[order], verdicts=verdicts)


def _read_file(file: Path, data: DataConfig, metrics: Mapping[str, MetricConfig] | None) -> CsvSeries:
    with _as_csv(file) as csv:
        try:
            return read_csv_series(csv, metrics=metrics, data=_name_columns(csv, data))
        except DataError as error:
            raise type(error)(str(error).replace(str(csv), str(file))) from error


@contextmanager
def _as_csv(file: Path) -> Iterator[Path]:
    """The file, or a copy of a Parquet file as CSV."""
    if file.suffix.lower() not in PARQUET:
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"{file.stem}.csv"
        _read_parquet(file).to_csv(copy, index=False)
        yield copy


def _read_parquet(file: Path) -> Any:  # Any: a pandas frame
    import pandas as pd

    try:
        return pd.read_parquet(file)
    except ImportError as error:
        raise SettingError(f"Parquet {NEEDS_ARROW}") from error
    except FileNotFoundError as error:
        raise DataError(f"There is no file {file}.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as Parquet: {error}") from error


def _name_columns(file: Path, data: DataConfig) -> DataConfig:
    """A file with the columns of a data frame needs no setting that says so."""
    if data.columns or file.suffix == ".gz" or not file.is_file():
        return data
    with file.open("rb") as content:
        header = content.readline(4096).decode("utf-8", "replace")
    if not {"unique_id", "ds"} <= {title.strip(' "\r\n') for title in header.split(",")}:
        return data
    return replace(data, columns=["site=unique_id", "date=ds"])
