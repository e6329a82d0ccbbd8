"""Judges the days of `forecasting.daily`: reads them with their context, and writes the verdicts that changed."""

import asyncio
import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from forecasting.data_quality.rules import find_breaks, judge
from forecasting.data_quality.trailing_days import CONTEXT
from forecasting.domain import Kind, Series, SeriesKey, Verdict, to_date, to_day
from forecasting.panel import describe_series
from forecasting.settings.schema import Config, MetricConfig, VerdictConfig
from forecasting.warehouse.copy_format import decode_arrays, decode_texts, split_rows
from forecasting.warehouse.origin import read_metric_settings
from forecasting.warehouse.queries import Connection, fetch, load_query, read_out

NAMES = [verdict.name for verdict in sorted(Verdict)]  # a verdict's number is its place
MAX_VALUES = 5_000_000  # judged at a time: about 200 MB


@dataclass(frozen=True)
class VerdictRules:
    """Everything that verdicts depend on, apart from the days themselves."""

    source: str
    starts_amid: bool  # whether the oldest day may be cut off
    thresholds: VerdictConfig
    metrics: Mapping[str, MetricConfig]
    events: Sequence[Any]  # Any: rows of forecasting.events
    until: dt.date  # days before it are over; a break on a later day has not come yet

    @property
    def fingerprint(self) -> str:
        """Changes whenever a verdict could change."""
        events = [(*event, event["first_day"] < self.until) for event in self.events]
        dates = [day < self.until for metric in self.metrics for day in self.thresholds.break_dates(metric)]
        content = (self.starts_amid, self.thresholds, self.metrics, events, dates)
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class DaysToJudge:
    """Days of several series on one calendar, starting CONTEXT days before the first day to judge."""

    keys: tuple[SeriesKey, ...]
    first_day: int  # since 1970-01-01
    values: Float[np.ndarray, "series days"]  # NaN for no row, or NULL
    hours: Int[np.ndarray, "series days"]
    verdicts: Int[np.ndarray, "series days"]  # as stored; -1 for no row
    oldest: Int[np.ndarray, " series"]  # the first day stored, since 1970-01-01
    newest: Int[np.ndarray, " series"]  # the last day stored

    def find_rows(self, event: Any) -> list[int]:  # Any: a row of forecasting.events
        """The series that an event concerns."""
        rows = range(len(self.keys)) if event["site"] is None else self._rows_by_site.get(event["site"], ())
        return [row for row in rows if event["metric"] in (None, self.keys[row][1])]

    @cached_property
    def _rows_by_site(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, (site, _) in enumerate(self.keys):
            rows.setdefault(site, []).append(row)
        return rows


async def read_rules(
    own: Connection, config: Config, *, source: str, starts_amid: bool, until: dt.date
) -> VerdictRules:
    settings = await read_metric_settings(own, config.metrics, source=source)
    return VerdictRules(source, starts_amid, config.verdicts, settings, await fetch(own, "read_events", source), until)


async def claim_new_sites(own: Connection, rules: VerdictRules) -> None:
    """Notes that the days of sites that have none yet will be judged by these rules."""
    await fetch(own, "claim_new_sites", rules.source, rules.fingerprint)


async def judge_incoming(own: Connection, rules: VerdictRules) -> None:
    """Judges the days in `incoming` and those that depend on them, in the transaction that has written them."""
    (incoming,) = await fetch(own, "find_incoming_days", rules.source, CONTEXT)
    if incoming["sites"]:
        await _judge_sites(own, rules, incoming["sites"], incoming["first_day"], incoming["last_day"])


async def judge_again(own: Connection, rules: VerdictRules) -> None:
    """Judges all days of the sites that were judged by other rules. Must run in a transaction under the lock, so that
    no other update writes values at the same time.
    """
    sites = await fetch(own, "find_sites_to_judge", rules.source, rules.fingerprint)
    if sites:
        first, last = min(row["first_day"] for row in sites), max(row["last_day"] for row in sites)
        await _judge_sites(own, rules, [row["site"] for row in sites], first, last)
    await fetch(own, "write_rules", rules.source, rules.fingerprint)


async def _judge_sites(
    own: Connection, rules: VerdictRules, sites: Sequence[str], first: dt.date, last: dt.date
) -> None:
    await own.execute(load_query("create_new_verdicts"))
    num_columns = (last - first).days + 1 + CONTEXT
    num_sites = max(1, MAX_VALUES // (num_columns * max(1, len(rules.metrics))))
    for start in range(0, len(sites), num_sites):
        days = await _read_days(own, sites[start : start + num_sites], first, last)
        # In a thread: a server would not answer anybody meanwhile, a quarter of a second for 4,096 series.
        verdicts = await asyncio.to_thread(_judge_days, days, rules)
        stored = days.verdicts[:, CONTEXT:]
        changed = np.argwhere((stored >= 0) & (stored != verdicts))
        first_day = days.first_day + CONTEXT
        rows = [(*days.keys[row], to_date(first_day + day), NAMES[verdicts[row, day]]) for row, day in changed]
        await own.copy_records_to_table("new_verdicts", schema_name="pg_temp", records=rows)
        await fetch(own, "write_verdicts")


async def _read_days(own: Connection, sites: Sequence[str], first: dt.date, last: dt.date) -> DaysToJudge:
    first_day, num_days = to_day(first) - CONTEXT, (last - first).days + 1 + CONTEXT
    until = to_date(first_day + num_days)
    data = await read_out(own, "read_days_to_judge", list(sites), to_date(first_day), until, NAMES)
    site_names, metrics, *arrays = split_rows(data, num_fields=8)
    keys = tuple(zip(decode_texts(site_names), decode_texts(metrics), strict=True))
    days, counts = decode_arrays(arrays[0], "i4")
    rows, columns = np.repeat(np.arange(len(keys)), counts), days.astype(np.int64) - first_day
    values = np.full((len(keys), num_days), np.nan)
    hours, verdicts = (np.full((len(keys), num_days), -1, np.int64) for _ in range(2))
    values[rows, columns] = decode_arrays(arrays[1], "f8")[0]
    hours[rows, columns] = decode_arrays(arrays[2], "i4")[0]
    verdicts[rows, columns] = decode_arrays(arrays[3], "i4")[0]
    oldest, newest = (decode_arrays(array, "i4")[0].astype(np.int64) for array in arrays[4:])
    return DaysToJudge(keys, first_day, values, hours, verdicts, oldest, newest)


def _judge_days(days: DaysToJudge, rules: VerdictRules) -> UInt8[np.ndarray, "series judged"]:
    series = [
        describe_series(*key, rules.metrics.get(key[1], MetricConfig()), otherwise=Kind.count) for key in days.keys
    ]
    scales = np.array([row.unit_scale for row in series])
    numbers = {site: number for number, site in enumerate(dict.fromkeys(site for site, _ in days.keys))}
    sites = np.array([numbers[row.site] for row in series], np.int64)
    last = np.zeros(len(numbers), np.int64)
    np.maximum.at(last, sites, days.newest)
    verdicts: UInt8[np.ndarray, "series judged"] = judge(
        days.values / scales[:, None],
        days.hours,
        [_kind_to_judge(row, rules) for row in series],
        sites,
        thresholds=rules.thresholds,
        start=CONTEXT,
        announced=_find_announced_days(days, rules),
        breaks=_find_breaks(days, rules),
        last=last[sites] - days.first_day,
    )
    if rules.starts_amid:
        oldest = np.arange(verdicts.shape[1]) == (days.oldest - days.first_day - CONTEXT)[:, None]
        verdicts[oldest & (verdicts == Verdict.observed)] = Verdict.partial
    return verdicts


def _kind_to_judge(series: Series, rules: VerdictRules) -> Kind:
    """Of a rate without a unit nobody can tell which values are possible."""
    setting = rules.metrics.get(series.metric, MetricConfig())
    return Kind.other if series.kind is Kind.rate and setting.unit is None else series.kind


def _find_announced_days(days: DaysToJudge, rules: VerdictRules) -> Bool[np.ndarray, "series days"]:
    """Days with an event, or about which the source has a note, that explains unusual traffic."""
    num_series, num_days = days.values.shape
    announced = np.zeros((num_series, num_days), bool)
    for event in rules.events:
        first, last = (to_day(event[name]) - days.first_day for name in ("first_day", "last_day"))
        if last >= 0 and not event["is_break"]:
            announced[days.find_rows(event), max(first, 0) : last + 1] = True
    return announced


def _find_breaks(days: DaysToJudge, rules: VerdictRules) -> Int[np.ndarray, " series"]:
    """The column of each series' latest break that has come, from the settings or the source. It may lie beyond the
    last column.
    """
    num_days = to_day(rules.until) - days.first_day
    metrics = [metric for _, metric in days.keys]
    breaks = find_breaks(metrics, thresholds=rules.thresholds, first_day=days.first_day, num_days=num_days)
    for event in rules.events:
        column = to_day(event["first_day"]) - days.first_day
        if event["is_break"] and 0 < column < num_days:
            rows = days.find_rows(event)
            breaks[rows] = np.maximum(breaks[rows], column)
    return breaks
