"""What training leaves on disk: `model_store/<version>/` with the exported model and a readable model.json.

A version is written aside and renamed, so that there is a whole one or none. The .mar beside the folder is made from
the folder and can be made again.
"""

import dataclasses
import datetime as dt
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecasting.domain import MAX_BATCH, MAX_DAYS_AHEAD, Kind, Missing, Scaling, SourceName, check_version
from forecasting.errors import BrokenArtifact, StoreNotWritable, UnknownVersion
from forecasting.invocation import show_command
from forecasting.panel import Series
from forecasting.resources import find_resource
from forecasting.settings.schema import Config, ModelConfig, VerdictConfig

if TYPE_CHECKING:
    import torch

    from forecasting.model.forecaster import Forecaster

MODEL_NAME = "forecaster"
FORECASTER, SEASONAL_NAIVE = "forecaster", "seasonal_naive"  # who answers for a series
PROGRAM, WEIGHTS, CARD = "model.pt2", "weights.pt", "model.json"
LIBRARIES = ("torch", "lightning", "numpy", "scikit-learn", "torchserve", "torch-model-archiver")
PROMOTED = ".promoted"  # names the version to load, in the store
BASE = find_resource("model_store/base")  # the package's pretrained weights; MODEL_DIR never changes them
DAYS_BY = ("source", "query", "csv", "missing", "timezone", "timezones", "writer_timezone")  # settings of days
SEASON = 7
GROWTH = 0.85  # of a band, each week further ahead: medians that are fed back make the model too sure of itself
CORRELATION = 0.5  # of the errors of two days of a week


@dataclass(frozen=True)
class Bands:
    """What a series' bands are multiplied by; the fields are SeriesCard's."""

    scale: tuple[float, ...]
    widening: tuple[float, ...]
    day_correlation: float
    num_weeks: int = 0  # of the series' own past that this rests on


