"""Who forecasts in a rolling backtest: a model, the seasonal naive forecast, and statsforecast's methods."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from forecasting.artifact import forecaster_predictor, load_artifact, load_base_predictor
from forecasting.baselines import seasonal_naive_quantiles, within_range
from forecasting.card import SeriesCard, add_regressors, describe_series_card, make_windows
from forecasting.domain import KIND_CODES, MIN_DAYS, RECENT_DAYS, Series, SeriesKey, to_date
from forecasting.errors import TooFewDays
from forecasting.evaluation.rolling_origins import Rolling, RollingForecasts
from forecasting.evaluation.statsforecast_baselines import (
    MEDIAN_OF_PEERS,
    PEERS,
    check_installed,
    forecast_peer,
    peer_processes,
)
from forecasting.known_days.events import NO_EVENTS, Events
from forecasting.known_days.learning import learn_days
from forecasting.known_days.regressors import NO_REGRESSORS, Regressors
from forecasting.model.forecaster import LEVELS
from forecasting.panel import Panel
from forecasting.predictor import Predictor, usual_bands
from forecasting.runtime.log import LOGGER
from forecasting.runtime.terminal import progress
from forecasting.settings.schema import BASE_VERSION, FINE_TUNE, Config, DataConfig
from forecasting.training.calibration import calibrate
from forecasting.training.distributed import require_single_process
from forecasting.training.held_out import choose_answerers, forecast_test_part
from forecasting.training.regressor_choice import RegressorHistory, choose_regressors

ORIGINS_AT_ONCE = 4096  # between two steps of the progress bar
NAIVE = "seasonal naive"


def no_country(site: str) -> str:
    return ""


@dataclass(frozen=True)
class Model:
    """A predictor and, by site and metric, what its version knows of the series."""

    predictor: Predictor
    cards: Mapping[SeriesKey, SeriesCard] = field(default_factory=dict)
    country_of: Callable[[str], str] = no_country  # of a site whose holidays are learned before each cutoff
    events: Events = NO_EVENTS
    learns_days: bool = True  # before each cutoff; else a version's own effects remain
    regressors: Regressors = NO_REGRESSORS  # whose effects the cards have

    def find_card(self, series: Series) -> SeriesCard:
        """Its own, or one with the bands of most series."""
        usual = usual_bands(self.predictor.horizon)
        return self.cards.get(series.key) or describe_series_card(series, usual)


def forecast_all(
    rolling: Rolling,
    config: Config,
    *,
    peers: bool,
    events: Events = NO_EVENTS,
    regressors: Regressors = NO_REGRESSORS,
) -> list[RollingForecasts]:
    """The model's forecasts first, then the seasonal naive ones, then the peers'. All `events` count as known before.

    Raises SettingError if peers are requested and statsforecast is missing, ArtifactError if the model is missing.
    """
    if peers:
        check_installed()
    require_single_process(config.process, "A backtest")
    version = config.model_version or BASE_VERSION
    if version == FINE_TUNE:
        forecasts = forecast_fine_tuned(rolling, config, events, regressors)
    else:
        base = version == BASE_VERSION
        model = load_base_model(config.data) if base else load_version(version, config, rolling.panel)
        if not regressors.by_site and any(card.uses_regressors for card in model.cards.values()):
            LOGGER.info("note: %s forecasts with regressors, but here without: set data.regressors", version)
        forecasts = forecast_by(rolling, replace(model, events=events, regressors=regressors))
    return [forecasts, forecast_naive(rolling), *(forecast_peers(rolling) if peers else [])]


def load_base_model(data: DataConfig | None = None) -> Model:
    """The base model as it is, which knows the holidays of `data`. Raises UnknownVersion if it is missing."""
    return Model(load_base_predictor(), country_of=data.country_of if data else no_country)


def load_version(version: str, config: Config, panel: Panel) -> Model:
    """A version's exported program, with a note if its training has seen days that it is to forecast."""
    artifact = load_artifact(config.model_dir, version)
    card = artifact.card
    LOGGER.info(
        "note: %s was trained on days until %s: up to then the backtest is not of unseen days",
        card.version, card.data["last_day"],
    )  # fmt: skip
    model = Model(artifact.load_predictor(), {series.key: series for series in card.series}, learns_days=False)
    unknown = [series.name for series in panel.series if series.key not in model.cards]
    if unknown:
        LOGGER.info("note: %s was not trained on %d of the series, such as %s", card.version, len(unknown), unknown[0])
    return model


