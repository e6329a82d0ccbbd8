"""scripts/train.py as people run it: what it writes and says, what it refuses, and what a kill costs."""

import json
import re
import signal
from collections.abc import Callable

import numpy as np
import pytest

from forecasting.artifact import list_versions, load_artifact
from forecasting.settings.schema import DatabaseConfig
from scripts.bench.harness import Place
from tests.waiting import becomes
from tests.warehouse.sources.asking import prepare

from .conftest import QUICK, variables_of
from .forking import run_forked, start_forked


@pytest.fixture
def refused(empty_place: Place, database: DatabaseConfig) -> Callable[..., str]:
    """What scripts/train.py says on stderr on a database of its own, after it has ended with 1 and written nothing."""

    def train(*statements: str, **variables: str) -> str:
        prepare(database, *statements)
        result = run_forked(empty_place, "train.py", *QUICK, **{**variables_of(database), **variables})
        assert result.returncode == 1, result.stdout + result.stderr
        assert "Traceback" not in result.stdout + result.stderr
        assert list_versions(empty_place.store) == []
        return result.stderr

    return train


@pytest.mark.parametrize("blocks", [64, 200])
def test_full_disk(empty_place: Place, database: DatabaseConfig, blocks: int) -> None:
    """A limit on files stands for it, of so many KiB: it stops the weights, or the program."""
    result = run_forked(empty_place, "train.py", *QUICK, max_file_bytes=blocks * 1024, **variables_of(database))
    assert result.returncode == 1, result.stdout
    assert re.fullmatch(
        r"error: There is no room for the files of v1\.0\.0 \(File too large\); free are [\d,.]+ MB in \S+ and "
        r"[\d,.]+ MB in \S+\. v1\.0\.0 was not written\. Make room, or set MODEL_DIR or TMPDIR to another place\.\n",
        result.stderr,
    )
    assert list_versions(empty_place.store) == []


def test_version_says_what_it_is(place: Place, sample: dict[str, np.ndarray]) -> None:
    artifact = load_artifact(place.store, "v1.10")
    assert {file.name for file in artifact.folder.iterdir()} == {"model.json", "model.pt2", "weights.pt", "report.png"}
    assert artifact.archive.name == "forecaster-v1.10.mar"
    card = json.loads((artifact.folder / "model.json").read_text())
    assert card["version"] == "v1.10"
    assert card["data"]["last_day"] == "2020-08-19"
    assert card["training"]["refitted_on_all_days"] is True
    assert [series["metric"] for series in card["series"]] == list(sample)
    assert set(card["hashes"]) == {"model.pt2", "weights.pt", "report.png"}
    assert (artifact.folder / "report.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_reported_seasonal_naive_is_the_samples(place: Place, sample: dict[str, np.ndarray]) -> None:
    """The table's other half, from the shipped file alone: 120 days, the last 24 test, every cutoff among them. The
    last day was counted in part, and is no truth to compare with.
    """
    series = load_artifact(place.store, "v1.10").card.series
    for card in series:
        values = sample[card.metric].astype(np.float32)
        starts = range(len(values) - 24, len(values) - 6)
        actual = np.stack([values[start : start + 7] for start in starts])
        naive = np.stack([values[start - 7 : start] for start in starts])
        assert card.metrics["num_cutoffs"] == len(starts)
        errors = np.abs(actual - naive)
        errors[-1, -1] = np.nan
        assert card.metrics["seasonal_naive"]["mae"] == pytest.approx(np.nanmean(errors), rel=1e-6)


def test_training_is_told_line_by_line(place: Place) -> None:
    log = (place.store / "training.log").read_text()
    for line in (
        r"read 4 series of 512 days, 2019-03-27\.\.2020-08-19 \(days in UTC\), no gaps",
        r"masked days: 4 partial",
        r"note: page_visits of siteanalytics: 1 day counted in part, masked \(2020-08-19\)",
        r"train 2020-04-22\.\.2020-07-08, validation 2020-07-09\.\.2020-07-26, test 2020-07-27\.\.2020-08-19",
        r"trained 3 of 3 epochs in [\d.]+ s, best epoch \d \(validation loss 0\.\d{4}\)",
        r"page_visits +forecaster +[\d,]+ ",
        r"seasonal naive +[\d,]+ ",
        r"error relative to the seasonal naive forecast: \d\.\d\d",
        r"refitted on all days for \d epochs",
        r"the trained model forecasts 4 of 4 series",
        r"bands calibrated on 3 weeks of each series: \d\.\d\d to \d\.\d\d times as wide as trained",
        r"s in all: imports [\d.]+, PostgreSQL [\d.]+, fitting [\d.]+, calibration [\d.]+, refitting [\d.]+, plot ",
        r"next: python scripts/serve.py --model-version v1\.10",
    ):
        assert re.search(line, log), line


def test_same_command_same_weights(place: Place, empty_place: Place) -> None:
    result = run_forked(empty_place, "train.py", "--model-version", "v1.10", "--days-back", "120", *QUICK)
    assert result.returncode == 0, result.stderr
    first, second = (load_artifact(each.store, "v1.10").card for each in (place, empty_place))
    assert second.hashes["weights.pt"] == first.hashes["weights.pt"]


def test_too_few_days(refused: Callable[..., str], database: DatabaseConfig) -> None:
    assert refused("delete from daily_metrics where date < '2020-07-22'") == (
        f"error: page_visits of {database.name} has 29 days of data; at least 30 are needed. Wait for more, or load "
        "older days. Only the last 452 days were read, 2019-05-26..2020-08-19.\n"
    )


def test_server_that_is_not_there(refused: Callable[..., str]) -> None:
    error = refused(DB_HOST="127.0.0.1", DB_PORT="1", DB_PASSWORD="hunter2")
    assert "127.0.0.1" in error
    assert "hunter2" not in error


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["epochs=3"], "error: There is no setting 'epochs' (in the command line). Did you mean training.epochs?\n"),
        (
            ["--model-version", "../x"],
            "error: Version '../x' cannot be a folder's name. Use up to 64 letters, digits, dots, hyphens and "
            "underscores, beginning with a letter or a digit, such as v1.0.0.\n",
        ),
        (["--days-back", "29"], "error: data.days_back (--days-back) is 29; it must be at least 30.\n"),
    ],
)
def test_misuse_ends_with_2(empty_place: Place, arguments: list[str], text: str) -> None:
    result = empty_place.run("train.py", *arguments)
    assert (result.returncode, result.stderr) == (2, text)


