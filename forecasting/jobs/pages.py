"""Forecasts of pages of series, thousands at once. Pure: no database here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from forecasting.artifact import list_versions, load_artifact, load_base_predictor
from forecasting.card import SeriesCard, add_regressors, describe_series_card, make_windows, restore_settings
from forecasting.domain import Kind, SeriesKey
from forecasting.known_days.events import NO_EVENTS, Events
from forecasting.known_days.regressors import NO_REGRESSORS, Regressors
from forecasting.panel import describe_series
from forecasting.predictor import Predictor, usual_bands
from forecasting.runtime.log import LOGGER
from forecasting.settings.schema import BASE_VERSION, Config, MetricConfig
from forecasting.warehouse.pages import Page
from forecasting.warehouse.site_directory import locate_sites
from forecasting.warehouse.sites import SiteIndex
from forecasting.warehouse.windows import check_fraction, cut_page_windows


@dataclass(frozen=True)
class LoadedVersion:
    """A version that forecasts, and what it knows of its series; the base knows none."""

    predictor: Predictor
    config: Config  # which days to read is as the version was trained
    cards: tuple[SeriesCard, ...] = ()


@dataclass(frozen=True)
class PageForecasts:
    """Quantiles in the source's units, and the series left out for too few days or an unknown unit."""

    keys: tuple[SeriesKey, ...]
    cutoffs: Int[np.ndarray, " series"]
    quantiles: Float[np.ndarray, "series days levels"]
    too_few: tuple[SeriesKey, ...] = ()
    without_unit: tuple[SeriesKey, ...] = ()
    num_using: Counter[str] = field(default_factory=Counter)  # series that use each regressor
    num_lacking: Counter[str] = field(default_factory=Counter)  # of these, those with days ahead that lack its value


def load_version(config: Config) -> LoadedVersion:
    """The version that `model_version` names, else the one that is served, else the base, with a line that says so.

    Raises UnknownVersion, BrokenArtifact.
    """
    version = config.model_version
    if version is None and not list_versions(config.model_dir):
        LOGGER.info("note: there is no version in %s yet: the base model forecasts", config.model_dir)
        version = BASE_VERSION
    if version == BASE_VERSION:
        config.refuse_unread_file()
        return LoadedVersion(load_base_predictor(), config)
    artifact = load_artifact(config.model_dir, version)
    return LoadedVersion(artifact.load_predictor(), restore_settings(artifact.card, config), artifact.card.series)


class SeriesLookup:
    """The card of every series that a version may meet.

    A series that the version was trained on has its own. Of any other the settings give kind and unit, else the
    version's card of the same metric elsewhere, else it is a count; its bands are those of most series.
    """

    def __init__(
        self,
        version: LoadedVersion,
        metrics: Mapping[str, MetricConfig],
        index: SiteIndex,
        *,
        unnamed: str | None,
        events: Events = NO_EVENTS,
        regressors: Regressors = NO_REGRESSORS,
    ) -> None:
        """`unnamed` is the name of a site that its source does not name: the version's only one, whatever its name."""
        cards, sites = locate_sites(version.cards, index, unnamed=unnamed)
        self.cards = list(cards)
        self.without_unit: set[int] = set()  # places in `cards` of rates of unknown unit
        self.events = events  # by the present names of the sites
        self._metrics = metrics
        self._horizon = version.predictor.horizon
        names = {site.name: site.stored_name for site in sites}
        self.regressors = regressors.also_as(names)
        self._places = {(names[card.site], card.metric): place for place, card in enumerate(self.cards)}
        if len(sites) == 1 and unnamed is not None:
            self._places |= {(unnamed, card.metric): place for place, card in enumerate(self.cards)}
        self._unknown: dict[str, int] = {}  # by metric, of sites that the version does not know

    def find(self, keys: Sequence[SeriesKey]) -> Int[np.ndarray, " series"]:
        """Each series' place in `cards`."""
        places = self._places
        return np.array([places[key] if key in places else self._add_unknown(key[1]) for key in keys], np.int64)

    def _add_unknown(self, metric: str) -> int:
        if metric not in self._unknown:
            card, has_unit = self._suppose(metric)
            place = self._unknown[metric] = len(self.cards)
            self.cards.append(card)
            if not has_unit:
                self.without_unit.add(place)
        return self._unknown[metric]

    def _suppose(self, metric: str) -> tuple[SeriesCard, bool]:
        """A card, and whether the metric's unit is known."""
        settings = self._metrics.get(metric, MetricConfig())
        if settings.unit is None and settings.kind in (None, Kind.rate):
            settings = next((card.metric_config for card in self.cards if card.metric == metric), settings)
        series = describe_series("", metric, settings, otherwise=Kind.count)
        has_unit = series.kind is not Kind.rate or settings.unit is not None
        return describe_series_card(series, usual_bands(self._horizon)), has_unit


