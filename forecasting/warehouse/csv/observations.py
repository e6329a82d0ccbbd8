"""The series of a CSV file, plain or gzip. A day without a row is missing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from forecasting.domain import MIN_DAYS, Kind, Series, Unit
from forecasting.errors import AmbiguousUnit, DataError, unknown_metric, unknown_site
from forecasting.panel import Observations, Panel, describe_series
from forecasting.panel_building import build_panel
from forecasting.settings.schema import Config, MetricConfig
from forecasting.warehouse.csv.formats import LONG, Column
from forecasting.warehouse.csv.rows import FileContent, ValuesByDay, read_content


def read_csv_panel(file: Path, config: Config) -> Panel:
    """The panel of all series in a file, or of those that `data.metrics` and `data.sites` name."""
    observations = read_csv(file, metrics=config.metrics)
    selected = _select(observations, metrics=config.data.metrics, sites=config.data.sites)
    return build_panel(selected, today=config.data.today(), missing=config.data.missing, named=config.data.metrics)


def read_csv(
    file: Path, *, metrics: Mapping[str, MetricConfig] | None = None, site: str | None = None
) -> list[Observations]:
    """Every series of the file, in the order of their first rows. The header decides the format (`formats.py`).

    A column `series` or `site` names the sites. Without one, all rows belong to `site`, or to a site named after the
    file. The settings in `metrics` win over the format. An empty cell is a day that nobody measured: NaN.
    Raises DataError, DuplicateDays and AmbiguousUnit naming the line.
    """
    settings = metrics or {}
    content = read_content(file, site=site or Path(file.name.removesuffix(".gz")).stem)
    if content.format is not LONG:
        _refuse_sparse(file, content)
        _refuse_unit(file, content, settings)
    return [
        _observe(site, metric, values, _combine(content.columns.get(metric), settings.get(metric, MetricConfig())))
        for (site, metric), values in content.series.items()
    ]


def _refuse_sparse(file: Path, content: FileContent) -> None:
    """Refuses weekly or monthly rows: the days between them would count as days without traffic."""
    for (site, metric), values in content.series.items():
        steps = np.diff(np.sort(np.fromiter(values, np.int64)))
        if steps.size > 1 and steps.min() >= 7:
            raise DataError(
                f"{file}: the rows of {metric} of {site} are {steps.min()} days or more apart. Export one row per day, "
                "not per week or month."
            )


def _refuse_unit(file: Path, content: FileContent, settings: Mapping[str, MetricConfig]) -> None:
    """Refuses a rate above 1, unless the format or a setting makes it a percentage."""
    for (site, metric), values in content.series.items():
        properties, setting = content.columns[metric].properties, settings.get(metric, MetricConfig())
        is_rate_by_name = properties.kind is None and metric.endswith("_rate")
        if setting.kind or setting.unit or not (is_rate_by_name or properties.unit is Unit.fraction):
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
    if setting.kind not in (None, properties.kind) or (setting.unit and properties.kind is not Kind.rate):
        return setting
    return MetricConfig(
        kind=properties.kind,
        unit=properties.unit if column.has_percent_sign else setting.unit or properties.unit,
        additive=properties.additive if setting.additive is None else setting.additive,
    )


def _observe(site: str, metric: str, values_by_day: ValuesByDay, setting: MetricConfig) -> Observations:
    days = np.fromiter(values_by_day, np.int64, len(values_by_day))
    order = np.argsort(days, kind="stable")
    values = np.array([value for value, _ in values_by_day.values()], np.float64)[order]
    series = _describe(site, metric, values, setting)
    return Observations(series, days[order], values / series.unit_scale)


def _describe(site: str, metric: str, values: Float[np.ndarray, " days"], setting: MetricConfig) -> Series:
    """Unless the settings say otherwise, a metric is a count, or a rate if it is named `*_rate` and its first 30 values
    are within 0..1.

    Only the first values decide: a backtest must not learn from later days what a series is.
    """
    first = values[np.isfinite(values)][:MIN_DAYS]
    is_rate = metric.endswith("_rate") and bool(np.all((first >= 0) & (first <= 1)))
    return describe_series(site, metric, setting, otherwise=Kind.rate if is_rate else Kind.count)


def _select(
    observations: Sequence[Observations], *, metrics: Sequence[str], sites: Sequence[str]
) -> list[Observations]:
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