def usual_bands(horizon: int) -> Bands:
    """What holds for most series, where a series' own past says nothing."""
    num_horizons = -(-MAX_DAYS_AHEAD // horizon)
    widening = tuple(1 + GROWTH * horizon / SEASON * k for k in range(num_horizons))
    return Bands((1.0,) * horizon, widening, CORRELATION)


@dataclass(frozen=True)
class SeriesCard:
    """What serving must know of one series. `metrics` are of the test part, before the refit on all days."""

    site: str
    metric: str
    kind: Kind
    additive: bool
    unit_scale: float  # answers are in the source's unit: the model's times this
    band_scale: tuple[float, ...]  # per day of the horizon; 1: as trained
    widening: tuple[float, ...]  # band factor of the first, second, ... horizon ahead
    day_correlation: float  # of the errors of two days, 0..1: how wide the total's band is
    calibration_weeks: int = 0  # of the series' own past that the three before rest on
    answers: str = FORECASTER  # or SEASONAL_NAIVE, where that measured better
    metrics: Mapping[str, Any] = field(default_factory=dict)  # Any: numbers, null, or the reason for a null


def describe_series_card(
    series: Series, bands: Bands, *, answers: str = FORECASTER, metrics: Mapping[str, Any] | None = None
) -> SeriesCard:
    return SeriesCard(
        site=series.site,
        metric=series.metric,
        kind=series.kind,
        additive=series.additive,
        unit_scale=series.unit_scale,
        band_scale=bands.scale,
        widening=bands.widening,
        day_correlation=bands.day_correlation,
        calibration_weeks=bands.num_weeks,
        answers=answers,
        metrics=metrics or {},
    )


@dataclass(frozen=True)
class Card:
    """model.json."""

    version: str
    created_at: str  # ISO time, UTC
    model: Mapping[str, Any]  # ModelConfig as plain values
    context_length: int
    levels: tuple[float, ...]
    total_parameters: int
    features: tuple[str, ...]
    data: Mapping[str, Any]  # first and last day, number of days, what was odd in them
    series: tuple[SeriesCard, ...]
    training: Mapping[str, Any]  # settings, epochs run, seconds by part
    libraries: Mapping[str, str]
    hashes: Mapping[str, str]  # SHA-256 of the files beside it

    @cached_property
    def by_site(self) -> Mapping[str, Mapping[str, SeriesCard]]:
        """The series by site and metric."""
        sites: dict[str, dict[str, SeriesCard]] = {}
        for one in self.series:
            sites.setdefault(one.site, {})[one.metric] = one
        return sites

    @property
    def sequence_length(self) -> int:
        return int(self.model["sequence_length"])

    @property
    def horizon(self) -> int:
        return int(self.model["prediction_horizon"])


def restore_settings(card: Card, config: Config) -> Config:
    """The configuration, but what says which days are read and what they are worth is as the version was trained."""
    typed: dict[str, Callable[[Any], Any]] = {"source": SourceName, "missing": Missing, "query": Path, "csv": Path}
    known = {name: card.data[name] for name in DAYS_BY if card.data.get(name) is not None}
    said = {name: typed[name](value) if name in typed else value for name, value in known.items()}
    verdicts = VerdictConfig(**card.data["verdicts"]) if "verdicts" in card.data else config.verdicts
    return replace(config, data=replace(config.data, **said), verdicts=verdicts)


@dataclass(frozen=True)
class Artifact:
    """A version on disk, found whole."""

    folder: Path
    card: Card

    @property
    def archive(self) -> Path:
        return self.folder.parent / f"{MODEL_NAME}-{self.card.version}.mar"

    def load_program(self) -> "torch.nn.Module":
        """The exported model, called as Forecaster.forward is.

        torch.export.load is not safe against a file made to harm: load versions only of those you trust. Raises
        BrokenArtifact.
        """
        import torch

        try:
            return torch.export.load(self.folder / PROGRAM).module()
        except (RuntimeError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise BrokenArtifact(
                f"{self.folder / PROGRAM} cannot be loaded ({error!r}). Train the version again."
            ) from error


def export_program(forecaster: "Forecaster", path: Path) -> None:
    """Writes the Forecaster as a torch.export program whose batch is free, 1 to MAX_BATCH."""
    import torch

    torch.export.save(trace(forecaster), path)


def trace(forecaster: "Forecaster") -> "torch.export.ExportedProgram":
    import torch

    forecaster = forecaster.cpu().eval()
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with warnings.catch_warnings():
        # torch 2.13 warns that nn.LSTM refreshes its own list of weights while it is traced: they are its parameters.
        warnings.filterwarnings("ignore", message="The tensor attributes self.network.lstm._flat_weights")
        return torch.export.export(forecaster, forecaster.example_inputs(), dynamic_shapes=[{0: batch}] * 4)


@contextmanager
def staged_version(store: Path, version: str) -> Iterator[Path]:
    """A folder to fill; on leaving without an error it becomes `store/version` in one rename.

    A version of that name is kept as `<version>.previous`. Raises StoreNotWritable, InvalidVersion.
    """
    with staging_folder(store, check_version(version)) as staging:
        yield staging
        replace_folder(staging, store / version)


@contextmanager
def staging_folder(store: Path, version: str) -> Iterator[Path]:
    """A hidden folder in the store, gone on leaving. One that a kill has left goes with the version's next.

    Raises StoreNotWritable.
    """
    staging = _make_staging(store, version)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def replace_folder(staging: Path, target: Path) -> None:
    """Makes a filled staging folder the target, in one rename; the one before is kept as `<target>.previous`."""
    if target.exists():
        previous = target.with_name(f"{target.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        target.rename(previous)
    staging.rename(target)


def write_card(folder: Path, card: Card) -> None:
    """Writes model.json with the hashes of the files that are already there, and every file through to the disk."""
    hashes = {file.name: hash_file(file) for file in sorted(folder.iterdir()) if file.is_file()}
    text = json.dumps(_plain(dataclasses.replace(card, hashes=hashes)), indent=2, allow_nan=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def load_artifact(store: Path, version: str | None = None) -> Artifact:
    """The version asked for, else the promoted one, else the newest.

    Raises UnknownVersion or BrokenArtifact, naming what there is.
    """
    promoted = find_promoted(store) if version is None else None
    version = version or promoted or _newest(store)
    folder = _folder_of(store, check_version(version))
    if not (folder / CARD).is_file():
        known = ", ".join(list_versions(store)) or "none"
        why = f", which {store / PROMOTED} names" if promoted else ""
        raise UnknownVersion(
            f"There is no version {version} in {store}{why} (there: {known}). "
            f"Train it: {show_command('train', '--model-version', version)}"
        )
    card = read_card(folder / CARD)
    for name, expected in card.hashes.items():
        _check_hash(folder / name, expected)
    return Artifact(folder, card)


def mark_promoted(store: Path, version: str) -> None:
    """From now on it is what is loaded where nobody names a version. Raises StoreNotWritable."""
    aside = store / f"{PROMOTED}.{os.getpid()}"
    try:
        aside.write_text(f"{version}\n", encoding="utf-8")
        aside.replace(store / PROMOTED)
    except OSError as error:
        raise StoreNotWritable(
            f"{store / PROMOTED} cannot be written ({error.strerror}). Give this user the right."
        ) from error


def find_promoted(store: Path) -> str | None:
    """The version that was marked last."""
    try:
        return (store / PROMOTED).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def load_base(folder: Path = BASE) -> "Forecaster":
    """The pretrained Forecaster. Raises UnknownVersion where there is none, BrokenArtifact for one that was changed."""
    import torch

    from forecasting.model.forecaster import Forecaster

    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UnknownVersion(f"There is no base model in {folder}. Make it: {show_command('pretrain')}") from error
    if hash_file(folder / WEIGHTS) != card["hashes"][WEIGHTS]:
        raise BrokenArtifact(f"{folder / WEIGHTS} is not the file that {CARD} beside it describes. Pretrain again.")
    forecaster = Forecaster(_read_settings(card["model"]))
    forecaster.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
    return forecaster.eval()


def list_versions(store: Path) -> list[str]:
    """Whole versions, oldest first."""
    names = {file.parent.name.removesuffix(".previous") for file in store.glob(f"[!.]*/{CARD}")} - {"base"}
    return sorted(names, key=lambda name: _age(_folder_of(store, name) / CARD))


def read_card(file: Path) -> Card:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        series = tuple(_read_series(one) for one in content.pop("series"))
        content["levels"], content["features"] = tuple(content["levels"]), tuple(content["features"])
        return Card(series=series, **content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenArtifact(
            f"{file} is no model.json of this program ({error!r}). Train the version again."
        ) from error


def describe_libraries() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: installed_version(name) for name in LIBRARIES}}


def now_text() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def hash_file(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _read_settings(said: Mapping[str, Any]) -> ModelConfig:  # Any: json's own types
    return ModelConfig(**{**said, "scaling": Scaling(said["scaling"]), "init": None})


def _read_series(content: dict[str, Any]) -> SeriesCard:  # Any: json's own types
    kind = Kind(content.pop("kind"))
    band_scale, widening = tuple(content.pop("band_scale")), tuple(content.pop("widening"))
    return SeriesCard(kind=kind, band_scale=band_scale, widening=widening, **content)


def _plain(card: Card) -> dict[str, Any]:  # Any: json's own types
    content = dataclasses.asdict(card)
    for series in content["series"]:
        series["kind"] = series["kind"].value
    return content


def _check_hash(file: Path, expected: str) -> None:
    if not file.is_file():
        raise BrokenArtifact(f"{file} is missing. Train the version again.")
    if hash_file(file) != expected:
        raise BrokenArtifact(f"{file} is not the file that {CARD} beside it describes. Train the version again.")


def _age(card: Path) -> tuple[str, int]:
    """When it was made; by the file's time where two were made in one second, or the card does not say."""
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
    """A kill between the renames of replace_folder leaves the previous name alone: the version still counts."""
    folder = store / version
    return folder if folder.exists() else store / f"{version}.previous"


def _make_staging(store: Path, version: str) -> Path:
    try:
        store.mkdir(parents=True, exist_ok=True)
        for left in store.glob(f".{version}.*"):
            if re.fullmatch(rf"\.{re.escape(version)}\.(\d+)\.\w+", left.name) and not _is_running(left):
                shutil.rmtree(left)
        staging = Path(tempfile.mkdtemp(prefix=f".{version}.{os.getpid()}.", dir=store))
        staging.chmod(0o755)  # mkdtemp's 0700 would keep another user's TorchServe out
    except OSError as error:
        raise StoreNotWritable(
            f"{store.absolute()} cannot be written ({error.strerror}). Give this user the right, or set MODEL_DIR."
        ) from error
    return staging


def _is_running(staging: Path) -> bool:
    """Whether the process that made a staging folder still works on it."""
    import psutil

    return bool(psutil.pid_exists(int(staging.name.rsplit(".", 2)[1])))
