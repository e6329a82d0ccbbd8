"""Lightning callbacks: keep the best weights, write checkpoints, show progress, stop cleanly on Ctrl-C."""

import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.plugins.io import TorchCheckpointIO
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from forecasting.runtime.disk import explain_unwritable
from forecasting.runtime.log import LOGGER
from forecasting.training.distributed import rank

CHECKPOINT_EVERY_SECONDS = 5.0  # the most work a kill can lose; writing a checkpoint takes about 10 ms


class KeepBest(pl.Callback):
    """Keeps the weights of the epoch with the lowest validation loss, in memory and in checkpoints."""

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
    """Writes a checkpoint at the end of an epoch if the last one is older than CHECKPOINT_EVERY_SECONDS."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.written = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not when training is about to stop: a resumed run would add an epoch to one that had finished.
        due = time.monotonic() - self.written >= CHECKPOINT_EVERY_SECONDS and not trainer.should_stop
        if trainer.strategy.broadcast(due):
            trainer.save_checkpoint(self.file)
            self.written = time.monotonic()


class SparingCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints aside and renames them, because a kill can cut Lightning's own write short. A full disk costs
    the checkpoint, not the training: by its end there may be room.
    """

    _is_reported = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        file = Path(path)
        new_file = file.with_name(f"{file.name}.new")
        try:
            super().save_checkpoint(checkpoint, new_file, storage_options)
            new_file.replace(file)
        except OSError as error:
            with suppress(OSError):
                new_file.unlink(missing_ok=True)
            if not self._is_reported:
                LOGGER.warning(
                    "training continues without a checkpoint: %s",
                    explain_unwritable(file, error, advice="set training.checkpoint_dir"),
                )
            self._is_reported = True


class EpochProgress(pl.Callback):
    """One progress line on stderr: epochs done, losses, time left. Silent if stderr is not a terminal."""

    def __init__(self, label: str, epochs: int) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"),
            TextColumn("{task.fields[loss]}"), TimeRemainingColumn(),
        )  # fmt: skip
        console = Console(stderr=True)
        visible = console.is_terminal and rank() == 0
        self.progress = Progress(*columns, console=console, transient=True, disable=not visible)
        self.task = self.progress.add_task(label, total=epochs, loss="")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        losses = {name: float(value) for name, value in trainer.callback_metrics.items()}
        text = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        self.progress.update(self.task, completed=trainer.current_epoch + 1, loss=text)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.progress.stop()


class Interrupt(pl.Callback):
    """A callback and a context manager: inside it, Ctrl-C ends training after the current epoch.

    A second Ctrl-C raises KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self.happened = False

    def __enter__(self) -> None:
        # Only the main thread can handle signals; elsewhere Ctrl-C is the caller's business.
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        if self._in_main_thread:
            self._previous_handler = signal.signal(signal.SIGINT, self._stop)

    def __exit__(self, *_: object) -> None:
        if self._in_main_thread:
            signal.signal(signal.SIGINT, self._previous_handler)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Set should_stop only here. Earlier, Lightning would stop within an epoch, or before the first.
        # One interrupted rank stops all of them: they have to run the same number of epochs.
        self.happened = trainer.strategy.reduce_boolean_decision(self.happened, all=False)
        trainer.should_stop = trainer.should_stop or self.happened

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        if self.happened:
            raise KeyboardInterrupt
        self.happened = True
