"""A file as a source: CSV of the formats that people have, plain or gzip; a day that it does not have is missing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from forecasting.domain import MIN_DAYS, Kind, Series, Unit
from forecasting.errors import AmbiguousUnit, DataError, UnknownMetric, UnknownSite
from forecasting.panel import Observations, Panel, describe_series
from forecasting.panel_building import build_panel
from forecasting.settings.schema import Config, MetricConfig
from forecasting.warehouse.csv.formats import LONG, Meaning
from forecasting.warehouse.csv.rows import Rows, Traffic, read_traffic


def read_csv_panel(file: Path, config: Config) -> Panel:
    """The panel of a file, as of a database: of all series, or of those that `data.metrics` and `data.sites` name."""
    observations = read_csv(file, metrics=config.metrics)
    kept = _select(observations, metrics=config.data.metrics, sites=config.data.sites)
    return build_panel(kept, today=config.data.today(), missing=config.data.missing, named=config.data.metrics)


def read_csv(
    file: Path, *, metrics: Mapping[str, MetricConfig] | None = None, site: str | None = None
) -> list[Observations]:
    """Every series of the file, in the order of their first rows; the header tells the format (`csv_formats`).

    A column `series` or `site` names the sites; without one, all is of `site`, or of the file's name without its
    ending. What `metrics` say wins over what the format says. An empty cell is a day that nobody measured, NaN.
    Raises DataError, DuplicateDays and AmbiguousUnit naming the line.
    """
    settings = metrics or {}
    traffic = read_traffic(file, site=site or Path(file.name.removesuffix(".gz")).stem)
    if traffic.known is not LONG:
        _refuse_sparse(file, traffic)
        _refuse_unit(file, traffic, settings)
    return [
        _observe(site, metric, rows, _settle(traffic.meanings.get(metric), settings.get(metric, MetricConfig())))
        for (site, metric), rows in traffic.series.items()
    ]


def _refuse_sparse(file: Path, traffic: Traffic) -> None:
    """Rows a week or a month apart: the days between them would be taken for days without traffic."""
    for (site, metric), rows in traffic.series.items():
        apart = np.diff(np.sort(np.fromiter(rows, np.int64)))
        if apart.size > 1 and apart.min() >= 7:
            raise DataError(
                f"{file}: the rows of {metric} of {site} are {apart.min()} days or more apart. Export one row a day, "
                "not a week or a month."
            )


def _refuse_unit(file: Path, traffic: Traffic, settings: Mapping[str, MetricConfig]) -> None:
    """A rate that is not in 0..1, where neither the format nor a setting knows it as a percentage."""
    for (site, metric), rows in traffic.series.items():
        says, said = traffic.meanings[metric].says, settings.get(metric, MetricConfig())
        by_name = says.kind is None and metric.endswith("_rate")
        if said.kind or said.unit or not (by_name or says.unit is Unit.fraction):
            continue
        over = [(line, value) for value, line in rows.values() if value > 1]
        if over:
            line, value = over[0]
            raise AmbiguousUnit(
                f"{file}, line {line}: {metric} of {site} is a rate, 0..1 or with a percent sign, but {value:g} is "
                f"neither. Say metrics.{metric}.unit=percent if it is 0..100, or metrics.{metric}.kind=other if it is "
                "no rate."
            )


def _settle(meaning: Meaning | None, said: MetricConfig) -> MetricConfig:
    """What the settings say, and where they are silent, the format. A percent sign in the cells stands above both."""
    if meaning is None:
        return said
    says = meaning.says
    if said.kind not in (None, says.kind) or (said.unit and says.kind is not Kind.rate):
        return said
    return MetricConfig(
        kind=says.kind,
        unit=says.unit if meaning.signed else said.unit or says.unit,
        additive=says.additive if said.additive is None else said.additive,
    )


def _observe(site: str, metric: str, rows: Rows, said: MetricConfig) -> Observations:
    days = np.fromiter(rows, np.int64, len(rows))
    order = np.argsort(days, kind="stable")
    values = np.array([value for value, _ in rows.values()], np.float64)[order]
    series = _describe(site, metric, values, said)
    return Observations(series, days[order], values / series.unit_scale)


def _describe(site: str, metric: str, values: "np.ndarray", said: MetricConfig) -> Series:
    """A metric called `*_rate` is one if its first 30 values are in 0..1; anything else counts, unless settings say.

    By the first days alone: a backtest must not learn from a later day what a series is.
    """
    first = values[np.isfinite(values)][:MIN_DAYS]
    by_name = metric.endswith("_rate") and bool(np.all((first >= 0) & (first <= 1)))
    return describe_series(site, metric, said, otherwise=Kind.rate if by_name else Kind.count)


def _select(
    observations: Sequence[Observations], *, metrics: Sequence[str], sites: Sequence[str]
) -> list[Observations]:
    known_metrics, known_sites = ({getattr(one.series, key) for one in observations} for key in ("metric", "site"))
    for metric in metrics:
        if metric not in known_metrics:
            raise UnknownMetric(f"There is no metric {metric!r}. There are: {', '.join(sorted(known_metrics))}.")
    for site in sites:
        if site not in known_sites:
            raise UnknownSite(f"There is no site {site!r}. There are: {', '.join(sorted(known_sites))}.")
    return [
        one
        for one in observations
        if (not metrics or one.series.metric in metrics) and (not sites or one.series.site in sites)
    ]
