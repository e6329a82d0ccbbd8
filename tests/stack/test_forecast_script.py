"""scripts/forecast.py as people run it: on the sample site, twice, by several processes, interrupted, and refused."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from scripts.bench.harness import Place
from tests.waiting import becomes
from tests.warehouse.ingesting import ask_own
from tests.warehouse.sources.asking import prepare

from .conftest import variables_of
from .forking import run_forked, start_forked

if TYPE_CHECKING:
    from forecasting.settings.schema import DatabaseConfig

MANY = """
drop table daily_metrics;
insert into forecasting.daily (site, metric, day, value)
    select 'site ' || n, 'page_visits', date '2024-02-29' - d, 100 * n + (d * n) % 7
    from generate_series(1, 300) as n, generate_series(0, 89) as d;
"""
SLOW = """
create function wait() returns trigger language plpgsql as $$ begin
    if (select count(distinct site) > 25 from forecasting.forecasts) then perform pg_sleep(3600); end if;
    return null;
end $$;
create trigger wait after insert on forecasting.forecasts for each statement execute function wait();
"""
UNSLOW = "drop trigger wait on forecasting.forecasts"


def forecasts(database: "DatabaseConfig") -> dict[tuple[Any, ...], list[float]]:
    rows = ask_own(database, "select site, metric, version, cutoff, day, quantiles from forecasting.forecasts")
    return {tuple(row)[:5]: row["quantiles"] for row in rows}


@pytest.fixture
def many(database: "DatabaseConfig") -> "DatabaseConfig":
    """300 sites of 90 days, and no daily_metrics."""
    from forecasting.warehouse.schema import load_schema

    prepare(database, load_schema(), MANY)
    return database


@pytest.fixture
def own(empty_place: Place, many: "DatabaseConfig") -> Place:
    """On that database."""
    empty_place.environment |= variables_of(many)
    return empty_place


def test_sample_site_by_its_version(place: Place, database: "DatabaseConfig") -> None:
    first = place.run("forecast.py", "--days-ahead", "9", **variables_of(database))
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("v1.10 forecasts 9 days of every series\n")
    assert "forecasting.daily is up to date with siteanalytics: 8,668 rows changed\n" in first.stdout
    assert "read 4 series, forecast 4, wrote 36 rows to forecasting.forecasts in " in first.stdout
    assert "note: the forecasts of 4 series begin in the past: the newest of their days is 2020-08-19\n" in first.stdout
    assert first.stderr == ""
    again = run_forked(place, "forecast.py", "--days-ahead", "9", "--model", "v1.10", **variables_of(database))
    assert "up to date with siteanalytics: 0 rows changed\n" in again.stdout
    assert "read 4 series, forecast 4, wrote 0 rows to forecasting.forecasts in " in again.stdout
    assert "nothing had to be written: forecasting.forecasts has these forecasts already\n" in again.stdout
    check_next(place, again.stdout, **variables_of(database))
    embedded = run_forked(place, "forecast.py")  # whose server has stopped once the script ends
    check_next(place, embedded.stdout)


def check_next(place: Place, printed: str, **variables: str) -> None:
    """The command that the script printed last works as it is, and shows the first days ahead."""
    shown = place.run_command("bash", "-c", printed.splitlines()[-1].removeprefix("next: "), **variables)
    assert shown.returncode == 0, shown.stderr
    rows = [[cell.strip() for cell in line.split("|")] for line in shown.stdout.splitlines()[2:16]]
    assert [row[2] for row in rows[:2]] == ["2020-08-20", "2020-08-21"]
    assert all(float(row[3]) < float(row[4]) < float(row[5]) for row in rows)


def test_processes_of_torchrun_write_what_one_does(own: Place, many: "DatabaseConfig") -> None:
    alone = run_forked(own, "forecast.py", "--model", "base")
    assert alone.returncode == 0, alone.stderr
    expected = forecasts(many)
    assert len(expected) == 300 * 7
    prepare(many, "truncate forecasting.forecasts")
    both = [start_forked(own, "forecast.py", "--model", "base", RANK=str(rank), WORLD_SIZE="2") for rank in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    numbers = [int(process.text.split("read ")[1].split(" series")[0]) for process in both]
    assert sum(numbers) == 300
    assert 0 not in numbers
    together = forecasts(many)
    assert together.keys() == expected.keys()
    for key, quantiles in together.items():
        np.testing.assert_allclose(quantiles, expected[key], rtol=1e-5)


@pytest.fixture
def slow(own: Place, many: "DatabaseConfig") -> "tuple[Place, DatabaseConfig]":
    """The first of 12 batches is written; the second waits there until it is interrupted."""
    prepare(many, SLOW)
    return own, many


@pytest.mark.parametrize(
    ("how", "code", "last_line"), [(signal.SIGINT, 130, "stopped"), (signal.SIGTERM, 143, "ended")]
)
def test_interrupted_it_leaves_whole_batches_and_then_completes(
    slow: "tuple[Place, DatabaseConfig]", how: signal.Signals, code: int, last_line: str
) -> None:
    place, database = slow
    process = start_forked(place, "forecast.py", "--model", "base", "forecast.batch_size=25")
    assert becomes(lambda: forecasts(database))
    assert process.end(how) == code
    assert process.text.splitlines()[-1] == last_line
    num_done = len(forecasts(database))
    assert num_done == 25 * 7
    prepare(database, UNSLOW)
    rest = run_forked(place, "forecast.py", "--model", "base", "forecast.batch_size=25")
    assert f"wrote {300 * 7 - num_done:,} rows" in rest.stdout
    assert len(forecasts(database)) == 300 * 7


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--days-ahead", "31"], 2, "error: forecast.days_ahead (--days-ahead) is 31; it must be 1 to 30.\n"),
        (
            ["forecast.batch_size=0"], 2,
            "error: forecast.batch_size is 0; it must be 1 to 65536.\n",
        ),
        (
            ["--model", "v9"], 1,
            "error: There is no version v9 in {store} (there: none). "
            "Train it: python scripts/train.py --model-version v9\n",
        ),
    ],
)  # fmt: skip
def test_refusals(empty_place: Place, arguments: list[str], code: int, text: str) -> None:
    result = run_forked(empty_place, "forecast.py", *arguments)
    assert (result.returncode, result.stderr) == (code, text.format(store=empty_place.store))


def test_training_and_backtest_read_it_too(own: Place, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    arguments = ["--origins", "1", "--out", str(out), "data.sites=site 7,site 8"]
    result = run_forked(own, "backtest.py", *arguments)
    assert result.returncode == 0, result.stderr
    assert "read 2 series, 2023-12-02..2024-02-29\n" in result.stdout
    assert len(out.read_text().splitlines()) == 1 + 2 * 7
