"""Lightning's loggers and the user's callbacks, as the settings name them."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from forecasting.errors import SettingError
from forecasting.runtime.disk import explain_unwritable
from forecasting.runtime.log import LOGGER
from forecasting.runtime.user_code import load_object
from forecasting.settings.schema import Config, TrainingLogger
from forecasting.training.distributed import rank

FOLDER = "training_logs"  # in the folder of the versions
PROJECT = "website-traffic-forecasting"  # the experiment at MLflow, the project at Weights & Biases
PACKAGES = {  # any one of them
    TrainingLogger.tensorboard: ("tensorboard", "tensorboardX"),
    TrainingLogger.mlflow: ("mlflow",),
    TrainingLogger.wandb: ("wandb",),
}
PROFILERS: dict[str, type[SimpleProfiler] | type[AdvancedProfiler] | type[PyTorchProfiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}


@dataclass(frozen=True)
class RunLog:
    """Where one run of Trainer is logged: the fit, or the refit on all days."""

    store: Path
    version: str
    run: str  # fit or refit

    @property
    def folder(self) -> Path:
        return self.store / FOLDER / self.version / self.run

    def clear(self) -> None:
        """Removes what an earlier training of the version has left."""
        if rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)


class SparingCSVLogger(CSVLogger):
    """A full disk costs the rest of the file, not the training."""

    _is_reported = False

    def log_hyperparams(self, params: Any = None) -> None:  # Any: Lightning's own union of types
        with self._sparing():
            super().log_hyperparams(params)

    def save(self) -> None:
        with self._sparing():
            super().save()

    @contextmanager
    def _sparing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._is_reported:
                LOGGER.warning("training continues without its log: %s", explain_unwritable(Path(self.log_dir), error))
            self._is_reported = True


def check_logger(logger: TrainingLogger) -> None:
    """Raises SettingError if its package is not installed."""
    packages = PACKAGES.get(logger, ())
    if packages and not any(find_spec(package) for package in packages):
        raise SettingError(
            f"training.logger={logger} needs the package {packages[0]}, which is not installed. "
            f"Install it: pip install {packages[0]}"
        )


def make_loggers(config: Config, log: RunLog) -> list[Logger]:
    """The CSV logger, and the one that `training.logger` names, in the same folder where it writes files."""
    root, logger = log.store / FOLDER, config.training.logger
    loggers: list[Logger] = [SparingCSVLogger(root, name=log.version, version=log.run)]
    if logger is TrainingLogger.tensorboard:
        loggers.append(TensorBoardLogger(root, name=log.version, version=log.run, default_hp_metric=False))
    if logger is TrainingLogger.mlflow:
        root.mkdir(parents=True, exist_ok=True)
        server = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(root / 'mlflow.db').absolute()}"
        loggers.append(MLFlowLogger(PROJECT, run_name=f"{log.version} {log.run}", tracking_uri=server))
    if logger is TrainingLogger.wandb:
        log.folder.mkdir(parents=True, exist_ok=True)
        loggers.append(WandbLogger(f"{log.version} {log.run}", save_dir=log.folder, project=PROJECT, reinit=True))
    settings = {f"model.{name}": value for name, value in asdict(config.model).items()}
    settings |= {f"training.{name}": value for name, value in asdict(config.training).items()}
    for each in loggers:
        each.log_hyperparams({name: value if isinstance(value, int | float) else str(value)
                              for name, value in settings.items()})  # fmt: skip
    return loggers


def make_profiler(name: str | None, log: RunLog) -> Profiler | None:
    """One that writes its report into the log's folder, since Lightning's own would print it."""
    return None if name is None else PROFILERS[name](dirpath=log.folder, filename="profile")


def load_callbacks(entries: Sequence[str]) -> list[pl.Callback]:
    """What the functions that `training.callbacks` names return: a callback, or a list of them. Raises SettingError."""
    return [callback for entry in entries for callback in _call(entry, load_object(entry, "training.callbacks"))]


def _call(entry: str, function: Any) -> list[pl.Callback]:  # Any: whatever the user wrote, and returns
    if not callable(function):
        raise SettingError(f"training.callbacks has {entry}, which is no function but {function!r}.")
    returned = function()
    callbacks: list[Any] = list(returned) if isinstance(returned, list | tuple) else [returned]
    for callback in callbacks:
        if not isinstance(callback, pl.Callback):
            raise SettingError(
                f"{entry}() in training.callbacks returned {callback!r}, which is no lightning.pytorch.Callback."
            )
    return callbacks
