"""Serving notices a disk that fills up, and workers that end."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from forecasting.runtime.disk import LOW_BYTES, show_size
from forecasting.serving.resource_watch import ResourceWatch
from forecasting.serving.torchserve.logs import WorkerStarts, is_out_of_heap
from forecasting.serving.torchserve.process import TorchServe
from forecasting.settings.schema import Config, DatabaseConfig, ServingConfig
from tests.full_disk import small_disk
from tests.serving.torchserve.processes import find_workers
from tests.waiting import becomes

START = "2026-11-29T10:25:57,351 INFO  Torch worker started.\n"


def test_each_start_of_a_worker_counts_once(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    starts = WorkerStarts(tmp_path)
    assert starts.take_new() == 0  # there is no log yet
    log.write_text(START + "another line\n" + START)
    assert [starts.take_new(), starts.take_new()] == [2, 0]
    with log.open("a") as file:
        file.write(START[:-10])
    assert starts.take_new() == 0
    with log.open("a") as file:
        file.write(START[-10:] + START)
    assert [starts.take_new(), starts.take_new()] == [2, 0]
    log.write_text(START)  # TorchServe begins a new one when it is long
    assert [starts.take_new(), starts.take_new()] == [1, 0]


def test_java_that_used_up_its_own_memory_is_recognised(tmp_path: Path) -> None:
    """By what it prints with -XX:+ExitOnOutOfMemoryError."""
    assert not is_out_of_heap(tmp_path)
    (tmp_path / "console.log").write_text("Model server started.\n")
    assert not is_out_of_heap(tmp_path)
    (tmp_path / "console.log").write_text("Terminating due to java.lang.OutOfMemoryError: Java heap space\n")
    assert is_out_of_heap(tmp_path)


def test_disk_that_fills_up_is_told_once_and_that_it_has_room_again(
    tmp_path: Path, torchserve: TorchServe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "forecasting.serving")
    with small_disk(tmp_path, num_bytes=2 * LOW_BYTES):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        watch = ResourceWatch(Config(database=DatabaseConfig(embedded=False), serving=ServingConfig(workers=2)))
        watch.check(torchserve)
        assert watch.disk_problem is None
        caplog.clear()  # other tests may have killed workers
        (tmp_path / "filling").write_bytes(bytes(LOW_BYTES + 2**20))
        watch.check(torchserve)
        problem = watch.disk_problem
        watch.check(torchserve)
        (tmp_path / "filling").unlink()
        watch.check(torchserve)
        assert watch.disk_problem is None
    free = 2 * LOW_BYTES - LOW_BYTES - 2**20
    assert problem is not None
    assert problem.endswith(
        f" MB are free in {tmp_path} for TorchServe's logs and temporary files, and {show_size(LOW_BYTES)} are needed. "
        "Make room, or set TMPDIR to another place."
    )
    assert abs(float(problem.split()[1]) * 1e6 - free) < 100_000  # a disk has whole pages
    assert caplog.messages == [problem, "there is room on the disk again"]


def test_worker_that_ended_is_told(torchserve: TorchServe, caplog: pytest.LogCaptureFixture) -> None:
    watch = ResourceWatch(Config(database=DatabaseConfig(embedded=False), serving=ServingConfig(workers=2)))
    watch.check(torchserve)
    caplog.clear()  # as above
    os.kill(find_workers(torchserve)[0], signal.SIGKILL)

    def is_told() -> bool:
        watch.check(torchserve)
        return "1 of TorchServe's workers ended, and new ones have started" in caplog.messages

    assert becomes(is_told)
    assert (watch.memory_problem, watch.disk_problem) == (None, None)
