"""A training run, from a panel to a version on disk. Logs each step."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forecasting.artifact import (
    PROGRAM,
    WEIGHTS,
    Artifact,
    export_program,
    load_artifact,
    save_weights,
    staged_version,
    write_card,
)
from forecasting.card import Card
from forecasting.domain import Series
from forecasting.known_days.effects import Effects
from forecasting.known_days.learning import NO_DAYS, KnownDays
from forecasting.known_days.regressors import NO_REGRESSORS, RegressorEffect
from forecasting.model.forecaster import Forecaster
from forecasting.panel import Panel
from forecasting.predictor import FORECASTER, Bands
from forecasting.runtime.log import LOGGER
from forecasting.runtime.stopwatch import Stopwatch
from forecasting.settings.schema import Config
from forecasting.training.base_model import find_base
from forecasting.training.calibration import calibrate
from forecasting.training.checkpoints import checkpoint_folder, checkpoint_path, remove_checkpoints
from forecasting.training.data_module import TrafficDataModule, split_days
from forecasting.training.disk_room import check_room
from forecasting.training.distributed import align_calendars, gather_from_ranks, num_ranks
from forecasting.training.export_worker import ExportWorker
from forecasting.training.fit import Fitted, first_unseen, fit, refit, training_data
from forecasting.training.held_out import (
    HeldOutForecasts,
    choose_answerers,
    forecast_test_part,
    measure_test_part,
    relative_error,
)
from forecasting.training.loggers import RunLog, check_logger, load_callbacks
from forecasting.training.model_card import NextForecasts, describe_version, forecast_next
from forecasting.training.regressor_choice import RegressorHistory, choose_regressors
from forecasting.training.report import (
    describe_answerers,
    describe_bands,
    describe_data,
    describe_known_days,
    describe_measures,
    describe_regressors,
    plot_training,
)

PLOT = "report.png"


@dataclass(frozen=True)
class SeriesResults:
    """What training found out about each series, as lists in the same order."""

    series: list[Series]
    measures: list[dict[str, Any]]  # Any: as measure_test_part returns them
    bands: list[Bands]
    answers: list[str]
    known: list[tuple[str, Effects]]  # the country of each site, and the effects of holidays and events
    regressors: list[tuple[RegressorEffect, ...]]

    def of_all_ranks(self) -> "SeriesResults":
        """The results of all ranks, sorted by site and metric if there are several ranks."""
        own_rows = list(
            zip(self.series, self.measures, self.bands, self.answers, self.known, self.regressors, strict=True)
        )
        rows = [row for rank_rows in gather_from_ranks(own_rows) for row in rank_rows]
        if num_ranks() > 1:
            rows.sort(key=lambda row: (row[0].site, row[0].metric))
        return SeriesResults(*(list(column) for column in zip(*rows, strict=True)))


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a training. Weights and results are equal on all ranks."""

    panel: Panel  # of this rank's series, like `tested` and `upcoming`
    fitted: Fitted  # the weights measured on the test days
    served: Fitted  # the weights after the refit on all days
    results: SeriesResults  # of all ranks' series
    tested: HeldOutForecasts
    upcoming: NextForecasts  # forecasts of the days after the last one


def train(
    panel: Panel,
    config: Config,
    *,
    worker: ExportWorker,
    clock: Stopwatch,
    resume: bool = False,
    known: KnownDays = NO_DAYS,
    regressors: RegressorHistory | None = None,
) -> Artifact:
    """Fits, measures on the test days, refits on all days, and writes the version. A failure writes nothing.

    With several ranks only the first calls this, with the panel of its own series; the others call `learn`.
    """
    version, store = config.version_to_train, config.model_dir
    check_room(config, num_series=len(panel.series) * config.process.world_size)
    with staged_version(store, version) as folder:
        result = learn(panel, config, clock=clock, resume=resume, known=known, regressors=regressors)
        save_weights(result.served.forecaster, folder / WEIGHTS)
        worker.start_writing(folder / WEIGHTS, folder / PROGRAM)
        with clock.part("plot"):
            _plot(folder, version, result)
        with clock.part("export"):
            worker.finish(result.served.forecaster, folder / PROGRAM)
        write_card(folder, _describe(config, result, clock))
    remove_checkpoints(checkpoint_folder(config), version)
    return load_artifact(store, version)


def write_version(result: TrainingResult, config: Config, *, clock: Stopwatch) -> Artifact:
    """Writes a version of what was learned earlier, on days of no source that its card could name."""
    version, store = config.version_to_train, config.model_dir
    with staged_version(store, version) as folder:
        save_weights(result.served.forecaster, folder / WEIGHTS)
        export_program(result.served.forecaster, folder / PROGRAM)
        _plot(folder, version, result)
        card = _describe(config, result, clock)
        write_card(folder, replace(card, data={**card.data, "source": None}))
    return load_artifact(store, version)


