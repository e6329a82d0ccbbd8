"""Forecasts days that are known as if they were not, of the database or of a file, and says how well that went."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from forecasting.runtime import LOGGER, start_log, without_collection
from forecasting.settings.command_line import BACKTEST_FLAGS, parse_arguments
from forecasting.settings.schema import Config

if TYPE_CHECKING:
    from forecasting.panel import Panel

SWITCHES = {"--peers": "AutoETS, AutoTheta and DynamicOptimizedTheta beside it (pip install -e '.[bench]')"}


def main(argv: Sequence[str] | None = None) -> None:
    config, arguments = parse_arguments(argv, about=__doc__, flags=BACKTEST_FLAGS, switches=SWITCHES)
    start_log(None, debug=config.debug)
    with without_collection():
        from forecasting.evaluation.report import describe_backtest, describe_panel, plot_backtest, write_forecasts
        from forecasting.evaluation.rolling_origins import roll
        from forecasting.training.forecasters import forecast_all

    panel = read(config)
    LOGGER.info("%s", describe_panel(panel))
    rolling = roll(panel, config.backtest)
    forecasts = forecast_all(rolling, config, peers=arguments.peers)
    LOGGER.info("%s", describe_backtest(rolling, forecasts))
    if config.backtest.out is not None:
        write_forecasts(config.backtest.out, rolling, forecasts[0])
        LOGGER.info("wrote %s", config.backtest.out)
    plot = config.backtest.plot or config.model_dir / "backtest.png"
    plot_backtest(plot, rolling, forecasts[0], title=f"{forecasts[0].name}: forecasts of {rolling.days_ahead} days")
    LOGGER.info("wrote %s", plot)


def read(config: Config) -> "Panel":
    """All days of the file, or of the database."""
    if config.backtest.csv is not None:
        from forecasting.warehouse.csv.observations import read_csv_panel

        return read_csv_panel(config.backtest.csv, config)
    from forecasting.warehouse.panel_loader import load_panel

    return load_panel(config)
