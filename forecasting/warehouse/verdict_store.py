"""Verdicts on the days of `forecasting.daily`: read with the days before them, judged, written where they differ."""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from forecasting.data_quality.rules import CONTEXT, find_breaks, judge
from forecasting.domain import Kind, Series, SeriesKey, Verdict, to_date, to_day
from forecasting.panel import describe_series
from forecasting.settings.schema import Config, MetricConfig, VerdictConfig
from forecasting.warehouse.copy_format import decode_arrays, decode_texts, split_rows
from forecasting.warehouse.daily import read_settings
from forecasting.warehouse.queries import Connection, fetch, load_query, read_out

NAMES = [verdict.name for verdict in sorted(Verdict)]  # a verdict's number is its place
VALUES_AT_ONCE = 5_000_000  # about 200 MB


@dataclass(frozen=True)
class Rules:
    """All that verdicts depend on, beside the days."""

    source: str
    starts_amid: bool  # whether the oldest day has begun, or was cut off, in the middle of it
    thresholds: VerdictConfig
    metrics: Mapping[str, MetricConfig]
    events: Sequence[Any]  # Any: rows of forecasting.events
    until: dt.date  # days before it are over: a break on a later one is still to come

    @property
    def fingerprint(self) -> str:
        events = [(*event, event["day"] < self.until) for event in self.events]
        dates = [day < self.until for metric in self.metrics for day in self.thresholds.break_dates(metric)]
        known = (self.starts_amid, self.thresholds, self.metrics, events, dates)
        return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Days:
    """The days of some series on one calendar, from CONTEXT days before the first to judge."""

    keys: tuple[SeriesKey, ...]
    first_day: int  # in days since 1970-01-01
    values: Float[np.ndarray, "series days"]  # NaN: no row, or NULL
    hours: Int[np.ndarray, "series days"]
    verdicts: Int[np.ndarray, "series days"]  # as they are stored; -1: no row
    oldest: Int[np.ndarray, " series"]  # day of all that is stored

    def find_rows(self, event: Any) -> list[int]:  # Any: a row of forecasting.events
        """The series that it is of."""
        rows = range(len(self.keys)) if event["site"] is None else self._rows_of_site.get(event["site"], ())
        return [row for row in rows if event["metric"] in (None, self.keys[row][1])]

    @cached_property
    def _rows_of_site(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, (site, _) in enumerate(self.keys):
            rows.setdefault(site, []).append(row)
        return rows


async def read_rules(own: Connection, config: Config, *, source: str, starts_amid: bool, until: dt.date) -> Rules:
    settings = await read_settings(own, config.metrics, source=source)
    return Rules(source, starts_amid, config.verdicts, settings, await fetch(own, "read_events", source), until)


async def claim_new_sites(own: Connection, rules: Rules) -> None:
    """Notes that the days of sites that have none yet will be judged by these rules."""
    await fetch(own, "claim_new_sites", rules.source, rules.fingerprint)


async def judge_incoming(own: Connection, rules: Rules) -> None:
    """The days in `incoming`, in the transaction that has written them."""
    (found,) = await fetch(own, "find_incoming_days", rules.source)
    if found["sites"]:
        await _judge_sites(own, rules, found["sites"], found["first_day"], found["last_day"])


async def judge_anew(own: Connection, rules: Rules) -> None:
    """All days of sites that were judged by other rules than these. In a transaction under the lock: nobody may write
    other values meanwhile.
    """
    unjudged = await fetch(own, "find_unjudged", rules.source, rules.fingerprint)
    if unjudged:
        first, last = min(row["first_day"] for row in unjudged), max(row["last_day"] for row in unjudged)
        await _judge_sites(own, rules, [row["site"] for row in unjudged], first, last)
    await fetch(own, "write_rules", rules.source, rules.fingerprint)


async def _judge_sites(own: Connection, rules: Rules, sites: Sequence[str], first: dt.date, last: dt.date) -> None:
    await own.execute(load_query("create_judged"))
    num_columns = (last - first).days + 1 + CONTEXT
    num_sites = max(1, VALUES_AT_ONCE // (num_columns * max(1, len(rules.metrics))))
    for start in range(0, len(sites), num_sites):
        days = await _read_days(own, sites[start : start + num_sites], first, last)
        verdicts = _judge_days(days, rules)
        stored = days.verdicts[:, CONTEXT:]
        differing = np.argwhere((stored >= 0) & (stored != verdicts))
        first_day = days.first_day + CONTEXT
        rows = [(*days.keys[row], to_date(first_day + day), NAMES[verdicts[row, day]]) for row, day in differing]
        await own.copy_records_to_table("judged", schema_name="pg_temp", records=rows)
        await fetch(own, "write_verdicts")


async def _read_days(own: Connection, sites: Sequence[str], first: dt.date, last: dt.date) -> Days:
    first_day, num_days = to_day(first) - CONTEXT, (last - first).days + 1 + CONTEXT
    until = to_date(first_day + num_days)
    data = await read_out(own, "read_judged", list(sites), to_date(first_day), until, NAMES)
    names, metrics, *arrays = split_rows(data, num_fields=7)
    keys = tuple(zip(decode_texts(names), decode_texts(metrics), strict=True))
    days, counts = decode_arrays(arrays[0], "i4")
    rows, columns = np.repeat(np.arange(len(keys)), counts), days.astype(np.int64) - first_day
    values = np.full((len(keys), num_days), np.nan)
    hours, verdicts = (np.full((len(keys), num_days), -1, np.int64) for _ in range(2))
    values[rows, columns] = decode_arrays(arrays[1], "f8")[0]
    hours[rows, columns] = decode_arrays(arrays[2], "i4")[0]
    verdicts[rows, columns] = decode_arrays(arrays[3], "i4")[0]
    return Days(keys, first_day, values, hours, verdicts, decode_arrays(arrays[4], "i4")[0].astype(np.int64))


def _judge_days(days: Days, rules: Rules) -> UInt8[np.ndarray, "series judged"]:
    series = [
        describe_series(*key, rules.metrics.get(key[1], MetricConfig()), otherwise=Kind.count) for key in days.keys
    ]
    scales = np.array([one.unit_scale for one in series])
    numbers = {site: number for number, site in enumerate(dict.fromkeys(site for site, _ in days.keys))}
    verdicts: UInt8[np.ndarray, "series judged"] = judge(
        days.values / scales[:, None],
        days.hours,
        [_judged_kind(one, rules) for one in series],
        np.array([numbers[one.site] for one in series], np.int64),
        rules=rules.thresholds,
        start=CONTEXT,
        events=_find_events(days, rules),
        breaks=_find_breaks(days, rules),
    )
    if rules.starts_amid:
        oldest = np.arange(verdicts.shape[1]) == (days.oldest - days.first_day - CONTEXT)[:, None]
        verdicts[oldest & (verdicts == Verdict.observed)] = Verdict.partial
    return verdicts


def _judged_kind(series: Series, rules: Rules) -> Kind:
    """Of a rate whose unit nobody said it cannot be told which values are possible."""
    said = rules.metrics.get(series.metric, MetricConfig())
    return Kind.other if series.kind is Kind.rate and said.unit is None else series.kind


def _find_events(days: Days, rules: Rules) -> Bool[np.ndarray, "series days"]:
    """Days of which something is known that explains what they are like."""
    num_series, num_days = days.values.shape
    known = np.zeros((num_series, num_days), bool)
    for event in rules.events:
        place = to_day(event["day"]) - days.first_day
        if 0 <= place < num_days and not event["is_break"]:
            known[days.find_rows(event), place] = True
    return known


def _find_breaks(days: Days, rules: Rules) -> Int[np.ndarray, " series"]:
    """The column of each series' latest break that has come, whether the user has named it or the source knows it; it
    may be behind the last one.
    """
    num_days = to_day(rules.until) - days.first_day
    metrics = [metric for _, metric in days.keys]
    breaks = find_breaks(metrics, rules=rules.thresholds, first_day=days.first_day, num_days=num_days)
    for event in rules.events:
        place = to_day(event["day"]) - days.first_day
        if event["is_break"] and 0 < place < num_days:
            rows = days.find_rows(event)
            breaks[rows] = np.maximum(breaks[rows], place)
    return breaks