def test_model_dir_that_cannot_be_written(empty_place: Place) -> None:
    empty_place.store.write_text("a file")
    result = run_forked(empty_place, "train.py", *QUICK)
    assert result.returncode == 1
    assert result.stderr == (
        f"error: {empty_place.store}/training.log cannot be written (File exists). "
        "Give this user the right, or set MODEL_DIR.\n"
    )


def test_killed_training_leaves_nothing_half_and_resumes_and_ctrl_c_keeps_the_best_so_far(empty_place: Place) -> None:
    """Killed after its first checkpoint, and told to stop after the next. That the weights are the same as without a
    kill is tested in tests/training/test_fit.py.
    """
    arguments = ["--epochs", "100000", "training.patience=0", *QUICK[1:]]
    killed = start_forked(empty_place, "train.py", *arguments)
    assert becomes(lambda: list(empty_place.store.glob(".v1.0.0.*.ckpt")))
    killed.end(signal.SIGKILL)
    assert list_versions(empty_place.store) == []
    [checkpoint] = empty_place.store.glob(".v1.0.0.*.ckpt")
    before = checkpoint.stat().st_ino
    running = start_forked(empty_place, "train.py", *arguments, "--resume")
    epoch = int(running.wait_for(r"resuming from epoch (\d+)")[1])
    assert becomes(lambda: checkpoint.stat().st_ino != before)  # it trains: by now it has written the next
    assert running.end(signal.SIGINT) == 0
    assert "removing what was written of v1.0.0 by a program that was killed, as the kernel does when" in running.text
    assert "interrupted: keeping the best so far" in running.text
    card = load_artifact(empty_place.store, "v1.0.0").card
    assert 1 <= card.training["best_epoch"] <= card.training["epochs_run"] < 100_000
    assert card.training["epochs_run"] > epoch
    assert card.training["refitted_on_all_days"] is False
    left = {path.name for path in empty_place.store.iterdir()}
    assert left == {"v1.0.0", "forecaster-v1.0.0.mar", "training.log", "training_logs"}
