"""What people read and look at after a training: a table for the terminal, a plot for the version's folder."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from forecasting.model.forecaster import MEDIAN
from forecasting.panel import Panel, to_date
from forecasting.training.backtest import LOWER, UPPER, Backtest

COLUMNS = {
    "mse": "MSE", "mae": "MAE", "rmse": "RMSE", "mape": "MAPE", "r2": "R2", "mase": "MASE", "wape": "WAPE",
}  # fmt: skip
SHARES = ("mape", "wape")
MAX_PANELS = 6  # series that one plot shows; the table has them all
SHOWN_DAYS = 84


def format_table(panel: Panel, measures: list[dict[str, Any]]) -> str:  # Any: as backtest.judge gives them
    """The measures of each series beside the seasonal naive forecast's, as text."""
    table = Table(box=None, pad_edge=False, header_style="")
    for column, place in (("series", "left"), ("forecast", "left")):
        table.add_column(column, justify=place, no_wrap=True)  # type: ignore[arg-type]  # a literal, through a loop
    for column in (*COLUMNS.values(), "80% band held"):
        table.add_column(column, justify="right", no_wrap=True)
    several = len({series.site for series in panel.series}) > 1
    for series, measured in zip(panel.series, measures, strict=True):
        name = series.name if several else series.metric
        if not measured["num_cutoffs"]:
            table.add_row(name, "no known day in the test part")
            continue
        table.add_row(name, "forecaster", *_cells(measured), f"{measured['coverage_80']:.0%}")
        table.add_row("", "seasonal naive", *_cells(measured["seasonal_naive"]))
    console = Console(width=160, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def plot(
    file: Path, panel: Panel, tested: Backtest, upcoming: Float[np.ndarray, "series horizon levels"], *, title: str
) -> None:
    """History, the test part's forecasts with their 80% band, and the days after the cutoff."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = range(min(len(panel.series), MAX_PANELS))
    figure, axes = pyplot.subplots(len(rows), 1, figsize=(11, 1 + 2.6 * len(rows)), squeeze=False, sharex=True)
    for row, axis in zip(rows, axes[:, 0], strict=True):
        scale = panel.series[row].unit_scale
        _draw_history(axis, panel, row, scale)
        _draw_tested(axis, tested.of(row), scale)
        _draw_band(axis, panel.cutoff + 1, upcoming[row] * scale, color="tab:orange", label="next days, 80% band")
        axis.set_title(panel.series[row].name, loc="left", fontsize=10)
        axis.set_ylabel("a day")
        axis.grid(alpha=0.25)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper right", ncols=3, fontsize=9, frameon=False)
    left = "" if len(panel.series) <= MAX_PANELS else f" (the first {MAX_PANELS} of {len(panel.series)} series)"
    figure.suptitle(title + left, fontsize=11, x=0.01, ha="left")
    figure.autofmt_xdate()
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _cells(measured: dict[str, Any]) -> list[str]:
    def cell(name: str) -> str:
        value = measured[name]
        if value is None:
            return "undefined"
        return f"{value:.1%}" if name in SHARES else f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"

    return [cell(name) for name in COLUMNS]


def _dates(first_day: int, num_days: int) -> list[dt.date]:
    return [to_date(first_day + offset) for offset in range(num_days)]


def _draw_history(axis: Any, panel: Panel, row: int, scale: float) -> None:  # Any: matplotlib's axes are untyped
    shown = panel.tail(SHOWN_DAYS)
    dates = _dates(shown.first_day, shown.num_days)
    axis.plot(dates, shown.values[row] * scale, color="0.25", linewidth=1.2, label="observed")


def _draw_tested(axis: Any, tested: Backtest, scale: float) -> None:
    """One forecast a week, so that they do not lie on each other: the last one first, then a horizon earlier."""
    horizon = tested.actual.shape[1]
    for number, window in enumerate(range(len(tested.actual) - 1, -1, -horizon)):
        label = "test part, 80% band" if number == 0 else None
        _draw_band(
            axis, int(tested.first_days[window]), tested.quantiles[window] * scale, color="tab:blue", label=label
        )


def _draw_band(
    axis: Any, first_day: int, quantiles: Float[np.ndarray, "horizon levels"], *, color: str, label: str | None
) -> None:
    dates = _dates(first_day, len(quantiles))
    axis.fill_between(dates, quantiles[:, LOWER], quantiles[:, UPPER], color=color, alpha=0.2, linewidth=0)
    axis.plot(dates, quantiles[:, MEDIAN], color=color, marker="o", markersize=3, linewidth=1.2, label=label)
