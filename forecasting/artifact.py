"""What training leaves on disk: `model_store/<version>/` with the exported model and a readable model.json.

A version is written to a staging folder and renamed, so it is either complete or absent. The .mar beside the folder is
made from the folder and can be made again.
"""

import hashlib
import io
import json
import logging
import os
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from forecasting.card import Card, format_card, read_card
from forecasting.domain import MAX_BATCH, Scaling, check_version
from forecasting.errors import BrokenArtifact, StoreNotWritable, UnknownVersion
from forecasting.invocation import show_command
from forecasting.predictor import Predictor
from forecasting.resources import find_resource, open_resource
from forecasting.runtime.disk import NO_ROOM, explain_unwritable, show_size
from forecasting.settings.bounds import known_settings
from forecasting.settings.schema import BASE_VERSION, ModelConfig

if TYPE_CHECKING:
    import torch

    from forecasting.model.forecaster import Forecaster

logger = logging.getLogger("forecasting")

MODEL_NAME = "forecaster"
PROGRAM, WEIGHTS, CARD = "model.pt2", "weights.pt", "model.json"
PROMOTED = ".promoted"  # a file in the store: the version to load, then those that were promoted before, newest first
MAX_PROMOTED = 20  # that are remembered
# What cards made before these settings do not name.
SETTINGS_OF_OLDER_CARDS = {"direct_days": 0, "last_year": False, "learned_average": False}
BASE_FOLDER = "model_store/base"
BASE = find_resource(BASE_FOLDER)  # the package's pretrained weights; MODEL_DIR never changes them


