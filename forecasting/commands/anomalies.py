"""Lists the unusual days that were told. With --simulate: what would have been told of the past, by sensitivity."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from forecasting.runtime.log import LOGGER, start_log
from forecasting.runtime.process import without_collection
from forecasting.settings.command_line import SOURCE, CommandLine
from forecasting.settings.schema import BASE_VERSION, Config

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from forecasting.known_days.events import Events
    from forecasting.monitoring.looking_back import Past
    from forecasting.panel import Panel

COMMAND = CommandLine(
    "anomalies",
    about=__doc__,
    examples=(
        ("--since 2024-05-01 --site shop", "what was told of one site"),
        ("--simulate --days 365", "what would have been told of the past year, and how often"),
        ("--simulate --csv a.csv --out days.csv", "of a file; every day with its score"),
    ),
    keys=(
        "model_version", "alerts.sensitivity", "anomalies.since", "anomalies.csv", "anomalies.days", "anomalies.out",
        "anomalies.plot", *SOURCE,
    ),
    switches={"--simulate": "judge the past days by forecasts from the days before each of them"},
    version_help="with --simulate: base, or a version in model_store/; default base",
    section="anomalies",
    version_from=(),
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    config, arguments = COMMAND.parse(argv)
    start_log(None, debug=config.debug)
    if arguments.simulate:
        simulate(config)
        return
    from forecasting.monitoring.listing import list_anomalies

    LOGGER.info("%s", asyncio.run(list_anomalies(config)))


def simulate(config: Config) -> None:
    with without_collection():
        from forecasting.monitoring.looking_back import judge_past
        from forecasting.monitoring.simulation import describe_simulation, plot_simulation, write_days

    past = read_past(config)
    judged = list(judge_past(past, num_days=config.anomalies.days))
    LOGGER.info("%s", describe_simulation(judged, config.alerts))
    if config.anomalies.out is not None:
        write_days(config.anomalies.out, judged, config.alerts)
        LOGGER.info("wrote %s", config.anomalies.out)
    plot = config.anomalies.plot or config.model_dir / "anomalies.png"
    plot_simulation(plot, judged, config.alerts)
    LOGGER.info("wrote %s", plot)


def read_past(config: Config) -> "Past":
    """The days of the file or of the database, and the model that is to judge them."""
    from forecasting.evaluation.report import describe_panel
    from forecasting.monitoring.looking_back import Past
    from forecasting.monitoring.scores import LeastChange
    from forecasting.training.forecasters import load_base_model, load_version

    panel, observed, events = read_panels(config)
    LOGGER.info("%s", describe_panel(panel))
    version = config.model_version or BASE_VERSION
    model = load_base_model(config.data) if version == BASE_VERSION else load_version(version, config, panel)
    least = LeastChange(config.alerts.least_change, config.alerts.least_count)
    return Past(panel, observed, model.predictor, model.find_card, model.country_of, least, events)


def read_panels(config: Config) -> "tuple[Panel, Float[np.ndarray, 'series days'], Events]":
    """What forecasts see, what was counted on the same days, also on those that verdicts mask, and events."""
    if config.anomalies.csv is not None:
        from forecasting.warehouse.csv.event_file import read_events
        from forecasting.warehouse.csv.observations import read_csv_panel

        panel = read_csv_panel(config.anomalies.csv, config)
        return panel, panel.values, read_events(config.data.events)
    from forecasting.warehouse.panel_loader import load_panel, load_panels

    loaded = load_panels(config)
    panel = loaded.recent
    counted = load_panel(replace(config, verdicts=replace(config.verdicts, masked=[])))
    rows = {series.key: row for row, series in enumerate(counted.series)}
    start = panel.first_day - counted.first_day
    columns = slice(start, start + panel.num_days)
    observed = counted.values[[rows[series.key] for series in panel.series], columns]
    return panel, observed, loaded.events
