"""The series of a CSV file, plain or gzip. A day without a row is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from forecasting.data_quality.last_day import find_partial_last_days
from forecasting.data_quality.trailing_days import CONTEXT
from forecasting.domain import EARLIEST_DATE, MIN_DAYS, Kind, Series, Unit, Verdict, name_of_file, to_date, to_day
from forecasting.errors import AmbiguousUnit, DataError, unknown_metric, unknown_site
from forecasting.panel import Observations, Panel, describe_series
from forecasting.panel_building import build_panel
from forecasting.settings.schema import Config, DataConfig, MetricConfig
from forecasting.warehouse.csv.formats import Column, Notation
from forecasting.warehouse.csv.rows import FileContent, ValuesByDay, is_sparse, read_content
from forecasting.warehouse.metric_names import infer_properties


@dataclass(frozen=True)
class CsvSeries:
    """Every series of a file, and a sentence about each thing that was left out."""

    observations: Sequence[Observations]
    notes: Sequence[str]


def read_csv_panel(file: Path, config: Config) -> Panel:
    """The panel of all series in a file, or of those that `data.metrics` and `data.sites` name."""
    content = read_csv_series(file, metrics=config.metrics, data=config.data)
    selected = select(content.observations, metrics=config.data.metrics, sites=config.data.sites)
    dated, notes = _drop_misdated(selected)
    panel = build_panel(dated, today=config.data.today(), missing=config.data.missing, named=config.data.metrics)
    panel = _mask_partial_last_days(panel)
    return replace(panel, notes=(*content.notes, *notes, *panel.notes))


def _mask_partial_last_days(panel: Panel) -> Panel:
    """As the verdicts in `forecasting.daily` mask them: a half-counted day is no truth to compare forecasts with."""
    _, sites = np.unique([series.site for series in panel.series], return_inverse=True)
    is_count = np.array([series.kind is Kind.count for series in panel.series])[:, None]
    counts = np.pad(np.where(is_count, panel.values, np.nan), ((0, 0), (CONTEXT, 0)), constant_values=np.nan)
    ends = CONTEXT + panel.num_days - 1 - np.argmax(panel.verdicts[:, ::-1] != Verdict.before, axis=1)
    last = np.zeros(len(sites), np.int64)
    np.maximum.at(last, sites, ends)
    marks = find_partial_last_days(counts, last[sites], sites)[:, CONTEXT:] & (panel.verdicts == Verdict.observed)
    notes = [
        f"{panel.series[row].name}: 1 day counted in part, masked ({to_date(panel.first_day + column)})"
        for row, column in np.argwhere(marks)
    ]
    return replace(
        panel,
        values=np.where(marks, np.float32(np.nan), panel.values),
        verdicts=np.where(marks, np.uint8(Verdict.partial), panel.verdicts),
        notes=(*panel.notes, *notes),
    )


def _drop_misdated(observations: Sequence[Observations]) -> tuple[list[Observations], list[str]]:
    """Without days that are older than the web: one typing error would make the panel two thousand years long."""
    dated = [(row, row.days >= to_day(EARLIEST_DATE)) for row in observations]
    notes = [
        f"{row.series.name}: {int(np.sum(~keep))} rows dated before {EARLIEST_DATE.year}, left out"
        for row, keep in dated
        if not keep.all()
    ]
    return [replace(row, days=row.days[keep], values=row.values[keep]) for row, keep in dated], notes


def read_csv(
    file: Path, *, metrics: Mapping[str, MetricConfig] | None = None, site: str | None = None
) -> list[Observations]:
    """`read_csv_series` with default settings: the series alone."""
    return list(read_csv_series(file, metrics=metrics, site=site).observations)


def read_csv_series(
    file: Path,
    *,
    metrics: Mapping[str, MetricConfig] | None = None,
    site: str | None = None,
    data: DataConfig | None = None,
) -> CsvSeries:
    """Every series of the file, in the order of their first rows. The header decides the format (`formats.py`), and
    `data` says how to read what the file leaves open: its columns, its decimal mark and the time zones of its sites.

    A column `series` or `site` names the sites. Without one, all rows belong to `site`, or to a site named after the
    file. The settings in `metrics` win over the format. An empty cell is a day that nobody measured: NaN.
    Raises DataError, DuplicateDays and AmbiguousUnit naming the line.
    """
    settings = metrics or {}
    content = read_content(file, site=site or name_of_file(file), data=data or DataConfig())
    if not content.is_long:
        _refuse_sparse(file, content)
    _refuse_unit(file, content, settings)
    observations = [
        _observe(site, metric, values, _combine(content.columns.get(metric), settings.get(metric, MetricConfig())))
        for (site, metric), values in content.series.items()
    ]
    return CsvSeries(_mask_quiet_days(unify_kinds(observations)), content.notes)


def unify_kinds(observations: Sequence[Observations]) -> list[Observations]:
    """A metric that is whole at one site and has fractions at another is no count at either."""
    kinds: dict[str, set[Kind]] = {}
    for row in observations:
        kinds.setdefault(row.series.metric, set()).add(row.series.kind)
    mixed = {metric for metric, found in kinds.items() if len(found) > 1}
    return [
        replace(
            row, series=replace(row.series, kind=Kind.other, unit_scale=1.0), values=row.values * row.series.unit_scale
        )
        if row.series.metric in mixed
        else row
        for row in observations
    ]


def _mask_quiet_days(observations: Sequence[Observations]) -> list[Observations]:
    """A rate or a mean of 0 on a day on which the site counted nothing at all is unmeasured, whatever a program writes
    there: nobody bounced, but nobody came either.
    """
    counted: dict[str, list[Observations]] = {}
    for row in observations:
        if row.series.kind is Kind.count:
            counted.setdefault(row.series.site, []).append(row)
    return [
        row if row.series.can_be_zero else _mask(row, _find_quiet_days(counted.get(row.series.site, [])))
        for row in observations
    ]


def _find_quiet_days(counts: Sequence[Observations]) -> Int[np.ndarray, " days"]:
    days = np.concatenate([row.days for row in counts]) if counts else np.array([], np.int64)
    busy = [row.days[row.values != 0] for row in counts]  # NaN is not known to be zero
    return np.setdiff1d(days, np.concatenate(busy)) if counts else days


def _mask(row: Observations, quiet_days: Int[np.ndarray, " days"]) -> Observations:
    quiet = np.isin(row.days, quiet_days) & (row.values == 0)
    return replace(row, values=np.where(quiet, np.nan, row.values)) if quiet.any() else row


def _refuse_sparse(file: Path, content: FileContent) -> None:
    for (site, metric), values in content.series.items():
        if is_sparse(values):
            step = np.diff(np.sort(np.fromiter(values, np.int64))).min()
            raise DataError(
                f"{file}: the rows of {metric} of {site} are {step} days or more apart. Export one row per day, "
                "not per week or month."
            )


def _refuse_unit(file: Path, content: FileContent, settings: Mapping[str, MetricConfig]) -> None:
    """Refuses a rate above 1, unless the format or a setting makes it a percentage."""
    for (site, metric), values in content.series.items():
        column, setting = content.columns.get(metric), settings.get(metric, MetricConfig())
        properties = column.properties if column else MetricConfig()  # a long file names metrics in its rows
        if (setting.kind or properties.kind) is not Kind.rate or setting.unit or properties.unit is Unit.percent:
            continue
        too_high = [(line, value) for value, line in values.values() if value > 1]
        if too_high:
            line, value = too_high[0]
            raise AmbiguousUnit(
                f"{file}, line {line}: {metric} of {site} is a rate, 0..1 or with a percent sign, but {value:g} is "
                f"neither. Set metrics.{metric}.unit=percent if it is 0..100, or metrics.{metric}.kind=other if it is "
                "not a rate."
            )


def _combine(column: Column | None, setting: MetricConfig) -> MetricConfig:
    """The setting, completed by the column's properties. Percent signs in the cells win over both."""
    if column is None:
        return setting
    properties = column.properties
    has_percent_sign = column.notation is Notation.percent
    if setting.kind not in (None, properties.kind) or (setting.unit and properties.kind is not Kind.rate):
        return setting
    return MetricConfig(
        kind=properties.kind,
        unit=properties.unit if has_percent_sign else setting.unit or properties.unit,
        additive=properties.additive if setting.additive is None else setting.additive,
    )


