"""Fits a Forecaster to a panel: from scratch, from the base model, or again on all days."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch.callbacks import EarlyStopping

from forecasting.domain import Scaling
from forecasting.errors import DataError
from forecasting.model.forecaster import Forecaster
from forecasting.model.own_forecaster import make_forecaster
from forecasting.model.scaling import MinMaxScaling
from forecasting.panel import Panel
from forecasting.settings.schema import Config, TrainingConfig
from forecasting.training.augmentation import FineTuningData
from forecasting.training.callbacks import Checkpoint, KeepBest
from forecasting.training.checkpoints import find_resumable
from forecasting.training.data_module import TrafficDataModule
from forecasting.training.distributed import gather_from_ranks
from forecasting.training.fine_tuning import choose_share, fine_tuning_epochs, fine_tuning_rate, interpolate_weights
from forecasting.training.lightning_module import MAX_GRADIENT_NORM, EpochLoss, ForecastModule, GradientLimit
from forecasting.training.loggers import RunLog
from forecasting.training.trainer import run_trainer, set_num_threads

MAX_NAMES = 12  # series that an error lists


@dataclass(frozen=True)
class Fitted:
    """A trained Forecaster and how it was trained."""

    forecaster: Forecaster
    epochs: int  # epochs run
    best_epoch: int  # 1-based, the epoch whose weights these are; 0: the base as it is
    best_loss: float | None  # on the validation days; None after a refit, which does not validate
    interrupted: bool
    seconds: float
    base_loss: float | None = None  # validation loss of the base model
    share: float = 1.0  # of the way from the base weights to the trained ones
    losses: tuple[EpochLoss, ...] = ()  # of each epoch

    @property
    def from_base(self) -> bool:
        return self.base_loss is not None

    def describe(self, *, max_epochs: int) -> str:
        """One line for the log."""
        if self.best_loss is None:
            return f"refitted on all days for {self.epochs} epochs in {self.seconds:.1f} s"
        if self.best_epoch == 0:
            return (
                f"trained {self.epochs} epochs in {self.seconds:.1f} s without improving on the base model (validation "
                f"loss {self.best_loss:.4f}): keeping the base weights"
            )
        early = " (interrupted: keeping the best so far)" if self.interrupted else ""
        if self.from_base:
            return (
                f"trained {self.epochs} epochs in {self.seconds:.1f} s{early} and moved {self.share:.0%} of the way "
                f"from the base weights (validation loss {self.best_loss:.4f}, base model {self.base_loss:.4f})"
            )
        return (
            f"trained {self.epochs} of {max_epochs} epochs in {self.seconds:.1f} s{early}, best epoch "
            f"{self.best_epoch} (validation loss {self.best_loss:.4f})"
        )


@dataclass(frozen=True)
class Run:
    """What surrounds a fit: it writes checkpoints and logs, and may continue from a checkpoint."""

    callbacks: Sequence[Checkpoint]
    resume_from: Path | None
    log: RunLog | None


def training_data(panel: Panel, config: Config, base: Forecaster | None, *, refit: bool = False) -> TrafficDataModule:
    """The panel's windows: unchanged to train from scratch, augmented to fine-tune a base."""
    return TrafficDataModule(panel, config, refit=refit) if base is None else FineTuningData(panel, config, refit=refit)


def fit(
    data: TrafficDataModule,
    config: Config,
    *,
    base: Forecaster | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    log: RunLog | None = None,
) -> Fitted:
    """Trains on the training days; the validation days choose which weights to keep.

    The same data, settings and machine give the same weights, bit for bit. Training writes `checkpoint` every few
    seconds; with `resume` it continues from that file, if there is one. Lightning's loggers write to `log`.
    """
    callbacks = [] if checkpoint is None else [Checkpoint(checkpoint)]
    resume_from = find_resumable(checkpoint) if resume else None
    if log is not None and resume_from is None:
        log.clear()
    run = Run(callbacks, resume_from, log)
    return _fit_from_scratch(data, config, run) if base is None else _fit_from_base(data, config, base, run)


