"""scripts/forecast.py as people run it: on the sample site, twice, by several processes, interrupted, and refused."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from .conftest import SCRIPTS, Place

if TYPE_CHECKING:
    from forecasting.settings.schema import DatabaseConfig

MANY = """
drop table daily_metrics;
insert into forecasting.daily (site, metric, day, value)
    select 'site ' || n, 'page_visits', date '2024-02-29' - d, 100 * n + (d * n) % 7
    from generate_series(1, 300) as n, generate_series(0, 89) as d;
"""
SLOW = """
create function wait() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return null; end $$;
create trigger wait after insert on forecasting.forecasts for each statement execute function wait();
"""
UNSLOW = "drop trigger wait on forecasting.forecasts"


def query(database: "DatabaseConfig", *statements: str) -> list[Any]:
    """The rows of the last one."""
    from forecasting.warehouse.connection import connect

    async def run() -> list[Any]:
        connection = await connect(database, writable=True)
        for statement in statements[:-1]:
            await connection.execute(statement)
        rows = await connection.fetch(statements[-1])
        await connection.close()
        return list(rows)

    return asyncio.run(run())


def forecasts(database: "DatabaseConfig") -> dict[tuple[Any, ...], list[float]]:
    rows = query(database, "select site, metric, version, cutoff, day, quantiles from forecasting.forecasts")
    return {tuple(row)[:5]: row["quantiles"] for row in rows}


def variables(database: "DatabaseConfig") -> dict[str, str]:
    return {"DB_HOST": database.host, "DB_NAME": database.name, "DB_PASSWORD": ""}


@pytest.fixture
def many(database: "DatabaseConfig") -> "DatabaseConfig":
    """300 sites of 90 days, and no daily_metrics."""
    from forecasting.warehouse.queries import load_query

    query(database, load_query("create_forecasting"), MANY, "select 1")
    return database


@pytest.fixture
def own(empty_place: Place, many: "DatabaseConfig") -> Place:
    """On that database."""
    return Place(empty_place.store, {**empty_place.environment, **variables(many)})


def test_sample_site_by_its_version(place: Place, database: "DatabaseConfig") -> None:
    first = place.run("forecast.py", "--days-ahead", "9", **variables(database))
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("v1.10 forecasts 9 days of every series\n")
    assert "forecasting.daily is up to date with siteanalytics: 8,668 rows changed\n" in first.stdout
    assert "read 4 series, forecast 4, wrote 36 rows to forecasting.forecasts in " in first.stdout
    assert first.stderr == ""
    again = place.run("forecast.py", "--days-ahead", "9", "--model", "v1.10", **variables(database))
    assert "up to date with siteanalytics: 0 rows changed\n" in again.stdout
    assert "read 4 series, forecast 4, wrote 0 rows to forecasting.forecasts in " in again.stdout
    asked = again.stdout.splitlines()[-1].removeprefix('next: psql -c "').removesuffix('"')
    rows = query(database, asked)
    assert [str(row["day"]) for row in rows[:2]] == ["2020-08-20", "2020-08-21"]
    assert all(row["lower"] < row["median"] < row["upper"] for row in rows)


def test_processes_of_torchrun_write_what_one_does(own: Place, many: "DatabaseConfig") -> None:
    alone = own.run("forecast.py", "--model", "base")
    assert alone.returncode == 0, alone.stderr
    expected = forecasts(many)
    assert len(expected) == 300 * 7
    query(many, "truncate forecasting.forecasts")
    both = [
        subprocess.Popen(
            [sys.executable, SCRIPTS / "forecast.py", "--model", "base"],
            env={**own.environment, "RANK": str(rank), "WORLD_SIZE": "2"},
            cwd=own.store.parent,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    texts = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    numbers = [int(text.split("read ")[1].split(" series")[0]) for text in texts]
    assert sum(numbers) == 300
    assert 0 not in numbers
    found = forecasts(many)
    assert found.keys() == expected.keys()
    for key, quantiles in found.items():
        np.testing.assert_allclose(quantiles, expected[key], rtol=1e-5)


@pytest.fixture
def slow(own: Place, many: "DatabaseConfig") -> "Iterator[tuple[Place, DatabaseConfig]]":
    """Where each batch takes 0.3 s to write."""
    query(many, SLOW, "select 1")
    yield own, many
    own.end_all()


@pytest.mark.parametrize(("how", "code", "said"), [(signal.SIGINT, 130, "stopped"), (signal.SIGTERM, 143, "ended")])
def test_interrupted_it_leaves_whole_batches_and_then_completes(
    slow: "tuple[Place, DatabaseConfig]", how: signal.Signals, code: int, said: str
) -> None:
    place, database = slow
    process = place.start("forecast.py", "--model", "base", "forecast.batch_size=25")
    while process.process.poll() is None and not forecasts(database):
        pass
    assert process.end(how) == code
    assert process.text.splitlines()[-1] == said
    num_done = len(forecasts(database))
    assert 0 < num_done < 300 * 7
    assert num_done % (25 * 7) == 0
    query(database, UNSLOW, "select 1")
    rest = place.run("forecast.py", "--model", "base", "forecast.batch_size=25")
    assert f"wrote {300 * 7 - num_done:,} rows" in rest.stdout
    assert len(forecasts(database)) == 300 * 7


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--days-ahead", "31"], 2, "error: forecast.days_ahead (--days-ahead) is 31; it must be 1 to 30.\n"),
        (
            ["forecast.batch_size=0"], 2,
            "error: forecast.batch_size is 0; it must be 1 to 65536, what a model takes at once.\n",
        ),
        (
            ["--model", "v9"], 1,
            "error: There is no version v9 in {store} (there: none). "
            "Train it: python scripts/train.py --model-version v9\n",
        ),
    ],
)  # fmt: skip
def test_refusals(empty_place: Place, arguments: list[str], code: int, text: str) -> None:
    result = empty_place.run("forecast.py", *arguments)
    assert (result.returncode, result.stderr) == (code, text.format(store=empty_place.store))


def test_training_and_backtest_read_it_too(own: Place, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    arguments = ["--origins", "1", "--out", str(out), "data.sites=site 7,site 8"]
    result = own.run("backtest.py", *arguments)
    assert result.returncode == 0, result.stderr
    assert "read 2 series, 2023-12-02..2024-02-29\n" in result.stdout
    assert len(out.read_text().splitlines()) == 1 + 2 * 7