def forecast_by(rolling: Rolling, model: Model) -> RollingForecasts:
    """Every origin's forecast by a model, which sees nothing but what `rolling` shows."""
    started, name = time.monotonic(), model.predictor.name
    parts = []
    with progress(name, len(rolling.rows)) as advance:
        for start in range(0, len(rolling.rows), ORIGINS_AT_ONCE):
            parts.append(_forecast_part(rolling, slice(start, start + ORIGINS_AT_ONCE), model))
            advance(len(parts[-1]))
    return RollingForecasts(name, np.concatenate(parts), time.monotonic() - started)


def forecast_fine_tuned(
    rolling: Rolling, config: Config, events: Events = NO_EVENTS, regressors: Regressors = NO_REGRESSORS
) -> RollingForecasts:
    """By models fitted to all series on the days before, again every `backtest.refit` days."""
    started = time.monotonic()
    first, every = int(rolling.cutoffs.min()), config.backtest.refit
    blocks = (rolling.cutoffs - first) // every
    quantiles = np.empty((len(blocks), rolling.days_ahead, len(LEVELS)), np.float32)
    starts = np.unique(blocks)
    for number, block in enumerate(starts):
        last_day = first + int(block) * every
        model = replace(fine_tune(rolling.known_until(last_day), config, regressors), events=events)
        until = to_date(rolling.panel.first_day + last_day)
        LOGGER.info("fitted on the days until %s, %d of %d", until, number + 1, len(starts))
        quantiles[blocks == block] = forecast_by(rolling.select(blocks == block), model).quantiles
    return RollingForecasts("fine-tuned", quantiles, time.monotonic() - started)


def fine_tune(panel: Panel, config: Config, regressors: Regressors = NO_REGRESSORS) -> Model:
    """A model of all series of a panel that are still alive, made on all of their days as training makes a version.

    The base model as it is, with a note, if there are too few days to train on.
    """
    from forecasting.training.base_model import find_base
    from forecasting.training.fit import first_unseen, fit, refit, training_data

    base = find_base(config.model)
    panel = _living(panel)
    config = replace(config, data=replace(config.data, days_back=max(MIN_DAYS, panel.num_days)))
    try:
        data = training_data(panel, config, base)
    except TooFewDays as error:
        if base is None:
            raise
        LOGGER.info("note: the base as it is forecasts from %s on: %s", to_date(panel.cutoff), error)
        return Model(forecaster_predictor("fine-tuned", base), country_of=config.data.country_of)
    fitted = fit(data, config, base=base)
    if fitted.interrupted:
        raise KeyboardInterrupt  # Ctrl-C ends one fit early, but this is one of many
    bands = calibrate(fitted.forecaster, panel, unseen=first_unseen(fitted, data))
    answers = choose_answerers(forecast_test_part(fitted.forecaster, data), panel)
    used = choose_regressors(fitted.forecaster, RegressorHistory(panel, regressors))
    cards = [
        describe_series_card(series, series_bands, answered_by=answered_by, regressors=used.get(series.key, ()))
        for series, series_bands, answered_by in zip(panel.series, bands, answers, strict=True)
    ]
    if fitted.best_epoch > 0:
        fitted = refit(panel, config, epochs=fitted.best_epoch, base=base, share=fitted.share)
        if fitted.interrupted:
            raise KeyboardInterrupt
    return Model(
        forecaster_predictor("fine-tuned", fitted.forecaster),
        {card.key: card for card in cards},
        config.data.country_of,
        regressors=regressors,
    )


