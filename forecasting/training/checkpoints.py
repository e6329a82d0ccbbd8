"""Checkpoint files: their names, finding one to resume from, removing old ones."""

import glob
import hashlib
import json
import pickle
from pathlib import Path

import torch

from forecasting.errors import SettingError
from forecasting.model.forecaster import Forecaster
from forecasting.panel import Panel
from forecasting.runtime.log import LOGGER
from forecasting.settings.schema import Config
from forecasting.training.distributed import gather_from_ranks


def checkpoint_folder(config: Config) -> Path:
    return config.training.checkpoint_dir or config.model_dir


def checkpoint_path(store: Path, panel: Panel, config: Config, base: Forecaster | None) -> Path:
    """A name made from settings, data and base weights, so that a run resumes only what would become the same version.

    All ranks get the same name.
    """
    settings = json.dumps([repr(config.model), repr(config.data), repr(config.training)])
    digest = hashlib.sha256(settings.encode() + panel.values.tobytes())
    digest.update(repr((panel.first_day, panel.series, config.pretraining)).encode())
    for weights in base.state_dict().values() if base is not None else ():
        digest.update(weights.numpy().tobytes())
    digest_of_ranks = hashlib.sha256("".join(gather_from_ranks(digest.hexdigest())).encode())
    return store / f".{config.version_to_train}.{digest_of_ranks.hexdigest()[:16]}.ckpt"


def find_resumable(checkpoint: Path | None) -> Path | None:
    """The checkpoint, if it can be read; None if training has to start anew. Logs which.

    Raises SettingError if not all ranks find the same epoch.
    """
    epoch = None if checkpoint is None else _read_epoch(checkpoint)
    if len(set(gather_from_ranks(epoch))) > 1:
        raise SettingError(
            f"Not all processes find the checkpoint {checkpoint}. Set training.checkpoint_dir to a folder that all of "
            "them see, or train without --resume."
        )
    if epoch is None:
        return None
    LOGGER.info("resuming from epoch %d", epoch)
    return checkpoint


def remove_checkpoints(store: Path, version: str) -> None:
    """Removes all checkpoints of a version, including those of other settings and data: the version is written."""
    for checkpoint in store.glob(f".{glob.escape(version)}.*.ckpt*"):
        checkpoint.unlink(missing_ok=True)


def _read_epoch(checkpoint: Path) -> int | None:
    if not checkpoint.is_file():
        LOGGER.info("found no checkpoint of these settings and this data: training from the start")
        return None
    try:
        return int(torch.load(checkpoint, weights_only=True)["epoch"]) + 1
    except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        LOGGER.warning("cannot read %s (%s): training from the start", checkpoint, error)
        return None
