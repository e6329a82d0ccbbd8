"""Fitting: from a panel to trained weights, stoppable and resumable at any moment."""

import logging
import math
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from forecasting.domain import Scaling
from forecasting.errors import DataError, SettingError
from forecasting.model.forecaster import Forecaster
from forecasting.model.scaling import MinMaxScaling
from forecasting.panel import Panel
from forecasting.runtime import LOGGER, num_cores
from forecasting.settings.schema import Accelerator, Config, Precision, TrainingConfig
from forecasting.training.augmentation import FineTuningData
from forecasting.training.data_module import TrafficDataModule
from forecasting.training.distributed import gather_from_ranks, rank, sum_over_ranks
from forecasting.training.lightning_module import ForecastModule

# Trained on from the base, few weeks teach more noise than habit: a tenth of the rate (for 32 windows), so many epochs
# or windows at most, and as much of the way as validation likes best, of days / (days + FINE_TUNING_DAYS): what two
# months teach spoils the next week more often than not, however validation liked it. EXPERIMENTS.md has the rest.
FINE_TUNING_RATE, FINE_TUNING_EPOCHS, FINE_TUNING_WINDOWS = 0.1, 20, 150_000
FINE_TUNING_SHARES, FINE_TUNING_DAYS = (0.5, 0.75, 1.0), 365
MAX_NAMES = 12  # of series in an error
MIN_WINDOWS_FOR_THREADS = 128  # of a step
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
    base_loss: float | None = None  # of the base as it is
    share: float = 1.0  # of the way from the base's weights to the trained ones

    @property
    def from_base(self) -> bool:
        return self.base_loss is not None

    def describe(self, *, most: int) -> str:
        if self.best_loss is None:
            return f"refitted on all days for {self.epochs} epochs in {self.seconds:.1f} s"
        if self.best_epoch == 0:
            return (
                f"trained {self.epochs} epochs in {self.seconds:.1f} s, by which validation did not gain on the base "
                f"model (loss {self.best_loss:.4f}): that is kept as it is"
            )
        early = " (interrupted: the best so far is kept)" if self.interrupted else ""
        if self.from_base:
            return (
                f"trained {self.epochs} epochs in {self.seconds:.1f} s{early}, and went {self.share:.0%} of the way "
                f"from the base model (validation loss {self.best_loss:.4f}, of the base as it is {self.base_loss:.4f})"
            )
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
        due = time.monotonic() - self.written >= CHECKPOINT_EVERY_SECONDS and not trainer.should_stop
        if trainer.strategy.broadcast(due):
            # Aside and renamed: Lightning's own writing may be cut in two by a kill.
            aside = self.file.with_name(f"{self.file.name}.new")
            trainer.save_checkpoint(aside)
            if trainer.is_global_zero:
                aside.replace(self.file)
            self.written = time.monotonic()


class EpochProgress(pl.Callback):
    """One line on stderr: epochs done, losses, time left."""

    def __init__(self, label: str, epochs: int) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"),
            TextColumn("{task.fields[loss]}"), TimeRemainingColumn(),
        )  # fmt: skip
        console = Console(stderr=True)
        shown = console.is_terminal and rank() == 0
        self.progress = Progress(*columns, console=console, transient=True, disable=not shown)
        self.task = self.progress.add_task(label, total=epochs, loss="")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        losses = {name: float(value) for name, value in trainer.callback_metrics.items()}
        text = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        self.progress.update(self.task, completed=trainer.current_epoch + 1, loss=text)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.progress.stop()


