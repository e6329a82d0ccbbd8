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
from forecasting.evaluation.site_errors import SiteErrors, site_errors
from forecasting.evaluation.worst_days import NamesOf, find_worst_days, name_none, share_of_worst
from forecasting.model.forecaster import LEVELS, MEDIAN
from forecasting.panel import Panel
from forecasting.runtime.terminal import render

COLUMNS = (
    "MASE", "WAPE", "relative error", "series worse", "pinball", "80% band held", "90% band held", "sites alike",
    "ms a forecast",
)  # fmt: skip
FOOTNOTE = (
    "relative error: mean absolute error over the seasonal naive forecast's, geometric mean over series\n"
    "series worse: than the seasonal naive forecast. pinball: in units of MASE\n"
    "sites alike: relative error, geometric mean over sites of each site's mean over its series"
)
MAX_NOTES = 12
MAX_WORST_DAYS, WORST = 5, 0.05
MIN_CUTOFFS, NOTICED = 12, 0.02  # fewer cutoffs a series are few; a change of the relative error that people notice
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


def describe_backtest(rolling: Rolling, forecasts: Sequence[RollingForecasts], *, names_of: NamesOf = name_none) -> str:
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
            rows = [score.row for score in group[0]]
            summaries = [
                summarize(
                    scores,
                    name=forecast.name,
                    ms_a_forecast=1000 * forecast.seconds / len(rolling.rows),
                    sites_alike=site_errors(rolling, forecast, forecasts[1], rows).relative(),
                )
                for scores, forecast in zip(group, forecasts, strict=True)
            ]
            lines += ["", f"{len(group[0])} {heading}:", format_scores(summaries)]
    if judged:
        lines += ["", *_describe_judged(rolling, forecasts[0], forecasts[1], sorted(judged), names_of)]
    return "\n".join([*lines, "", FOOTNOTE])


def _describe_judged(
    rolling: Rolling, forecasts: RollingForecasts, naive: RollingForecasts, rows: Sequence[int], names_of: NamesOf
) -> list[str]:
    """The model's errors and bands by day ahead, its worst days, and what hangs on few cutoffs."""
    errors = site_errors(rolling, forecasts, naive, rows)
    return [
        *_describe_days(errors),
        describe_coverage(coverage_by_day(rolling, forecasts, rows)),
        *_describe_worst_days(rolling, forecasts, rows, names_of),
        *_warn_of_few_cutoffs(errors),
    ]


def _describe_days(errors: SiteErrors) -> list[str]:
    last = errors.rolling.days_ahead
    by_day = [f"day {day} {_format_score(errors.relative(slice(day - 1, day)), '.2f')}" for day in _shown_days(last)]
    lines = [f"relative error, by day ahead (sites weighted alike): {', '.join(by_day)}"]
    if last > WEEK:
        weeks = [(start, min(start + WEEK, last)) for start in range(0, last, WEEK)]
        by_week = [
            f"{start + 1} to {end} {_format_score(errors.relative(slice(start, end)), '.2f')}" for start, end in weeks
        ]
        lines.append(f"relative error, by week ahead (sites weighted alike): {', '.join(by_week)}")
    return lines


def _describe_worst_days(
    rolling: Rolling, forecasts: RollingForecasts, rows: Sequence[int], names_of: NamesOf
) -> list[str]:
    share = share_of_worst(rolling, forecasts, rows, worst=WORST)
    lines = [f"the worst {WORST:.0%} of the days of a series make up {share:.0%} of its error; the worst days:"]
    for day in find_worst_days(rolling, forecasts, rows, most=MAX_WORST_DAYS, names_of=names_of):
        lines.append(f"  {day.date}, {day.name}: {day.share:.0%} of its error ({day.reason})")
    return lines


def _warn_of_few_cutoffs(errors: SiteErrors) -> list[str]:
    rolling, whole = errors.rolling, errors.relative()
    num_cutoffs = min(int((rolling.rows == row).sum()) for row in errors.rows)
    weekdays = np.unique((rolling.panel.first_day + rolling.cutoffs) % WEEK)
    warnings = []
    if num_cutoffs < MIN_CUTOFFS:
        warnings.append(f"note: only {num_cutoffs} cutoffs of some series: much of this is chance (more: --origins)")
    if len(weekdays) == 1 and num_cutoffs > 1:
        warnings.append("note: all cutoffs fall on one weekday: those of --step 5 fall on all")
    influences = errors.influences()
    if whole is not None and influences and abs(influences[0].without - whole) > NOTICED:
        most = influences[0]
        date, name = to_date(rolling.panel.first_day + most.cutoff), rolling.panel.series[most.row].name
        warnings.append(
            f"note: the error of sites weighted alike is {whole:.3f}, but {most.without:.3f} without one forecast of "
            f"{name}, that from {date}"
        )
    return warnings


def _shown_days(last: int) -> list[int]:
    """All days of the first week, if there is no other; else the first and the last of each week ahead."""
    if last <= WEEK:
        return list(range(1, last + 1))
    return sorted({day for start in range(1, last + 1, WEEK) for day in (start, min(start + WEEK - 1, last))})


def describe_coverage(coverage: Float[np.ndarray, " days"]) -> str:
    """Bands could break where one week ahead ends and the next begins."""
    days = [day for day in _shown_days(len(coverage)) if np.isfinite(coverage[day - 1])]
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
            _format_score(score.sites_alike, ".3f"),
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
