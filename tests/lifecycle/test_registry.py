"""The versions of a store: served, previous and pinned ones, and which of the others may go."""

import dataclasses
import datetime as dt
from pathlib import Path

import pytest

from forecasting import artifact
from forecasting.artifact import find_promoted, list_promoted, mark_promoted, staged_version, write_card
from forecasting.commands import models
from forecasting.errors import SettingError, UnknownVersion, VersionInUse
from forecasting.lifecycle.registry import NUM_KEPT, Registry
from forecasting.lifecycle.registry_report import describe_version, describe_versions
from forecasting.settings.schema import Config
from tests.test_artifact import make_card

TODAY = dt.date(2026, 6, 1)


def write(store: Path, version: str, *, days_old: int = 0) -> None:
    made_at = dt.datetime.combine(TODAY, dt.time(6)) - dt.timedelta(days=days_old)
    with staged_version(store, version) as folder:
        (folder / artifact.PROGRAM).write_bytes(version.encode())
        write_card(folder, dataclasses.replace(make_card(version), created_at=made_at.isoformat()))
    (store / f"forecaster-{version}.mar").write_bytes(b"archive")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Ten versions; v0 is 200 days old, v9 twenty."""
    for number in range(10):
        write(tmp_path, f"v{number}", days_old=200 - 20 * number)
    return tmp_path


def test_roll_back_promotes_what_was_served_before(store: Path) -> None:
    assert Registry(store).served == "v9"  # the newest, since none was promoted
    Registry(store).promote("v3")
    Registry(store).promote("v5")
    assert (Registry(store).served, Registry(store).previous) == ("v5", "v3")
    assert Registry(store).roll_back() == "v3"
    assert find_promoted(store) == "v3"
    assert Registry(store).roll_back() == "v9"  # it was served before any promotion
    with pytest.raises(UnknownVersion) as caught:
        Registry(store).roll_back()
    names = ", ".join(f"v{number}" for number in range(10))
    assert str(caught.value) == f"No version in {store} was promoted before v9. Promote one of: {names}."


def test_promoting_again_changes_no_order_and_gone_versions_are_skipped(store: Path) -> None:
    for version in ("v3", "v5", "v5", "v7"):
        Registry(store).promote(version)
    assert list_promoted(store) == ["v7", "v5", "v3", "v9"]
    mark_promoted(store, "v7")
    assert list_promoted(store) == ["v7", "v5", "v3", "v9"]
    artifact.shutil.rmtree(store / "v5")
    assert Registry(store).roll_back() == "v3"
    assert list_promoted(store) == ["v3", "v9"]


def test_what_cannot_be_loaded_is_not_promoted(store: Path) -> None:
    Registry(store).promote("v3")
    with pytest.raises(UnknownVersion):
        Registry(store).promote("v11")
    assert find_promoted(store) == "v3"


def test_old_versions_are_pruned_except_those_in_use(store: Path) -> None:
    Registry(store).promote("v0")
    Registry(store).promote("v1")
    Registry(store).pin("v2")
    assert Registry(store).prune(TODAY - dt.timedelta(days=100)) == []
    assert Registry(store).prune(TODAY) == ["v3", "v4"]  # NUM_KEPT newest stay, and those of 90 days
    assert NUM_KEPT == 5
    assert Registry(store).versions == ["v0", "v1", "v2", "v5", "v6", "v7", "v8", "v9"]
    assert not list(store.glob("*v3*"))
    assert not list(store.glob(".v3*"))
    assert Registry(store).prune(TODAY) == []


@pytest.mark.parametrize(("version", "use"), [("v5", "served"), ("v3", "the previous one"), ("v7", "pinned")])
def test_versions_in_use_are_not_deleted(store: Path, version: str, use: str) -> None:
    Registry(store).promote("v3")
    Registry(store).promote("v5")
    Registry(store).pin("v7")
    with pytest.raises(VersionInUse) as caught:
        Registry(store).delete(version)
    assert str(caught.value) == f"Version {version} is {use}: it is not deleted."
    Registry(store).unpin("v7")
    Registry(store).delete("v7")
    assert "v7" not in Registry(store).versions
    with pytest.raises(UnknownVersion) as unknown:
        Registry(store).unpin("v7")
    assert str(unknown.value) == "Version v7 is not pinned (pinned: none)."


def test_versions_are_listed_newest_first(store: Path) -> None:
    Registry(store).promote("v5")
    head, *rows, note = describe_versions(Registry(store)).splitlines()
    assert head.split() == ["version", "made", "days", "series", "error", "size", "use"]
    assert [row.split()[0] for row in rows] == [f"v{number}" for number in reversed(range(10))]
    assert rows[4].endswith("served")
    assert rows[0].endswith("the previous one")
    assert note.startswith("error: on days that training had not seen")
    (store / "v8" / artifact.CARD).write_text("{")
    [broken] = [line for line in describe_versions(Registry(store)).splitlines() if line.startswith("v8")]
    assert broken.endswith("model.json is broken")
    assert describe_version(Registry(store), "v5").startswith("version     v5 (served)\n")
    assert describe_versions(Registry(store / "none")) == f"there is no version in {store / 'none'} yet"


def test_the_command(store: Path) -> None:
    def run(*words: str) -> str:
        return models.act(Config(model_dir=store), words)

    assert run("promote", "v5") == f"version v5 is promoted; servers on {store} switch to it within seconds"
    assert run("rollback") == (
        f"version v9 is promoted again, in place of v5; servers on {store} switch to it within seconds. Back: "
        "traffic-forecast models promote v5"
    )
    assert run("pin", "v3") == "version v3 is pinned: it is never deleted"
    assert run("unpin", "v3") == "version v3 is not pinned any more"
    assert run("delete", "v3") == "version v3 is deleted; its forecasts and what became of them stay"
    assert run("prune") == "deleted v0, v1, v2, v4"  # v3 is gone
    assert run("prune") == "no version is old enough to be deleted"
    assert run("list").startswith("version")
    for words, text in {
        (
            "rolback",
        ): "models does not know 'rolback'. Write one of: list, show, promote, rollback, pin, unpin, delete, "
        "prune, accuracy, compare.",
        ("promote",): "models promote takes a version, not none.",
        ("rollback", "v3"): "models rollback takes no version, not v3.",
        ("compare", "v3"): "models compare takes two versions, not v3.",
    }.items():
        with pytest.raises(SettingError) as caught:
            run(*words)
        assert str(caught.value) == text