def _fit_from_scratch(
    data: TrafficDataModule,
    config: Config,
    run: Run,
) -> Fitted:
    """Trains until validation stops improving, and keeps the best epoch's weights."""
    best = KeepBest()
    early_stopping = [EarlyStopping("val/loss", patience=config.training.patience)] if config.training.patience else []
    module = _new_module(config, data, None, epochs=config.training.epochs)
    started = time.monotonic()
    trainer, interrupted = run_trainer(
        module,
        data,
        label="training",
        epochs=config.training.epochs,
        config=config,
        callbacks=[best, *early_stopping, *run.callbacks],
        resume_from=run.resume_from,
        log=run.log,
    )
    module.load_state_dict(best.weights or module.state_dict())
    seconds = time.monotonic() - started
    return Fitted(
        module.forecaster.eval(),
        trainer.current_epoch,
        best.epoch,
        best.loss,
        interrupted,
        seconds,
        losses=tuple(module.losses),
    )


def _fit_from_base(
    data: TrafficDataModule,
    config: Config,
    base: Forecaster,
    run: Run,
) -> Fitted:
    """Trains from the base weights, and keeps weights between the two; the base's own if validation gains nothing."""
    epochs = fine_tuning_epochs(data, config)
    module = _new_module(config, data, base, epochs=epochs)
    started = time.monotonic()
    trainer, interrupted = run_trainer(
        module,
        data,
        label="training",
        epochs=epochs,
        config=config,
        callbacks=run.callbacks,
        resume_from=run.resume_from,
        log=run.log,
    )
    share, losses = choose_share(module, data, base)
    return Fitted(
        module.forecaster.eval(),
        epochs=trainer.current_epoch,
        best_epoch=trainer.current_epoch if share else 0,
        best_loss=losses[share],
        interrupted=interrupted,
        seconds=time.monotonic() - started,
        base_loss=losses[0.0],
        share=share,
        losses=tuple(module.losses),
    )


def refit(
    panel: Panel,
    config: Config,
    *,
    epochs: int,
    base: Forecaster | None = None,
    share: float = 1.0,
    log: RunLog | None = None,
) -> Fitted:
    """Trains again on all days, test days included, for the epochs that validation chose. These weights are served.

    With a `base`, moves the same `share` of the way from its weights as `fit` did.
    """
    data = training_data(panel, config, base, refit=True)
    module = _new_module(config, data, base, epochs=config.training.epochs if base is None else epochs)
    if log is not None:
        log.clear()
    started = time.monotonic()
    trainer, interrupted = run_trainer(
        module,
        data,
        label="refitting",
        epochs=epochs,
        config=config,
        validate=False,
        log=log,
    )
    if base is not None:
        interpolate_weights(module, base, module.forecaster.state_dict(), share)
    seconds = time.monotonic() - started
    losses = tuple(module.losses)
    return Fitted(module.forecaster.eval(), trainer.current_epoch, epochs, None, interrupted, seconds, losses=losses)


def first_unseen(fitted: Fitted, data: TrafficDataModule) -> int:
    """Index in the panel of the first day that the Forecaster was not trained on."""
    if fitted.from_base:
        return 0 if fitted.best_epoch == 0 else data.split.validation
    return data.split.test  # the validation days chose the epoch, so they count as seen


def _new_module(config: Config, data: TrafficDataModule, base: Forecaster | None, *, epochs: int) -> ForecastModule:
    """A module with the weights to start from: the base's, or random ones that follow from training.seed."""
    set_num_threads(config, batch_size=data.batch_size)
    torch.manual_seed(config.training.seed)
    forecaster = make_forecaster(config.model, _fit_scaling(config, data))
    if base is not None:
        forecaster.load_state_dict(base.state_dict())
    return ForecastModule(
        forecaster,
        learning_rate=config.training.learning_rate if base is None else fine_tuning_rate(data, config),
        epochs=epochs,
        seed=config.training.seed,
        use_graph=config.training.cuda_graph,
        gradient_limit=_gradient_limit(config.training),
    )


def _gradient_limit(training: TrainingConfig) -> GradientLimit:
    given = training.trainer
    value = given.get("gradient_clip_val", MAX_GRADIENT_NORM)
    return GradientLimit(float(value), given.get("gradient_clip_algorithm", "norm"))


def _fit_scaling(config: Config, data: TrafficDataModule) -> MinMaxScaling | None:
    """MinMaxScaler fitted on the training days alone; None for robust scaling, which has nothing to fit."""
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
