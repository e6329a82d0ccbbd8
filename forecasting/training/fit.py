"""Fitting: from a panel to trained weights, stoppable and resumable at any moment."""

import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from forecasting.command import LOGGER
from forecasting.config import Config, Scaling
from forecasting.errors import DataError
from forecasting.model.forecaster import Forecaster
from forecasting.model.scaling import MinMaxScaling
from forecasting.panel import Panel
from forecasting.training.datamodule import TrafficDataModule
from forecasting.training.module import ForecastModule

CHECKPOINT_EVERY_SECONDS = 5.0  # what a kill can cost at most; a checkpoint takes some 10 ms


@dataclass(frozen=True)
class Fitted:
    """A trained Forecaster and how it came about."""

    forecaster: Forecaster
    epochs: int  # run in all
    best_epoch: int  # 1-based; whose weights these are
    best_loss: float | None  # on the validation part; None where nothing validated
    interrupted: bool
    seconds: float

    def describe(self, *, most: int) -> str:
        if self.best_loss is None:
            return f"refitted on all days for {self.epochs} epochs in {self.seconds:.1f} s"
        early = " (interrupted: the best so far is kept)" if self.interrupted else ""
        return (
            f"trained {self.epochs} of {most} epochs in {self.seconds:.1f} s{early}, best epoch {self.best_epoch} "
            f"(validation loss {self.best_loss:.4f})"
        )


class KeepBest(pl.Callback):
    """Holds the weights of the best epoch in memory and, through checkpoints, over a resume."""

    def __init__(self) -> None:
        self.loss = float("inf")
        self.epoch = 0
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["val/loss"])
        if loss < self.loss or not self.weights:
            self.loss, self.epoch = loss, trainer.current_epoch + 1
            self.weights = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loss, self.epoch, self.weights = state_dict["loss"], state_dict["epoch"], state_dict["weights"]


class Checkpoint(pl.Callback):
    """Writes a checkpoint at the end of an epoch when the last one is old enough."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.written = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not where training stops by itself: a resumed run would add an epoch to what had ended.
        if time.monotonic() - self.written >= CHECKPOINT_EVERY_SECONDS and not trainer.should_stop:
            trainer.save_checkpoint(self.file)
            self.written = time.monotonic()


class EpochProgress(pl.Callback):
    """One line on stderr: epochs done, losses, time left."""

    def __init__(self, label: str, epochs: int) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"),
            TextColumn("{task.fields[loss]}"), TimeRemainingColumn(),
        )  # fmt: skip
        console = Console(stderr=True)
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.progress.add_task(label, total=epochs, loss="")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        losses = {name: float(value) for name, value in trainer.callback_metrics.items()}
        text = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        self.progress.update(self.task, completed=trainer.current_epoch + 1, loss=text)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.progress.stop()


def fit(panel: Panel, config: Config, *, checkpoint: Path | None = None, resume: bool = False) -> Fitted:
    """Trains on the train part until validation no longer improves; the weights are the best epoch's.

    The same panel, configuration and machine give the same weights to the bit. `checkpoint` is written now and then;
    with `resume`, training goes on from it where it exists.
    """
    data = TrafficDataModule(panel, config)
    best = KeepBest()
    callbacks: list[pl.Callback] = [best]
    if config.training.patience:
        callbacks.append(EarlyStopping("val/loss", patience=config.training.patience))
    if checkpoint is not None:
        callbacks.append(Checkpoint(checkpoint))
    module = _new_module(panel, config, data)
    resumed = checkpoint if resume and checkpoint is not None and checkpoint.is_file() else None
    if resume:
        _say_resumed(resumed)
    started = time.monotonic()
    trainer, interrupted = _run(
        module, data, config, epochs=config.training.epochs, callbacks=callbacks, resumed=resumed
    )
    module.load_state_dict(best.weights or module.state_dict())
    return Fitted(
        module.forecaster.eval(), trainer.current_epoch, best.epoch, best.loss, interrupted, time.monotonic() - started
    )


def refit(panel: Panel, config: Config, *, epochs: int) -> Fitted:
    """Trains anew on all days, test part included, for the epochs that validation chose: what is served."""
    data = TrafficDataModule(panel, config, refit=True)
    module = _new_module(panel, config, data)
    started = time.monotonic()
    trainer, interrupted = _run(module, data, config, epochs=epochs, callbacks=[])
    return Fitted(
        module.forecaster.eval(), trainer.current_epoch, epochs, None, interrupted, time.monotonic() - started
    )


def _say_resumed(checkpoint: Path | None) -> None:
    if checkpoint is None:
        LOGGER.info("no checkpoint of these settings and this data to resume from: training from the start")
    else:
        epoch = torch.load(checkpoint, weights_only=True)["epoch"] + 1
        LOGGER.info("resuming from epoch %d", epoch)


def _new_module(panel: Panel, config: Config, data: TrafficDataModule) -> ForecastModule:
    torch.set_num_threads(config.training.num_threads)
    torch.manual_seed(config.training.seed)
    forecaster = Forecaster(config.model, _scaling(panel, config, data))
    return ForecastModule(
        forecaster,
        learning_rate=config.training.learning_rate,
        epochs=config.training.epochs,
        seed=config.training.seed,
    )


def _scaling(panel: Panel, config: Config, data: TrafficDataModule) -> MinMaxScaling | None:
    """MinMaxScaler fitted on what trains, and on nothing later; None: the Forecaster's own."""
    if config.model.scaling is not Scaling.minmax:
        return None
    if len(panel.series) != 1:
        raise DataError(
            f"model.scaling=minmax is for one series, but there are {len(panel.series)}: "
            f"{', '.join(series.name for series in panel.series)}. Choose one with data.metrics and data.sites."
        )
    from sklearn.preprocessing import MinMaxScaler

    end = data.split.end if data.refit else data.split.validation
    scaler = MinMaxScaler().fit(panel.values[0, data.split.train : end, None])
    return MinMaxScaling(float(scaler.data_min_[0]), float(scaler.data_range_[0]) or 1.0)


def _run(
    module: ForecastModule,
    data: TrafficDataModule,
    config: Config,
    *,
    epochs: int,
    callbacks: list[pl.Callback],
    resumed: Path | None = None,
) -> tuple[pl.Trainer, bool]:
    """The trainer after training, and whether Ctrl-C ended it."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # which devices there are is not news
    trainer = pl.Trainer(
        accelerator=config.training.accelerator,
        devices=1,
        max_epochs=epochs,
        gradient_clip_val=1.0,
        callbacks=[*callbacks, EpochProgress("refitting" if data.refit else "training", epochs)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0 if data.refit else 1.0,
    )
    with _stop_on_interrupt(trainer) as interrupted, warnings.catch_warnings():
        # Lightning 2.6 asks torch 2.13's trees in a way that torch has deprecated.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
    return trainer, interrupted()


@contextmanager
def _stop_on_interrupt(trainer: pl.Trainer) -> Iterator[Callable[[], bool]]:
    """Ctrl-C ends training after the running epoch, with the best so far; a second one ends the program."""
    interrupted = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = trainer.should_stop = True

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, before)
