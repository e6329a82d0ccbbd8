"""The .mar is packed by the real torch-model-archiver, and packed again whenever it is broken or outdated."""

import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from forecasting import artifact as artifacts
from forecasting.artifact import Artifact, load_artifact
from forecasting.errors import CannotStart, StoreNotWritable
from forecasting.serving.torchserve import archive as archives
from forecasting.serving.torchserve.archive import ensure_archive, is_current, write_archive
from tests import PROJECT
from tests.full_disk import full_disk, small_disk


@pytest.fixture
def artifact(untrained_artifact: Artifact, tmp_path: Path) -> Artifact:
    """A copy to spoil."""
    shutil.copytree(untrained_artifact.folder, tmp_path / "store" / untrained_artifact.card.version)
    return artifacts.load_artifact(tmp_path / "store")


def rewrite(archive: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    with zipfile.ZipFile(archive) as source:
        contents = {name: change(name, source.read(name)) for name in source.namelist()}
    with zipfile.ZipFile(archive, "w") as target:
        for name, content in contents.items():
            if content is not None:
                target.writestr(name, content)


def test_archive_holds_model_card_and_handler(artifact: Artifact) -> None:
    archive = write_archive(artifact)
    assert archive == artifact.folder.parent / "forecaster-v1.10.mar"
    with zipfile.ZipFile(archive) as content:
        names = {"model.pt2", "model.json", "forecast_handler.py", "rollout.py", "MAR-INF/MANIFEST.json"}
        assert set(content.namelist()) == names
        assert content.read("model.pt2") == (artifact.folder / "model.pt2").read_bytes()
        assert content.read("model.json") == (artifact.folder / "model.json").read_bytes()
        assert content.read("forecast_handler.py") == archives.HANDLER.read_bytes()
        assert content.read("rollout.py") == archives.ROLLOUT.read_bytes()
        assert b'"modelVersion": "v1.10"' in content.read("MAR-INF/MANIFEST.json")
        assert str(artifact.folder.parent).encode() not in content.read("MAR-INF/MANIFEST.json")


def test_nothing_else_is_left_in_the_store(artifact: Artifact) -> None:
    write_archive(artifact)
    assert sorted(file.name for file in artifact.folder.parent.iterdir()) == ["forecaster-v1.10.mar", "v1.10"]


def test_leftovers_of_a_killed_one_are_removed(artifact: Artifact) -> None:
    """A process that packs, killed in the middle; what a living one packs stays."""
    store = artifact.folder.parent
    program = (
        "import os, signal\nfrom pathlib import Path\nfrom forecasting import artifact\n"
        "from forecasting.serving.torchserve import archive\n"
        f"found = artifact.load_artifact(Path({str(store)!r}))\n"
        "archive.subprocess.run = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "archive.write_archive(found)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    [left] = store.glob(".*")
    living = store / f".v1.10.{os.getpid()}.living"
    living.mkdir()
    write_archive(artifact)
    assert not left.exists()
    assert sorted(file.name for file in store.iterdir()) == [living.name, "forecaster-v1.10.mar", "v1.10"]


def test_archive_is_made_once(artifact: Artifact) -> None:
    first = ensure_archive(artifact).stat()
    assert ensure_archive(artifact).stat().st_ino == first.st_ino


SPOILERS: dict[str, Callable[[Path], object]] = {
    "no zip": lambda archive: archive.write_bytes(b"not a zip"),
    "empty": lambda archive: archive.write_bytes(b""),
    "cut short": lambda archive: archive.write_bytes(archive.read_bytes()[:-200]),
    "a flipped byte": lambda archive: archive.write_bytes(
        archive.read_bytes()[:5000] + b"\0\1\2\3" + archive.read_bytes()[5004:]
    ),
    "another model": lambda archive: rewrite(archive, lambda n, c: c + b" " if n == "model.pt2" else c),
    "an older handler": lambda archive: rewrite(archive, lambda n, c: c + b"\n# old" if n.endswith(".py") else c),
    "another version": lambda archive: rewrite(
        archive, lambda n, c: c.replace(b"v1.10", b"v1.11") if "MAR" in n else c
    ),
    "no manifest": lambda archive: rewrite(archive, lambda n, c: None if "MAR" in n else c),
    "no card": lambda archive: rewrite(archive, lambda n, c: None if n == "model.json" else c),
    "missing": lambda archive: archive.unlink(),
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_spoilt_archive_is_made_again(artifact: Artifact, spoil: Callable[[Path], object]) -> None:
    spoil(ensure_archive(artifact))
    assert not is_current(artifact)
    ensure_archive(artifact)
    assert is_current(artifact)


def test_file_that_does_not_belong_is_thrown_out(artifact: Artifact) -> None:
    with zipfile.ZipFile(ensure_archive(artifact), "a") as content:
        content.writestr("requirements.txt", "something")
    assert not is_current(artifact)


def test_retrained_version_gets_a_new_archive(artifact: Artifact) -> None:
    ensure_archive(artifact)
    card = artifact.folder / "model.json"
    card.write_text(card.read_text() + "\n")
    ensure_archive(artifact)
    with zipfile.ZipFile(artifact.archive) as content:
        assert content.read("model.json") == card.read_bytes()


def test_store_that_cannot_be_written_is_named(artifact: Artifact) -> None:
    """The store is a file here: root may write into any folder."""
    folder = artifact.folder.rename(artifact.folder.parents[1] / "aside")
    store = artifact.folder.parent
    store.rmdir()
    store.write_text("")
    with pytest.raises(StoreNotWritable) as error:
        write_archive(artifact)
    assert str(error.value) == (f"{store} cannot be written (File exists). Give this user the right, or set MODEL_DIR.")
    assert folder.is_dir()


def test_full_disk_is_told_and_leaves_nothing(artifact: Artifact) -> None:
    store = artifact.folder.parent
    with full_disk(num_bytes=10_000), pytest.raises(StoreNotWritable) as error:
        write_archive(artifact)
    assert re.fullmatch(
        rf"There is no room for {store}/\S+/model\.pt2 \(File too large\); free are [\d,.]+ MB in \S+ and [\d,.]+ MB "
        rf"in \S+\. {artifact.card.version} was not written\. Make room, or set MODEL_DIR or TMPDIR to another place\.",
        str(error.value),
    )
    assert [path.name for path in store.iterdir()] == [artifact.folder.name]


def test_disk_that_is_full_for_the_archiver_is_told_in_one_sentence(artifact: Artifact, tmp_path: Path) -> None:
    """It has room for the version and for the first copy of its files, not for the archiver's own."""
    program = (artifact.folder / "model.pt2").stat().st_size
    size = sum(file.stat().st_size for file in artifact.folder.iterdir()) + program + program // 2
    (tmp_path / "small").mkdir()
    with small_disk(tmp_path / "small", num_bytes=size) as store:
        shutil.copytree(artifact.folder, store / artifact.folder.name)
        small = load_artifact(store, artifact.card.version)
        with pytest.raises(StoreNotWritable) as error:
            write_archive(small)
        assert str(error.value).startswith(f"There is no room for {small.archive} (No space left on device); free are ")
        assert [path.name for path in store.iterdir()] == [artifact.folder.name]


def test_file_that_is_missing_is_named(artifact: Artifact) -> None:
    program = artifact.folder / "model.pt2"
    program.unlink()
    with pytest.raises(CannotStart) as error:
        write_archive(artifact)
    assert str(error.value) == f"{program} cannot be packed into the archive (No such file or directory)."
    assert not artifact.archive.exists()


def test_package_without_its_handler_is_told_so(artifact: Artifact, tmp_path: Path) -> None:
    """The package alone, copied by hand: neither handlers/ beside it nor what a wheel carries."""
    package = tmp_path / "installed"
    shutil.copytree(PROJECT / "forecasting", package / "forecasting")
    program = (
        "from pathlib import Path\n"
        "from forecasting.artifact import load_artifact\n"
        "from forecasting.errors import CannotStart\n"
        "from forecasting.serving.torchserve.archive import ensure_archive\n"
        f"artifact = load_artifact(Path({str(artifact.folder.parent)!r}))\n"
        "try:\n    ensure_archive(artifact)\nexcept CannotStart as error:\n    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=package, capture_output=True, text=True, check=True)
    assert result.stdout == (
        f"{package}/handlers/forecast_handler.py is missing, and the archive needs it. Reinstall the package.\n"
    )