def _plot(folder: Path, version: str, result: TrainingResult) -> None:
    title = f"{version}: test days were forecast before the refit on all days"
    plot_training(folder / PLOT, result.panel, result.tested, result.upcoming, result.fitted, title=title)


def learn(
    panel: Panel,
    config: Config,
    *,
    clock: Stopwatch,
    resume: bool = False,
    known: KnownDays = NO_DAYS,
    regressors: RegressorHistory | None = None,
) -> TrainingResult:
    """Everything but writing the version. All ranks call it together, each with its own series."""
    check_logger(config.training.logger)
    load_callbacks(config.training.callbacks)  # for their errors, before anything takes long
    panel = align_calendars(panel)
    base = find_base(config.model)
    data = training_data(panel, config, base)
    _log(describe_data(panel, data))
    _log(["training from the base model" if base else "training from scratch"])
    checkpoint = checkpoint_path(checkpoint_folder(config), panel, config, base)
    log = RunLog(config.model_dir, config.version_to_train, "fit")
    with clock.part("fitting"):
        fitted = fit(data, config, base=base, checkpoint=checkpoint, resume=resume, log=log)
    _log([fitted.describe(max_epochs=config.training.epochs)])
    with clock.part("calibration"):
        tested = forecast_test_part(fitted.forecaster, data)
        own_results = _evaluate(fitted, tested, panel, data, known=known, regressors=regressors)
    results = own_results.of_all_ranks()
    _log(describe_measures(results.series, results.measures))
    _log(describe_answerers(results.series, results.answers, fitted, relative=relative_error(results.measures)))
    _log([describe_bands(results.bands, horizon=config.model.prediction_horizon)])
    _log(describe_known_days(results.known))
    if regressors is not None:
        _log(describe_regressors(results.series, results.regressors, regressors.regressors.names))
    with clock.part("refitting"):
        served = _refit(panel, config, fitted, base)
    own = own_results
    upcoming = forecast_next(
        served.forecaster, panel, bands=own.bands, answers=own.answers, known=own.known, events=known.events,
        used=own.regressors, regressors=regressors.regressors if regressors else NO_REGRESSORS,
    )  # fmt: skip
    return TrainingResult(panel, fitted, served, results, tested, upcoming)


def _log(lines: Iterable[str]) -> None:
    for line in lines:
        LOGGER.info("%s", line)


def _evaluate(
    fitted: Fitted,
    tested: HeldOutForecasts,
    panel: Panel,
    data: TrafficDataModule,
    *,
    known: KnownDays,
    regressors: RegressorHistory | None,
) -> SeriesResults:
    """Measures, calibrated bands, the answering model and the regressors of each of this rank's series."""
    answers = choose_answerers(tested, panel)
    used = choose_regressors(fitted.forecaster, regressors, known=known) if regressors else {}
    return SeriesResults(
        series=list(panel.series),
        measures=measure_test_part(tested, panel, data),
        bands=calibrate(fitted.forecaster, panel, unseen=first_unseen(fitted, data)),
        answers=answers,
        known=[known.of(series.key) for series in panel.series],
        regressors=[
            used.get(series.key, ()) if answerer == FORECASTER else ()
            for series, answerer in zip(panel.series, answers, strict=True)
        ],
    )


def _refit(panel: Panel, config: Config, fitted: Fitted, base: Forecaster | None) -> Fitted:
    """The weights to serve: refitted on all days, or the fitted ones after Ctrl-C or if the base is kept as it is."""
    if fitted.interrupted:
        _log(["interrupted: keeping the best weights so far, without a refit on the last days"])
        return fitted
    if fitted.best_epoch == 0:
        return fitted
    log = RunLog(config.model_dir, config.version_to_train, "refit")
    served = refit(panel, config, epochs=fitted.best_epoch, base=base, share=fitted.share, log=log)
    if served.interrupted:
        _log(["refit interrupted: keeping the weights from before it, which have not seen the last days"])
        return fitted
    _log([served.describe(max_epochs=config.training.epochs)])
    return served


def _describe(config: Config, result: TrainingResult, clock: Stopwatch) -> Card:
    fitted, panel, results = result.fitted, result.panel, result.results
    training = {
        "init": "base" if fitted.from_base else "scratch",
        "epochs_run": fitted.epochs,
        "best_epoch": fitted.best_epoch,
        "validation_loss": fitted.best_loss,
        "validation_loss_of_base": fitted.base_loss,
        "share_of_the_way_from_base": fitted.share,
        "refitted_on_all_days": result.served is not fitted,
        "split": split_days(panel, days_back=config.data.days_back, model=config.model).describe(panel),
        "relative_error": relative_error(results.measures),
        "ranks": num_ranks(),
        "seconds": dict(clock.parts),
    }
    return describe_version(
        config, result.served.forecaster, panel, results.series, results.measures,
        bands=results.bands, answers=results.answers, known=results.known,
        regressors=results.regressors, training=training,
    )  # fmt: skip