def fit(
    data: TrafficDataModule,
    config: Config,
    *,
    base: Forecaster | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> Fitted:
    """Trains on the train part until validation no longer improves; the weights are the best epoch's.

    The same data, configuration and machine give the same weights to the bit. `checkpoint` is written now and then;
    with `resume`, training goes on from it where it exists. With a `base`, training begins with its weights and takes
    `fine_tuning_epochs`; it ends part of the way from them, or with them, as epoch 0, where validation gains nothing.
    """
    best = KeepBest()
    callbacks: list[pl.Callback] = [] if base is not None else [best]
    if config.training.patience and base is None:
        callbacks.append(EarlyStopping("val/loss", patience=config.training.patience))
    if checkpoint is not None:
        callbacks.append(Checkpoint(checkpoint))
    epochs = config.training.epochs if base is None else fine_tuning_epochs(data, config)
    module = _new_module(config, data, base, epochs=epochs)
    resumed = find_resumable(checkpoint) if resume else None
    started = time.monotonic()
    trainer, interrupted = run_trainer(
        module,
        data,
        label="training",
        epochs=epochs,
        config=config,
        callbacks=callbacks,
        validate=base is None,
        resumed=resumed,
    )
    epochs = trainer.current_epoch
    if base is None:
        module.load_state_dict(best.weights or module.state_dict())
        seconds = time.monotonic() - started
        return Fitted(module.forecaster.eval(), epochs, best.epoch, best.loss, interrupted, seconds)
    share, losses = _settle(module, data, base)
    epoch, seconds = epochs if share else 0, time.monotonic() - started
    return Fitted(
        module.forecaster.eval(), epochs, epoch, losses[share], interrupted, seconds, base_loss=losses[0.0], share=share
    )


def first_unseen(fitted: Fitted, data: TrafficDataModule) -> int:
    """The place in the panel of the first day that a fitted Forecaster has not been trained on."""
    if fitted.from_base:
        return 0 if fitted.best_epoch == 0 else data.split.validation
    return data.split.test  # validation chose the epoch


def fine_tuning_epochs(data: TrafficDataModule, config: Config) -> int:
    """Passes over the train part that training on from the base takes: few, and the fewer the more there is of it."""
    enough = -(-FINE_TUNING_WINDOWS // len(data.own))
    return min(config.training.epochs, FINE_TUNING_EPOCHS, enough)


def refit(panel: Panel, config: Config, *, epochs: int, base: Forecaster | None = None, share: float = 1.0) -> Fitted:
    """Trains anew on all days, test part included, for the epochs that validation chose: what is served.

    From a `base`, the `share` of the way that it chose.
    """
    data = training_data(panel, config, base, refit=True)
    module = _new_module(config, data, base, epochs=config.training.epochs if base is None else epochs)
    started = time.monotonic()
    trainer, interrupted = run_trainer(
        module,
        data,
        label="refitting",
        epochs=epochs,
        config=config,
        validate=False,
    )
    if base is not None:
        _go_part_of_the_way(module, base, module.forecaster.state_dict(), share)
    return Fitted(
        module.forecaster.eval(), trainer.current_epoch, epochs, None, interrupted, time.monotonic() - started
    )


def find_resumable(checkpoint: Path | None) -> Path | None:
    """The checkpoint to go on from, and a line that says so; None where there is none that can be read.

    Raises SettingError where not all ranks find the same.
    """
    epoch = None if checkpoint is None else _epoch_of(checkpoint)
    if len(set(gather_from_ranks(epoch))) > 1:
        raise SettingError(
            f"Not all processes find the checkpoint {checkpoint}. Set MODEL_DIR to a folder that all of them see, or "
            "train without --resume."
        )
    if epoch is None:
        return None
    LOGGER.info("resuming from epoch %d", epoch)
    return checkpoint


def _epoch_of(checkpoint: Path) -> int | None:
    if not checkpoint.is_file():
        LOGGER.info("no checkpoint of these settings and this data to resume from: training from the start")
        return None
    try:
        return int(torch.load(checkpoint, weights_only=True)["epoch"]) + 1
    except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        LOGGER.warning("%s cannot be read (%s): training from the start", checkpoint, error)
        return None


def training_data(panel: Panel, config: Config, base: Forecaster | None, *, refit: bool = False) -> TrafficDataModule:
    """A panel's windows as they are, or as training on from a base needs them."""
    return TrafficDataModule(panel, config, refit=refit) if base is None else FineTuningData(panel, config, refit=refit)


def _new_module(config: Config, data: TrafficDataModule, base: Forecaster | None, *, epochs: int) -> ForecastModule:
    torch.set_num_threads(_num_threads(config, batch_size=data.batch_size))
    torch.manual_seed(config.training.seed)
    forecaster = Forecaster(config.model, _scaling(config, data))
    if base is not None:
        forecaster.load_state_dict(base.state_dict())
    rate = config.training.learning_rate
    if base is not None:
        # Larger batches of much data are as good as more of the small ones, with a rate that grows by the root.
        rate *= FINE_TUNING_RATE * math.sqrt(data.batch_size / config.training.batch_size)
    return ForecastModule(
        forecaster,
        learning_rate=rate,
        epochs=epochs,
        seed=config.training.seed,
        use_graph=config.training.cuda_graph,
    )


def _num_threads(config: Config, *, batch_size: int) -> int:
    """Steps of fewer windows gain nothing from a second thread; processes of one machine share its cores."""
    if config.training.num_threads:
        return config.training.num_threads
    cores = max(1, num_cores() // config.process.local_world_size)
    return cores if batch_size >= MIN_WINDOWS_FOR_THREADS else 1


def _settle(module: ForecastModule, data: TrafficDataModule, base: Forecaster) -> tuple[float, dict[float, float]]:
    """Leaves the module at the share of the way from the base that validation likes best, 0 for none; all losses."""
    trained = {name: weights.clone() for name, weights in module.forecaster.state_dict().items()}
    num_days = data.split.end - data.split.train
    reach = num_days / (num_days + FINE_TUNING_DAYS)
    losses = {}
    for share in (0.0, *(reach * part for part in FINE_TUNING_SHARES)):
        _go_part_of_the_way(module, base, trained, share)
        losses[share] = validation_loss(module, data)
    best = min(losses, key=lambda share: losses[share])
    _go_part_of_the_way(module, base, trained, best)
    return best, losses


def _go_part_of_the_way(module: ForecastModule, base: Forecaster, trained: Mapping[str, Tensor], share: float) -> None:
    """The weights between the base's and the trained ones; networks trained on from the same weights can be averaged.

    Source: Wortsman et al. (2022), Robust fine-tuning of zero-shot models, CVPR.
    """
    between = {name: torch.lerp(weights, trained[name], share) for name, weights in base.state_dict().items()}
    module.forecaster.load_state_dict(between)


def validation_loss(module: ForecastModule, data: TrafficDataModule) -> float:
    """Of the module as it is, over the windows of all ranks."""
    module.eval()
    with torch.no_grad():
        losses = [module.sum_losses(block.windows) for block in data.val_dataloader()]
        total, count = sum_over_ranks(torch.stack(losses).sum(0))
    module.train()  # Lightning leaves that as it finds it
    return float(total / count)


def _scaling(config: Config, data: TrafficDataModule) -> MinMaxScaling | None:
    """MinMaxScaler fitted on what trains, and on nothing later; None: the Forecaster's own."""
    if config.model.scaling is not Scaling.minmax:
        return None
    panel = data.panel
    names = [name for part in gather_from_ranks([series.name for series in panel.series]) for name in part]
    if len(names) != 1:
        raise DataError(
            f"model.scaling=minmax is for one series, but there are {len(names)}: {', '.join(names[:MAX_NAMES])}"
            f"{', ...' if len(names) > MAX_NAMES else ''}. Choose one with data.metrics and data.sites."
        )
    from sklearn.preprocessing import MinMaxScaler

    end = data.split.end if data.refit else data.split.validation
    scaler = MinMaxScaler().fit(panel.values[0, data.split.train : end, None])
    return MinMaxScaling(float(scaler.data_min_[0]), float(scaler.data_range_[0]) or 1.0)


class Interrupt(pl.Callback):
    """Within it, Ctrl-C ends training after the running epoch, with the best so far; a second one ends the program."""

    def __init__(self) -> None:
        self.happened = False

    def __enter__(self) -> None:
        # Signals are the main thread's; elsewhere Ctrl-C is somebody else's business.
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._stop)

    def __exit__(self, *_: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Only here: told earlier, Lightning would leave off within an epoch, or before the first.
        # Of all ranks, if of any: they must go on in the same way.
        self.happened = trainer.strategy.reduce_boolean_decision(self.happened, all=False)
        trainer.should_stop = trainer.should_stop or self.happened

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        if self.happened:
            raise KeyboardInterrupt
        self.happened = True


def run_trainer(
    module: ForecastModule,
    data: pl.LightningDataModule,
    *,
    label: str,
    epochs: int,
    config: Config,
    callbacks: Sequence[pl.Callback] = (),
    validate: bool = True,
    resumed: Path | None = None,
) -> tuple[pl.Trainer, bool]:
    """The trainer after training, and whether Ctrl-C ended it."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # which devices there are is not news
    interrupt = Interrupt()
    trainer = _new_trainer(
        config,
        max_epochs=epochs,
        callbacks=[*callbacks, interrupt, EpochProgress(label, epochs)],
        limit_val_batches=1.0 if validate else 0,
    )
    with interrupt, warnings.catch_warnings():
        # Lightning 2.6 asks torch 2.13's trees in a way that torch has deprecated.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        # Of CUDA graphs: the first steps run without one, and layers of an LSTM are called one by one.
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
        warnings.filterwarnings("ignore", message="You defined a `validation_step` but have no `val_dataloader`")
        trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
    return trainer, interrupt.happened


def _new_trainer(config: Config, **settings: Any) -> pl.Trainer:  # Any: Lightning's own settings
    """A Trainer that writes and prints nothing by itself. Raises SettingError for a device that is not there."""
    accelerator, process = config.training.accelerator, config.process
    try:
        return pl.Trainer(
            accelerator=str(accelerator),
            precision=str(choose_precision(config.training)),  # type: ignore[arg-type]  # one of its literals
            strategy="auto" if process.world_size == 1 else "ddp",
            devices=process.local_world_size,
            num_nodes=process.num_nodes,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **settings,
        )
    except MisconfigurationException as error:
        raise SettingError(
            f"training.accelerator={accelerator} cannot be used here: {error} Use training.accelerator=auto or cpu."
        ) from error


def choose_precision(training: TrainingConfig) -> Precision:
    """bf16 on processors that have units for it, without which it would be slower. On a GPU float32, by its TF32 units:
    there torch's autocast would take the LSTM to float16, in which its small gradients vanish.
    """
    if training.precision is not Precision.auto:
        return training.precision
    if training.accelerator is not Accelerator.cpu and torch.cuda.is_available():
        return Precision.fp32
    has_units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return Precision.bf16 if has_units else Precision.fp32
