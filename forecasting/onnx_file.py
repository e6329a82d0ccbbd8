"""A version as an ONNX file, for programs without torch."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecasting.artifact import PROGRAM, load_artifact, load_base, trace
from forecasting.domain import KIND_CODES
from forecasting.errors import SettingError, StoreNotWritable
from forecasting.runtime.disk import explain_unwritable
from forecasting.settings.bounds import require
from forecasting.settings.schema import BASE_VERSION

if TYPE_CHECKING:
    import torch

PACKAGES = ("onnx", "onnxscript")


def write_onnx(store: Path, version: str | None, file: Path) -> str:
    """Writes the version's program, its inputs and outputs named as those of Forecaster.forward. Returns its name.

    Raises SettingError, UnknownVersion, BrokenArtifact, StoreNotWritable.
    """
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise SettingError(f"--onnx needs {' and '.join(missing)}. Install: pip install {' '.join(PACKAGES)}")
    require(
        file.parent.is_dir(), f"There is no folder {file.parent} to write {file.name} into. Make it, or change --out."
    )
    name, program, facts = _load(store, version)
    import torch

    with _without_its_messages():
        converted: Any = torch.onnx.export(program, dynamo=True, verbose=False)  # Any: None of the older exporter alone
    model = converted.model
    model.graph.outputs[0].name = "quantiles"
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape[0] = "batch"
    model.metadata_props.update({key: json.dumps(value) for key, value in facts.items()})
    try:
        converted.save(str(file))
    except OSError as error:
        raise StoreNotWritable(explain_unwritable(file, error, advice="set --out")) from error
    return name


def _load(store: Path, version: str | None) -> "tuple[str, torch.export.ExportedProgram, dict[str, object]]":
    """Name, program, and what those who call it have to know."""
    import torch

    from forecasting.model.forecaster import LEVELS

    if version == BASE_VERSION:
        base = load_base()
        settings = base.settings
        return version, trace(base), _describe(version, settings.context_length, settings.output_days, LEVELS)
    artifact = load_artifact(store, version)
    artifact.load_program()  # for its errors
    card = artifact.card
    program = torch.export.load(artifact.folder / PROGRAM)
    return card.version, program, _describe(card.version, card.context_length, card.output_days, card.levels)


def _describe(version: str, context_length: int, days: int, levels: "tuple[float, ...]") -> dict[str, object]:
    return {
        "model_version": version,
        "context_length": context_length,
        "days_ahead": days,
        "levels": list(levels),
        "kinds": {kind.value: code for kind, code in KIND_CODES.items()},
    }


@contextmanager
def _without_its_messages() -> Iterator[None]:
    """torch 2.13 tells of torchvision, which nothing here uses, and of its own use of what it has deprecated."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registry.level
    registry.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        registry.setLevel(level)
