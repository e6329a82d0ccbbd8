"""model.json: what a version knows of itself and of each of its series."""

import dataclasses
import datetime as dt
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from forecasting.domain import KIND_CODES, Kind, Missing, Series, SeriesKey, SourceName, Unit
from forecasting.errors import BrokenArtifact, UnknownMetric, UnknownSite, name_some
from forecasting.predictor import FORECASTER, SEASONAL_NAIVE, Bands, Windows, extend_scale
from forecasting.settings.schema import Config, MetricConfig, VerdictConfig

LIBRARIES = ("torch", "lightning", "numpy", "scikit-learn", "torchserve", "torch-model-archiver")
DAYS_BY = ("source", "query", "csv", "missing", "timezone", "timezones", "writer_timezone")  # settings of days


@dataclass(frozen=True)
class SeriesCard:
    """What serving must know of one series. `metrics` are of the test part, before the refit on all days."""

    site: str
    metric: str
    kind: Kind
    additive: bool
    unit_scale: float  # answers are in the source's unit: the model's times this
    band_scale: tuple[float, ...]  # Bands.scale: a factor for each of the next MAX_DAYS_AHEAD days
    day_correlation: float  # Bands.day_correlation
    calibration_weeks: int = 0  # of the series' own past that the two before rest on
    answered_by: str = FORECASTER  # or SEASONAL_NAIVE, where that measured better
    metrics: Mapping[str, Any] = field(default_factory=dict)  # Any: numbers, null, or the reason for a null

    @property
    def name(self) -> str:
        return f"{self.metric} of {self.site}"

    @property
    def key(self) -> SeriesKey:
        return self.site, self.metric

    @property
    def bands(self) -> Bands:
        return Bands(self.band_scale, self.day_correlation, self.calibration_weeks)

    @property
    def metric_config(self) -> MetricConfig:
        """The metric as the version was trained, whatever the configuration says by now."""
        unit = None
        if self.kind is Kind.rate:
            unit = Unit.percent if self.unit_scale == 100 else Unit.fraction
        return MetricConfig(kind=self.kind, unit=unit, additive=self.additive)


def describe_series_card(
    series: Series, bands: Bands, *, answered_by: str = FORECASTER, metrics: Mapping[str, Any] | None = None
) -> SeriesCard:
    return SeriesCard(
        site=series.site,
        metric=series.metric,
        kind=series.kind,
        additive=series.additive,
        unit_scale=series.unit_scale,
        band_scale=bands.scale,
        day_correlation=bands.day_correlation,
        calibration_weeks=bands.num_weeks,
        answered_by=answered_by,
        metrics=metrics or {},
    )


def make_windows(
    cards: Sequence[SeriesCard],
    history: Float[np.ndarray, "series context"],
    first_day: Int[np.ndarray, " series"],
    *,
    days_ahead: int,
) -> Windows:
    """What a Predictor takes, with the bands of each series and who answers for it."""
    scales = [card.band_scale[:days_ahead] for card in cards]
    return Windows(
        history=history,
        first_day=first_day,
        kind=np.array([KIND_CODES[card.kind] for card in cards], np.int64),
        band_scale=np.array(scales, np.float32).reshape(len(cards), days_ahead),
        naive=np.array([card.answered_by == SEASONAL_NAIVE for card in cards], bool),
    )


@dataclass(frozen=True)
class Card:
    """model.json."""

    version: str
    created_at: str  # ISO time, UTC
    model: Mapping[str, Any]  # ModelConfig as plain values
    context_length: int
    levels: tuple[float, ...]
    total_parameters: int
    features: tuple[str, ...]
    data: Mapping[str, Any]  # first and last day, number of days, what was odd in them
    series: tuple[SeriesCard, ...]
    training: Mapping[str, Any]  # settings, epochs run, seconds by part
    libraries: Mapping[str, str]
    hashes: Mapping[str, str]  # SHA-256 of the files beside it
    usual_band_scale: tuple[float, ...] = ()  # Bands.scale of a series that the version does not know

    @cached_property
    def by_site(self) -> Mapping[str, Mapping[str, SeriesCard]]:
        """The series by site and metric."""
        sites: dict[str, dict[str, SeriesCard]] = {}
        for one in self.series:
            sites.setdefault(one.site, {})[one.metric] = one
        return sites

    def find_series(self, *, metric: str, site: str | None) -> SeriesCard:
        """Raises UnknownSite or UnknownMetric, naming those that the version was trained on."""
        sites = self.by_site
        if site is None:
            if len(sites) != 1:
                raise UnknownSite(f"There are {len(sites)} sites: say which with `site`, one of {name_some(sites)}.")
            [site] = sites
        if site not in sites:
            raise UnknownSite(
                f"There is no site {site!r} in version {self.version}. It was trained on: {name_some(sites)}."
            )
        known = sites[site]
        if metric not in known:
            raise UnknownMetric(
                f"There is no metric {metric!r} in version {self.version}. It was trained on: {name_some(known)}."
            )
        return known[metric]

    @property
    def sequence_length(self) -> int:
        return int(self.model["sequence_length"])

    @property
    def horizon(self) -> int:
        return int(self.model["prediction_horizon"])


def restore_settings(card: Card, config: Config) -> Config:
    """The configuration, but what says which days are read and what they are worth is as the version was trained."""
    typed: dict[str, Callable[[Any], Any]] = {"source": SourceName, "missing": Missing, "query": Path, "csv": Path}
    known = {name: card.data[name] for name in DAYS_BY if card.data.get(name) is not None}
    said = {name: typed[name](value) if name in typed else value for name, value in known.items()}
    verdicts = VerdictConfig(**card.data["verdicts"]) if "verdicts" in card.data else config.verdicts
    return replace(config, data=replace(config.data, **said), verdicts=verdicts)


def read_card(file: Path) -> Card:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        series = tuple(_read_series(one) for one in content.pop("series"))
        for name in ("levels", "features", "usual_band_scale"):
            content[name] = tuple(content.get(name, ()))
        return Card(series=series, **content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenArtifact(
            f"{file} is no model.json of this program ({error!r}). Train the version again."
        ) from error


def describe_libraries() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: installed_version(name) for name in LIBRARIES}}


def now_text() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _read_series(content: dict[str, Any]) -> SeriesCard:  # Any: json's own types
    kind, band_scale = Kind(content.pop("kind")), tuple(content.pop("band_scale"))
    if "widening" in content:  # versions made before bands had a factor for each day ahead
        del content["widening"]
        band_scale, content["answered_by"] = extend_scale(band_scale), content.pop("answers")
    return SeriesCard(kind=kind, band_scale=band_scale, **content)


def format_card(card: Card) -> str:
    content = dataclasses.asdict(card)
    for series in content["series"]:
        series["kind"] = series["kind"].value
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