def _observe(site: str, metric: str, values_by_day: ValuesByDay, setting: MetricConfig) -> Observations:
    days = np.fromiter(values_by_day, np.int64, len(values_by_day))
    order = np.argsort(days, kind="stable")
    values = np.array([value for value, _ in values_by_day.values()], np.float64)[order]
    series = _describe(site, metric, values, setting)
    return Observations(series, days[order], values / series.unit_scale)


def _describe(site: str, metric: str, values: Float[np.ndarray, " days"], setting: MetricConfig) -> Series:
    """What neither the settings nor the format say, by the name and the first 30 values: a rate is named so and within
    0..1, a count is whole and never negative, anything else is neither. What is not known to add up does not.

    Only the first values decide: a backtest must not learn from later days what a series is.
    """
    first, named = values[np.isfinite(values)][:MIN_DAYS], infer_properties(metric)
    is_rate = named.kind is Kind.rate and bool(np.all((first >= 0) & (first <= 1)))
    is_count = named.kind is None and bool(np.all((first >= 0) & (first == np.floor(first))))
    otherwise = Kind.rate if is_rate else Kind.count if is_count else Kind.other
    kind = setting.kind or (Kind.rate if setting.unit else otherwise)
    additive = bool(named.additive) and kind is not Kind.rate if setting.additive is None else setting.additive
    return describe_series(site, metric, replace(setting, additive=additive), otherwise=otherwise)


def select(observations: Sequence[Observations], *, metrics: Sequence[str], sites: Sequence[str]) -> list[Observations]:
    """Those of these metrics and sites; none named: all. Raises UnknownMetric, UnknownSite."""
    known_metrics = {row.series.metric for row in observations}
    known_sites = {row.series.site for row in observations}
    for metric in metrics:
        if metric not in known_metrics:
            raise unknown_metric(metric, known_metrics)
    for site in sites:
        if site not in known_sites:
            raise unknown_site(site, known_sites)
    return [
        row
        for row in observations
        if (not metrics or row.series.metric in metrics) and (not sites or row.series.site in sites)
    ]
