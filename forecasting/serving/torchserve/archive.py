"""The .mar beside a version's folder: the exported model, its card and the handler, packed by torch-model-archiver.

It holds nothing that the folder and the checkout do not, so a missing, broken or stale one is made again.
"""

import json
import os
import subprocess
import sys
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path

from forecasting.artifact import CARD, MODEL_NAME, PROGRAM, Artifact, hash_file, staging_folder
from forecasting.errors import CannotStart
from forecasting.resources import find_resource

HANDLER = find_resource("handlers/forecast_handler.py")
MANIFEST = "MAR-INF/MANIFEST.json"
# What a spoilt zip or the JSON in it raises, as zipfile and json do not say in one class.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def ensure_archive(artifact: Artifact) -> Path:
    """The version's .mar, made now unless there is one of this very model, card and handler.

    Raises StoreNotWritable, and CannotStart where the handler is missing or the archiver fails.
    """
    check_handler()
    if is_current(artifact):
        return artifact.archive
    return write_archive(artifact)


def write_archive(artifact: Artifact) -> Path:
    """Packs the version; the .mar appears whole, in one rename. Raises as ensure_archive does."""
    check_handler()
    with staging_folder(artifact.archive.parent, artifact.card.version) as staging:
        _pack(artifact, staging)
        (staging / f"{MODEL_NAME}.mar").replace(artifact.archive)
    return artifact.archive


def is_current(artifact: Artifact) -> bool:
    """Whether the .mar is whole and holds exactly the folder's model and card, and this checkout's handler."""
    expected = {
        PROGRAM: hash_file(artifact.folder / PROGRAM),
        CARD: hash_file(artifact.folder / CARD),
        HANDLER.name: hash_file(HANDLER),
    }
    try:
        with zipfile.ZipFile(artifact.archive) as archive:
            model = json.loads(archive.read(MANIFEST))["model"]
            names = model["modelName"], model["modelVersion"], model["handler"]
            found = {name: sha256(archive.read(name)).hexdigest() for name in archive.namelist() if name != MANIFEST}
    except UNREADABLE:
        return False
    return found == expected and names == (MODEL_NAME, artifact.card.version, HANDLER.name)


def _pack(artifact: Artifact, staging: Path) -> None:
    """By the command, since in process the archiver packs in a temporary folder that all processes share."""
    work = staging / "tmp"
    work.mkdir()
    command = [sys.executable, "-P", "-m", "model_archiver.model_packaging", "--model-name", MODEL_NAME]
    command += ["--version", artifact.card.version, "--serialized-file", PROGRAM, "--extra-files", CARD]
    command += ["--handler", str(HANDLER), "--export-path", str(staging.absolute())]
    result = subprocess.run(
        command,
        cwd=artifact.folder,  # so that the names above are bare: the archiver splits paths at commas
        env={**os.environ, "TMPDIR": str(work.absolute())},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise CannotStart(f"torch-model-archiver cannot pack {artifact.folder}:\n{result.stderr.strip()[-2000:]}")


def check_handler() -> None:
    """Raises CannotStart where it is missing."""
    if not HANDLER.is_file():
        raise CannotStart(f"{HANDLER} is missing, and the archive needs it. Install the package again.")
