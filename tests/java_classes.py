"""TorchServe's Java starts in half of its CPU time if its classes come from an archive (class data sharing)."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from scripts.bench.harness import PATIENCE_SECONDS
from tests.selection import is_worker

VARIABLE = "JDK_JAVA_OPTIONS"
TERMINATED = 143  # Java's exit status after SIGTERM; it has written its archive by then


def share_java_classes(archive: Path, version: str, folder: Path) -> None:
    """Whatever is started from here on has the classes, which the first of the workers writes. For a few tests without
    workers it would not pay.

    Some Javas cannot write them. Then all starts as it would without.
    """
    classes = folder / "torchserve.jsa"
    if not is_worker() or str(classes) in os.environ[VARIABLE]:
        return
    with FileLock(classes.with_suffix(".lock")):
        if not classes.exists():
            _write_classes(classes, archive, version)
    if classes.stat().st_size:
        os.environ[VARIABLE] += f" -XX:SharedArchiveFile={classes}"


def _write_classes(classes: Path, archive: Path, version: str) -> None:
    """An empty file if this Java cannot."""
    from forecasting.serving.torchserve.startup import start_torchserve
    from forecasting.settings.schema import ServingConfig

    staging = classes.with_suffix(".staging")
    serving = ServingConfig(workers=1, startup_timeout_seconds=PATIENCE_SECONDS, torchserve_ports=[0])
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(VARIABLE, f"{os.environ[VARIABLE]} -XX:ArchiveClassesAtExit={staging}")
        server = start_torchserve(archive, version, serving)
    server.process.terminate()
    status = server.process.wait(PATIENCE_SECONDS)
    server.stop()
    if status == TERMINATED and staging.exists():
        staging.rename(classes)
    else:
        classes.touch()
