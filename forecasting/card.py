"""model.json: what a version says about itself and about each of its series."""

import dataclasses
import datetime as dt
import json
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from forecasting.domain import KIND_CODES, Kind, Missing, Series, SeriesKey, SourceName, Unit, can_be_zero
from forecasting.errors import BrokenArtifact, UnknownMetric, UnknownSite, name_some
from forecasting.known_days.effects import Effects, read_effects
from forecasting.known_days.events import Event, effect_of_size, list_event_days
from forecasting.known_days.holiday_calendar import name_days
from forecasting.known_days.learning import NOTHING_KNOWN
from forecasting.known_days.regressors import RegressorEffect, Regressors, sum_effects
from forecasting.predictor import FORECASTER, SEASONAL_NAIVE, Bands, Windows, extend_scale
from forecasting.settings.bounds import known_settings, require
from forecasting.settings.schema import Config, MetricConfig, VerdictConfig

logger = logging.getLogger("forecasting")

LIBRARIES = ("torch", "lightning", "numpy", "scikit-learn", "torchserve", "torch-model-archiver")
# The settings that decide which days are read.
DAY_SETTINGS = (
    "source", "query", "csv", "decimal", "columns", "schema", "missing", "timezone", "timezones", "writer_timezone",
    "events", "regressors",
)  # fmt: skip


@dataclass(frozen=True)
class SeriesCard:
    """What forecasts of one series need to know. `metrics` were measured on the test part, before the refit."""

    site: str
    metric: str
    kind: Kind
    additive: bool
    unit_scale: float  # the model's values times this are in the source's unit
    band_scale: tuple[float, ...]  # Bands.scale: a factor for each of the next MAX_DAYS_AHEAD days
    day_correlation: float  # Bands.day_correlation
    calibration_weeks: int = 0  # of the series' own past behind the two fields above
    answered_by: str = FORECASTER  # SEASONAL_NAIVE, if that measured better; BY_THE_BASE, if no version knows it
    site_key: str | None = None  # Series.site_key; versions before 0.2 have none
    country: str = ""  # whose holidays the site keeps; empty: none
    effects: Effects = Effects()  # of named days, learned from the days that the version was trained on
    regressors: tuple[RegressorEffect, ...] = ()  # that forecasts of this series gain from
    metrics: Mapping[str, Any] = field(default_factory=dict)  # Any: numbers, null, or the reason for a null

    @property
    def name(self) -> str:
        return f"{self.metric} of {self.site}"

    @property
    def key(self) -> SeriesKey:
        return self.site, self.metric

    @property
    def can_be_zero(self) -> bool:
        return can_be_zero(self.kind, additive=self.additive)

    @property
    def uses_regressors(self) -> bool:
        return bool(self.regressors) and self.answered_by != SEASONAL_NAIVE

    @property
    def regressor_names(self) -> list[str]:
        return [effect.name for effect in self.regressors]

    @property
    def metric_config(self) -> MetricConfig:
        """The metric's settings at training time, whatever the configuration says today."""
        unit = None
        if self.kind is Kind.rate:
            unit = Unit.percent if self.unit_scale == 100 else Unit.fraction
        return MetricConfig(kind=self.kind, unit=unit, additive=self.additive)


def describe_series_card(
    series: Series,
    bands: Bands,
    *,
    answered_by: str = FORECASTER,
    metrics: Mapping[str, Any] | None = None,
    known: tuple[str, Effects] = NOTHING_KNOWN,
    regressors: tuple[RegressorEffect, ...] = (),
) -> SeriesCard:
    """`known` is the country, and the effects of its holidays and of events."""
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
        site_key=series.site_key,
        country=known[0],
        effects=known[1],
        regressors=regressors,
        metrics=metrics or {},
    )


def make_windows(
    cards: Sequence[SeriesCard],
    history: Float[np.ndarray, "series context"],
    first_day: Int[np.ndarray, " series"],
    *,
    days_ahead: int,
    events: Sequence[Sequence[Event]] = (),
) -> Windows:
    """Input of a Predictor: with the bands of each series, and who answers for it. `events` are those of each series;
    empty: none of any.
    """
    scales = [card.band_scale[:days_ahead] for card in cards]
    return Windows(
        history=history,
        first_day=first_day,
        kind=np.array([KIND_CODES[card.kind] for card in cards], np.int64),
        band_scale=np.array(scales, np.float32).reshape(len(cards), days_ahead),
        naive=np.array([card.answered_by == SEASONAL_NAIVE for card in cards], bool),
        effects=_stack_effects(cards, first_day, history.shape[1] + days_ahead, events or [()] * len(cards)),
    )


