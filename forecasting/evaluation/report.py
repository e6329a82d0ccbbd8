"""Report of a rolling backtest: tables for the terminal, a CSV file of all forecasts, a plot."""

import csv
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from rich.table import Table

from forecasting.domain import to_date
from forecasting.errors import SettingError
from forecasting.evaluation.plotting import MAX_PANELS, draw_band, draw_name, draw_observed, figure
from forecasting.evaluation.rolling_origins import Rolling, RollingForecasts
from forecasting.evaluation.scoring import (
    MIN_MEAN,
    Score,
    coverage_by_day,
    judged_rows,
    score_series,
    summarize,
)
from forecasting.model.forecaster import LEVELS, MEDIAN
from forecasting.panel import Panel
from forecasting.runtime.terminal import render

COLUMNS = (
    "MASE", "WAPE", "relative error", "series worse", "pinball", "80% band held", "90% band held", "ms a forecast",
)  # fmt: skip
FOOTNOTE = (
    "relative error: mean absolute error over the seasonal naive forecast's, geometric mean over series\n"
    "series worse: than the seasonal naive forecast. pinball: in units of MASE"
)
MAX_NOTES = 12
WEEK = 7
DAYS_BEFORE_FORECASTS = 28  # in the plot


def describe_panel(panel: Panel) -> str:
    """What was read, and the first notes on it."""
    summary = f"read {len(panel.series)} series, {to_date(panel.first_day)}..{to_date(panel.cutoff)}"
    return "\n".join([summary, *format_notes(panel.notes)])


def format_notes(notes: Sequence[str]) -> list[str]:
    """One line per note; of many, the first MAX_NOTES and the number of the others."""
    more = [f"note: {len(notes) - MAX_NOTES} more like these"] if len(notes) > MAX_NOTES else []
    return [*(f"note: {note}" for note in notes[:MAX_NOTES]), *more]


def describe_backtest(rolling: Rolling, forecasts: Sequence[RollingForecasts]) -> str:
    """Each forecaster's scores as a table: on the series whose relative errors mean something, then on the others.

    `forecasts` holds the model's first and the seasonal naive forecasts second.
    """
    skipped = f" ({rolling.left_out} skipped: too few days before them)" if rolling.left_out else ""
    lines = [f"{len(rolling.rows)} forecasts of {rolling.days_ahead} days{skipped}"]
    judged = set(judged_rows(rolling, forecasts[1]))
    scored = [score_series(rolling, forecast, forecasts[1]) for forecast in forecasts]
    for heading, is_judged in (
        (f"series with a mean of at least {MIN_MEAN:g} a day that do not repeat exactly", True),
        ("other series (nearly empty, rates, or repeating exactly)", False),
    ):
        group = [[score for score in scores if (score.row in judged) == is_judged] for scores in scored]
        if group[0]:
            summaries = [
                summarize(scores, name=forecast.name, ms_a_forecast=1000 * forecast.seconds / len(rolling.rows))
                for scores, forecast in zip(group, forecasts, strict=True)
            ]
            lines += ["", f"{len(group[0])} {heading}:", format_scores(summaries)]
    if judged and rolling.days_ahead > WEEK:
        lines += ["", describe_coverage(coverage_by_day(rolling, forecasts[0], sorted(judged)))]
    return "\n".join([*lines, "", FOOTNOTE])


def describe_coverage(coverage: Float[np.ndarray, " days"]) -> str:
    """The first and the last day of each week ahead, where bands could break."""
    last = len(coverage)
    days = sorted({day for start in range(1, last + 1, WEEK) for day in (start, min(start + WEEK - 1, last))})
    shares = ", ".join(f"day {day} {coverage[day - 1]:.0%}" for day in days)
    return f"80% band held, by day ahead (mean over the series of the first table): {shares}"


def format_scores(scores: Sequence[Score]) -> str:
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("forecaster", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for score in scores:
        table.add_row(
            score.name,
            _format_score(score.mase, ".3f"),
            _format_score(score.wape, ".1%"),
            _format_score(score.relative_error, ".3f"),
            str(score.num_worse),
            _format_score(score.pinball, ".3f"),
            _format_score(score.coverage_80, ".1%"),
            _format_score(score.coverage_90, ".1%"),
            f"{score.ms_a_forecast:.2f}",
        )
    return render(table)


def _format_score(value: float | None, spec: str) -> str:
    return "undefined" if value is None else format(value, spec)


def write_forecasts(file: Path, rolling: Rolling, forecasts: RollingForecasts) -> None:
    """Writes a CSV row for each day forecast: value, median and quantiles, in the source's unit.

    An unknown value is empty. Raises SettingError if the file cannot be written.
    """
    try:
        with file.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            quantile_names = [f"q{round(100 * level):02d}" for level in LEVELS]
            writer.writerow(["series", "metric", "cutoff", "date", "value", "forecast", *quantile_names])
            writer.writerows(_forecast_rows(rolling, forecasts))
    except OSError as error:
        raise SettingError(f"--out {file} cannot be written ({error.strerror}). Choose another place.") from error


def _forecast_rows(rolling: Rolling, forecasts: RollingForecasts) -> Iterator[list[object]]:
    actual, panel = rolling.actual(), rolling.panel
    for origin, (row, cutoff) in enumerate(zip(rolling.rows, rolling.cutoffs, strict=True)):
        series = panel.series[row]
        last = to_date(panel.first_day + int(cutoff))
        for ahead in range(rolling.days_ahead):
            value = float(actual[origin, ahead]) * series.unit_scale
            known_value = _format_float32(value) if np.isfinite(value) else ""
            levels = forecasts.quantiles[origin, ahead].tolist()
            quantiles = [_format_float32(quantile * series.unit_scale) for quantile in levels]
            date = last + dt.timedelta(days=ahead + 1)
            yield [series.site, series.metric, last, date, known_value, quantiles[MEDIAN], *quantiles]


def _format_float32(value: float) -> str:
    """All digits of a float32, so that reading the file gives the value that was forecast."""
    return f"{value:.9g}"


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
