"""A version on disk: whole or not there, the one asked for, and the files that model.json says."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from forecasting import artifact
from forecasting.artifact import (
    find_promoted,
    list_versions,
    load_artifact,
    mark_promoted,
    staged_version,
    write_card,
)
from forecasting.card import Card, SeriesCard, describe_libraries
from forecasting.domain import Kind
from forecasting.errors import BrokenArtifact, InvalidVersion, StoreNotWritable, UnknownVersion
from forecasting.model.forecaster import LEVELS, Forecaster
from forecasting.settings.schema import ModelConfig
from tests.full_disk import full_disk

SERIES = SeriesCard(
    site="blog",
    metric="bounce_rate",
    kind=Kind.rate,
    additive=False,
    unit_scale=100.0,
    band_scale=tuple(1 + day / 100 for day in range(30)),
    day_correlation=0.25,
    metrics={"mae": 1.5, "r2": None, "r2_undefined": "all actual values are the same"},
)


def make_card(version: str) -> Card:
    return Card(
        version=version,
        created_at="2026-01-01",
        model={"sequence_length": 7, "prediction_horizon": 7},
        context_length=56,
        levels=LEVELS,
        total_parameters=1,
        features=("value",),
        data={"last_day": "2025-12-31"},
        series=(SERIES,),
        training={},
        libraries=describe_libraries(),
        hashes={},
    )


def write(store: Path, version: str, content: bytes = b"model", *, created_at: str = "2026-01-01") -> None:
    with staged_version(store, version) as folder:
        (folder / artifact.PROGRAM).write_bytes(content)
        write_card(folder, dataclasses.replace(make_card(version), created_at=created_at))


def test_card_comes_back_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, "v1")
    loaded = load_artifact(tmp_path, "v1").card
    assert set(loaded.hashes) == {artifact.PROGRAM}
    assert dataclasses.replace(loaded, hashes={}) == make_card("v1")


def test_versions_are_text_and_the_newest_is_served_unless_said(tmp_path: Path) -> None:
    for version, created_at in (("v1.9", "2026-01-01"), ("v1.10", "2026-03-01"), ("v1.1", "2026-02-01")):
        write(tmp_path, version, created_at=created_at)
    os.utime(tmp_path / "v1.9" / artifact.CARD, (2e9, 2e9))  # as a copy of the store would do
    assert sorted(list_versions(tmp_path)) == ["v1.1", "v1.10", "v1.9"]
    assert load_artifact(tmp_path).card.version == "v1.10"
    assert load_artifact(tmp_path, "v1.1").card.version == "v1.1"


def test_promoted_version_is_loaded_unless_another_is_said(tmp_path: Path) -> None:
    write(tmp_path, "v1", created_at="2026-01-01")
    write(tmp_path, "v2", created_at="2026-02-01")
    mark_promoted(tmp_path, "v1")
    assert load_artifact(tmp_path).card.version == "v1"
    assert load_artifact(tmp_path, "v2").card.version == "v2"
    assert list_versions(tmp_path) == ["v1", "v2"]
    mark_promoted(tmp_path, "v2")
    assert load_artifact(tmp_path).card.version == "v2"


def test_promoted_version_that_is_gone_is_said_with_who_names_it(tmp_path: Path) -> None:
    write(tmp_path, "v1")
    mark_promoted(tmp_path, "v2")
    with pytest.raises(UnknownVersion) as error:
        load_artifact(tmp_path)
    assert str(error.value) == (
        f"There is no version v2 in {tmp_path}, which {tmp_path}/.promoted names (there: v1). "
        "Train it: traffic-forecast train --model-version v2"
    )


def test_store_where_nothing_can_be_promoted_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreNotWritable) as error:
        mark_promoted(tmp_path / "gone", "v1")
    assert str(error.value) == (
        f"{tmp_path}/gone/.promoted cannot be written (No such file or directory). Give this user the right, or set "
        "MODEL_DIR."
    )


def test_full_disk_keeps_what_was_promoted_and_leaves_nothing(tmp_path: Path) -> None:
    mark_promoted(tmp_path, "v1")
    (tmp_path / ".promoted.1999999999").write_text("")  # of a process that was killed
    with full_disk(), pytest.raises(StoreNotWritable) as error:
        mark_promoted(tmp_path, "v2")
    assert str(error.value) == (
        f"There is no room for {tmp_path}/.promoted (File too large). Make room, or set MODEL_DIR to another place."
    )
    assert find_promoted(tmp_path) == "v1"
    assert [file.name for file in tmp_path.iterdir()] == [".promoted"]


def test_version_without_a_name_is_not_the_newest(tmp_path: Path) -> None:
    write(tmp_path, "v1", b"first")
    with pytest.raises(InvalidVersion, match="^Version '' cannot be a folder's name"):
        load_artifact(tmp_path, "")


def test_training_again_keeps_the_one_before(tmp_path: Path) -> None:
    write(tmp_path, "v1", b"first")
    write(tmp_path, "v1", b"second")
    write(tmp_path, "v1", b"third")
    assert (tmp_path / "v1" / artifact.PROGRAM).read_bytes() == b"third"
    assert (tmp_path / "v1.previous" / artifact.PROGRAM).read_bytes() == b"second"
    assert list_versions(tmp_path) == ["v1"]


def fail_halfway(store: Path, version: str) -> None:
    with staged_version(store, version) as folder:
        (folder / artifact.PROGRAM).write_bytes(b"half")
        raise RuntimeError("failed")


def test_failure_leaves_nothing_and_the_old_version_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, "v1", b"old")
    with pytest.raises(RuntimeError, match="failed"):
        fail_halfway(tmp_path, "v1")
    assert (tmp_path / "v1" / artifact.PROGRAM).read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


def test_kill_leaves_no_half_version_and_its_remains_go(tmp_path: Path) -> None:
    script = (
        "import os, signal; from pathlib import Path; from forecasting.artifact import staged_version\n"
        f"with staged_version(Path({str(tmp_path)!r}), 'v1') as folder:\n"
        "    (folder / 'model.pt2').write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert list_versions(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 1
    write(tmp_path, "v1")
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


def test_kill_between_the_two_renames_loses_no_version(tmp_path: Path) -> None:
    write(tmp_path, "v1", b"old")
    (tmp_path / "v1").rename(tmp_path / "v1.previous")
    assert list_versions(tmp_path) == ["v1"]
    assert load_artifact(tmp_path, "v1").card.version == "v1"
    write(tmp_path, "v1", b"new")
    assert (load_artifact(tmp_path, "v1").folder / artifact.PROGRAM).read_bytes() == b"new"


def test_unknown_version_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownVersion) as refusal:
        load_artifact(tmp_path)
    assert str(refusal.value) == f"There is no version in {tmp_path} yet. Train one: traffic-forecast train"
    write(tmp_path, "v1")
    with pytest.raises(UnknownVersion) as refusal:
        load_artifact(tmp_path, "v2")
    assert str(refusal.value) == (
        f"There is no version v2 in {tmp_path} (there: v1). Train it: traffic-forecast train --model-version v2"
    )
    with pytest.raises(InvalidVersion):
        load_artifact(tmp_path, "../v1")


def test_changed_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    write(tmp_path, "v1")
    program = tmp_path / "v1" / artifact.PROGRAM
    program.write_bytes(b"other")
    with pytest.raises(BrokenArtifact) as refusal:
        load_artifact(tmp_path, "v1")
    assert str(refusal.value) == (f"{program} is not the file that model.json describes. Train the version again.")
    program.unlink()
    with pytest.raises(BrokenArtifact, match=f"{program} is missing. Train the version again."):
        load_artifact(tmp_path, "v1")
    (tmp_path / "v1" / artifact.CARD).write_text(json.dumps({"version": "v1"}))
    with pytest.raises(BrokenArtifact, match="is not a model.json of this program"):
        load_artifact(tmp_path, "v1")


def test_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the folder should be: root may write anywhere, but not there."""
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreNotWritable) as refusal, staged_version(tmp_path / "store", "v1"):
        pass
    assert str(refusal.value) == (
        f"{tmp_path}/store cannot be written (File exists). Give this user the right, or set MODEL_DIR."
    )


def test_exported_program_is_the_forecaster_for_any_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    forecaster = Forecaster(ModelConfig(hidden_size=8, learned_average=True)).eval()
    with staged_version(tmp_path, "v1") as folder:
        artifact.export_program(forecaster, folder / artifact.PROGRAM)
        write_card(folder, make_card("v1"))
    program = load_artifact(tmp_path, "v1").load_program()
    assert load_artifact(tmp_path, "v1").load_program() is program  # loading it takes a second
    for batch in (1, 2, 33):
        history, *rest = forecaster.example_inputs(batch)
        history[0, :10] = torch.nan
        with torch.no_grad():
            torch.testing.assert_close(program(history, *rest), forecaster(history, *rest), rtol=1e-6, atol=1e-6)
