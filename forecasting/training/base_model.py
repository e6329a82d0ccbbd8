"""The base model: writing it, and finding it for a training that it fits."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from forecasting.artifact import BASE, CARD, WEIGHTS, hash_file, load_base, replace_folder, save_weights, staging_folder
from forecasting.card import now_text
from forecasting.domain import Init
from forecasting.errors import SettingError
from forecasting.model.forecaster import Forecaster
from forecasting.settings.schema import Config, ModelConfig
from forecasting.training.synthetic import PARTS

SHAPE_SETTINGS = (
    "sequence_length",
    "prediction_horizon",
    "direct_days",
    "weekly_lags",
    "hidden_size",
    "scaling",
    "seasonal_skip",
    "learned_average",
    "last_year",
    "forecaster",
)


def save_base(folder: Path, forecaster: Forecaster, config: Config, provenance: Mapping[str, Any]) -> None:
    """Writes the weights and model.json, which says how they were made. Any: JSON types."""
    card = {
        "model": asdict(forecaster.settings),
        "pretraining": {**asdict(config.pretraining), "real": [Path(file).name for file in config.pretraining.real]},
        "prior": sorted(set(PARTS) - set(config.pretraining.without)),
        "total_parameters": forecaster.num_parameters(),
        "created_at": now_text(),
        "libraries": {"torch": torch.__version__},
        **provenance,
    }
    with staging_folder(folder.parent, folder.name) as staging:
        save_weights(forecaster, staging / WEIGHTS)
        card["hashes"] = {WEIGHTS: hash_file(staging / WEIGHTS)}
        (staging / CARD).write_text(json.dumps(card, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        replace_folder(staging, folder)


def find_base(model: ModelConfig, folder: Path = BASE) -> Forecaster | None:
    """The base model to fine-tune. None with `model.init=scratch`, or if `init` is unset and no base fits.

    Raises SettingError if `model.init=base` and the base has other settings.
    """
    if model.init is Init.scratch or (model.init is None and not (folder / CARD).is_file()):
        return None
    base = load_base(folder)
    differing = [name for name in SHAPE_SETTINGS if getattr(model, name) != getattr(base.settings, name)]
    if not differing:
        return base
    if model.init is Init.base:
        wanted = ", ".join(f"model.{name}={getattr(model, name)}" for name in differing)
        available = ", ".join(f"{getattr(base.settings, name)}" for name in differing)
        raise SettingError(
            f"The base model does not fit {wanted}: it has {available}. Leave that out, or set model.init=scratch."
        )
    return None
