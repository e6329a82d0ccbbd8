"""Report of a training: lines and a table for the log, a plot for the version's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from forecasting.domain import Series, Verdict, to_date
from forecasting.evaluation.comparison import MIN_WEEKS, OVERWHELMING
from forecasting.evaluation.plotting import draw_band, draw_name, draw_observed, figure
from forecasting.evaluation.report import MAX_NOTES, format_notes
from forecasting.known_days.effects import Effects, is_beside
from forecasting.known_days.events import EVENT
from forecasting.known_days.regressors import RegressorEffect
from forecasting.panel import Panel
from forecasting.panel_building import MASKED
from forecasting.predictor import SEASONAL_NAIVE, Bands
from forecasting.runtime.terminal import render
from forecasting.training.data_module import TrafficDataModule
from forecasting.training.distributed import gather_from_ranks, num_ranks
from forecasting.training.fit import Fitted
from forecasting.training.held_out import HeldOutForecasts, relative_error
from forecasting.training.model_card import NextForecasts

COLUMNS = {
    "mse": "MSE", "mae": "MAE", "rmse": "RMSE", "mape": "MAPE", "r2": "R2", "mase": "MASE", "wape": "WAPE",
}  # fmt: skip
OF_UNIT = ("mse", "mae", "rmse")  # in the series' unit, or its square
PERCENTAGES = ("mape", "wape")
MAX_ROWS = 20  # series in the table
DAYS_IN_PLOT = 84


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


def describe_measures(all_series: Sequence[Series], measures: list[dict[str, Any]]) -> list[str]:
    """The table of measures on the test days, and the error relative to the seasonal naive forecast."""
    num_cutoffs = max(measured["num_cutoffs"] for measured in measures)
    relative = relative_error(measures)
    return [
        f"measures on the test days, {num_cutoffs} cutoffs, in visits/day or the series' own unit:",
        *format_table(all_series, measures).splitlines(),
        *([] if relative is None else [f"error relative to the seasonal naive forecast: {relative:.2f}"]),
    ]


def describe_answerers(
    all_series: Sequence[Series], answers: Sequence[str], fitted: Fitted, *, relative: float | None = None
) -> list[str]:
    """Which model forecasts how many series, and the series that the seasonal naive forecast is used for. `relative`:
    see `relative_error`.
    """
    answerers = zip(all_series, answers, strict=True)
    naive = [series.name for series, answerer in answerers if answerer == SEASONAL_NAIVE]
    model = "the fine-tuned model" if fitted.best_epoch else "the base model as it is"
    lines = [
        f"{model if fitted.from_base else 'the trained model'} forecasts {len(all_series) - len(naive)} of "
        f"{len(all_series)} series"
    ]
    if naive:
        more = f" and {len(naive) - MAX_NOTES} more" if len(naive) > MAX_NOTES else ""
        lines.append(
            "the seasonal naive forecast was better by more than chance, and is used for: "
            f"{', '.join(naive[:MAX_NOTES])}{more}"
        )
    elif relative is not None and relative >= 1:
        lines.append(
            f"although its error is {relative:.2f} times the seasonal naive forecast's: no series has {MIN_WEEKS} or "
            f"more weeks over which it was worse by more than chance, nor was it {OVERWHELMING:g} times worse in every "
            "window of one"
        )
    return lines


def describe_bands(bands: Sequence[Bands], *, horizon: int) -> str:
    """How many weeks the bands were calibrated on, and by how much that changed those of the horizon's days."""
    weeks, scales = {band.num_weeks for band in bands}, [scale for band in bands for scale in band.scale[:horizon]]
    if not max(weeks):
        return "bands not calibrated: no series has a week that training has not seen"
    num_weeks = f"{min(weeks)} to {max(weeks)}" if len(weeks) > 1 else min(weeks)
    return (
        f"bands calibrated on {num_weeks} weeks of each series: "
        f"{min(scales):.2f} to {max(scales):.2f} times as wide as trained"
    )


def format_table(all_series: Sequence[Series], measures: list[dict[str, Any]]) -> str:  # Any: see measure_test_part
    """A table of the first MAX_ROWS series' measures, each with the seasonal naive forecast's below."""
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("series", "forecast"):
        table.add_column(column, no_wrap=True)
    for column in (*COLUMNS.values(), "80% band held"):
        table.add_column(column, justify="right", no_wrap=True)
    several_sites = len({series.site for series in all_series}) > 1
    for series, measured in list(zip(all_series, measures, strict=True))[:MAX_ROWS]:
        name = series.name if several_sites else series.metric
        if not measured["num_cutoffs"]:
            table.add_row(name, "no known test day")
            continue
        table.add_row(name, "forecaster", *_cells(measured), f"{measured['coverage_80']:.0%}")
        table.add_row("", "seasonal naive", *_cells(measured["seasonal_naive"]))
    if len(all_series) > MAX_ROWS:
        table.add_row(f"and {len(all_series) - MAX_ROWS} more", "in model.json")
    return render(table)


