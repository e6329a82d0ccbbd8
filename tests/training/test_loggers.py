"""Lightning's loggers, the user's callbacks, and arguments of Trainer."""

import csv
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from forecasting.errors import SettingError
from forecasting.panel import Panel
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config, TrainingLogger
from forecasting.training import fit as fitting
from forecasting.training.callbacks import Checkpoint
from forecasting.training.fit import Fitted, refit, training_data
from forecasting.training.lightning_module import GradientLimit
from forecasting.training.loggers import RunLog, check_logger, load_callbacks
from tests.full_disk import full_disk

Write = Any  # writes a module of callbacks, in the working directory


def configure(*settings: str) -> Config:
    quick = ["training.epochs=3", "model.hidden_size=8", "training.accelerator=cpu"]
    return load_config([*quick, *settings], environ={})


def fit(panel: Panel, config: Config, log: RunLog | None = None, **settings: Any) -> Fitted:
    return fitting.fit(training_data(panel, config, settings.get("base")), config, log=log, **settings)


def read_csv(log: RunLog, column: str) -> list[float]:
    with (log.folder / "metrics.csv").open(newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row[column]]


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    return RunLog(tmp_path, "v1.0.0", "fit")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module into the working directory, where training finds it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


def test_csv_logger_has_the_losses_of_each_epoch(panel: Panel, quick: Config, log: RunLog) -> None:
    log.folder.mkdir(parents=True)
    (log.folder / "metrics.csv").write_text("of an earlier training")
    fitted = fit(panel, quick, log)
    assert read_csv(log, "train/loss") == [losses.train for losses in fitted.losses]
    validation = [losses.validation for losses in fitted.losses]
    assert read_csv(log, "val/loss") == validation
    assert fitted.best_loss == min(validation)
    assert "model.hidden_size: 8\n" in (log.folder / "hparams.yaml").read_text()


def test_full_disk_costs_the_log_not_the_training(
    panel: Panel, quick: Config, log: RunLog, caplog: pytest.LogCaptureFixture
) -> None:
    with full_disk():
        fitted = fit(panel, quick, log)
    assert fitted.epochs == quick.training.epochs
    assert caplog.messages == [
        f"training continues without its log: There is no room for {log.folder} (File too large). Make room, or set "
        "MODEL_DIR to another place."
    ]


def test_fine_tuning_validates_each_epoch_and_its_weights_stay_the_same(
    panel: Panel, quick: Config, log: RunLog
) -> None:
    base = fit(panel, quick).forecaster
    tuned = fit(panel, quick, log, base=base)
    assert len(read_csv(log, "val/loss")) == tuned.epochs == 3
    again = RunLog(log.store, log.version, "refit")
    refitted = refit(panel, quick, epochs=2, base=base, log=again)
    assert [losses.validation for losses in refitted.losses] == [None, None]
    assert read_csv(again, "train/loss") == [losses.train for losses in refitted.losses]


