"""Thousands of series through a model at once: what PredictionService answers for each, as arrays. No database here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from forecasting.artifact import (
    SEASONAL_NAIVE,
    SeriesCard,
    describe_series_card,
    list_versions,
    load_artifact,
    load_base,
    restore_settings,
    usual_bands,
)
from forecasting.baselines import answer_naively
from forecasting.domain import Kind, SeriesKey
from forecasting.model.forecaster import KINDS, LEVELS, MEDIAN
from forecasting.panel import describe_series
from forecasting.runtime import LOGGER
from forecasting.serving.forecasts import check_fraction, metric_config, page_windows
from forecasting.settings.schema import Config, MetricConfig
from forecasting.warehouse.pages import Page

BASE = "base"
Forward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # as Forecaster.forward


@dataclass(frozen=True)
class BatchModel:
    """A version's exported program and what it knows of its series; or the base, which knows none."""

    version: str
    forward: Forward
    context_length: int
    horizon: int
    config: Config  # of days: as the version was trained
    cards: tuple[SeriesCard, ...] = ()


@dataclass(frozen=True)
class Forecasts:
    """Of some series, in the source's units; and those for which there is none, for too few days or want of a unit."""

    keys: tuple[SeriesKey, ...]
    cutoffs: Int[np.ndarray, " series"]
    quantiles: Float[np.ndarray, "series days levels"]
    too_few: tuple[SeriesKey, ...] = ()
    without_unit: tuple[SeriesKey, ...] = ()


def load_model(config: Config) -> BatchModel:
    """The one that `forecast.model` names, else the version that is served, else the base, with a line that says so.

    Raises UnknownVersion, BrokenArtifact.
    """
    asked = config.forecast.model or config.serving.model_version
    if asked is None and not list_versions(config.model_dir):
        LOGGER.info("note: there is no version in %s yet: the base model forecasts", config.model_dir)
        asked = BASE
    if asked == BASE:
        base = load_base()
        sizes = (base.settings.context_length, base.settings.prediction_horizon)
        return BatchModel(BASE, base, *sizes, config)
    card = (artifact := load_artifact(config.model_dir, asked)).card
    forward = cast(Forward, artifact.load_program())
    restored = restore_settings(card, config)
    return BatchModel(card.version, forward, card.context_length, card.horizon, restored, card.series)


class Catalog:
    """What there is to know of every series that a model may meet.

    Of one that the version was trained on, what its card says. Else its settings say kind and unit, else the version's
    card of the same metric elsewhere, else it is a count; its bands are the usual ones.
    """

    def __init__(self, model: BatchModel, metrics: Mapping[str, MetricConfig], *, database: str) -> None:
        """`database`: what a site is called where no column says, and so the version's only one, whatever its name."""
        self.series = list(model.cards)
        self.without_unit: set[int] = set()  # places in `series` of rates whose unit nobody said
        self._metrics = metrics
        self._horizon = model.horizon
        self._places = {(one.site, one.metric): place for place, one in enumerate(self.series)}
        if len({one.site for one in self.series}) == 1:
            self._places |= {(database, one.metric): place for place, one in enumerate(self.series)}
        self._strangers: dict[str, int] = {}  # by metric, of sites that the version does not know

    def find(self, keys: Sequence[SeriesKey]) -> Int[np.ndarray, " series"]:
        """Each one's place in `series`."""
        places = self._places
        return np.array([places[key] if key in places else self._stranger(key[1]) for key in keys], np.int64)

    def _stranger(self, metric: str) -> int:
        if metric not in self._strangers:
            card, unit_said = self._suppose(metric)
            place = self._strangers[metric] = len(self.series)
            self.series.append(card)
            if not unit_said:
                self.without_unit.add(place)
        return self._strangers[metric]

    def _suppose(self, metric: str) -> tuple[SeriesCard, bool]:
        """Its card, and whether its unit is known."""
        said = self._metrics.get(metric, MetricConfig())
        if said.unit is None and said.kind in (None, Kind.rate):
            said = next((metric_config(one) for one in self.series if one.metric == metric), said)
        series, bands = describe_series("", metric, said, otherwise=Kind.count), usual_bands(self._horizon)
        return describe_series_card(series, bands), series.kind is not Kind.rate or said.unit is not None


def forecast_page(model: BatchModel, catalog: Catalog, page: Page, *, days_ahead: int) -> Forecasts:
    """Of every series of a page that has the days for it.

    Raises AmbiguousUnit where a rate that is said to be a fraction is not.
    """
    places = catalog.find(page.keys)
    cards = [catalog.series[place] for place in places]
    scale = np.array([card.unit_scale for card in cards])
    windows = page_windows(page, cards, context_length=model.context_length, missing=model.config.data.missing)
    told = ~np.isin(places, list(catalog.without_unit))
    _check_fractions(page, cards, told)
    able = np.flatnonzero(windows.enough & told)
    first_day = windows.cutoffs[able] + 1 - model.context_length
    answering = [cards[row] for row in able]
    quantiles = _predict(model, answering, windows.history[able], first_day, days_ahead=days_ahead)
    return Forecasts(
        keys=tuple(page.keys[row] for row in able),
        cutoffs=windows.cutoffs[able],
        quantiles=quantiles * scale[able, None, None].astype(np.float32),
        too_few=tuple(page.keys[row] for row in np.flatnonzero(~windows.enough & told)),
        without_unit=tuple(page.keys[row] for row in np.flatnonzero(~told)),
    )


def _predict(
    model: BatchModel,
    cards: Sequence[SeriesCard],
    history: Float[np.ndarray, "series context"],
    first_day: Int[np.ndarray, " series"],
    *,
    days_ahead: int,
) -> Float[np.ndarray, "series days levels"]:
    """Beyond the model's horizon its medians stand for the days that nobody has seen, and bands are wider."""
    if not cards:
        return np.empty((0, days_ahead, len(LEVELS)), np.float32)
    kind = torch.tensor([KINDS[card.kind] for card in cards])
    scale = torch.tensor([card.band_scale for card in cards])
    widening = torch.tensor([card.widening for card in cards])
    past, day = torch.from_numpy(history), torch.from_numpy(first_day)
    steps = []
    with torch.inference_mode():
        for step in range(-(-days_ahead // model.horizon)):
            steps.append(model.forward(past, day, kind, scale * widening[:, step : step + 1]))
            past = torch.cat([past, steps[-1][..., MEDIAN]], 1)[:, -model.context_length :]
            day = day + model.horizon
    quantiles = np.asarray(torch.cat(steps, 1)[:, :days_ahead].numpy())
    naive = [card.answers == SEASONAL_NAIVE for card in cards]
    return answer_naively(quantiles, list(history), [card.kind for card in cards], naive, levels=LEVELS)


def _check_fractions(page: Page, cards: Sequence[SeriesCard], told: Bool[np.ndarray, " series"]) -> None:
    """Raises AmbiguousUnit as check_fraction does, of those whose unit is told."""
    ends = page.counts.cumsum()
    for place, card in enumerate(cards):
        values = slice(ends[place] - page.counts[place], ends[place])
        if card.kind is Kind.rate and told[place] and np.isfinite(page.values[values]).any():
            site, metric = page.keys[place]
            check_fraction(replace(card, site=site, metric=metric), page.days[values], page.values[values])
