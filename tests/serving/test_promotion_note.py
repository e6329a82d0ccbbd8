"""What the next start learns about a promotion that the end of the server cut off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forecasting.errors import StoreNotWritable
from forecasting.serving.promotion_note import Note, remove_note, take_notes, write_note
from tests.full_disk import full_disk

NOTE = Note("9f2c51d0a7e3b846", "v2")


def own_file(store: Path) -> Path:
    return store / f".promoting.{os.getpid()}"


def test_note_of_a_server_that_ended_is_taken_once(tmp_path: Path) -> None:
    write_note(tmp_path, NOTE)
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        pass
    own_file(tmp_path).rename(tmp_path / f".promoting.{ended.pid}")
    assert list(take_notes(tmp_path)) == [NOTE]
    assert list(tmp_path.iterdir()) == []
    assert list(take_notes(tmp_path)) == []


def test_note_of_a_running_server_is_its_own(tmp_path: Path) -> None:
    write_note(tmp_path, NOTE)
    assert list(take_notes(tmp_path)) == []
    assert [file.name for file in tmp_path.iterdir()] == [own_file(tmp_path).name]
    remove_note(tmp_path)
    assert list(tmp_path.iterdir()) == []
    remove_note(tmp_path)  # without one, too


def test_note_of_an_earlier_process_with_the_same_id_is_taken(tmp_path: Path) -> None:
    """A server in a container has the same process id after each restart."""
    write_note(tmp_path, NOTE)
    os.utime(own_file(tmp_path), (10**9, 10**9))  # long before this process began
    assert list(take_notes(tmp_path)) == [NOTE]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_torn_note_is_logged_and_left(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    own_file(tmp_path).write_text(content)
    os.utime(own_file(tmp_path), (10**9, 10**9))
    assert list(take_notes(tmp_path)) == []
    [message] = caplog.messages
    assert message.startswith(f"{own_file(tmp_path)} cannot be read and removed: ")


def test_full_disk_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(StoreNotWritable) as error:
        write_note(tmp_path, NOTE)
    assert str(error.value) == (
        f"There is no room for {own_file(tmp_path)} (File too large). Make room, or set MODEL_DIR to another place."
    )
    assert list(tmp_path.iterdir()) == []
