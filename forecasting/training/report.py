"""What people read and look at after a training: a table for the terminal, a plot for the version's folder."""

import csv
import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.table import Table

from forecasting.errors import SettingError
from forecasting.evaluation.rolling_origins import Forecasts, Rolling
from forecasting.model.forecaster import LEVELS, MEDIAN
from forecasting.panel import Panel, Series, to_date
from forecasting.runtime import render
from forecasting.training.scoring import (
    LOWER,
    MIN_MEAN,
    UPPER,
    Backtest,
    Score,
    judged_rows,
    score_series,
    summarize,
)

COLUMNS = {
    "mse": "MSE", "mae": "MAE", "rmse": "RMSE", "mape": "MAPE", "r2": "R2", "mase": "MASE", "wape": "WAPE",
}  # fmt: skip
SHARES = ("mape", "wape")
MAX_PANELS = 6  # series that one plot shows
SHOWN_DAYS = 84
MAX_NOTES = 12
MAX_ROWS = 20  # series in the table
SHOWN_BEFORE = 28  # days before the first forecast


def format_table(series: Sequence[Series], measures: list[dict[str, Any]]) -> str:  # Any: as backtest.judge gives them
    """The measures of each series, or the first MAX_ROWS, beside the seasonal naive forecast's, as text."""
    table = Table(box=None, pad_edge=False, header_style="")
    for column, place in (("series", "left"), ("forecast", "left")):
        table.add_column(column, justify=place, no_wrap=True)  # type: ignore[arg-type]  # a literal, through a loop
    for column in (*COLUMNS.values(), "80% band held"):
        table.add_column(column, justify="right", no_wrap=True)
    several = len({one.site for one in series}) > 1
    for one, measured in list(zip(series, measures, strict=True))[:MAX_ROWS]:
        name = one.name if several else one.metric
        if not measured["num_cutoffs"]:
            table.add_row(name, "no known day in the test part")
            continue
        table.add_row(name, "forecaster", *_cells(measured), f"{measured['coverage_80']:.0%}")
        table.add_row("", "seasonal naive", *_cells(measured["seasonal_naive"]))
    if len(series) > MAX_ROWS:
        table.add_row(f"and {len(series) - MAX_ROWS} more", "in model.json")
    return render(table)


def describe_panel(panel: Panel) -> str:
    """What was read, and what was odd about it; the first notes stand for many of a kind."""
    read = f"read {len(panel.series)} series, {to_date(panel.first_day)}..{to_date(panel.cutoff)}"
    return "\n".join([read, *format_notes(panel.notes)])


def format_notes(notes: Sequence[str]) -> list[str]:
    """A line each; of many, the first stand for the others."""
    more = [f"note: {len(notes) - MAX_NOTES} more like these"] if len(notes) > MAX_NOTES else []
    return [*(f"note: {note}" for note in notes[:MAX_NOTES]), *more]


def describe_backtest(rolling: Rolling, found: Sequence[Forecasts]) -> str:
    """Every contestant's measures as a table: of the series that count, then of the others. `found` as forecast_all
    gives it, the model first and the seasonal naive forecast second."""
    scored = [score_series(rolling, one, found[1]) for one in found]
    judged = judged_rows(rolling, found[1])
    left_out = f"; {rolling.left_out} left out for too few days before them" if rolling.left_out else ""
    lines = [f"{len(rolling.rows)} forecasts of {rolling.horizon} days{left_out}"]
    for about, counts in (
        (f"series with a mean of {MIN_MEAN:g} a day or more on the days forecast, and not repeating themselves", True),
        ("other series (nearly empty, rates, or repeating themselves)", False),
    ):
        kept = [[one for one in scores if (one.row in judged) == counts] for scores in scored]
        if kept[0]:
            per = [1000 * one.seconds / len(rolling.rows) for one in found]
            each = zip(found, kept, per, strict=True)
            scores = [summarize(scores, name=one.name, ms_a_forecast=ms) for one, scores, ms in each]
            lines += ["", f"{len(kept[0])} {about}:", format_scores(scores)]
    lines += ["", "relative: mean absolute error over the seasonal naive's, geometric mean; pinball in units of MASE"]
    return "\n".join(lines)


def format_scores(scores: Sequence[Score]) -> str:
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("forecast", no_wrap=True)
    for column in (
        "MASE", "WAPE", "relative", "series worse", "pinball", "80% band held", "90% band held", "ms a forecast",
    ):  # fmt: skip
        table.add_column(column, justify="right", no_wrap=True)
    for one in scores:
        table.add_row(
            one.name,
            _told(one.mase, ".3f"),
            _told(one.wape, ".1%"),
            _told(one.relative_error, ".3f"),
            str(one.num_worse),
            _told(one.pinball, ".3f"),
            _told(one.coverage_80, ".1%"),
            _told(one.coverage_90, ".1%"),
            f"{one.ms_a_forecast:.2f}",
        )
    return render(table)


