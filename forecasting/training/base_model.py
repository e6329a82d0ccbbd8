"""The base model: how it is written, and whether training can begin from it."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from forecasting.artifact import BASE, CARD, WEIGHTS, hash_file, load_base, now_text, replace_folder, staging_folder
from forecasting.domain import Init
from forecasting.errors import SettingError
from forecasting.model.forecaster import Forecaster
from forecasting.settings.schema import Config, ModelConfig
from forecasting.training.synthetic import PARTS

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
