"""Rolling backtest: forecasts past days using only the data before them, and compares with what happened.

Reads the database or a CSV file.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from forecasting.runtime.log import LOGGER, start_log
from forecasting.runtime.process import without_collection
from forecasting.settings.command_line import SOURCE, CommandLine
from forecasting.settings.schema import Config

if TYPE_CHECKING:
    from forecasting.known_days.events import Events
    from forecasting.panel import Panel

FLAGS = ("csv", "history", "origins", "step", "days_ahead", "refit", "out", "plot")
COMMAND = CommandLine(
    "backtest",
    about=__doc__,
    examples=(
        ("", "the base model on the configured source"),
        ("--csv traffic.csv --days-ahead 14 --out out.csv", "on a file, two weeks ahead"),
        ("--model-version fine-tune --refit 28 --peers", "trained every four weeks, beside AutoETS and Theta"),
    ),
    keys=("model_version", *(f"backtest.{name}" for name in FLAGS), *SOURCE),
    switches={"--peers": "compare with AutoETS, AutoTheta and DynamicOptimizedTheta (pip install -e '.[bench]')"},
    version_help="base, fine-tune, or a version in model_store/; default base",
    section="backtest",
    version_from=("backtest.model",),
)


def main(argv: Sequence[str] | None = None) -> None:
    config, arguments = COMMAND.parse(argv)
    start_log(None, debug=config.debug)
    with without_collection():
        from forecasting.evaluation.report import describe_backtest, describe_panel, plot_backtest, write_forecasts
        from forecasting.evaluation.rolling_origins import roll
        from forecasting.known_days.learning import name_known_days
        from forecasting.training.forecasters import forecast_all
        from forecasting.warehouse.regressor_store import load_regressors

    panel, events = read_with_events(config)
    LOGGER.info("%s", describe_panel(panel))
    rolling = roll(panel, config.backtest)
    regressors = load_regressors(config)
    forecasts = forecast_all(rolling, config, peers=arguments.peers, events=events, regressors=regressors)
    days = range(panel.first_day, panel.cutoff + 1)

    def names_of(site: str) -> Mapping[int, str]:
        return name_known_days(config.data.country_of(site), events.of(site), days)

    LOGGER.info("%s", describe_backtest(rolling, forecasts, names_of=names_of))
    if config.backtest.out is not None:
        write_forecasts(config.backtest.out, rolling, forecasts[0])
        LOGGER.info("wrote %s", config.backtest.out)
    plot = config.backtest.plot or config.model_dir / "backtest.png"
    plot_backtest(plot, rolling, forecasts[0], title=f"{forecasts[0].name}: forecasts of {rolling.days_ahead} days")
    LOGGER.info("wrote %s", plot)


def read(config: Config) -> "Panel":
    """All days of the file, or of the database."""
    return read_with_events(config)[0]


def read_with_events(config: Config) -> "tuple[Panel, Events]":
    if config.backtest.csv is not None:
        from forecasting.warehouse.csv.event_file import read_events
        from forecasting.warehouse.csv.observations import read_csv_panel

        return read_csv_panel(config.backtest.csv, config), read_events(config.data.events)
    from forecasting.warehouse.panel_loader import load_panels

    loaded = load_panels(config)
    return loaded.recent, loaded.events
