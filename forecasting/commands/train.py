"""Trains a version on the traffic in PostgreSQL: read, fit, judge, refit, save, report."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING

from forecasting.invocation import show_command
from forecasting.runtime import LOGGER, Stopwatch, start_log, without_collection
from forecasting.settings.command_line import parse_arguments
from forecasting.settings.schema import Config
from forecasting.training.export_worker import start_export_worker
from forecasting.warehouse.embedded import leave_servers

if TYPE_CHECKING:
    from forecasting.panel import Panel

SWITCHES = {"--resume": "go on from where a killed training of the same settings and data stopped"}


def main(argv: Sequence[str] | None = None) -> None:
    config, arguments = parse_arguments(argv, about=__doc__, switches=SWITCHES)
    first = config.process.rank == 0  # of the processes that torchrun has started, or the only one
    if first:
        start_log(config.model_dir / "training.log", debug=config.debug)
    clock = Stopwatch()
    # Imports take seconds, so PostgreSQL answers and another process traces the model meanwhile.
    with ThreadPoolExecutor(1) as background, start_export_worker(config.model) if first else nullcontext() as worker:
        reading = background.submit(read, config)
        with clock.part("imports"), without_collection():
            from forecasting.serving.torchserve.archive import write_archive
            from forecasting.training.distributed import process_group
            from forecasting.training.pipeline import learn, train
        with clock.part("PostgreSQL"):
            panel = reading.result()
        background.submit(leave_servers)
        with process_group(config.process, config.training.accelerator):
            if worker is None:  # the first process writes for all
                learn(panel, config, clock=clock, resume=arguments.resume)
                return
            artifact = train(panel, config, worker=worker, clock=clock, resume=arguments.resume)
    with clock.part(".mar"):
        archive = write_archive(artifact)
    LOGGER.info("%s", clock.describe())
    LOGGER.info("wrote %s and %s", artifact.folder, archive)
    LOGGER.info("next: %s", show_command("serve", "--model-version", artifact.card.version))


def read(config: Config) -> "Panel":
    """The days with targets, and the context before the first of them, of this process's share of the series."""
    from forecasting.warehouse.panel_loader import load_panel

    share = (config.process.rank, config.process.world_size)
    return load_panel(config, num_days=config.data.days_back + config.model.context_length, share=share)
