"""Once a week, reads the last week and its forecasts from our own tables, and writes the summary into the outbox."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np

from forecasting.alerts.weekly import ACCURACY_WEEKS, CAUSE, Accuracy, SiteWeek, Total, UnusualSite, Week, write_week
from forecasting.domain import Kind
from forecasting.model.forecaster import LEVELS
from forecasting.predictor import usual_bands
from forecasting.settings.schema import Config, MetricConfig
from forecasting.totals import sum_up
from forecasting.warehouse.message_store import write_message
from forecasting.warehouse.metric_names import infer_properties
from forecasting.warehouse.queries import Connection, fetch

DAYS = 7
LAST_WEEKDAY = 3  # Thursday: later, a summary of the week before is of no use
BAND = (0.1, 0.9)


async def write_weekly(connection: Connection, config: Config, *, today: dt.date) -> int:
    """1 if the summary of the last week is new: on Monday once its Sunday is known, on Tuesday even if it is not.

    Must run in a transaction that has locked the messages.
    """
    monday = today - dt.timedelta(days=today.weekday())
    [message] = await fetch(connection, "has_message", CAUSE, monday)
    if message["is_told"] or today.weekday() > LAST_WEEKDAY:
        return 0
    rows = await fetch(connection, "find_weekly_metrics", config.data.source.value, config.data.metrics)
    metric = next((row for row in rows if _find_kind(row, config) is Kind.count), None)
    if metric is None or (today == monday and metric["newest"] < monday - dt.timedelta(days=1)):
        return 0
    week = await _read_week(connection, config, metric, monday - dt.timedelta(days=DAYS))
    if not week.sites:
        return 0
    return int((await write_message(connection, write_week(week, page_url=config.alerts.page_url)))[1])


def _find_kind(row: Any, config: Config) -> Kind:  # Any: PostgreSQL's row
    """By the settings, else by the source, else by the metric's name."""
    settings = config.metrics.get(row["metric"], MetricConfig())
    stored = Kind(row["kind"]) if row["kind"] else infer_properties(row["metric"]).kind
    return settings.kind or (Kind.rate if settings.unit else stored or Kind.count)


async def _read_week(connection: Connection, config: Config, metric: Any, first_day: dt.date) -> Week:
    """`metric` is PostgreSQL's row. Sites without any day in the week are left out."""
    name, is_additive, sites = metric["metric"], metric["is_additive"], config.data.sites
    rows = await fetch(connection, "read_week", name, first_day, sites)
    since = first_day - dt.timedelta(days=DAYS * (ACCURACY_WEEKS - 1))
    until = first_day + dt.timedelta(days=DAYS - 1)
    [measured] = await fetch(connection, "measure_forecasts", name, since, until, sites, config.verdicts.masked)
    unusual = await fetch(connection, "read_week_unusual", first_day, sites)
    return Week(
        first_day=first_day,
        metric=name,
        is_additive=is_additive,
        sites=[_make_site(row, is_additive) for row in rows if row["values"]],
        unusual=[UnusualSite(**row) for row in unusual],
        accuracy=Accuracy(**measured),
    )


def _make_site(row: Any, is_additive: bool) -> SiteWeek:  # Any: PostgreSQL's row
    values, before = row["values"], row["values_before"]
    unit = 1.0 if is_additive else 1.0 / DAYS
    return SiteWeek(
        site=row["site"],
        num_days=len(values),
        value=sum(values) * (1.0 if is_additive else 1.0 / len(values)),
        value_before=sum(before) * unit if len(before) == DAYS else None,
        expected=_sum_up(row["expected"], unit),
        ahead=_sum_up(row["ahead"], unit),
    )


def _sum_up(quantiles: Sequence[Sequence[float]] | None, unit: float) -> Total | None:
    if quantiles is None or len(quantiles) != DAYS:
        return None
    correlation = np.array([usual_bands(DAYS).day_correlation])
    totals = sum_up(np.array([quantiles], np.float32), LEVELS, correlation, band=BAND)
    return Total(*(unit * float(part[0]) for part in totals))
