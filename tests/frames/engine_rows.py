"""Rows for the tests of engines, and a comparison with the forecasts of pandas."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

NUM_SERIES = 12
FIRST = pd.Timestamp("2024-02-20")  # Berlin's clocks change within the days: on 31 March
KEYS = ["unique_id", "ds"]


def make_rows() -> pd.DataFrame:
    """Series of 60 to 82 days, the rows of one after those of another."""
    rng = np.random.default_rng(5)
    parts = [
        pd.DataFrame(
            {
                "unique_id": f"site {number:02}",
                "ds": pd.date_range(FIRST, periods=60 + 2 * number),
                "y": rng.poisson(50 * (number + 1), 60 + 2 * number).astype(float),
            }
        )
        for number in range(NUM_SERIES)
    ]
    return pd.concat(parts, ignore_index=True)


def write_files(rows: pd.DataFrame, folder: Path, *, cut: int | None = None) -> Path:
    """Two Parquet files with dates, and a column that nobody needs. By default the second begins with a series; `cut`
    rows later it cuts one in two.
    """
    folder.mkdir(parents=True)
    starts = np.flatnonzero(rows["unique_id"] != rows["unique_id"].shift())
    place = int(starts[5]) + (cut or 0)
    table = pa.Table.from_pandas(rows.assign(note="x"), preserve_index=False)
    table = table.set_column(1, "ds", table["ds"].cast(pa.date32()))
    for number, part in enumerate((table.slice(0, place), table.slice(place))):
        pq.write_table(part, folder / f"{number}.parquet")
    return folder


def assert_same(rows: pd.DataFrame, expected: pd.DataFrame) -> None:
    """In any order: engines batch series otherwise, which changes the last digits."""
    assert list(rows.columns) == list(expected.columns)
    keys = [key for key in (*KEYS, "cutoff") if key in expected]
    rows, expected = (each.sort_values(keys, ignore_index=True) for each in (rows, expected))
    for name in expected:
        if expected[name].dtype == np.float64:
            np.testing.assert_allclose(rows[name], expected[name], rtol=1e-4, atol=1e-9, err_msg=name)
        else:
            assert list(rows[name]) == list(expected[name]), name
