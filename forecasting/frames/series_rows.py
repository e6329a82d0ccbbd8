"""Rows of many series, thousands at once, and the windows that forecasts are made from. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from forecasting.card import SeriesCard
from forecasting.data_quality.rules import find_breaks, judge
from forecasting.data_quality.trailing_days import CONTEXT
from forecasting.domain import Missing, Verdict
from forecasting.latest_windows import SPARE_DAYS, LatestWindows, cut_latest_windows
from forecasting.settings.schema import VerdictConfig

SERIES_AT_ONCE = 4096  # which bounds memory


@dataclass(frozen=True)
class SeriesRows:
    """The rows of one series follow those of another, each in order of days, no day twice; NaN for no value."""

    counts: Int[np.ndarray, " series"]  # rows of each
    days: Int[np.ndarray, " rows"]  # since 1970-01-01
    values: Float[np.ndarray, " rows"]

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def starts(self) -> Int[np.ndarray, " series"]:
        """Each series' first row."""
        return np.asarray(self.counts.cumsum() - self.counts)

    @property
    def series(self) -> Int[np.ndarray, " rows"]:
        """Each row's series."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def keep(self, is_kept: Bool[np.ndarray, " rows"]) -> "SeriesRows":
        """These rows alone, of the same series."""
        counts = np.bincount(self.series[is_kept], minlength=len(self.counts))
        return SeriesRows(counts, self.days[is_kept], self.values[is_kept])

    def select(self, part: slice) -> "SeriesRows":
        """A run of series."""
        first, last = self.starts[part], self.counts[part]
        rows = slice(int(first[0]), int(first[-1] + last[-1])) if len(first) else slice(0, 0)
        return SeriesRows(self.counts[part], self.days[rows], self.values[rows])

    def find_last_days(self) -> Int[np.ndarray, " series"]:
        """Of each series, the day of its last row; far in the past for one without rows."""
        last = np.full(len(self.counts), -(2**31), np.int64)
        has_rows = self.counts > 0
        last[has_rows] = self.days[(self.counts.cumsum() - 1)[has_rows]]
        return last


def cut_windows(
    rows: SeriesRows,
    cards: Sequence[SeriesCard],
    *,
    context_length: int,
    missing: Missing,
    verdicts: VerdictConfig,
) -> LatestWindows:
    """The windows that serving would cut, had it read these rows from a database: in the model's units, up to each
    series' last known day, without the days that a verdict masks. Each series is judged as a site of its own.
    """
    last = rows.find_last_days()[rows.series]
    recent = rows.keep(rows.days > last - context_length - SPARE_DAYS - CONTEXT)
    scale = np.array([card.unit_scale for card in cards])[recent.series]
    recent = replace(recent, values=recent.values / scale)
    recent = mask(recent, find_verdicts(recent, cards, verdicts), verdicts)
    measured = np.full(len(rows), -(2**31), np.int64)
    np.maximum.at(measured, recent.series, np.where(np.isnan(recent.values), -(2**31), recent.days))
    read = recent.keep(recent.days > measured[recent.series] - context_length - SPARE_DAYS)
    return cut_latest_windows(
        read.counts,
        read.days,
        read.values,
        [card.kind for card in cards],
        context_length=context_length,
        missing=missing,
        can_be_zero=[card.can_be_zero for card in cards],
    )


def mask(rows: SeriesRows, verdicts: UInt8[np.ndarray, " rows"], thresholds: VerdictConfig) -> SeriesRows:
    """With infinite values on the days that a verdict masks, as panels and windows take them."""
    return replace(rows, values=np.where(is_masked(verdicts, thresholds), np.inf, rows.values))


def is_masked(verdicts: UInt8[np.ndarray, " rows"], thresholds: VerdictConfig) -> Bool[np.ndarray, " rows"]:
    return np.isin(verdicts, [Verdict[name] for name in thresholds.masked])


def find_verdicts(
    rows: SeriesRows, cards: Sequence[SeriesCard], thresholds: VerdictConfig
) -> UInt8[np.ndarray, " rows"]:
    """The verdict on each row. The rows are in the model's units."""
    parts = [slice(start, start + SERIES_AT_ONCE) for start in range(0, len(rows), SERIES_AT_ONCE)]
    verdicts = [_judge_part(rows.select(part), cards[part], thresholds) for part in parts]
    return np.concatenate(verdicts) if verdicts else np.zeros(0, np.uint8)


def _judge_part(rows: SeriesRows, cards: Sequence[SeriesCard], thresholds: VerdictConfig) -> UInt8[np.ndarray, " rows"]:
    """On a calendar of each series' own, which ends with its last row."""
    last = rows.find_last_days()
    ago = last[rows.series] - rows.days
    num_days = CONTEXT + int(ago.max(initial=0)) + 1
    columns = num_days - 1 - ago
    values = np.full((len(rows), num_days), np.nan)
    values[rows.series, columns] = rows.values
    verdicts = judge(
        values,
        np.full(values.shape, -1),
        [card.kind for card in cards],
        np.arange(len(rows)),
        thresholds=thresholds,
        start=CONTEXT,
        breaks=_find_breaks([card.metric for card in cards], last, num_days, thresholds),
        last=np.full(len(rows), num_days - 1),
    )
    return np.asarray(verdicts[rows.series, columns - CONTEXT])


def _find_breaks(
    metrics: Sequence[str], last: Int[np.ndarray, " series"], num_days: int, thresholds: VerdictConfig
) -> Int[np.ndarray, " series"]:
    """As judge takes them, where each series has a calendar of its own."""
    breaks = np.zeros(len(metrics), np.int64)
    if thresholds.breaks:
        for day in np.unique(last):
            places = np.flatnonzero(last == day)
            names = [metrics[place] for place in places.tolist()]
            breaks[places] = find_breaks(
                names, thresholds=thresholds, first_day=int(day) - num_days + 1, num_days=num_days
            )
    return breaks
