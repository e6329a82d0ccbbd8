"""A training from a panel to a version on disk, said line by line in the log."""

import glob
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from forecasting.artifact import PROGRAM, SEASONAL_NAIVE, WEIGHTS, Artifact, load_artifact, staged_version, write_card
from forecasting.command import LOGGER, Stopwatch
from forecasting.config import Config
from forecasting.model.forecaster import Forecaster
from forecasting.panel import Panel, Verdict, to_date
from forecasting.training.backtest import MIN_WEEKS, backtest, choose_answerers, judge, relative_error
from forecasting.training.base import find_base
from forecasting.training.calibration import Bands, calibrate
from forecasting.training.datamodule import TrafficDataModule
from forecasting.training.fit import Fitted, first_unseen, fit, refit, training_data
from forecasting.training.report import format_table, plot
from forecasting.training.tracing import Tracer
from forecasting.training.version import describe_version, forecast_next

PLOT = "report.png"


def train(panel: Panel, config: Config, *, tracer: Tracer, clock: Stopwatch, resume: bool = False) -> Artifact:
    """Fits, judges on the test part, refits on all days, and writes the version. Nothing is written if it fails."""
    version, store = config.training.model_version, config.model_dir
    with staged_version(store, version) as folder:
        base = find_base(config.model)
        data = training_data(panel, config, base)
        _say_data(panel, data)
        LOGGER.info("training from %s", "the base model" if base else "scratch")
        checkpoint = _checkpoint(store, panel, config, base)
        with clock.part("fitting"):
            fitted = fit(data, config, base=base, checkpoint=checkpoint, resume=resume)
        LOGGER.info("%s", fitted.describe(most=config.training.epochs))
        tested = backtest(fitted.forecaster, data)
        measures = judge(tested, panel, data)
        _say_measures(panel, measures)
        with clock.part("calibration"):
            unseen = first_unseen(fitted, data)
            bands = calibrate(fitted.forecaster, panel, unseen=unseen)
        answers = choose_answerers(tested, panel)
        _say_answers(panel, answers, bands, fitted)
        with clock.part("refitting"):
            served = _refit(panel, config, fitted, base)
        with clock.part("export"):
            tracer.write(served.forecaster, folder / PROGRAM)
            torch.save(served.forecaster.state_dict(), folder / WEIGHTS)
        with clock.part("plot"):
            title = f"{version}: the test part was forecast before the refit on all days"
            upcoming = forecast_next(served.forecaster, panel, bands=bands, answers=answers)
            plot(folder / PLOT, panel, tested, upcoming, title=title)
        details = {
            "init": "base" if base else "scratch",
            "epochs_run": fitted.epochs,
            "best_epoch": fitted.best_epoch,
            "validation_loss": fitted.best_loss,
            "validation_loss_of_base": fitted.base_loss,
            "share_of_the_way_from_base": fitted.share,
            "refitted_on_all_days": served is not fitted,
            "split": data.split.describe(panel),
            "relative_error": relative_error(measures),
            "seconds": dict(clock.parts),
        }
        card = describe_version(config, served.forecaster, panel, measures, details, bands=bands, answers=answers)
        write_card(folder, card)
    for left in store.glob(f".{glob.escape(version)}.*.ckpt*"):  # of other settings and data too: they are done with
        left.unlink(missing_ok=True)
    return load_artifact(store, version)


def _refit(panel: Panel, config: Config, fitted: Fitted, base: Forecaster | None) -> Fitted:
    """What is served: trained on all days; after Ctrl-C the weights that were judged."""
    if fitted.interrupted:
        LOGGER.info("interrupted: the best epoch so far is kept, without a refit on the last days")
        return fitted
    if fitted.best_epoch == 0:
        return fitted
    served = refit(panel, config, epochs=fitted.best_epoch, base=base, share=fitted.share)
    if served.interrupted:
        LOGGER.info("the refit was interrupted: the judged weights are kept, which have not seen the last days")
        return fitted
    LOGGER.info("%s", served.describe(most=config.training.epochs))
    return served


def _say_answers(panel: Panel, answers: Sequence[str], bands: Sequence[Bands], fitted: Fitted) -> None:
    naive = [series.name for series, who in zip(panel.series, answers, strict=True) if who == SEASONAL_NAIVE]
    model = "the fine-tuned model" if fitted.best_epoch else "the base model as it is"
    LOGGER.info(
        "%s answers for %d of %d series",
        model if fitted.from_base else "the trained model", len(answers) - len(naive), len(answers),
    )  # fmt: skip
    if naive:
        LOGGER.info(
            "the seasonal naive forecast measured better over %d weeks or more, and answers for: %s",
            MIN_WEEKS,
            ", ".join(naive),
        )
    weeks, scales = {one.num_weeks for one in bands}, [scale for one in bands for scale in one.scale]
    if not max(weeks):
        LOGGER.info("bands as trained: there is no week of the series' own past to set them by")
        return
    LOGGER.info(
        "bands set by %s weeks of each series' own past: %.2f to %.2f times as wide as trained",
        f"{min(weeks)} to {max(weeks)}" if len(weeks) > 1 else min(weeks), min(scales), max(scales),
    )  # fmt: skip


def _checkpoint(store: Path, panel: Panel, config: Config, base: Forecaster | None) -> Path:
    """Named after settings and data, so that nothing is resumed that would not have become the same version."""
    settings = json.dumps([repr(config.model), repr(config.data), repr(config.training)])
    known = hashlib.sha256(settings.encode() + panel.values.tobytes())
    known.update(repr((panel.first_day, panel.series, config.pretraining)).encode())
    for weights in base.state_dict().values() if base is not None else ():
        known.update(weights.numpy().tobytes())
    name = known.hexdigest()[:16]
    return store / f".{config.training.model_version}.{name}.ckpt"


def _say_data(panel: Panel, data: TrafficDataModule) -> None:
    gaps = int((panel.verdicts == Verdict.gap).sum())
    LOGGER.info(
        "read %d series of %d days, %s..%s (days of %s), %s",
        len(panel.series), panel.num_days, to_date(panel.first_day), to_date(panel.cutoff),
        data.config.data.timezone, f"{gaps} days without data" if gaps else "no gaps",
    )  # fmt: skip
    for note in panel.notes:
        LOGGER.info("note: %s", note)
    LOGGER.info("%s", data.split.describe(panel))
    LOGGER.info("%d windows to train on, %d to validate, %d to test", *data.num_windows())


def _say_measures(panel: Panel, measures: list[dict[str, object]]) -> None:
    num_cutoffs = max(int(str(one["num_cutoffs"])) for one in measures)
    LOGGER.info("test part, %d cutoffs, in visits a day (or the series' own unit):", num_cutoffs)
    for line in format_table(panel, measures).splitlines():
        LOGGER.info("%s", line)
    relative = relative_error(measures)
    if relative is not None:
        LOGGER.info("error relative to the seasonal naive forecast: %.2f", relative)