def forecast_page(version: LoadedVersion, lookup: SeriesLookup, page: Page, *, days_ahead: int) -> PageForecasts:
    """Of every series of a page that has enough days.

    Raises AmbiguousUnit where the values of a rate in 0..1 are above 1.
    """
    predictor, places = version.predictor, lookup.find(page.keys)
    cards = [lookup.cards[place] for place in places]
    latest = cut_page_windows(page, cards, context_length=predictor.context_length, missing=version.config.data.missing)
    has_unit = ~np.isin(places, list(lookup.without_unit))
    _check_fractions(page, cards, has_unit)
    rows = np.flatnonzero(latest.enough & has_unit)
    windows = make_windows(
        [cards[row] for row in rows],
        latest.history[rows],
        latest.first_days[rows],
        days_ahead=days_ahead,
        events=[lookup.events.of(page.keys[row][0]) for row in rows],
    )
    windows = add_regressors(windows, [cards[row] for row in rows], lookup.regressors)
    num_using, num_lacking = _count_regressors(
        [cards[row] for row in rows], latest.cutoffs[rows], lookup.regressors, days_ahead=days_ahead
    )
    scale = np.array([card.unit_scale for card in cards], np.float32)
    return PageForecasts(
        keys=tuple(page.keys[row] for row in rows),
        cutoffs=latest.cutoffs[rows],
        quantiles=predictor.predict(windows) * scale[rows, None, None],
        too_few=tuple(page.keys[row] for row in np.flatnonzero(~latest.enough & has_unit)),
        without_unit=tuple(page.keys[row] for row in np.flatnonzero(~has_unit)),
        num_using=num_using,
        num_lacking=num_lacking,
    )


def _count_regressors(
    cards: Sequence[SeriesCard], cutoffs: Int[np.ndarray, " series"], regressors: Regressors, *, days_ahead: int
) -> tuple[Counter[str], Counter[str]]:
    using: Counter[str] = Counter()
    lacking: Counter[str] = Counter()
    for card, cutoff in zip(cards, cutoffs.tolist(), strict=True):
        if card.uses_regressors:
            names = card.regressor_names
            values = regressors.find(card.site, names, first_day=cutoff + 1, num_days=days_ahead)
            using.update(names)
            lacking.update(names[place] for place in np.flatnonzero(np.isnan(values).any(0)))
    return using, lacking


def _check_fractions(page: Page, cards: Sequence[SeriesCard], has_unit: Bool[np.ndarray, " series"]) -> None:
    """Raises AmbiguousUnit as check_fraction does."""
    ends = page.counts.cumsum()
    for place, card in enumerate(cards):
        rows = slice(ends[place] - page.counts[place], ends[place])
        if card.kind is Kind.rate and has_unit[place] and np.isfinite(page.values[rows]).any():
            site, metric = page.keys[place]
            check_fraction(replace(card, site=site, metric=metric), page.days[rows], page.values[rows])
