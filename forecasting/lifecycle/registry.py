"""The versions in a store: which there are, which one is served, and which may go."""

import datetime as dt
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from forecasting.artifact import (
    MODEL_NAME,
    find_promoted,
    list_promoted,
    list_versions,
    load_artifact,
    mark_promoted,
    read_version_card,
    replace_text,
    write_promoted,
)
from forecasting.card import Card
from forecasting.domain import check_version
from forecasting.errors import BrokenArtifact, StoreNotWritable, UnknownVersion, VersionInUse
from forecasting.monitoring.accuracy import Promise
from forecasting.runtime.disk import explain_unwritable

logger = logging.getLogger("forecasting")

PINNED = ".pinned"  # a file in the store: versions that nobody deletes, one a line
NUM_KEPT, DAYS_KEPT = 5, 90  # older versions than both are pruned


@dataclass(frozen=True)
class Registry:
    """A store as it is now."""

    store: Path

    @cached_property
    def versions(self) -> list[str]:
        """Oldest first."""
        return list_versions(self.store)

    @cached_property
    def served(self) -> str | None:
        """The version that is served if none is named: the promoted one, else the newest."""
        return find_promoted(self.store) or (self.versions[-1] if self.versions else None)

    @cached_property
    def previous(self) -> str | None:
        """The version that was served before, of those that are still there."""
        return next((version for version in list_promoted(self.store)[1:] if version in self.versions), None)

    @cached_property
    def pinned(self) -> list[str]:
        try:
            return (self.store / PINNED).read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return []

    def find(self, version: str) -> Card:
        """Raises UnknownVersion and BrokenArtifact."""
        return read_version_card(self.store, version)

    def promote(self, version: str) -> None:
        """A server on this store switches to it within seconds. Raises UnknownVersion or BrokenArtifact before anything
        is written.
        """
        load_artifact(self.store, check_version(version))
        mark_promoted(self.store, version, before=self.served)

    def roll_back(self) -> str:
        """Promotes the version that was served before, and forgets that the present one was. Returns its name. Raises
        UnknownVersion if there is none.
        """
        if self.previous is None:
            raise UnknownVersion(
                f"No version in {self.store} was promoted before {self.served}. Promote one of: "
                f"{', '.join(self.versions) or 'none'}."
            )
        load_artifact(self.store, self.previous)
        history = list_promoted(self.store)
        write_promoted(self.store, history[history.index(self.previous) :])
        return self.previous

    def pin(self, version: str) -> None:
        self.find(version)
        self._write_pinned([*(each for each in self.pinned if each != version), version])

    def unpin(self, version: str) -> None:
        """Raises UnknownVersion if it is not pinned."""
        if version not in self.pinned:
            raise UnknownVersion(f"Version {version} is not pinned (pinned: {', '.join(self.pinned) or 'none'}).")
        self._write_pinned([each for each in self.pinned if each != version])

    def describe_use(self, version: str) -> str:
        """Why it may not be deleted; empty if it may."""
        uses = {"served": self.served == version, "the previous one": self.previous == version,
                "pinned": version in self.pinned}  # fmt: skip
        return ", ".join(use for use, is_so in uses.items() if is_so)

    def delete(self, version: str) -> None:
        """Raises UnknownVersion, and VersionInUse for the served, the previous and pinned ones."""
        if version not in self.versions:
            raise UnknownVersion(f"There is no version {version} in {self.store}.")
        if use := self.describe_use(version):
            raise VersionInUse(f"Version {version} is {use}: it is not deleted.")
        with _explained(self.store):
            for folder in (self.store / version, self.store / f"{version}.previous"):
                if folder.exists():
                    doomed = folder.with_name(f".{version}.{os.getpid()}.deleted")  # as one step
                    folder.rename(doomed)
                    shutil.rmtree(doomed)
            (self.store / f"{MODEL_NAME}-{version}.mar").unlink(missing_ok=True)

    def prune(self, today: dt.date) -> list[str]:
        """Deletes versions that are neither served, nor the previous one, nor pinned, nor among the NUM_KEPT newest,
        and were made more than DAYS_KEPT days ago. Returns their names.
        """
        old = [version for version in self.versions[:-NUM_KEPT] if self._age(version, today) > DAYS_KEPT]
        pruned = [version for version in old if not self.describe_use(version)]
        for version in pruned:
            self.delete(version)
        return pruned

    def _age(self, version: str, today: dt.date) -> int:
        """In days; 0 if it is not known."""
        try:
            made_at = dt.datetime.fromisoformat(self.find(version).created_at)
        except (BrokenArtifact, ValueError) as error:
            logger.warning("version %s is not pruned: %s", version, error)
            return 0
        return (today - made_at.date()).days

    def _write_pinned(self, versions: list[str]) -> None:
        with _explained(self.store / PINNED):
            replace_text(self.store / PINNED, "".join(f"{version}\n" for version in versions))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreNotWritable(explain_unwritable(path, error)) from error


def measure_size(store: Path, version: str) -> int:
    """Bytes of its folder and its archive."""
    folder, archive = store / version, store / f"{MODEL_NAME}-{version}.mar"
    files = [file for file in folder.rglob("*") if file.is_file()] + ([archive] if archive.exists() else [])
    return sum(file.stat().st_size for file in files)


def find_promised_error(card: Card) -> float | None:
    """Relative to the seasonal naive forecast, geometric mean over series."""
    errors = [Promise.of(series).relative_error for series in card.series]
    known = [error for error in errors if error]
    return float(np.exp(np.mean(np.log(known)))) if known else None
