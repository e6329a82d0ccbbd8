"""Full and read-only disks, in words."""

import errno
import os
import shutil
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, a user's share of it, a limit on files
LOW_BYTES = 10_000_000  # below which logs and temporary files may not find room any more


def explain_unwritable(file: Path | str, error: OSError, *, advice: str = "set MODEL_DIR") -> str:
    """What keeps a file from being written, and what to do."""
    if error.errno in NO_ROOM:
        reason = f"{error.strerror}{_describe_room(file, error)}"
        return f"There is no room for {file} ({reason}). Make room, or {advice} to another place."
    if error.errno == errno.EROFS:
        return f"{file} cannot be written ({error.strerror}). Make the disk writable, or {advice} to another place."
    return f"{file} cannot be written ({error.strerror}). Give this user the right, or {advice}."


def find_disk_problem(folder: Path, *, needs_bytes: int, purpose: str, advice: str) -> str | None:
    """Why `folder` (or, before it exists, the nearest folder above it) cannot take `needs_bytes`; None if it can.

    `purpose` completes "for": "TorchServe's logs and temporary files".
    """
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not os.access(place, os.W_OK):
        read_only = os.statvfs(place).f_flag & os.ST_RDONLY
        reason = os.strerror(errno.EROFS if read_only else errno.EACCES)
        remedy = "Make the disk writable" if read_only else "Give this user the right"
        return f"{folder}, for {purpose}, cannot be written ({reason}). {remedy}, or {advice} to another place."
    free = shutil.disk_usage(place).free
    if free >= needs_bytes:
        return None
    return (
        f"Only {show_size(free)} are free in {folder} for {purpose}, and {show_size(needs_bytes)} are needed. "
        f"Make room, or {advice} to another place."
    )


def show_size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


def _describe_room(file: Path | str, error: OSError) -> str:
    """Of a disk: limits on files and shares of it have a room of their own."""
    folder = Path(file).absolute().parent
    is_known = error.errno == errno.ENOSPC and folder.exists()
    return f"; {show_size(shutil.disk_usage(folder).free)} are free there" if is_known else ""