def _stack_effects(
    cards: Sequence[SeriesCard],
    first_day: Int[np.ndarray, " series"],
    num_days: int,
    events: Sequence[Sequence[Event]],
) -> Float[np.ndarray, "series days"] | None:
    """None if no series knows any day."""
    if not any(card.country for card in cards) and not any(events):
        return None
    none = np.zeros(num_days, np.float32)
    days = zip(cards, first_day.tolist(), events, strict=True)
    effects = [find_effects(card, first, num_days, own) for card, first, own in days]
    return np.stack([none if each is None else each for each in effects])


def find_effects(
    card: SeriesCard, first_day: int, num_days: int, events: Sequence[Event] = ()
) -> Float[np.ndarray, " days"] | None:
    """Of each day from `first_day` on, as Windows.effects; None if nothing is known of any of them. The effects of a
    holiday and of events on the same day add up: the factors of counts multiply.
    """
    days = range(first_day, first_day + num_days)
    names = name_days(card.country, days) if card.country else {}
    sizes = list_event_days(events, days)
    if not names and not sizes:
        return None
    effects = np.zeros(num_days, np.float32)
    for day, name in names.items():
        effects[day - first_day] = card.effects.effect_on(day, name)
    for (day, name), size in sizes.items():
        effects[day - first_day] += card.effects.effect_of_event(name, effect_of_size(size, card.kind))
    return effects


def find_regressor_effects(
    card: SeriesCard, first_day: int, num_days: int, regressors: Regressors
) -> Float[np.ndarray, " days"] | None:
    """As find_effects, of the regressors that the series uses. None if the seasonal naive forecast answers."""
    if not card.uses_regressors:
        return None
    values = regressors.find(card.site, card.regressor_names, first_day=first_day, num_days=num_days)
    return sum_effects(card.regressors, values).astype(np.float32)


def add_effects(
    effects: Float[np.ndarray, " days"] | None, more: Float[np.ndarray, " days"] | None
) -> Float[np.ndarray, " days"] | None:
    if effects is None or more is None:
        return more if effects is None else effects
    return np.asarray(effects + more)


def add_regressors(windows: Windows, cards: Sequence[SeriesCard], regressors: Regressors) -> Windows:
    """The windows of these series, with the effects of their regressors on top of those of known days."""
    num_days = windows.history.shape[1] + windows.band_scale.shape[1]
    rows = [find_regressor_effects(card, int(first_day), num_days, regressors)
            for card, first_day in zip(cards, windows.first_day, strict=True)]  # fmt: skip
    if all(row is None for row in rows):
        return windows
    none = np.zeros(num_days, np.float32)
    effects = np.stack([none if row is None else row for row in rows])
    return replace(windows, effects=effects if windows.effects is None else windows.effects + effects)


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
    data: Mapping[str, Any]  # first and last day, number of days, notes on them
    series: tuple[SeriesCard, ...]
    training: Mapping[str, Any]  # settings, epochs run, seconds by part
    libraries: Mapping[str, str]
    hashes: Mapping[str, str]  # SHA-256 of the files beside it
    usual_band_scale: tuple[float, ...] = ()  # Bands.scale of series that the version does not know

    @cached_property
    def by_site(self) -> Mapping[str, Mapping[str, SeriesCard]]:
        """The series by site and metric."""
        sites: dict[str, dict[str, SeriesCard]] = {}
        for series in self.series:
            sites.setdefault(series.site, {})[series.metric] = series
        return sites

    @cached_property
    def _site_names(self) -> str:
        """Made once: a request may name thousands of unknown sites."""
        return name_some(self.by_site)

    def find_site(self, site: str) -> Mapping[str, SeriesCard]:
        """Its series by metric. Raises UnknownSite, naming those that the version was trained on."""
        if site not in self.by_site:
            raise UnknownSite(
                f"There is no site {site!r} in version {self.version}. It was trained on: {self._site_names}."
            )
        return self.by_site[site]

    def find_series(self, *, metric: str, site: str | None) -> SeriesCard:
        """Raises UnknownSite or UnknownMetric, naming those that the version was trained on."""
        if site is None:
            if len(self.by_site) != 1:
                number = len(self.by_site)
                raise UnknownSite(f"There are {number} sites: say which with `site`, one of {self._site_names}.")
            [site] = self.by_site
        metrics = self.find_site(site)
        if metric not in metrics:
            raise UnknownMetric(
                f"There is no metric {metric!r} in version {self.version}. It was trained on: {name_some(metrics)}."
            )
        return metrics[metric]

    @property
    def sequence_length(self) -> int:
        return int(self.model["sequence_length"])

    @property
    def prediction_horizon(self) -> int:
        return int(self.model["prediction_horizon"])

    @property
    def output_days(self) -> int:
        """Days that one forward pass forecasts. Versions from before `model.direct_days` have no such key."""
        return max(self.prediction_horizon, int(self.model.get("direct_days", 0)))