def test_resumed_training_knows_the_losses_before(
    panel: Panel, quick: Config, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("forecasting.training.callbacks.CHECKPOINT_EVERY_SECONDS", 0.0)
    whole = fit(panel, quick)

    def stop(trainer: pl.Trainer, *_: object) -> None:
        if trainer.current_epoch == 2:
            raise RuntimeError("killed")

    with monkeypatch.context() as killed:
        killed.setattr(Checkpoint, "on_train_epoch_start", staticmethod(stop), raising=False)
        with pytest.raises(RuntimeError, match="killed"):
            fit(panel, quick, checkpoint=tmp_path / "run.ckpt")
    resumed = fit(panel, quick, checkpoint=tmp_path / "run.ckpt", resume=True)
    assert resumed.losses == whole.losses


def test_tensorboard_reads_the_losses(panel: Panel, log: RunLog) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fitted = fit(panel, configure("training.logger=tensorboard"), log)
    events = accumulator.EventAccumulator(str(log.folder)).Reload()
    for name in ("train", "validation"):
        losses = [getattr(losses, name) for losses in fitted.losses]
        scalars = [event.value for event in events.Scalars({"train": "train/loss", "validation": "val/loss"}[name])]
        assert scalars == pytest.approx(losses, rel=1e-6)
    assert (log.folder / "metrics.csv").is_file()


@pytest.mark.filterwarnings("default")  # mlflow's own
def test_mlflow_has_the_losses(panel: Panel, log: RunLog, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    fitted = fit(panel, configure("training.logger=mlflow"), log)
    client = mlflow.MlflowClient(f"sqlite:///{log.store}/training_logs/mlflow.db")
    [run] = client.search_runs([client.get_experiment_by_name("website-traffic-forecasting").experiment_id])
    history = client.get_metric_history(run.info.run_id, "val/loss")
    assert [entry.value for entry in history] == [losses.validation for losses in fitted.losses]
    assert run.info.run_name == "v1.0.0 fit"


@pytest.mark.filterwarnings("default")  # wandb's own
def test_wandb_writes_a_run_offline(panel: Panel, log: RunLog, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    fit(panel, configure("training.logger=wandb"), log)
    assert len(list(log.folder.glob("wandb/offline-run-*/run-*.wandb"))) == 1


def test_logger_without_its_package_is_refused() -> None:
    missing = next((logger for logger in ("wandb", "mlflow") if not _is_installed(logger)), None)
    if missing is None:
        pytest.skip("all are installed")
    with pytest.raises(SettingError) as refusal:
        check_logger(TrainingLogger(missing))
    assert str(refusal.value) == (
        f"training.logger={missing} needs the package {missing}, which is not installed. "
        f"Install it: pip install {missing}"
    )


def _is_installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def test_callbacks_see_each_step_and_change_nothing(panel: Panel, quick: Config, module: Write) -> None:
    module(
        "counting",
        """
import lightning.pytorch as pl
steps = []
class Count(pl.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        steps.append((trainer.current_epoch, len(batch.windows.target), trainer.global_step))
""",
    )
    config = configure("training.callbacks=[counting:Count]")
    fitted = fit(panel, config)
    steps = sys.modules["counting"].steps
    per_epoch = math.ceil(len(training_data(panel, config, None).train_index) / 32)
    assert [step for _, _, step in steps] == list(range(1, 3 * per_epoch + 1))
    assert max(size for _, size, _ in steps) == 32
    for name, value in fit(panel, quick).forecaster.state_dict().items():
        torch.testing.assert_close(fitted.forecaster.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_callbacks_of_lightning_stop_and_keep_checkpoints(
    panel: Panel, module: Write, log: RunLog, tmp_path: Path
) -> None:
    module(
        "stopping",
        """
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, LearningRateMonitor
def make():
    stop = EarlyStopping("val/loss", stopping_threshold=100.0)  # at once
    return [stop, ModelCheckpoint(monitor="val/loss"), LearningRateMonitor("epoch")]
""",
    )
    config = configure(
        "training.callbacks=[stopping:make]", f"training.checkpoint_dir={tmp_path}/kept", "training.patience=0"
    )
    fitted = fit(panel, config, log)
    assert fitted.epochs == 1
    assert [file.suffix for file in log.folder.rglob("*.ckpt")] == [".ckpt"]
    assert read_csv(log, "lr-Adam") == [1e-3]
    again = refit(panel, config, epochs=2, log=RunLog(log.store, log.version, "refit"))
    assert again.epochs == 2  # nothing validates there, so nothing of theirs stops it
    assert isinstance(load_callbacks(["stopping:make"])[0], EarlyStopping)
    assert isinstance(load_callbacks(["stopping:make"])[1], ModelCheckpoint)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (
            "nowhere:make",
            "training.callbacks is nowhere:make, but there is no module nowhere, installed or in {folder}. "
            "Start where the file is, or install it.",
        ),
        ("mine:mak", "training.callbacks is mine:mak, but mine has no 'mak'. Did you mean mine:make?"),
        ("mine:number", "training.callbacks has mine:number, which is no function but 3."),
        ("mine:make", "mine:make() in training.callbacks returned 'x', which is no lightning.pytorch.Callback."),
        ("broken:make", "training.callbacks=broken:make imports surely_not_there, which is not installed."),
    ],
)
def test_wrong_callbacks_are_refused(entry: str, text: str, module: Write, tmp_path: Path) -> None:
    module("mine", "number = 3\ndef make(): return 'x'\n")
    module("broken", "import surely_not_there\n")
    with pytest.raises(SettingError) as refusal:
        load_callbacks([entry])
    assert str(refusal.value) == text.format(folder=tmp_path)


def test_arguments_of_trainer_are_passed_on(panel: Panel, log: RunLog) -> None:
    config = configure("training.trainer.limit_train_batches=1", "training.trainer.profiler=simple")
    fit(panel, config, log)
    profile = (log.folder / "fit-profile.txt").read_text()
    assert "run_training_batch" in profile
    assert profile.count("|") > 10
    with (log.folder / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file) if row["train/loss"]] == ["0", "1", "2"]


def test_what_lightning_refuses_is_a_setting_error(panel: Panel) -> None:
    with pytest.raises(SettingError) as refusal:
        fit(panel, configure("training.trainer.limit_val_batches=0.01"))
    assert str(refusal.value).startswith(
        "Lightning refuses what training.trainer or training.callbacks say: You requested to check 0.01 of the "
        "`val_dataloader` but 0.01 * 1 < 1."
    )


def test_gradients_are_limited_by_norm_or_by_value(panel: Panel, quick: Config) -> None:
    weights = torch.nn.Parameter(torch.zeros(2))
    for limit, expected in ((GradientLimit(), [0.6, 0.8]), (GradientLimit(0.5, "value"), [0.5, 0.5])):
        weights.grad = torch.tensor([3.0, 4.0])
        limit.apply([weights])
        torch.testing.assert_close(weights.grad, torch.tensor(expected), rtol=1e-4, atol=1e-6)
    given = configure("training.trainer.gradient_clip_val=0.5", "training.trainer.gradient_clip_algorithm=value")
    assert fitting._gradient_limit(given.training) == GradientLimit(0.5, "value")
    limited = fit(panel, replace(given, training=replace(given.training, trainer={"gradient_clip_val": 1e-12})))
    assert limited.losses != fit(panel, quick).losses
