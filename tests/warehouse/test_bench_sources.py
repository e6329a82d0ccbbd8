"""scripts/bench/bench_sources.py with few events: that it measures what it says, and leaves nothing behind."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import connect
from scripts.bench.harness import PATIENCE_SECONDS

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "bench_sources.py"
OUTPUT = r"""\d+ cores of .+, PostgreSQL \d+\.\d+ on the same cores
made (?P<events>[\d,]+) events of 8 sites on 731 days in \d+ s: 0\.0 GiB, and 0\.0 GiB of {indexes} indexes

first read: 731 days, (?P<written>[\d,]+) totals in [\d.]+ s \([\d.]+ CPU s\), [\d,]+ events/s
updates, medians of 5:
  \d+ events of a new day +[\d.]+ s, +[\d.]+ CPU s \(\d+ rows changed\)
  nothing new +[\d.]+ s, +[\d.]+ CPU s \(0 rows changed\)
  1 event of an old day, so all days are compared +[\d.]+ s, +[\d.]+ CPU s \(\d+ rows changed\)
all (?P<totals>[\d,]+) totals are those of one plain query over everything, which takes [\d.]+ s

the totals of 2025-01-02\.\.2025-01-05 alone: \d+ ms
(  .+ of website_event.*: \d+ rows in \d+ loops, \d+ pages, \d+ ms\n)+
fetch and pandas: [\d,]+ days of the first [\d,]+ events in [\d.]+ s, [\d,]+ events/s
the first read was [\d.]+ times as fast
"""
OUTPUT_OF_TOTALS = r"""
daily_metrics with 3 metrics of 3 sites on 400 days
  first read                 +[\d.]+ s, +[\d.]+ CPU s \(3,600 rows changed\)
  nothing new                +[\d.]+ s, +[\d.]+ CPU s \(0 rows changed\)
  a new day of each site     +[\d.]+ s, +[\d.]+ CPU s \(9 rows changed\)
  10 corrected values        +[\d.]+ s, +[\d.]+ CPU s \(3 rows changed\)
  half of the rows purged    +[\d.]+ s, +[\d.]+ CPU s \(0 rows changed\)
  scripts/forecast.py, with nothing new: [\d.]+ s, the whole program [\d.]+ s
"""


def list_databases(database: DatabaseConfig) -> list[str]:
    async def run() -> list[str]:
        connection = await connect(database)
        try:
            return [row["datname"] for row in await connection.fetch("select datname from pg_database")]
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("switches", "num_indexes", "totals"),
    [(["--sites", "0"], 15, ""), (["--newest", "--sites", "3", "--repetitions", "1"], 16, OUTPUT_OF_TOTALS)],
)
def test_few_events(
    database: DatabaseConfig, tmp_path: Path, switches: list[str], num_indexes: int, totals: str
) -> None:
    place = {"DB_HOST": database.host, "DB_NAME": database.name, "DB_PASSWORD": ""}
    done = subprocess.run(
        [sys.executable, SCRIPT, "--events", "20000", *switches],
        env={**os.environ, **place, "MODEL_DIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    actual = re.fullmatch(OUTPUT.replace("{indexes}", str(num_indexes)) + totals, done.stdout)
    assert actual, done.stdout
    events, written, num_totals = (int(actual[name].replace(",", "")) for name in ("events", "written", "totals"))
    assert 18_000 < events < 20_500  # small sites lose what is rounded away
    assert 0.5 * written < num_totals < written + 5 * 8 * 5  # days without a visit were written too; five came after
    assert not [name for name in list_databases(database) if name.startswith("bench_")]