def restore_settings(card: Card, config: Config) -> Config:
    """The configuration, with the settings that decide about days as they were when the version was trained, except for
    those that the command line or a --config file sets.

    Raises SettingError if these name another source or another unit than the version was trained on.
    """
    _refuse_other_series(card, config)
    types: dict[str, Callable[[Any], Any]] = {"source": SourceName, "missing": Missing}
    types |= dict.fromkeys(("query", "csv", "events"), Path)
    stored = {name: card.data[name] for name in DAY_SETTINGS if card.data.get(name) is not None}
    settings = {name: types[name](value) if name in types else value for name, value in stored.items()}
    verdicts = known_settings(VerdictConfig, card.data.get("verdicts", {}))
    restored = replace(
        config,
        data=replace(config.data, **_without_given(settings, "data", config, card)),
        verdicts=replace(config.verdicts, **_without_given(verdicts, "verdicts", config, card)),
    )
    restored.refuse_unread_file()
    return restored


def _refuse_other_series(card: Card, config: Config) -> None:
    source, stored = config.data.source, card.data.get("source")
    require(
        "data.source" not in config.given or stored in (None, source),
        f"data.source (--source) is {source} in {config.given.get('data.source')}, but version {card.version} was "
        f"trained on {stored}. Leave it out, or choose a version trained on {source} with --model-version.",
    )
    for series in card.series:
        given, trained = config.metrics.get(series.metric), series.metric_config
        for name in ("kind", "unit", "additive"):
            key = f"metrics.{series.metric}.{name}"
            value, before = getattr(given, name, None), getattr(trained, name)
            require(
                key not in config.given or value in (None, before),
                f"{key} is {_show(value)} in {config.given.get(key)}, but version {card.version} was trained with "
                f"{_show(before)}. "
                "Leave it out, or train again.",
            )


def _show(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _without_given(
    stored: Mapping[str, Any], section: str, config: Config, card: Card
) -> dict[str, Any]:  # Any: settings are of many types
    """What the version remembers, without what was given explicitly, which wins; a line says so if it differs."""
    given = {name: config.given[f"{section}.{name}"] for name in stored if f"{section}.{name}" in config.given}
    for name, origin in given.items():
        value = getattr(getattr(config, section), name)
        value = value.absolute() if isinstance(value, Path) else value
        if value != stored[name]:
            logger.info(
                "%s.%s is %s, from %s; version %s was trained with %s",
                section, name, value, origin, card.version, stored[name],
            )  # fmt: skip
    return {name: value for name, value in stored.items() if name not in given}


def read_card(file: Path) -> Card:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        series = tuple(_read_series(card) for card in content.pop("series"))
        for name in ("levels", "features"):
            content[name] = tuple(content[name])
        content["usual_band_scale"] = tuple(content.get("usual_band_scale", ()))  # which older versions lack
        return Card(series=series, **content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenArtifact(
            f"{file} is not a model.json of this program ({error!r}). Train the version again."
        ) from error


def describe_libraries() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: installed_version(name) for name in LIBRARIES}}


def now_text() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _read_series(content: dict[str, Any]) -> SeriesCard:  # Any: json's own types
    kind, band_scale = Kind(content.pop("kind")), tuple(content.pop("band_scale"))
    if "widening" in content:  # older versions: a factor for each day of the horizon
        del content["widening"]
        band_scale, content["answered_by"] = extend_scale(band_scale), content.pop("answers")
    effects = read_effects(content.pop("effects", {}))  # which older versions lack
    regressors = tuple(RegressorEffect(**effect) for effect in content.pop("regressors", ()))
    return SeriesCard(kind=kind, band_scale=band_scale, effects=effects, regressors=regressors, **content)


def format_card(card: Card) -> str:
    content = dataclasses.asdict(card)
    for series in content["series"]:
        series["kind"] = series["kind"].value
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
