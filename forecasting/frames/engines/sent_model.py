"""A model on its way to other processes, and how each of them loads it once."""

import pickle
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import cast

from forecasting.artifact import CARD, load_artifact
from forecasting.frames.loaded_model import LoadedModel, find_folder, load_model
from forecasting.settings.schema import BASE_VERSION

LOCK = Lock()  # threads of one process load it once, too


@dataclass(frozen=True)
class SentModel:
    """A version's files, or what was fitted in memory. The base has neither: the package brings it."""

    name: str
    files: tuple[tuple[str, bytes], ...] = ()
    fitted: bytes = b""

    def load(self) -> LoadedModel:
        with LOCK:
            return _load(self)


def send_model(version: str | Path, fitted: LoadedModel | None) -> SentModel:
    """Raises UnknownVersion, BrokenArtifact."""
    if fitted is not None:
        return SentModel(fitted.predictor.name, fitted=pickle.dumps(fitted))
    if version == BASE_VERSION:
        return SentModel(BASE_VERSION)
    folder = find_folder(version)
    names = [CARD, *load_artifact(folder.parent, folder.name).card.hashes]
    return SentModel(folder.name, files=tuple((name, (folder / name).read_bytes()) for name in names))


@lru_cache(maxsize=2)  # for workers that serve several sessions
def _load(model: SentModel) -> LoadedModel:
    if model.fitted:
        return cast(LoadedModel, pickle.loads(model.fitted))  # noqa: S301 - the caller's own, as the function itself is
    if not model.files:
        return load_model(BASE_VERSION)
    with tempfile.TemporaryDirectory() as store:
        folder = Path(store) / model.name
        for name, content in model.files:
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return load_model(folder)
