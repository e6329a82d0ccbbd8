"""A training from a panel to a version on disk, said line by line in the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from forecasting.artifact import (
    PROGRAM,
    SEASONAL_NAIVE,
    WEIGHTS,
    Artifact,
    Bands,
    Card,
    load_artifact,
    staged_version,
    write_card,
)  # fmt: skip
from forecasting.model.forecaster import Forecaster
from forecasting.panel import MASKED, Panel, Series, Verdict, to_date
from forecasting.runtime import LOGGER, Stopwatch
from forecasting.settings.schema import Config
from forecasting.training.base_model import find_base
from forecasting.training.calibration import calibrate
from forecasting.training.checkpoints import checkpoint_path, remove_checkpoints
from forecasting.training.data_module import TrafficDataModule, split_days
from forecasting.training.distributed import align_calendars, gather_from_ranks, num_ranks
from forecasting.training.export_worker import ExportWorker
from forecasting.training.fit import Fitted, first_unseen, fit, refit, training_data
from forecasting.training.model_card import describe_version, forecast_next
from forecasting.training.report import MAX_NOTES, format_notes, format_table, plot
from forecasting.training.scoring import MIN_WEEKS, Backtest, backtest, choose_answerers, judge, relative_error

PLOT = "report.png"


@dataclass(frozen=True)
class Learned:
    """What training has found out: weights and epochs, the same on all ranks, and of each series, of all of them."""

    panel: Panel  # of this rank's series, as are tested and upcoming
    fitted: Fitted  # judged on the test part
    served: Fitted  # trained on all days
    series: tuple[Series, ...]
    measures: list[dict[str, Any]]  # Any: as backtest.judge gives them
    bands: list[Bands]
    answers: list[str]
    tested: Backtest
    upcoming: Float[np.ndarray, "own horizon levels"]


def train(panel: Panel, config: Config, *, worker: ExportWorker, clock: Stopwatch, resume: bool = False) -> Artifact:
    """Fits, judges on the test part, refits on all days, and writes the version. Nothing is written if it fails.

    Among several ranks this is for the first one, with a panel of its own series; the others learn.
    """
    version, store = config.training.model_version, config.model_dir
    with staged_version(store, version) as folder:
        learned = learn(panel, config, clock=clock, resume=resume)
        torch.save(learned.served.forecaster.state_dict(), folder / WEIGHTS)
        worker.start_writing(folder / WEIGHTS, folder / PROGRAM)
        with clock.part("plot"):
            title = f"{version}: the test part was forecast before the refit on all days"
            plot(folder / PLOT, learned.panel, learned.tested, learned.upcoming, title=title)
        with clock.part("export"):
            worker.finish(learned.served.forecaster, folder / PROGRAM)
        write_card(folder, _describe(config, learned, clock))
    remove_checkpoints(store, version)
    return load_artifact(store, version)


def learn(panel: Panel, config: Config, *, clock: Stopwatch, resume: bool = False) -> Learned:
    """Everything but writing; each step is said. On all ranks at once, each with its own series."""
    panel = align_calendars(panel)
    base = find_base(config.model)
    data = training_data(panel, config, base)
    _say_data(panel, data)
    LOGGER.info("training from %s", "the base model" if base else "scratch")
    checkpoint = checkpoint_path(config.model_dir, panel, config, base)
    with clock.part("fitting"):
        fitted = fit(data, config, base=base, checkpoint=checkpoint, resume=resume)
    LOGGER.info("%s", fitted.describe(max_epochs=config.training.epochs))
    with clock.part("calibration"):
        tested = backtest(fitted.forecaster, data)
        own_measures = judge(tested, panel, data)
        own_bands = calibrate(fitted.forecaster, panel, unseen=first_unseen(fitted, data))
    own_answers = choose_answerers(tested, panel)
    series, measures, bands, answers = _of_all_ranks(panel.series, own_measures, own_bands, own_answers)
    _say_measures(series, measures)
    _say_answers(series, answers, bands, fitted)
    with clock.part("refitting"):
        served = _refit(panel, config, fitted, base)
    upcoming = forecast_next(served.forecaster, panel, bands=own_bands, answers=own_answers)
    return Learned(panel, fitted, served, tuple(series), measures, bands, answers, tested, upcoming)


def _of_all_ranks(*columns: Sequence[Any]) -> list[list[Any]]:  # Any: what training says of each series
    """The columns, whose first are the series, of all ranks together; by name, where there are several."""
    rows = [row for part in gather_from_ranks(list(zip(*columns, strict=True))) for row in part]
    if num_ranks() > 1:
        rows.sort(key=lambda row: (row[0].site, row[0].metric))
    return [list(column) for column in zip(*rows, strict=True)]


def _describe(config: Config, learned: Learned, clock: Stopwatch) -> Card:
    fitted, panel = learned.fitted, learned.panel
    details = {
        "init": "base" if fitted.from_base else "scratch",
        "epochs_run": fitted.epochs,
        "best_epoch": fitted.best_epoch,
        "validation_loss": fitted.best_loss,
        "validation_loss_of_base": fitted.base_loss,
        "share_of_the_way_from_base": fitted.share,
        "refitted_on_all_days": learned.served is not fitted,
        "split": split_days(panel, days_back=config.data.days_back, model=config.model).describe(panel),
        "relative_error": relative_error(learned.measures),
        "ranks": num_ranks(),
        "seconds": dict(clock.parts),
    }
    return describe_version(
        config, learned.served.forecaster, panel, learned.series, learned.measures,
        bands=learned.bands, answers=learned.answers, training=details,
    )  # fmt: skip


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
    LOGGER.info("%s", served.describe(max_epochs=config.training.epochs))
    return served


def _say_answers(series: Sequence[Series], answers: Sequence[str], bands: Sequence[Bands], fitted: Fitted) -> None:
    naive = [one.name for one, who in zip(series, answers, strict=True) if who == SEASONAL_NAIVE]
    model = "the fine-tuned model" if fitted.best_epoch else "the base model as it is"
    LOGGER.info(
        "%s answers for %d of %d series",
        model if fitted.from_base else "the trained model", len(answers) - len(naive), len(answers),
    )  # fmt: skip
    if naive:
        LOGGER.info(
            "the seasonal naive forecast measured better over %d weeks or more, and answers for: %s",
            MIN_WEEKS,
            ", ".join(naive[:MAX_NOTES]) + (f" and {len(naive) - MAX_NOTES} more" if len(naive) > MAX_NOTES else ""),
        )
    weeks, scales = {one.num_weeks for one in bands}, [scale for one in bands for scale in one.scale]
    if not max(weeks):
        LOGGER.info("bands as trained: there is no week of the series' own past to set them by")
        return
    LOGGER.info(
        "bands set by %s weeks of each series' own past: %.2f to %.2f times as wide as trained",
        f"{min(weeks)} to {max(weeks)}" if len(weeks) > 1 else min(weeks), min(scales), max(scales),
    )  # fmt: skip


def _say_data(panel: Panel, data: TrafficDataModule) -> None:
    mine = (len(panel.series), panel.count_verdicts())
    numbers, counts = zip(*gather_from_ranks(mine), strict=True)
    verdicts = {of: sum(count[of] for count in counts) for of in Verdict}
    LOGGER.info(
        "read %d series of %d days, %s..%s (days of %s), %s%s",
        sum(numbers), panel.num_days, to_date(panel.first_day), to_date(panel.cutoff),
        data.config.data.timezone, f"{gaps} days without data" if (gaps := verdicts[Verdict.gap]) else "no gaps",
        f", by {num_ranks()} processes" if num_ranks() > 1 else "",
    )  # fmt: skip
    masked = {of.name: num for of, num in verdicts.items() if num and of in MASKED}
    if masked:
        LOGGER.info("masked days: %s", ", ".join(f"{num} {name}" for name, num in masked.items()))
    for line in format_notes(panel.notes):
        LOGGER.info("%s", line)
    LOGGER.info("%s", data.split.describe(panel))
    LOGGER.info("%d windows to train on, %d to validate, %d to test", *data.num_windows())


def _say_measures(series: Sequence[Series], measures: list[dict[str, object]]) -> None:
    num_cutoffs = max(int(str(one["num_cutoffs"])) for one in measures)
    LOGGER.info("test part, %d cutoffs, in visits a day (or the series' own unit):", num_cutoffs)
    for line in format_table(series, measures).splitlines():
        LOGGER.info("%s", line)
    relative = relative_error(measures)
    if relative is not None:
        LOGGER.info("error relative to the seasonal naive forecast: %.2f", relative)
