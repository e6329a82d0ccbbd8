"""scripts/demo.py: the whole way, its end, and a refusal."""

import os
import signal
from pathlib import Path

import psutil

from forecasting.artifact import list_versions
from scripts.bench.harness import Place, command_of
from tests.waiting import becomes


def left_running(*words: str) -> list[str]:
    commands = [command_of(process) for process in psutil.process_iter()]
    return [command for command in commands if any(word in command for word in words)]


def test_demo_goes_the_whole_way_and_leaves_no_process(empty_place: Place, own_database: Path) -> None:
    """Whatever database .env names, and without becoming the newest version of the store."""
    (empty_place.folder / ".env").write_text("DB_HOST=127.0.0.1\nDB_PORT=1\nAPI_KEYS=x:read:key-of-sixteen-or-more\n")
    result = empty_place.run(
        "demo.py", "serving.workers=1", "training.epochs=3",
        TRAFFIC_PGDATA=str(own_database), TRAFFIC_FORECASTER_HOME=str(empty_place.folder),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "total" in result.stdout
    assert "{'page_visits': 30, 'unique_visitors': 30}" in result.stdout
    assert (empty_place.store / "demo" / "v1.0.0" / "report.png").is_file()
    assert result.stdout.endswith("\nnext: your own data: see README.md\n")
    assert list_versions(empty_place.store) == []
    assert left_running(str(own_database), str(empty_place.store)) == []


def test_stopped_demo_leaves_no_process(empty_place: Place, own_database: Path) -> None:
    demo = empty_place.start("demo.py", TRAFFIC_PGDATA=str(own_database))
    demo.wait_for("windows to train on")
    assert demo.end(signal.SIGTERM) == 143
    assert becomes(lambda: not left_running(str(own_database), str(empty_place.store)))
    left = os.listdir(empty_place.store / "demo")  # noqa: PTH208 - names are all that is asked
    assert set(left) - {"training_logs"} == {"training.log"}  # the log of a fit that had begun


def test_demo_says_what_training_says(empty_place: Place) -> None:
    empty_place.store.write_text("a file")
    result = empty_place.run("demo.py")
    assert (result.returncode, result.stderr) == (
        1,
        f"error: {empty_place.store}/demo/training.log cannot be written (Not a directory). "
        "Give this user the right, or set MODEL_DIR.\n",
    )
    assert "serving" not in result.stdout