def write_forecasts(file: Path, rolling: Rolling, forecasts: Forecasts) -> None:
    """A row each day forecast, in the source's unit: value, median and quantiles; an unknown value is empty."""
    actual, panel = rolling.actual(), rolling.panel
    try:
        with file.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            quantile_names = [f"q{round(100 * level):02d}" for level in LEVELS]
            writer.writerow(["series", "metric", "cutoff", "date", "value", "forecast", *quantile_names])
            for origin, (row, cutoff) in enumerate(zip(rolling.rows, rolling.cutoffs, strict=True)):
                series = panel.series[row]
                last = to_date(panel.first_day + int(cutoff))
                for ahead in range(rolling.horizon):
                    value = float(actual[origin, ahead]) * series.unit_scale
                    quantiles = [_written(q * series.unit_scale) for q in forecasts.quantiles[origin, ahead].tolist()]
                    date = last + dt.timedelta(days=ahead + 1)
                    known = _written(value) if np.isfinite(value) else ""
                    writer.writerow([series.site, series.metric, last, date, known, quantiles[MEDIAN], *quantiles])
    except OSError as error:
        raise SettingError(f"--out {file} cannot be written ({error.strerror}). Say another place.") from error


def plot_backtest(file: Path, rolling: Rolling, forecasts: Forecasts, *, title: str) -> None:
    """Each of the first series with its forecasts, their 80% bands, and what came."""
    panel, actual = rolling.panel, rolling.actual()
    tested = Backtest(
        rolling.rows, panel.first_day + rolling.cutoffs + 1, actual, forecasts.quantiles, forecasts.quantiles[..., 0]
    )
    shown = [int(row) for row in np.unique(rolling.rows)[:MAX_PANELS]]
    with _figure(file, len(shown), title=title + _say_first(len(shown), len(panel.series)), sharex=False) as axes:
        for row, axis in zip(shown, axes, strict=True):
            scale, of = panel.series[row].unit_scale, tested.of(row)
            first, last = int(of.first_days[0]) - SHOWN_BEFORE, int(of.first_days[-1]) + rolling.horizon
            start = max(0, first - panel.first_day)
            values = panel.values[row, start : last - panel.first_day]
            dates = _dates(panel.first_day + start, len(values))
            axis.plot(dates, values * scale, color="0.25", linewidth=1.2, label="observed")
            for number in range(len(of.actual)):
                day, quantiles = int(of.first_days[number]), of.quantiles[number] * scale
                _draw_band(axis, day, quantiles, color="tab:blue", label="forecasts, 80% band" if number == 0 else None)
            axis.set_title(panel.series[row].name, loc="left", fontsize=10)


def _written(value: float) -> str:
    """What a float32 knows, so that the file holds what was forecast."""
    return f"{value:.9g}"


def _told(value: float | None, how: str) -> str:
    return "undefined" if value is None else format(value, how)


def plot(
    file: Path, panel: Panel, tested: Backtest, upcoming: Float[np.ndarray, "series horizon levels"], *, title: str
) -> None:
    """History, the test part's forecasts with their 80% band, and the days after the cutoff."""
    num_shown = min(len(panel.series), MAX_PANELS)
    with _figure(file, num_shown, title=title + _say_first(num_shown, len(panel.series)), sharex=True) as axes:
        for row, axis in enumerate(axes):
            scale = panel.series[row].unit_scale
            _draw_history(axis, panel, row, scale)
            _draw_tested(axis, tested.of(row), scale)
            next_day = panel.window(row, 1)[1] + 1
            _draw_band(axis, next_day, upcoming[row] * scale, color="tab:orange", label="next days, 80% band")
            axis.set_title(panel.series[row].name, loc="left", fontsize=10)


def _say_first(num_shown: int, num_series: int) -> str:
    return "" if num_shown == num_series else f" (the first {num_shown} of {num_series} series)"


@contextmanager
def _figure(file: Path, num_panels: int, *, title: str, sharex: bool) -> Iterator[Any]:  # Any: matplotlib's own types
    """Axes below each other to draw on; the file is written on leaving."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(num_panels, 1, figsize=(11, 1 + 2.6 * num_panels), squeeze=False, sharex=sharex)
    yield axes[:, 0]
    for axis in axes[:, 0]:
        axis.set_ylabel("a day")
        axis.grid(alpha=0.25)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper right", ncols=3, fontsize=9, frameon=False)
    height = figure.get_figheight()
    figure.suptitle(title, fontsize=11, x=0.01, y=1 - 0.1 / height, ha="left", va="top")
    if sharex:
        figure.autofmt_xdate()
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.25 / height))
    file.parent.mkdir(parents=True, exist_ok=True)
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
