"""The .mar beside a version's folder: the exported model, its card, the handler and the roll-out that it imports,
packed by torch-model-archiver.

Everything in it is also in the folder or the package, so a missing, broken or outdated archive is simply packed again.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from forecasting.artifact import CARD, MODEL_NAME, PROGRAM, Artifact, hash_file, staging_folder
from forecasting.errors import CannotStart
from forecasting.resources import find_resource
from forecasting.runtime.disk import NO_ROOM

HANDLER = find_resource("handlers/forecast_handler.py")
ROLLOUT = Path(str(files("forecasting.model") / "rollout.py"))
FULL_DISK = re.compile(rf"OSError: \[Errno ({'|'.join(map(str, NO_ROOM))})\]")  # in the archiver's traceback
MANIFEST = "MAR-INF/MANIFEST.json"
# All that a broken zip file, or broken JSON inside it, can raise: zipfile and json have no common class.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def ensure_archive(artifact: Artifact) -> Path:
    """The version's .mar, packed now unless it already holds this model, card and handler.

    Raises StoreNotWritable, and CannotStart if the handler is missing or the archiver fails.
    """
    check_handler()
    if is_current(artifact):
        return artifact.archive
    return write_archive(artifact)


def write_archive(artifact: Artifact) -> Path:
    """Packs the version. The complete .mar appears in one rename. Raises the same errors as ensure_archive."""
    check_handler()
    with staging_folder(artifact.archive.parent, artifact.card.version) as staging:
        _pack(artifact, staging)
        (staging / f"{MODEL_NAME}.mar").replace(artifact.archive)
    return artifact.archive


def is_current(artifact: Artifact) -> bool:
    """Whether the .mar is complete and holds exactly the folder's model and card, and the package's handler."""
    expected = {
        PROGRAM: hash_file(artifact.folder / PROGRAM),
        CARD: hash_file(artifact.folder / CARD),
        HANDLER.name: hash_file(HANDLER),
        ROLLOUT.name: hash_file(ROLLOUT),
    }
    try:
        with zipfile.ZipFile(artifact.archive) as archive:
            model = json.loads(archive.read(MANIFEST))["model"]
            names = model["modelName"], model["modelVersion"], model["handler"]
            hashes = {name: sha256(archive.read(name)).hexdigest() for name in archive.namelist() if name != MANIFEST}
    except UNREADABLE:
        return False
    return hashes == expected and names == (MODEL_NAME, artifact.card.version, HANDLER.name)


def read_card(archive: Path, version: str) -> dict[str, Any]:  # Any: json's own types
    """The card inside, after a check of every file's checksum. Raises CannotStart.

    TorchServe itself only warns about an archive that it cannot read, and then serves nothing.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            for name in content.namelist():
                content.read(name)  # checks its checksum
            card: dict[str, Any] = json.loads(content.read(CARD))
            packed = json.loads(content.read(MANIFEST))["model"]["modelVersion"]
    except UNREADABLE as error:
        raise CannotStart(
            f"{archive} is not a model archive ({error}). Delete it: the next start packs it again."
        ) from error
    if packed != version:
        raise CannotStart(f"{archive} holds version {packed}, not {version}. Delete it: the next start packs it again.")
    return card


def _pack(artifact: Artifact, staging: Path) -> None:
    """Runs the archiver as a command: in process it uses a temporary folder that all processes share."""
    work, packed = staging / "tmp", staging / "packed"
    work.mkdir()
    packed.mkdir()
    for file in (artifact.folder / PROGRAM, artifact.folder / CARD, HANDLER, ROLLOUT):
        try:
            shutil.copy(file, packed)  # so that the names below are bare: the archiver splits paths at commas
        except OSError as error:
            if error.errno in NO_ROOM:
                raise  # which the staging folder explains
            raise CannotStart(f"{file} cannot be packed into the archive ({error.strerror}).") from error
    command = [sys.executable, "-P", "-m", "model_archiver.model_packaging", "--model-name", MODEL_NAME]
    command += ["--version", artifact.card.version, "--serialized-file", PROGRAM]
    command += ["--extra-files", f"{CARD},{ROLLOUT.name}", "--handler", HANDLER.name]
    command += ["--export-path", str(staging.absolute())]
    result = subprocess.run(
        command,
        cwd=packed,
        env={**os.environ, "TMPDIR": str(work.absolute())},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        if match := FULL_DISK.search(result.stderr):
            raise OSError(int(match[1]), os.strerror(int(match[1])), str(artifact.archive))
        raise CannotStart(f"torch-model-archiver cannot pack {artifact.folder}:\n{result.stderr.strip()[-2000:]}")


def check_handler() -> None:
    """Raises CannotStart if it is missing."""
    if not HANDLER.is_file():
        raise CannotStart(f"{HANDLER} is missing, and the archive needs it. Reinstall the package.")
