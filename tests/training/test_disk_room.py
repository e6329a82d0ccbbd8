"""Whether there is room for a version is known before the training, from what a version really takes."""

from dataclasses import replace
from pathlib import Path

import pytest

from forecasting.artifact import Artifact
from forecasting.errors import StoreNotWritable
from forecasting.serving.torchserve.archive import write_archive
from forecasting.settings.schema import Config, ModelConfig
from forecasting.training.disk_room import PLOT_BYTES, check_room, estimate_bytes
from tests.full_disk import small_disk

CONFIG = Config(model=ModelConfig(hidden_size=16))


def test_estimate_is_no_less_than_a_version_takes_and_not_twice_as_much(untrained_artifact: Artifact) -> None:
    card = untrained_artifact.card
    estimate = estimate_bytes(card.total_parameters, len(card.series))
    archive = write_archive(untrained_artifact)
    written = sum(file.stat().st_size for file in untrained_artifact.folder.iterdir())
    packing = 2 * sum((untrained_artifact.folder / name).stat().st_size for name in ("model.pt2", "model.json"))
    taken = written + packing + archive.stat().st_size
    assert taken < estimate < 2 * taken + PLOT_BYTES


def test_store_without_room_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    with small_disk(store, num_bytes=2**20), pytest.raises(StoreNotWritable) as error:
        check_room(replace(CONFIG, model_dir=store), num_series=4)
    assert str(error.value) == (
        f"Only 1.0 MB are free in {store} for version v1.0.0 and its archive, and 2.7 MB are needed. Make room, or set "
        "MODEL_DIR to another place. Nothing was trained."
    )


def test_store_that_is_read_only_is_refused(tmp_path: Path) -> None:
    with small_disk(tmp_path, num_bytes=2**24, read_only=True), pytest.raises(StoreNotWritable) as error:
        check_room(replace(CONFIG, model_dir=tmp_path / "store"), num_series=4)
    assert str(error.value) == (
        f"{tmp_path}/store, for version v1.0.0 and its archive, cannot be written (Read-only file system). Make the "
        "disk writable, or set MODEL_DIR to another place. Nothing was trained."
    )


def test_store_with_room_is_not_even_made(tmp_path: Path) -> None:
    check_room(replace(CONFIG, model_dir=tmp_path / "store"), num_series=4)
    assert list(tmp_path.iterdir()) == []