@dataclass(frozen=True)
class Artifact:
    """A complete version on disk."""

    folder: Path
    card: Card

    @property
    def archive(self) -> Path:
        return self.folder.parent / f"{MODEL_NAME}-{self.card.version}.mar"

    def load_predictor(self) -> Predictor:
        """Raises what load_program does."""
        card = self.card
        return Predictor(
            name=card.version,
            forward=self.load_program(),
            context_length=card.context_length,
            horizon=card.output_days,
            levels=card.levels,
            logarithmic=card.model.get("scaling", Scaling.robust) == Scaling.robust,
        )

    def load_program(self) -> "torch.nn.Module":
        """The exported model, called like Forecaster.forward. Raises BrokenArtifact.

        Loading runs code: torch.export.load is not safe for files from people you do not trust.
        """
        try:
            return _load_program((self.folder / PROGRAM).read_bytes())
        except (RuntimeError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise BrokenArtifact(
                f"{self.folder / PROGRAM} cannot be loaded ({error!r}). Train the version again."
            ) from error


@lru_cache(maxsize=2)
def _load_program(content: bytes) -> "torch.nn.Module":
    """Programs of the same content are one, and a forward pass changes nothing in it; loading takes a second."""
    import torch

    return torch.export.load(io.BytesIO(content)).module()


def export_program(forecaster: "Forecaster", path: Path) -> None:
    """Writes the Forecaster as a torch.export program for batches of 1 to MAX_BATCH windows."""
    save_program(trace(forecaster), path)


def save_program(program: "torch.export.ExportedProgram", path: Path) -> None:
    """By way of memory: on a full disk, torch's own writer ends in errors of its own, or ends the process."""
    import torch

    content = io.BytesIO()
    torch.export.save(program, content)
    path.write_bytes(content.getbuffer())


def save_weights(forecaster: "Forecaster", path: Path) -> None:
    """By way of memory, like `save_program`."""
    import torch

    content = io.BytesIO()
    torch.save(forecaster.state_dict(), content)
    path.write_bytes(content.getbuffer())


def trace(forecaster: "Forecaster") -> "torch.export.ExportedProgram":
    import torch

    forecaster = forecaster.cpu().eval()
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with warnings.catch_warnings():
        # torch 2.13 warns that nn.LSTM updates its list of weights while it is traced; the weights are its parameters.
        warnings.filterwarnings("ignore", message="The tensor attributes self.network.lstm._flat_weights")
        program = torch.export.export(forecaster, forecaster.example_inputs(), dynamic_shapes=[{0: batch}] * 4)
    _drop_assertions(program.graph_module)
    return program


def _drop_assertions(graph_module: "torch.fx.GraphModule") -> None:
    """torch.export asserts the type of each tensor that it converts, as traced: true of any input that it accepts."""
    import torch

    for node in list(graph_module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            graph_module.graph.erase_node(node)
    graph_module.recompile()


@contextmanager
def staged_version(store: Path, version: str) -> Iterator[Path]:
    """A folder to fill. On leaving without an error it becomes `store/version` in one rename.

    An existing version of that name is kept as `<version>.previous`. Raises StoreNotWritable, InvalidVersion.
    """
    with staging_folder(store, check_version(version)) as staging:
        yield staging
        replace_folder(staging, store / version)


@contextmanager
def staging_folder(store: Path, version: str) -> Iterator[Path]:
    """A hidden folder in the store, removed on leaving. Folders that killed processes left behind are removed first.

    Raises StoreNotWritable.
    """
    staging = _make_staging(store, version)
    try:
        yield staging
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StoreNotWritable(_explain_no_room(store, version, error)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _explain_no_room(store: Path, version: str, error: OSError) -> str:
    temporary = Path(tempfile.gettempdir())
    room = " and ".join(f"{show_size(shutil.disk_usage(place).free)} in {place}" for place in (store, temporary))
    file = error.filename2 or error.filename or f"the files of {version}"
    return (
        f"There is no room for {file} ({error.strerror}); free are {room}. {version} was not written. "
        "Make room, or set MODEL_DIR or TMPDIR to another place."
    )


def replace_folder(staging: Path, target: Path) -> None:
    """Renames a filled staging folder to the target; an existing target is kept as `<target>.previous`."""
    if target.exists():
        previous = target.with_name(f"{target.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        target.rename(previous)
    staging.rename(target)


def write_card(folder: Path, card: Card) -> None:
    """Writes model.json with the hashes of the files beside it, and flushes every file to the disk."""
    hashes = {file.name: hash_file(file) for file in sorted(folder.iterdir()) if file.is_file()}
    (folder / CARD).write_text(format_card(replace(card, hashes=hashes)), encoding="utf-8")
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def load_artifact(store: Path, version: str | None = None) -> Artifact:
    """The named version, else the promoted one, else the newest.

    Raises BrokenArtifact, and UnknownVersion listing the versions that exist.
    """
    promoted = find_promoted(store) if version is None else None
    version = (promoted or _newest(store)) if version is None else version
    folder = _folder_of(store, check_version(version))
    if not (folder / CARD).is_file():
        why = f", which {store / PROMOTED} names" if promoted else ""
        raise UnknownVersion(
            f"There is no version {version} in {store}{why} (there: {_list_known(store)}). "
            f"Train it: {show_command('train', '--model-version', version)}"
        )
    card = read_card(folder / CARD)
    for name, expected in card.hashes.items():
        _check_hash(folder / name, expected)
    return Artifact(folder, card)


def read_version_card(store: Path, version: str) -> Card:
    """Without looking at the files beside it. Raises UnknownVersion and BrokenArtifact."""
    file = _folder_of(store, check_version(version)) / CARD
    if not file.is_file():
        raise UnknownVersion(f"There is no version {version} in {store} (there: {_list_known(store)}).")
    return read_card(file)


def _list_known(store: Path) -> str:
    return ", ".join(list_versions(store)) or "none"


def mark_promoted(store: Path, version: str, *, before: str | None = None) -> None:
    """Makes this the version that is loaded when none is named. `before` was served until now, promoted or not. Raises
    StoreNotWritable.
    """
    earlier = dict.fromkeys([*([before] if before else []), *list_promoted(store)])
    write_promoted(store, [version, *(each for each in earlier if each != version)])


def write_promoted(store: Path, versions: Sequence[str]) -> None:
    """As mark_promoted, with those before it, newest first."""
    try:
        for file in store.glob(f"{PROMOTED}.*"):
            if is_left_behind(file, file.suffix.removeprefix(".")):
                file.unlink(missing_ok=True)
        replace_text(store / PROMOTED, "".join(f"{version}\n" for version in versions[:MAX_PROMOTED]))
    except OSError as error:
        raise StoreNotWritable(explain_unwritable(store / PROMOTED, error)) from error


def replace_text(file: Path, text: str) -> None:
    """Writes the file, flushed to the disk, in one rename: on an error it is as it was, with nothing beside it."""
    new_file = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        with new_file.open("w", encoding="utf-8") as output:
            output.write(text)
            output.flush()
            os.fsync(output.fileno())
        new_file.replace(file)
    except OSError:
        new_file.unlink(missing_ok=True)
        raise


def find_promoted(store: Path) -> str | None:
    """The version that was promoted last, if any."""
    return next(iter(list_promoted(store)), None)


def list_promoted(store: Path) -> list[str]:
    """The versions that were promoted, the last one first."""
    try:
        return (store / PROMOTED).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return []


class PromotionTime(NamedTuple):
    version: str
    at: int  # in nanoseconds, when it was promoted, again or for the first time


def find_promotion_time(store: Path) -> PromotionTime | None:
    """None if none was promoted, or the store cannot be read at present."""
    try:
        version = find_promoted(store)
        return PromotionTime(version, (store / PROMOTED).stat().st_mtime_ns) if version else None
    except OSError as error:
        logger.debug("%s cannot be read: %s", store / PROMOTED, error)
        return None


def load_base(folder: Traversable | None = None) -> "Forecaster":
    """The pretrained Forecaster. Raises UnknownVersion if it is missing, BrokenArtifact if its file was changed."""
    import torch

    from forecasting.model.forecaster import Forecaster

    folder = open_resource(BASE_FOLDER) if folder is None else folder
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UnknownVersion(f"There is no base model in {folder}. Make it: {show_command('pretrain')}") from error
    weights = (folder / WEIGHTS).read_bytes()
    if hashlib.sha256(weights).hexdigest() != card["hashes"][WEIGHTS]:
        raise BrokenArtifact(f"{folder / WEIGHTS} is not the file that {CARD} describes. Pretrain again.")
    forecaster = Forecaster(_read_settings(card["model"]))
    forecaster.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    return forecaster.eval()


def load_base_predictor() -> Predictor:
    """Raises what load_base does."""
    return forecaster_predictor(BASE_VERSION, load_base())


def forecaster_predictor(name: str, forecaster: "Forecaster") -> Predictor:
    """A predictor from a Forecaster, which moves to the CPU."""
    from forecasting.model.forecaster import LEVELS

    settings = forecaster.settings
    return Predictor(
        name=name,
        forward=forecaster.cpu().eval(),
        context_length=settings.context_length,
        horizon=settings.output_days,
        levels=LEVELS,
        logarithmic=settings.scaling is Scaling.robust,
    )


def list_versions(store: Path) -> list[str]:
    """Complete versions, oldest first, without `demo`, which an older demo left in everybody's store."""
    names = {file.parent.name.removesuffix(".previous") for file in store.glob(f"[!.]*/{CARD}")} - {"base", "demo"}
    return sorted(names, key=lambda name: _age(_folder_of(store, name) / CARD))


def hash_file(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _read_settings(content: Mapping[str, Any]) -> ModelConfig:  # Any: json's own types
    settings = {**SETTINGS_OF_OLDER_CARDS, **known_settings(ModelConfig, content)}
    return ModelConfig(**{**settings, "scaling": Scaling(content["scaling"]), "init": None})


def _check_hash(file: Path, expected: str) -> None:
    if not file.is_file():
        raise BrokenArtifact(f"{file} is missing. Train the version again.")
    if hash_file(file) != expected:
        raise BrokenArtifact(f"{file} is not the file that {CARD} describes. Train the version again.")


def _age(card: Path) -> tuple[str, int]:
    """When the version was made. The file's time decides within one second, or if the card has no time."""
    try:
        created_at = str(json.loads(card.read_text(encoding="utf-8")).get("created_at"))
    except (OSError, ValueError, AttributeError):
        created_at = ""
    return created_at, card.stat().st_mtime_ns


def _newest(store: Path) -> str:
    versions = list_versions(store)
    if not versions:
        raise UnknownVersion(f"There is no version in {store} yet. Train one: {show_command('train')}")
    return versions[-1]


def _folder_of(store: Path, version: str) -> Path:
    """The version's folder, or `.previous` if a kill hit between the two renames of replace_folder."""
    folder = store / version
    return folder if folder.exists() else store / f"{version}.previous"


def _make_staging(store: Path, version: str) -> Path:
    try:
        store.mkdir(parents=True, exist_ok=True)
        for leftover in store.glob(f".{version}.*"):
            match = re.fullmatch(rf"\.{re.escape(version)}\.(\d+)\.\w+", leftover.name)
            if match and is_left_behind(leftover, match[1]):
                logger.warning(
                    "removing what was written of %s by a program that was killed, as the kernel does when memory runs "
                    "out, or that ended with the machine",
                    version,
                )
                shutil.rmtree(leftover)
        staging = Path(tempfile.mkdtemp(prefix=f".{version}.{os.getpid()}.", dir=store))
        staging.chmod(0o755)  # mkdtemp's 0700 would lock out a TorchServe of another user
    except OSError as error:
        raise StoreNotWritable(explain_unwritable(store.absolute(), error)) from error
    return staging


def is_left_behind(path: Path, pid: str) -> bool:
    """Whether the process that made it has ended. A younger process may have its id, as after a container's restart."""
    import psutil

    try:
        return bool(psutil.Process(int(pid)).create_time() > path.stat().st_mtime + 1)  # clocks differ by less
    except (psutil.NoSuchProcess, ValueError, FileNotFoundError):
        return True
