"""A note in the model store while a promotion is under way. If the server ends first, its next start reads it there."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from forecasting.artifact import is_left_behind, replace_text
from forecasting.errors import StoreNotWritable
from forecasting.runtime.disk import explain_unwritable

logger = logging.getLogger("forecasting.serving")

PREFIX = ".promoting."  # then the process id of the server


class Note(NamedTuple):
    promotion_id: str
    version: str


def write_note(store: Path, note: Note) -> None:
    """Raises StoreNotWritable: then the version could not be remembered either."""
    file = _own_file(store)
    try:
        replace_text(file, json.dumps(note._asdict()))
    except OSError as error:
        raise StoreNotWritable(explain_unwritable(file, error)) from error


def remove_note(store: Path) -> None:
    try:
        _own_file(store).unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be removed: %s", _own_file(store), error.strerror)


def take_notes(store: Path) -> Iterator[Note]:
    """The notes of servers that have ended, which are removed."""
    for file in sorted(store.glob(f"{PREFIX}*")):
        if not is_left_behind(file, file.name.removeprefix(PREFIX).partition(".")[0]):
            continue
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            yield Note(str(content["promotion_id"]), str(content["version"]))
            file.unlink(missing_ok=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s cannot be read and removed: %r", file, error)


def _own_file(store: Path) -> Path:
    return store / f"{PREFIX}{os.getpid()}"
