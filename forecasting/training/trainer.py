"""Runs Lightning's Trainer: devices, precision, threads, and the warnings it may be silent about."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.strategies import DDPStrategy

from forecasting.errors import SettingError
from forecasting.runtime.machine import num_cores
from forecasting.settings.schema import Accelerator, Config, Precision, TrainingConfig
from forecasting.training.callbacks import EpochProgress, Interrupt, SparingCheckpointIO
from forecasting.training.distributed import find_slurm
from forecasting.training.lightning_module import ForecastModule
from forecasting.training.loggers import RunLog, load_callbacks, make_loggers, make_profiler

MIN_WINDOWS_FOR_THREADS = 128  # per step; smaller steps gain nothing from a second thread
# Arguments of Trainer that it leaves to the module where optimization is manual, or that we make ourselves.
OURS = ("gradient_clip_val", "gradient_clip_algorithm", "profiler")
EXPECTED_WARNINGS = (
    # Lightning 2.6 inspects torch 2.13's trees in a way that torch has deprecated.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # CUDA graphs: the first steps run without one, and LSTM layers are called one by one.
    "RNN module weights are not part of single contiguous chunk",
    "This instance was constructed with capturable=True",
    # Fine-tuning and refitting do not validate after each epoch.
    "You defined a `validation_step` but have no `val_dataloader`",
)


def run_trainer(
    module: ForecastModule,
    data: pl.LightningDataModule,
    *,
    label: str,
    epochs: int,
    config: Config,
    callbacks: Sequence[pl.Callback] = (),
    validate: bool = True,
    resume_from: Path | None = None,
    log: RunLog | None = None,
) -> tuple[pl.Trainer, bool]:
    """Trains the module. Returns the trainer and whether Ctrl-C ended the training.

    `training.callbacks` take part; those that monitor a validation loss only where there is one.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its lines on devices are not news
    interrupt = Interrupt()
    own = [callback for callback in load_callbacks(config.training.callbacks) if validate or not _validates(callback)]
    arguments = {name: value for name, value in config.training.trainer.items() if name not in OURS}
    trainer = _new_trainer(
        config,
        max_epochs=epochs,
        callbacks=[*callbacks, interrupt, EpochProgress(label, epochs), *own],
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in own),
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in own),
        **_write_to(config, log),
        **{"enable_model_summary": False, "log_every_n_steps": 1, "limit_val_batches": 1.0} | arguments
        | ({} if validate else {"limit_val_batches": 0}),
    )  # fmt: skip
    with interrupt, _without_expected_warnings(), _as_setting_errors(config.training):
        trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
    return trainer, interrupt.happened


def _validates(callback: pl.Callback) -> bool:
    return str(getattr(callback, "monitor", "")).startswith("val/")


def _write_to(config: Config, log: RunLog | None) -> dict[str, Any]:  # Any: Lightning's own settings
    """Arguments of Trainer for what it writes, besides our checkpoints."""
    if log is None:
        return {"logger": False}
    return {
        "logger": make_loggers(config, log),
        "profiler": make_profiler(config.training.trainer.get("profiler"), log),
        "default_root_dir": config.training.checkpoint_dir or log.folder,
    }


@contextmanager
def _as_setting_errors(training: TrainingConfig) -> Iterator[None]:
    """Raises SettingError for what Lightning refuses, if settings have given it something of the user's own."""
    try:
        yield
    except MisconfigurationException as error:
        if not training.trainer and not training.callbacks:
            raise
        raise SettingError(
            f"Lightning refuses what training.trainer or training.callbacks say: {' '.join(str(error).split())}"
        ) from error


@contextmanager
def _without_expected_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield


def _new_trainer(config: Config, **settings: Any) -> pl.Trainer:  # Any: Lightning's own settings
    """A Trainer that writes and prints nothing itself. Raises SettingError if the accelerator is not available."""
    accelerator, process = config.training.accelerator, config.process
    try:
        return pl.Trainer(
            accelerator=str(accelerator),
            precision=str(choose_precision(config.training)),  # type: ignore[arg-type]  # one of its literals
            # The model's buffers are constants.
            strategy="auto" if process.world_size == 1 else DDPStrategy(broadcast_buffers=False),
            devices=process.local_world_size,
            num_nodes=process.num_nodes,
            num_sanity_val_steps=0,
            plugins=[SparingCheckpointIO(), *([find_slurm()] if process.is_srun else [])],
            **settings,
        )
    except MisconfigurationException as error:
        raise SettingError(
            f"training.accelerator={accelerator} is not available here: {error} Use training.accelerator=auto or cpu."
        ) from error


def choose_precision(training: TrainingConfig) -> Precision:
    """bfloat16 on processors with units for it, because it is slower on others. On a GPU float32, which uses TF32.

    On a GPU torch's autocast would run the LSTM in float16, where its small gradients vanish.
    """
    if training.precision is not Precision.auto:
        return training.precision
    if training.accelerator is not Accelerator.cpu and torch.cuda.is_available():
        return Precision.fp32
    has_units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return Precision.bf16 if has_units else Precision.fp32


def set_num_threads(config: Config, *, batch_size: int) -> None:
    """Sets torch's threads: this process's share of the cores if steps are large enough, else one."""
    cores = max(1, num_cores() // config.process.local_world_size)
    torch.set_num_threads(cores if batch_size >= MIN_WINDOWS_FOR_THREADS else 1)