def _living(panel: Panel) -> Panel:
    """The series with a known day among the last RECENT_DAYS, from the first of their known days on."""
    known = np.isfinite(panel.values)
    rows = np.flatnonzero(known[:, -RECENT_DAYS:].any(1))
    if not rows.size:
        return panel
    first = int(np.flatnonzero(known[rows].any(0))[0])
    series = tuple(panel.series[row] for row in rows)
    return replace(panel, series=series, values=panel.values[rows], verdicts=panel.verdicts[rows]).tail(
        panel.num_days - first
    )


def forecast_naive(rolling: Rolling) -> RollingForecasts:
    started = time.monotonic()
    num_days = rolling.history_days or int(rolling.cutoffs.max()) + 1
    parts = []
    for start in range(0, len(rolling.rows), ORIGINS_AT_ONCE):
        history = rolling.histories(slice(start, start + ORIGINS_AT_ONCE), num_days)
        parts.append(seasonal_naive_quantiles(history, days_ahead=rolling.days_ahead, levels=LEVELS))
    return RollingForecasts(NAIVE, within_range(np.concatenate(parts), _kinds(rolling)), time.monotonic() - started)


def forecast_peers(rolling: Rolling) -> list[RollingForecasts]:
    """Each of PEERS, and the median of them, quantile by quantile."""
    histories = [rolling.visible(origin) for origin in range(len(rolling.rows))]
    forecasts = []
    with peer_processes(len(histories)) as processes:
        for name in PEERS:
            with progress(name, len(histories)) as advance:
                peer = forecast_peer(name, histories, horizon=rolling.days_ahead, processes=processes, advance=advance)
            if peer.num_failed:
                counts = (name, peer.num_failed, len(histories))
                LOGGER.info("note: %s failed on %d of %d histories: the seasonal naive forecast stands in", *counts)
            forecasts.append(RollingForecasts(name, within_range(peer.quantiles, _kinds(rolling)), peer.seconds))
    median = np.median(np.stack([peer.quantiles for peer in forecasts]), axis=0)
    return [*forecasts, RollingForecasts(MEDIAN_OF_PEERS, median, sum(peer.seconds for peer in forecasts))]


def _forecast_part(rolling: Rolling, part: slice, model: Model) -> Float[np.ndarray, "part days levels"]:
    """In the panel's units; a version may have been trained on a series in another unit."""
    predictor = model.predictor
    all_series = [rolling.panel.series[row] for row in rolling.rows[part]]
    cards = [model.find_card(series) for series in all_series]
    units = [series.unit_scale / card.unit_scale for series, card in zip(all_series, cards, strict=True)]
    scale = np.array(units, np.float32)[:, None]
    history = rolling.histories(part, predictor.context_length) * scale
    first_day = rolling.cutoffs[part] + rolling.panel.first_day + 1 - predictor.context_length
    cards = [_learn_known_days(rolling, origin, card, model) for origin, card in enumerate(cards, part.start)]
    events = [model.events.of(series.site) for series in all_series]
    windows = make_windows(cards, history, first_day, days_ahead=rolling.days_ahead, events=events)
    windows = add_regressors(windows, cards, model.regressors)
    return np.asarray(predictor.predict(windows) / scale[..., None])


def _learn_known_days(rolling: Rolling, origin: int, card: SeriesCard, model: Model) -> SeriesCard:
    """With the effects of holidays and events, from the days that this forecast may see; a version's own remain."""
    country, events = model.country_of(card.site), model.events.of(card.site)
    if not model.learns_days or not (country or events):
        return card
    values = rolling.visible(origin)
    cutoff = rolling.panel.first_day + int(rolling.cutoffs[origin])
    first_day = cutoff + 1 - len(values)
    return replace(card, country=country, effects=learn_days(values, first_day, country, events, kind=card.kind))


def _kinds(rolling: Rolling) -> Int[np.ndarray, " origins"]:
    return np.array([KIND_CODES[rolling.panel.series[row].kind] for row in rolling.rows], np.int64)
