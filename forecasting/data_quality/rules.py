"""Judges the days of many series: the rules for single verdicts, put together."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from forecasting.data_quality.bots import find_bots
from forecasting.data_quality.last_day import find_partial_last_days
from forecasting.data_quality.outages import find_outages, judge_hours
from forecasting.data_quality.trailing_days import CONTEXT, any_of_site
from forecasting.domain import Kind, Verdict, to_day
from forecasting.latest_windows import out_of_range
from forecasting.settings.schema import VerdictConfig

CHUNK = 1 << 16  # values judged at a time: they need little memory and mostly stay in a core's cache


def judge(
    values: Float[np.ndarray, "series days"],
    hours: Int[np.ndarray, "series days"],
    kinds: Sequence[Kind],
    sites: Int[np.ndarray, " series"],
    *,
    thresholds: VerdictConfig,
    start: int = 0,
    announced: Bool[np.ndarray, "series days"] | None = None,
    breaks: Int[np.ndarray, " series"] | None = None,
    last: Int[np.ndarray, " series"] | None = None,
) -> UInt8[np.ndarray, "series judged"]:
    """The verdicts on the columns from `start` on. The CONTEXT columns before them are only looked at.

    `values`: NaN for no row, or NULL. `hours`: bit h is set if there was traffic in the h-th local hour of the day, bit
    24 on a day of 25 hours; -1 if unknown; equal for all series of a site. `sites`: a number for each site.
    `announced`: days that are not judged as bots, for any series of the site. `breaks`: from `find_breaks`.
    `last`: of each series the column of its site's last day, which may lie elsewhere; None: no last day is known.
    """
    is_count, is_rate = (np.array([kind is wanted for kind in kinds], bool) for wanted in (Kind.count, Kind.rate))
    verdicts = np.empty((len(values), values.shape[1] - start), np.uint8)
    for rows in _split_by_site(sites, num_rows=CHUNK // (CONTEXT + verdicts.shape[1])):
        verdicts[rows] = _judge_sites(
            _with_context(values[rows], start, fill=np.nan),
            _with_context(hours[rows], start, fill=-1.0),
            sites[rows],
            thresholds=thresholds,
            is_count=is_count[rows, None],
            is_rate=is_rate[rows, None],
            announced=np.zeros((len(rows), verdicts.shape[1]), bool) if announced is None else announced[rows, start:],
            breaks=np.zeros(len(rows), np.int64) if breaks is None else breaks[rows] - start + CONTEXT,
            last=np.full(len(rows), -1) if last is None else last[rows] - start + CONTEXT,
        )
    return verdicts


def find_breaks(
    metrics: Sequence[str], *, thresholds: VerdictConfig, first_day: int, num_days: int
) -> Int[np.ndarray, " series"]:
    """For each series' metric, the column of its latest break on the calendar; 0 if there is none.

    `first_day`: the calendar's, in days since 1970-01-01. A break after the calendar's last day has not come yet.
    """
    columns = {metric: [to_day(date) - first_day for date in thresholds.break_dates(metric)] for metric in set(metrics)}
    latest = {
        metric: max((column for column in breaks if 0 < column < num_days), default=0)
        for metric, breaks in columns.items()
    }
    return np.array([latest[metric] for metric in metrics], np.int64)


def mark_breaks(
    verdicts: UInt8[np.ndarray, "series days"], breaks: Int[np.ndarray, " series"]
) -> UInt8[np.ndarray, "series days"]:
    """Marks the days with a value before their series' break as `definition_break`."""
    has_value = np.isin(verdicts, (Verdict.observed, Verdict.outage, Verdict.partial, Verdict.bot))
    is_before = np.arange(verdicts.shape[1]) < breaks[:, None]
    return np.asarray(np.where(has_value & is_before, np.uint8(Verdict.definition_break), verdicts))


def _judge_sites(
    values: Float[np.ndarray, "series days"],
    hours: Int[np.ndarray, "series days"],
    sites: Int[np.ndarray, " series"],
    *,
    thresholds: VerdictConfig,
    is_count: Bool[np.ndarray, "series 1"],
    is_rate: Bool[np.ndarray, "series 1"],
    announced: Bool[np.ndarray, "series judged"],
    breaks: Int[np.ndarray, " series"],
    last: Int[np.ndarray, " series"],
) -> UInt8[np.ndarray, "series judged"]:
    """The verdicts on all columns except the first CONTEXT, for the series of whole sites. Later rules win."""
    impossible = out_of_range(values, is_count | is_rate, is_rate)
    other_definition = np.arange(values.shape[1]) < breaks[:, None]
    known = np.where(impossible | other_definition, np.nan, values)
    counts, rates = np.where(is_count, known, np.nan), np.where(is_rate, known, np.nan)
    silent, partial = judge_hours(hours, sites, thresholds)
    verdicts = np.full(announced.shape, Verdict.observed, np.uint8)
    verdicts[find_bots(counts, rates, sites, thresholds) & ~any_of_site(announced, sites)] = Verdict.bot
    fell = find_partial_last_days(counts, last, sites) & (hours < 0)  # with hours there is a better rule
    verdicts[partial | fell[:, CONTEXT:]] = Verdict.partial
    verdicts[silent | find_outages(counts, sites, thresholds)] = Verdict.outage
    verdicts[impossible[:, CONTEXT:]] = Verdict.invalid
    verdicts[np.isnan(values[:, CONTEXT:])] = Verdict.unmeasured
    return mark_breaks(verdicts, breaks - CONTEXT)


def _with_context(
    x: Shaped[np.ndarray, "rows days"], start: int, *, fill: float | int
) -> Shaped[np.ndarray, "rows columns"]:
    """The columns from `start` on and the CONTEXT columns before them, with `fill` for columns that do not exist."""
    existing = x[:, max(0, start - CONTEXT) :]
    return np.pad(existing, ((0, 0), (max(0, CONTEXT - start), 0)), constant_values=fill)


def _split_by_site(sites: Int[np.ndarray, " series"], *, num_rows: int) -> list[Int[np.ndarray, " part"]]:
    """Groups of whole sites' rows, of about `num_rows` series each."""
    order = np.argsort(sites, kind="stable")
    _, firsts = np.unique(sites[order], return_index=True)
    part = firsts // max(1, num_rows)
    return np.split(order, firsts[1:][part[1:] > part[:-1]])
