"""The base model on disk: pretrained weights of the repository, found from the package and never by MODEL_DIR."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from forecasting.artifact import CARD, WEIGHTS, hash_file, now_text, replace_folder, staging_folder
from forecasting.config import PROJECT, Config, Init, ModelConfig, Scaling
from forecasting.errors import BrokenArtifact, SettingError, UnknownVersion
from forecasting.model.forecaster import Forecaster
from forecasting.training.prior import PARTS

BASE = PROJECT / "model_store" / "base"
SHAPE = (
    "sequence_length",
    "prediction_horizon",
    "weekly_lags",
    "hidden_size",
    "num_layers",
    "scaling",
    "seasonal_skip",
)


def save_base(folder: Path, forecaster: Forecaster, config: Config, made: Mapping[str, Any]) -> None:
    """Writes `folder`: the weights and, in model.json, how they were made. Any: json's own types."""
    card = {
        "model": asdict(forecaster.settings),
        "pretraining": {**asdict(config.pretraining), "real": [Path(file).name for file in config.pretraining.real]},
        "prior": sorted(set(PARTS) - set(config.pretraining.without)),
        "total_parameters": forecaster.num_parameters(),
        "created_at": now_text(),
        "libraries": {"torch": torch.__version__},
        **made,
    }
    with staging_folder(folder.parent, folder.name) as staging:
        torch.save(forecaster.state_dict(), staging / WEIGHTS)
        card["hashes"] = {WEIGHTS: hash_file(staging / WEIGHTS)}
        (staging / CARD).write_text(json.dumps(card, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        replace_folder(staging, folder)


def load_base(folder: Path = BASE) -> Forecaster:
    """The pretrained Forecaster. Raises UnknownVersion where there is none, BrokenArtifact for one that was changed."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UnknownVersion(f"There is no base model in {folder}. Make it: python scripts/pretrain.py") from error
    if hash_file(folder / WEIGHTS) != card["hashes"][WEIGHTS]:
        raise BrokenArtifact(f"{folder / WEIGHTS} is not the file that {CARD} beside it describes. Pretrain again.")
    forecaster = Forecaster(_read_settings(card["model"]))
    forecaster.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
    return forecaster.eval()


def find_base(model: ModelConfig, folder: Path = BASE) -> Forecaster | None:
    """The base to train on from; None where `model.init` asks for none, or leaves it open and the base does not fit.

    Raises SettingError where `model.init=base` and the settings are not the base's.
    """
    if model.init is Init.scratch or (model.init is None and not (folder / CARD).is_file()):
        return None
    base = load_base(folder)
    differing = [name for name in SHAPE if getattr(model, name) != getattr(base.settings, name)]
    if not differing:
        return base
    if model.init is Init.base:
        said = ", ".join(f"model.{name}={getattr(model, name)}" for name in differing)
        fits = ", ".join(f"{getattr(base.settings, name)}" for name in differing)
        raise SettingError(f"The base model does not fit {said}: it has {fits}. Leave that out, or model.init=scratch.")
    return None


def _read_settings(said: Mapping[str, Any]) -> ModelConfig:  # Any: json's own types
    return ModelConfig(**{**said, "scaling": Scaling(said["scaling"]), "init": None})
