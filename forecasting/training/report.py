"""What people read and look at after a training: lines and a table for the log, a plot for the version's folder."""

import csv
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from forecasting.domain import Series, Verdict, to_date
from forecasting.errors import SettingError
from forecasting.evaluation.comparison import MIN_WEEKS
from forecasting.evaluation.plotting import MAX_PANELS, draw_band, draw_name, draw_observed, figure
from forecasting.evaluation.rolling_origins import Rolling, RollingForecasts
from forecasting.evaluation.scoring import MIN_MEAN, Score, judged_rows, score_series, summarize
from forecasting.model.forecaster import LEVELS, MEDIAN
from forecasting.panel import Panel
from forecasting.panel_building import MASKED
from forecasting.predictor import SEASONAL_NAIVE, Bands
from forecasting.runtime import render
from forecasting.training.data_module import TrafficDataModule
from forecasting.training.distributed import gather_from_ranks, num_ranks
from forecasting.training.fit import Fitted
from forecasting.training.held_out import HeldOutForecasts, relative_error
from forecasting.training.model_card import NextForecasts

COLUMNS = {
    "mse": "MSE", "mae": "MAE", "rmse": "RMSE", "mape": "MAPE", "r2": "R2", "mase": "MASE", "wape": "WAPE",
}  # fmt: skip
PERCENTAGES = ("mape", "wape")
MAX_ROWS = 20  # series in the table
MAX_NOTES = 12  # notes on the data, and names of series in one line
DAYS_IN_PLOT = 84
DAYS_BEFORE_FORECASTS = 28


def describe_data(panel: Panel, data: TrafficDataModule) -> list[str]:
    """What was read and how it is split, for all ranks. All ranks call it together."""
    own = (len(panel.series), panel.count_verdicts())
    num_series, counts = zip(*gather_from_ranks(own), strict=True)
    num_days = {verdict: sum(rank_counts[verdict] for rank_counts in counts) for verdict in Verdict}
    gaps = f"{num_days[Verdict.gap]} days without data" if num_days[Verdict.gap] else "no gaps"
    processes = f", by {num_ranks()} processes" if num_ranks() > 1 else ""
    masked = [f"{num_days[verdict]} {verdict.name}" for verdict in Verdict if num_days[verdict] and verdict in MASKED]
    return [
        f"read {sum(num_series)} series of {panel.num_days} days, {to_date(panel.first_day)}..{to_date(panel.cutoff)} "
        f"(days in {data.config.data.timezone}), {gaps}{processes}",
        *([f"masked days: {', '.join(masked)}"] if masked else []),
        *format_notes(panel.notes),
        data.split.describe(panel),
        "{} windows to train on, {} to validate, {} to test".format(*data.num_windows()),
    ]


def describe_measures(series: Sequence[Series], measures: list[dict[str, Any]]) -> list[str]:
    """The table of measures on the test days, and the error relative to the seasonal naive forecast."""
    num_cutoffs = max(measured["num_cutoffs"] for measured in measures)
    relative = relative_error(measures)
    return [
        f"measures on the test days, {num_cutoffs} cutoffs, in visits/day or the series' own unit:",
        *format_table(series, measures).splitlines(),
        *([] if relative is None else [f"error relative to the seasonal naive forecast: {relative:.2f}"]),
    ]


def describe_answerers(series: Sequence[Series], answers: Sequence[str], fitted: Fitted) -> list[str]:
    """Which model forecasts how many series, and the series that the seasonal naive forecast is used for."""
    naive = [one.name for one, answerer in zip(series, answers, strict=True) if answerer == SEASONAL_NAIVE]
    model = "the fine-tuned model" if fitted.best_epoch else "the base model as it is"
    lines = [
        f"{model if fitted.from_base else 'the trained model'} forecasts {len(series) - len(naive)} of "
        f"{len(series)} series"
    ]
    if naive:
        more = f" and {len(naive) - MAX_NOTES} more" if len(naive) > MAX_NOTES else ""
        lines.append(
            f"the seasonal naive forecast was better over {MIN_WEEKS} or more weeks, and is used for: "
            f"{', '.join(naive[:MAX_NOTES])}{more}"
        )
    return lines


def describe_bands(bands: Sequence[Bands]) -> str:
    """How many weeks the bands were calibrated on, and by how much that changed them."""
    weeks, scales = {band.num_weeks for band in bands}, [scale for band in bands for scale in band.scale]
    if not max(weeks):
        return "bands not calibrated: no series has a week that training has not seen"
    num_weeks = f"{min(weeks)} to {max(weeks)}" if len(weeks) > 1 else min(weeks)
    return (
        f"bands calibrated on {num_weeks} weeks of each series: "
        f"{min(scales):.2f} to {max(scales):.2f} times as wide as trained"
    )


def format_table(series: Sequence[Series], measures: list[dict[str, Any]]) -> str:  # Any: as scoring.judge gives them
    """A table of the first MAX_ROWS series' measures, each with the seasonal naive forecast's below."""
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("series", "forecast"):
        table.add_column(column, no_wrap=True)
    for column in (*COLUMNS.values(), "80% band held"):
        table.add_column(column, justify="right", no_wrap=True)
    several_sites = len({one.site for one in series}) > 1
    for one, measured in list(zip(series, measures, strict=True))[:MAX_ROWS]:
        name = one.name if several_sites else one.metric
        if not measured["num_cutoffs"]:
            table.add_row(name, "no known test day")
            continue
        table.add_row(name, "forecaster", *_cells(measured), f"{measured['coverage_80']:.0%}")
        table.add_row("", "seasonal naive", *_cells(measured["seasonal_naive"]))
    if len(series) > MAX_ROWS:
        table.add_row(f"and {len(series) - MAX_ROWS} more", "in model.json")
    return render(table)


