"""Makes the base model in model_store/base of this checkout: pretrains on synthetic traffic, then on real series."""

import platform
from collections.abc import Sequence
from pathlib import Path

from forecasting.errors import StoreNotWritable
from forecasting.invocation import show_command
from forecasting.resources import IS_CHECKOUT
from forecasting.runtime.log import LOGGER, start_log
from forecasting.settings.command_line import CommandLine

COMMAND = CommandLine(
    "pretrain",
    about=__doc__,
    examples=(
        ("", "on synthetic traffic alone"),
        ("--real ga.csv,plausible.csv", "and then on the series of two files"),
        ("--windows 1000000 model.hidden_size=32", "a small, quick one"),
    ),
    keys=("pretraining.windows", "pretraining.real", "pretraining.real_windows"),
    switches={"--resume": "continue from the last checkpoint of a killed pretraining"},
    section="pretraining",
    version_from=(),
)


def main(argv: Sequence[str] | None = None) -> None:
    config, arguments = COMMAND.parse(argv)
    config.process.refuse_other_launchers("Pretraining")
    if not IS_CHECKOUT:
        raise StoreNotWritable(
            "The base model is part of the installed package. Pretrain in a checkout of the repository."
        )
    start_log(config.model_dir / "training.log", debug=config.debug)
    from forecasting.artifact import BASE
    from forecasting.training.base_model import save_base
    from forecasting.training.pretrain import pretrain, synthetic_loss
    from forecasting.training.pretrain_real import describe_files, pretrain_on_real_series
    from forecasting.warehouse.csv.observations import read_csv_panel

    panels = [read_csv_panel(Path(file), config) for file in config.pretraining.real]
    checkpoint = config.model_dir / ".pretraining.ckpt"
    forecaster, windows, seconds = pretrain(config, checkpoint=checkpoint, resume=arguments.resume)
    loss = synthetic_loss(forecaster, config)
    LOGGER.info("learned from %s synthetic windows; this run took %.0f s", f"{windows:,}", seconds)
    LOGGER.info("loss on new synthetic sites: %.4f", loss)
    real_windows = 0
    if panels and windows < config.pretraining.windows:
        LOGGER.warning("interrupted: writing the base model without the real series. Pretrain again to include them.")
        panels = []
    if panels:
        forecaster, real_windows = pretrain_on_real_series(panels, forecaster, config)
        num_series = sum(len(panel.series) for panel in panels)
        LOGGER.info("continued on %s windows of %d real series", f"{real_windows:,}", num_series)
    provenance = {
        "windows": windows,
        "seconds_of_last_run": round(seconds),
        "synthetic_loss": loss,
        "real": describe_files(config.pretraining.real[: len(panels)], panels),
        "windows_of_real": real_windows,
    }
    save_base(BASE, forecaster, config, {**provenance, "machine": platform.processor() or platform.machine()})
    checkpoint.unlink(missing_ok=True)
    LOGGER.info("wrote %s; next: %s", BASE, show_command("backtest", "--model-version", "base"))
