"""TorchServe's Java starts in half of its CPU time if its classes come from an archive (class data sharing)."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from scripts.bench.harness import PATIENCE_SECONDS

if TYPE_CHECKING:
    from forecasting.artifact import Artifact

VARIABLE = "JDK_JAVA_OPTIONS"
TERMINATED = 143  # Java's exit status after SIGTERM; it has written its archive by then


def share_java_classes(folder: Path, get_artifact: "Callable[[], Artifact]") -> None:
    """Whatever is started from here on has the classes, which the first of the workers writes: it serves the artifact.

    Some Javas cannot write them. Then all starts as it would without.
    """
    classes = folder / "torchserve.jsa"
    with FileLock(classes.with_suffix(".lock")):
        if not classes.exists():
            _write_classes(classes, get_artifact())
    if classes.stat().st_size:
        os.environ[VARIABLE] += f" -XX:SharedArchiveFile={classes}"


def _write_classes(classes: Path, artifact: "Artifact") -> None:
    """An empty file if this Java cannot."""
    from forecasting.serving.torchserve.archive import ensure_archive
    from forecasting.serving.torchserve.startup import start_torchserve
    from forecasting.settings.schema import ServingConfig

    staging = classes.with_suffix(".staging")
    serving = ServingConfig(workers=1, startup_timeout_seconds=PATIENCE_SECONDS, torchserve_ports=[0])
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(VARIABLE, f"{os.environ[VARIABLE]} -XX:ArchiveClassesAtExit={staging}")
        server = start_torchserve(ensure_archive(artifact), artifact.card.version, serving)
    server.process.terminate()
    status = server.process.wait(PATIENCE_SECONDS)
    server.stop()
    if status == TERMINATED and staging.exists():
        staging.rename(classes)
    else:
        classes.touch()
