"""A model in this process, and what its version knows of series."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from forecasting.artifact import load_artifact, load_base_predictor
from forecasting.card import SeriesCard, add_regressors, describe_series_card, make_windows, restore_settings
from forecasting.domain import RECENT_DAYS, Kind, SeriesKey
from forecasting.frames.series_rows import SeriesRows, cut_windows
from forecasting.known_days.events import Event
from forecasting.known_days.regressors import NO_REGRESSORS, Regressors
from forecasting.panel import describe_series
from forecasting.predictor import Predictor, usual_bands
from forecasting.settings.loading import load_config
from forecasting.settings.schema import BASE_VERSION, Config, MetricConfig

PROCESS = os.getpid()  # that has imported this module, which a fork of it has not
DEFAULT_TARGET, DEFAULT_METRIC = "y", "page_visits"


@dataclass(frozen=True)
class SeriesForecasts:
    """Of those series that have enough days, in the model's units."""

    rows: Int[np.ndarray, " forecasts"]  # which series
    cutoffs: Int[np.ndarray, " forecasts"]  # the last known day, since 1970-01-01
    quantiles: Float[np.ndarray, "forecasts days levels"]
    num_values: Int[np.ndarray, " series"]  # days with a value, of every series
    num_known: Int[np.ndarray, " series"]  # of them among the last RECENT_DAYS, or standing for no traffic
    num_needed: Int[np.ndarray, " series"]


@dataclass(frozen=True)
class LoadedModel:
    """`config` says how gaps and verdicts are treated."""

    predictor: Predictor
    cards: Sequence[SeriesCard] = ()
    config: Config = field(default_factory=Config)

    @cached_property
    def _by_key(self) -> Mapping[SeriesKey, SeriesCard]:
        return {card.key: card for card in self.cards}

    @cached_property
    def _by_site(self) -> Mapping[str, Sequence[SeriesCard]]:
        sites: dict[str, list[SeriesCard]] = {}
        for card in self.cards:
            sites.setdefault(card.site, []).append(card)
        return sites

    def find_card(self, name: str | None, target: str, kind: Kind | None) -> SeriesCard:
        """What is known of a series: its id is a site's name, the target column a metric's.

        Without an id it is the version's only site; a column `y` is the site's only metric, else page_visits. A series
        that the version does not know has the bands of most series.
        """
        site = next(iter(self._by_site)) if name is None and len(self._by_site) == 1 else name or ""
        metric = self.name_metric(site, target)
        card = self._by_key.get((site, metric))
        return card if card is not None else suppose_card(metric, kind, self.predictor.horizon)

    def name_metric(self, site: str, target: str) -> str:
        cards = self._by_site.get(site, ())
        if target != DEFAULT_TARGET or any(card.metric == target for card in cards):
            return target
        return cards[0].metric if len(cards) == 1 else DEFAULT_METRIC

    def forecast(
        self,
        rows: SeriesRows,
        cards: Sequence[SeriesCard],
        days_ahead: int,
        *,
        events: Sequence[Sequence[Event]] = (),
        regressors: Regressors = NO_REGRESSORS,
    ) -> SeriesForecasts:
        """`events` are those of each series; empty: none of any. `regressors` are by the sites on the cards."""
        predictor, config = self.predictor, self.config
        heed_fork()
        latest = cut_windows(
            rows,
            cards,
            context_length=predictor.context_length,
            missing=config.data.missing,
            verdicts=config.verdicts,
        )
        enough = np.flatnonzero(latest.enough)
        chosen = [cards[row] for row in enough.tolist()]
        windows = make_windows(
            chosen,
            latest.history[enough],
            latest.first_days[enough],
            days_ahead=days_ahead,
            events=[events[row] for row in enough.tolist()] if events else (),
        )
        if regressors.by_site:
            windows = add_regressors(windows, chosen, regressors)
        quantiles = predictor.predict(windows)
        num_known = np.isfinite(latest.history[:, -RECENT_DAYS:]).sum(1)
        num_values = np.bincount(rows.series[np.isfinite(rows.values)], minlength=len(rows))
        return SeriesForecasts(enough, latest.cutoffs[enough], quantiles, num_values, num_known, latest.num_needed)


def heed_fork() -> None:
    """A fork has none of the threads of its parent's PyTorch, for which it would wait for ever: it does without."""
    if os.getpid() != PROCESS:
        torch.set_num_threads(1)


def load_model(version: str | Path) -> LoadedModel:
    """Raises UnknownVersion, BrokenArtifact."""
    heed_fork()
    if version == BASE_VERSION:
        return LoadedModel(load_base_predictor())
    folder = find_folder(version)
    artifact = load_artifact(folder.parent, folder.name)
    return LoadedModel(artifact.load_predictor(), artifact.card.series, restore_settings(artifact.card, Config()))


def find_folder(version: str | Path) -> Path:
    """A folder itself, or that of a version's name in MODEL_DIR."""
    folder = Path(version)
    if isinstance(version, str) and len(folder.parts) == 1 and not folder.is_dir():
        return load_config().model_dir / version
    return folder


@lru_cache(maxsize=1024)
def suppose_card(metric: str, kind: Kind | None, horizon: int) -> SeriesCard:
    """Of a series that no version knows."""
    series = describe_series("", metric, MetricConfig(kind=kind), otherwise=Kind.count)
    return describe_series_card(series, usual_bands(horizon))