def plot_training(
    file: Path, panel: Panel, tested: HeldOutForecasts, upcoming: NextForecasts, fitted: Fitted, *, title: str
) -> None:
    """Recent history, the test days' forecasts with their 80% band, and the forecast of the days after the cutoff;
    below them the losses of each epoch.
    """
    recent = panel.tail(DAYS_IN_PLOT)
    with figure(file, len(panel.series), title=title, sharex=True, below=bool(fitted.losses)) as axes:
        if fitted.losses:
            _draw_losses(axes[-1], fitted)
        for row, axis in enumerate(axes[: len(axes) - bool(fitted.losses)]):
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


def _draw_losses(axis: Any, fitted: Fitted) -> None:  # Any: matplotlib has no types
    epochs = range(1, len(fitted.losses) + 1)
    axis.plot(epochs, [losses.train for losses in fitted.losses], color="tab:blue", label="training")
    axis.plot(epochs, [losses.validation for losses in fitted.losses], color="tab:orange", label="validation")
    if fitted.base_loss is not None:
        axis.axhline(fitted.base_loss, color="0.5", linestyle=":", label="validation, base model")
        axis.axhline(fitted.best_loss, color="tab:green", linestyle="--", label="validation, weights kept")
    else:
        axis.axvline(fitted.best_epoch, color="tab:green", linestyle="--", label="epoch kept")
    draw_name(axis, "loss of each epoch, before the refit")
    axis.set_xlabel("epoch")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(fontsize=9, frameon=False, ncols=4)


def _cells(measured: dict[str, Any]) -> list[str]:  # Any: as measure_test_part returns them
    return [_format_measure(name, measured[name]) for name in COLUMNS]


def _format_measure(name: str, value: float | None) -> str:
    if value is None:
        return "undefined"
    if name in PERCENTAGES:
        return f"{value:.1%}"
    if name in OF_UNIT and 0 < abs(value) < 1:  # a rate: two decimals would leave one digit, or none
        return f"{value:#.3g}"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def describe_known_days(known: Sequence[tuple[str, Effects]]) -> list[str]:
    """Which holidays and events are expected, by how many names with a past; nothing if there are none."""
    lines = []
    for country in sorted({country for country, _ in known if country}):
        effects = [learned for name, learned in known if name == country]
        num_names = len({name for learned in effects for name in learned.by_name if not is_beside(name)})
        lines.append(_write_expected(f"holidays of {country}", num_names, len(effects)))
    own = [[name for name in effects.by_name if name.startswith(EVENT)] for _, effects in known]
    if any(own):
        lines.append(_write_expected("events", len({name for names in own for name in names}), sum(map(bool, own))))
    return lines


def _write_expected(what: str, num_names: int, num_series: int) -> str:
    return (
        f"{what}: {num_names} known from the past of {_write_num_series(num_series)}; forecasts expect them, and the "
        "measures above are without them"
    )


def describe_regressors(
    all_series: Sequence[Series], used: Sequence[tuple[RegressorEffect, ...]], names: Sequence[str]
) -> list[str]:
    """Which regressors forecasts of how many series use, and what they gain in the median."""
    gaining = [effects for effects in used if effects]
    if not gaining:
        return [
            f"regressors: {', '.join(names)}; no series uses any: none took off more of the error than chance, over "
            f"{MIN_WEEKS} weeks or more"
        ]
    by_name = {name: sum(name in {effect.name for effect in effects} for effects in used) for name in names}
    counts = ", ".join(f"{name} by {_write_num_series(number)}" for name, number in by_name.items() if number)
    unused = [name for name, number in by_name.items() if not number]
    gain = float(np.median([effects[0].gain for effects in gaining]))
    return [
        f"regressors used: {counts} of {len(all_series)}; they take {gain:.0%} off the error of past weeks in the "
        "median, and the measures above are without them",
        *([f"regressors not used, since they gain no more than chance: {', '.join(unused)}"] if unused else []),
    ]


def _write_num_series(number: int) -> str:
    return "1 series" if number == 1 else f"{number:,} series"
