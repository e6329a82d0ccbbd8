"""Trains a version on the traffic in PostgreSQL: reads, fits, tests, refits, saves, reports."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING

from forecasting.invocation import show_command
from forecasting.runtime.log import LOGGER, start_log
from forecasting.runtime.process import without_collection
from forecasting.runtime.stopwatch import Stopwatch
from forecasting.settings.command_line import SOURCE, CommandLine
from forecasting.settings.schema import Config
from forecasting.training.export_worker import start_export_worker
from forecasting.warehouse.embedded import leave_servers

if TYPE_CHECKING:
    from forecasting.known_days.learning import KnownDays
    from forecasting.panel import Panel
    from forecasting.training.regressor_choice import RegressorHistory

COMMAND = CommandLine(
    "train",
    about=__doc__,
    examples=(
        ("", "version v1.0.0, on the sample site or the database in .env"),
        ("--model-version v1.1.0 --days-back all", "on all days: best where there are 500 or more"),
        ("--source umami data.timezone=Europe/Paris", "on Umami's tables"),
    ),
    keys=(
        "model.sequence_length", "model.prediction_horizon", "model_version", "data.days_back", "training.epochs",
        "training.batch_size", "training.learning_rate", *SOURCE,
    ),
    switches={"--resume": "continue a killed training of the same settings and data"},
    version_help="the version to write; default v1.0.0",
    version_from=("training.model_version",),
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    config, arguments = COMMAND.parse(argv)
    config.process.refuse_other_launchers("Training")
    first = config.process.rank == 0  # the only process, or the first that torchrun started
    if first:
        start_log(config.model_dir / "training.log", debug=config.debug)
    clock = Stopwatch()
    # Imports take seconds. Meanwhile PostgreSQL starts and answers, and another process traces the model.
    with ThreadPoolExecutor(1) as background, start_export_worker(config.model) if first else nullcontext() as worker:
        reading = background.submit(read, config)
        with clock.part("imports"), without_collection():
            from forecasting.serving.torchserve.archive import write_archive
            from forecasting.training.distributed import process_group
            from forecasting.training.pipeline import learn, train
        with clock.part("PostgreSQL"):
            panel, known, regressors = reading.result()
        background.submit(leave_servers)
        with process_group(config.process, config.training.accelerator):
            if worker is None:  # the first process writes for all
                learn(panel, config, clock=clock, resume=arguments.resume, known=known, regressors=regressors)
                return
            artifact = train(
                panel, config, worker=worker, clock=clock, resume=arguments.resume, known=known, regressors=regressors
            )
    with clock.part(".mar"):
        archive = write_archive(artifact)
    LOGGER.info("%s", clock.describe())
    LOGGER.info("wrote %s and %s", artifact.folder, archive)
    LOGGER.info("next: %s", show_command("serve", "--model-version", artifact.card.version))


def read(config: Config) -> "tuple[Panel, KnownDays, RegressorHistory | None]":
    """This process's share of the series: the days to train on and the context before them, what all of their past
    says about holidays and events, and what regressors are tried on.
    """
    from forecasting.known_days.learning import NO_DAYS, learn_known_days
    from forecasting.warehouse.panel_loader import load_panels

    share = (config.process.rank, config.process.world_size)
    loaded = load_panels(config, num_days=config.days_to_read, share=share)
    if loaded.whole is None:
        return loaded.recent, NO_DAYS, None
    known = learn_known_days(loaded.whole, config.data, loaded.events)
    return loaded.recent, known, read_regressor_history(config, loaded.whole)


def read_regressor_history(config: Config, whole: "Panel") -> "RegressorHistory | None":
    """None without regressors. `whole` has all days."""
    from forecasting.known_days.regressors import check_regressors
    from forecasting.training.regressor_choice import RegressorHistory
    from forecasting.warehouse.regressor_store import load_regressors

    if config.data.regressors is None:
        return None
    regressors = load_regressors(config)
    is_alone = config.process.world_size == 1  # else other processes have the other series
    sites = {series.site for series in whole.series} if is_alone else set(regressors.by_site)
    for note in check_regressors(
        regressors, table=config.data.regressors, sites=sites, first_day=whole.first_day, cutoff=whole.cutoff
    ):
        LOGGER.info("note: %s", note)
    return RegressorHistory(whole, regressors)
