"""What would have been told of the past at each sensitivity: counted, listed, written and drawn."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from forecasting.domain import Sensitivity, to_date
from forecasting.errors import SettingError
from forecasting.evaluation.plotting import MAX_PANELS, figure
from forecasting.monitoring.looking_back import JudgedSeries
from forecasting.monitoring.rule import Reason
from forecasting.monitoring.wording import DayValues, UnusualDay, describe
from forecasting.settings.schema import AlertConfig

LEVELS = (Sensitivity.low, Sensitivity.medium, Sensitivity.high)
MAX_LISTED = 20  # of the latest messages
COLUMNS = ("series", "metric", "date", "observed", "expected", "lower", "upper", "score", "flag")
MONTH = 30  # days


def describe_simulation(judged: Sequence[JudgedSeries], alerts: AlertConfig) -> str:
    """A line for each sensitivity, and the latest messages at the configured one."""
    lines = ["sensitivity   messages   a series and month, mean   nine of ten series at most"]
    for level in LEVELS:
        counts = np.array([np.abs(series.tell(level.threshold)).sum() for series in judged])
        months = np.array([np.isfinite(series.score).sum() / MONTH for series in judged])
        rates = counts[months > 0] / months[months > 0]
        mean, most = (np.mean(rates), np.quantile(rates, 0.9)) if rates.size else (0.0, 0.0)
        lines.append(f"{level:<14}{counts.sum():>8,}{mean:>27.2f}{most:>29.2f}")
    messages = sorted((day for series in judged for day in list_unusual(series, alerts)), key=lambda day: day.day)
    lines.append(f"at the configured sensitivity: {_count(len(messages))}, the latest:")
    lines += [f"  {day.day} {day.site} {day.metric}: {describe(day)}" for day in messages[-MAX_LISTED:]]
    return "\n".join(lines if messages else [*lines[:-1], "at the configured sensitivity: no message"])


def list_unusual(judged: JudgedSeries, alerts: AlertConfig) -> list[UnusualDay]:
    """The days on which something would have been told, oldest first."""
    series, comparison = judged.series, judged.comparison
    told = judged.tell(alerts.sensitivity_of(series.site, series.metric).threshold)
    return [
        UnusualDay(
            series.site,
            series.metric,
            series.kind,
            series.unit_scale,
            series.additive,
            to_date(judged.first_day + day),
            DayValues(*(float(part[0, day]) for part in comparison.values)),
            float(judged.score[day]),
            Reason(int(comparison.judgement.reason[0, day])),
        )
        for day in np.flatnonzero(told).tolist()
    ]


def write_days(file: Path, judged: Sequence[JudgedSeries], alerts: AlertConfig) -> None:
    """A row for each day that was judged; `flag` is 1 or -1 where something would have been told, and the score is 0
    where a day only goes on with what was told.

    Raises SettingError if the file cannot be written.
    """
    try:
        with file.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerow(COLUMNS)
            for series in judged:
                writer.writerows(_write_rows(series, alerts))
    except OSError as error:
        raise SettingError(f"--out {file} cannot be written ({error.strerror}). Choose another place.") from error


def _write_rows(judged: JudgedSeries, alerts: AlertConfig) -> list[list[object]]:
    series, comparison = judged.series, judged.comparison
    limit = alerts.sensitivity_of(series.site, series.metric).threshold
    told = judged.tell(limit)
    score = np.where((np.abs(judged.score) > limit) & (told == 0), 0.0, judged.score)
    parts = np.stack([*(part[0] for part in comparison.values), score], 1)
    return [
        [series.site, series.metric, to_date(judged.first_day + day), *(f"{x:.6g}" for x in parts[day]), told[day]]
        for day in np.flatnonzero(np.isfinite(judged.score)).tolist()
    ]


def plot_simulation(file: Path, judged: Sequence[JudgedSeries], alerts: AlertConfig) -> None:
    """Of the first series: the days, their 80% band, and what would have been told."""
    shown = [series for series in judged if np.isfinite(series.score).any()][:MAX_PANELS]
    with figure(file, len(judged), title="Unusual days, looking back", sharex=False) as axes:
        for axis, series in zip(axes, shown, strict=False):
            dates = [to_date(series.first_day + day) for day in range(len(series.observed))]
            comparison = series.comparison
            axis.fill_between(dates, comparison.lower[0], comparison.upper[0], alpha=0.3, label="80% band")
            axis.plot(dates, series.observed, linewidth=0.9, color="0.2", label=series.series.name)
            told = series.tell(alerts.sensitivity_of(series.series.site, series.series.metric).threshold)
            for side, mark, name in ((1, "^", "unusually high"), (-1, "v", "unusually low")):
                days = np.flatnonzero(told == side)
                axis.plot([dates[day] for day in days], series.observed[days], mark, color="C3", label=name)
            axis.set_title(series.series.name, fontsize=9, loc="left")


def _count(number: int) -> str:
    return "1 message" if number == 1 else f"{number:,} messages"