def describe_panel(panel: Panel) -> str:
    """What was read, and the first notes on it."""
    summary = f"read {len(panel.series)} series, {to_date(panel.first_day)}..{to_date(panel.cutoff)}"
    return "\n".join([summary, *format_notes(panel.notes)])


def format_notes(notes: Sequence[str]) -> list[str]:
    """One line per note; of many, the first MAX_NOTES and the number of the others."""
    more = [f"note: {len(notes) - MAX_NOTES} more like these"] if len(notes) > MAX_NOTES else []
    return [*(f"note: {note}" for note in notes[:MAX_NOTES]), *more]


def describe_backtest(rolling: Rolling, found: Sequence[RollingForecasts]) -> str:
    """Every contestant's measures as a table: of the series that count, then of the others. `found` as forecast_all
    gives it, the model first and the seasonal naive forecast second."""
    scored = [score_series(rolling, one, found[1]) for one in found]
    judged = judged_rows(rolling, found[1])
    left_out = f"; {rolling.left_out} left out for too few days before them" if rolling.left_out else ""
    lines = [f"{len(rolling.rows)} forecasts of {rolling.days_ahead} days{left_out}"]
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


def write_forecasts(file: Path, rolling: Rolling, forecasts: RollingForecasts) -> None:
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
                for ahead in range(rolling.days_ahead):
                    value = float(actual[origin, ahead]) * series.unit_scale
                    quantiles = [_written(q * series.unit_scale) for q in forecasts.quantiles[origin, ahead].tolist()]
                    date = last + dt.timedelta(days=ahead + 1)
                    known = _written(value) if np.isfinite(value) else ""
                    writer.writerow([series.site, series.metric, last, date, known, quantiles[MEDIAN], *quantiles])
    except OSError as error:
        raise SettingError(f"--out {file} cannot be written ({error.strerror}). Say another place.") from error


def plot_backtest(file: Path, rolling: Rolling, forecasts: RollingForecasts, *, title: str) -> None:
    """The first series with their forecasts, 80% bands and observed values."""
    panel = rolling.panel
    rows = np.unique(rolling.rows)
    with figure(file, len(rows), title=title, sharex=False) as axes:
        for row, axis in zip(rows[:MAX_PANELS].tolist(), axes, strict=True):
            scale, origins = panel.series[row].unit_scale, np.flatnonzero(rolling.rows == row)
            cutoffs = rolling.cutoffs[origins]
            start = max(0, int(cutoffs[0]) + 1 - DAYS_BEFORE_FORECASTS)
            values = panel.values[row, start : int(cutoffs[-1]) + 1 + rolling.days_ahead]
            draw_observed(axis, panel.first_day + start, values * scale)
            for number, (origin, cutoff) in enumerate(zip(origins, cutoffs.tolist(), strict=True)):
                label = "forecasts, 80% band" if number == 0 else None
                quantiles = forecasts.quantiles[origin] * scale
                draw_band(axis, panel.first_day + cutoff + 1, quantiles, color="tab:blue", label=label)
            draw_name(axis, panel.series[row].name)


def _written(value: float) -> str:
    """All digits of a float32, so that reading the file gives the value that was forecast."""
    return f"{value:.9g}"


def _told(value: float | None, how: str) -> str:
    return "undefined" if value is None else format(value, how)


def plot_training(file: Path, panel: Panel, tested: HeldOutForecasts, upcoming: NextForecasts, *, title: str) -> None:
    """Recent history, the test days' forecasts with their 80% band, and the forecast of the days after the cutoff."""
    recent = panel.tail(DAYS_IN_PLOT)
    with figure(file, len(panel.series), title=title, sharex=True) as axes:
        for row, axis in enumerate(axes):
            scale = panel.series[row].unit_scale
            draw_observed(axis, recent.first_day, recent.values[row] * scale)
            _draw_tested(axis, tested.of(row), scale)
            next_day = int(upcoming.first_days[row])
            draw_band(axis, next_day, upcoming.quantiles[row] * scale, color="tab:orange", label="next days, 80% band")
            draw_name(axis, panel.series[row].name)


def _draw_tested(axis: Any, tested: HeldOutForecasts, scale: float) -> None:  # Any: matplotlib has no types
    """Forecasts a horizon apart, the last one first, so that they do not overlap."""
    horizon = tested.actual.shape[1]
    for number, window in enumerate(range(len(tested.actual) - 1, -1, -horizon)):
        label = "test days, 80% band" if number == 0 else None
        draw_band(axis, int(tested.first_days[window]), tested.quantiles[window] * scale, color="tab:blue", label=label)


def _cells(measured: dict[str, Any]) -> list[str]:  # Any: as scoring.judge gives them
    return [_format_measure(name, measured[name]) for name in COLUMNS]


def _format_measure(name: str, value: float | None) -> str:
    if value is None:
        return "undefined"
    if name in PERCENTAGES:
        return f"{value:.1%}"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
