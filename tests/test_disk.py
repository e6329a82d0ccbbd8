"""What is said of disks that are full or read-only."""

import errno
import os
import re
from pathlib import Path

import pytest

from forecasting.runtime.disk import explain_unwritable, find_disk_problem, show_size
from tests.full_disk import full_disk, small_disk


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.EFBIG, "There is no room for {file} (File too large). Make room, or {elsewhere}."),
        (errno.EDQUOT, "There is no room for {file} (Disk quota exceeded). Make room, or {elsewhere}."),
        (
            errno.EROFS,
            "{file} cannot be written (Read-only file system). Make the disk writable, or {elsewhere}.",
        ),
        (errno.EACCES, "{file} cannot be written (Permission denied). Give this user the right, or set MODEL_DIR."),
        (errno.ENOTDIR, "{file} cannot be written (Not a directory). Give this user the right, or set MODEL_DIR."),
    ],
)
def test_reason_and_remedy(tmp_path: Path, code: int, text: str) -> None:
    file = tmp_path / "model.pt2"
    expected = text.format(file=file, elsewhere="set MODEL_DIR to another place")
    assert explain_unwritable(file, OSError(code, os.strerror(code))) == expected


def test_real_errors(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(OSError, match="File too large") as error:
        (tmp_path / "file").write_text("too much")
    assert explain_unwritable(tmp_path / "file", error.value).startswith("There is no room for ")


def test_free_room_is_shown_of_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path, num_bytes=4096 * 10), pytest.raises(OSError, match="No space left") as error:
        (tmp_path / "file").write_bytes(bytes(4096 * 11))
    error_text = explain_unwritable("/none/file", error.value, advice="set TMPDIR")
    assert error_text == (
        "There is no room for /none/file (No space left on device). Make room, or set TMPDIR to another place."
    )


def test_what_is_needed_is_compared_with_what_is_free(tmp_path: Path) -> None:
    """Also of a folder that does not exist yet."""

    def find(needs_bytes: int) -> str | None:
        return find_disk_problem(tmp_path / "a" / "b", needs_bytes=needs_bytes, purpose="version v1", advice="set X")

    assert find(0) is None
    problem = find(10**18)
    assert problem is not None
    assert re.fullmatch(
        rf"Only [\d,.]+ MB are free in {tmp_path}/a/b for version v1, and 1,000,000,000,000\.0 MB are needed\. Make "
        r"room, or set X to another place\.",
        problem,
    )


def test_read_only_disk_is_known_before(tmp_path: Path) -> None:
    with small_disk(tmp_path, num_bytes=2**20, read_only=True):
        problem = find_disk_problem(tmp_path, needs_bytes=1, purpose="version v1", advice="set MODEL_DIR")
    assert problem == (
        f"{tmp_path}, for version v1, cannot be written (Read-only file system). Make the disk writable, or set "
        "MODEL_DIR to another place."
    )


def test_sizes() -> None:
    assert [show_size(size) for size in (0, 49_999, 1_234_567_890)] == ["0.0 MB", "0.0 MB", "1,234.6 MB"]
