"""Who forecasts in a rolling backtest: a model, the seasonal naive forecast, and statsforecast's methods."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from forecasting.artifact import SEASONAL_NAIVE, Bands, SeriesCard, load_artifact, load_base, usual_bands
from forecasting.baselines import answer_naively, inside_range, seasonal_naive_quantiles
from forecasting.domain import MIN_DAYS, Kind, SeriesKey
from forecasting.errors import TooFewDays
from forecasting.evaluation.rolling_origins import RECENT, Forecasts, Rolling
from forecasting.evaluation.statsforecast_baselines import (
    MEDIAN_OF_PEERS,
    PEERS,
    check_installed,
    forecast_peer,
    peer_processes,
)
from forecasting.model.forecaster import KINDS, LEVELS, MEDIAN, Forecaster
from forecasting.panel import Panel, Series, to_date
from forecasting.runtime import LOGGER, progress
from forecasting.settings.schema import Config
from forecasting.training.calibration import calibrate
from forecasting.training.distributed import require_single_process
from forecasting.training.scoring import backtest, choose_answerers

BATCH = 4096  # windows that a model forecasts at once
NAIVE = "seasonal naive"
Forward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # as Forecaster.forward


@dataclass(frozen=True)
class Model:
    """A Forecaster, or a version's exported one. By site and metric: `cards`, what a version knows of its series, and
    `bands`, what a model fitted here does; the seasonal naive forecast answers for those in `naive`.
    """

    name: str
    forward: Forward
    context_length: int
    horizon: int
    cards: Mapping[SeriesKey, SeriesCard] = field(default_factory=dict)
    bands: Mapping[SeriesKey, Bands] = field(default_factory=dict)
    naive: Collection[SeriesKey] = ()

    def knowing(self, series: Sequence[SeriesCard]) -> "Model":
        """With what a version's cards say of their series."""
        cards = {(one.site, one.metric): one for one in series}
        bands = {key: Bands(one.band_scale, one.widening, one.day_correlation) for key, one in cards.items()}
        naive = {key for key, one in cards.items() if one.answers == SEASONAL_NAIVE}
        return replace(self, cards=cards, bands=bands, naive=naive)


def forecast_all(rolling: Rolling, config: Config, *, peers: bool) -> list[Forecasts]:
    """The model's forecasts first, then the seasonal naive ones, then the peers'.

    Raises SettingError where peers are asked for and statsforecast is missing, ArtifactError where the model is.
    """
    if peers:
        check_installed()
    require_single_process(config.process, "A backtest")
    asked = config.backtest.model
    if asked == "fine-tune":
        ours = forecast_fine_tuned(rolling, config)
    else:
        ours = forecast_by(rolling, load_base_model() if asked == "base" else load_version(config, rolling.panel))
    return [ours, forecast_naive(rolling), *(forecast_peers(rolling) if peers else [])]


def load_base_model() -> Model:
    """The base as it is. Raises UnknownVersion where there is none."""
    return _model_of("base", load_base())


def load_version(config: Config, panel: Panel) -> Model:
    """A version by its exported program, with a note where its training has seen days that it is to forecast."""
    artifact = load_artifact(config.model_dir, config.backtest.model)
    card = artifact.card
    LOGGER.info(
        "note: %s was trained on days until %s: its forecasts of days up to then are of days that it has seen",
        card.version, card.data["last_day"],
    )  # fmt: skip
    forward = cast(Forward, artifact.load_program())
    model = Model(card.version, forward, card.context_length, card.horizon).knowing(card.series)
    unknown = [one.name for one in panel.series if (one.site, one.metric) not in model.cards]
    if unknown:
        LOGGER.info("note: %s was not trained on %d of the series, such as %s", card.version, len(unknown), unknown[0])
    return model


def forecast_by(rolling: Rolling, model: Model) -> Forecasts:
    """Every origin's forecast by a model, in batches; it never knows more than `rolling` shows."""
    started = time.monotonic()
    parts = []
    with progress(model.name, len(rolling.rows)) as advance:
        for start in range(0, len(rolling.rows), BATCH):
            part = slice(start, start + BATCH)
            parts.append(_forecast_part(rolling, part, model))
            advance(len(parts[-1]))
    return Forecasts(model.name, np.concatenate(parts), time.monotonic() - started)


def forecast_fine_tuned(rolling: Rolling, config: Config) -> Forecasts:
    """By models fitted to all series on the days before, anew every `backtest.refit` days."""
    started = time.monotonic()
    first, every = int(rolling.cutoffs.min()), config.backtest.refit
    blocks = (rolling.cutoffs - first) // every
    quantiles = np.empty((len(blocks), rolling.horizon, len(LEVELS)), np.float32)
    names = np.unique(blocks)
    for number, block in enumerate(names):
        last_day = first + int(block) * every
        model = fine_tune(rolling.known_until(last_day), config)
        until = to_date(rolling.panel.first_day + last_day)
        LOGGER.info("fitted on the days until %s, %d of %d", until, number + 1, len(names))
        quantiles[blocks == block] = forecast_by(rolling.select(blocks == block), model).quantiles
    return Forecasts("fine-tuned", quantiles, time.monotonic() - started)


def fine_tune(panel: Panel, config: Config) -> Model:
    """A model for all series of a panel that still live, made as training makes what it serves, of all of their days.

    The base as it is, with a note, where their days are too few to train on.
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
        return _model_of("fine-tuned", base)
    fitted = fit(data, config, base=base)
    if fitted.interrupted:
        raise KeyboardInterrupt  # it ends one fit early, but this is one of many
    keys = [(series.site, series.metric) for series in panel.series]
    unseen = first_unseen(fitted, data)
    bands = dict(zip(keys, calibrate(fitted.forecaster, panel, unseen=unseen), strict=True))
    answers = choose_answerers(backtest(fitted.forecaster, data), panel)
    naive = {key for key, who in zip(keys, answers, strict=True) if who == SEASONAL_NAIVE}
    if fitted.best_epoch > 0:
        fitted = refit(panel, config, epochs=fitted.best_epoch, base=base, share=fitted.share)
        if fitted.interrupted:
            raise KeyboardInterrupt
    return replace(_model_of("fine-tuned", fitted.forecaster), bands=bands, naive=naive)


def _living(panel: Panel) -> Panel:
    """The series with a known day among the last RECENT, from the first of their known days on."""
    known = np.isfinite(panel.values)
    rows = np.flatnonzero(known[:, -RECENT:].any(1))
    if not rows.size:
        return panel
    first = int(np.flatnonzero(known[rows].any(0))[0])
    series = tuple(panel.series[row] for row in rows)
    return replace(panel, series=series, values=panel.values[rows], verdicts=panel.verdicts[rows]).tail(
        panel.num_days - first
    )


def forecast_naive(rolling: Rolling) -> Forecasts:
    started = time.monotonic()
    num_days = rolling.history_days or int(rolling.cutoffs.max()) + 1
    parts = []
    for start in range(0, len(rolling.rows), BATCH):
        history = rolling.histories(slice(start, start + BATCH), num_days)
        parts.append(seasonal_naive_quantiles(history, horizon=rolling.horizon, levels=LEVELS))
    return Forecasts(NAIVE, inside_range(np.concatenate(parts), _kinds(rolling)), time.monotonic() - started)


def forecast_peers(rolling: Rolling) -> list[Forecasts]:
    """Each of PEERS, and the median of them, quantile by quantile."""
    histories = [rolling.visible(origin) for origin in range(len(rolling.rows))]
    found = []
    with peer_processes(len(histories)) as processes:
        for name in PEERS:
            with progress(name, len(histories)) as advance:
                peer = forecast_peer(name, histories, horizon=rolling.horizon, processes=processes, advance=advance)
            if peer.num_failed:
                told = (name, peer.num_failed, len(histories))
                LOGGER.info("note: %s failed on %d of %d histories: seasonal naive stands in", *told)
            found.append(Forecasts(name, inside_range(peer.quantiles, _kinds(rolling)), peer.seconds))
    median = np.median(np.stack([one.quantiles for one in found]), axis=0)
    return [*found, Forecasts(MEDIAN_OF_PEERS, median, sum(one.seconds for one in found))]


def _model_of(name: str, forecaster: Forecaster) -> Model:
    settings = forecaster.settings
    return Model(name, forecaster.cpu().eval(), settings.context_length, settings.prediction_horizon)


def _forecast_part(rolling: Rolling, part: slice, model: Model) -> Float[np.ndarray, "part horizon levels"]:
    """Beyond the model's horizon its medians stand for days that nobody has seen, as in serving; bands are wider."""
    rows = rolling.rows[part]
    series = [rolling.panel.series[row] for row in rows]
    cards = [model.cards.get((one.site, one.metric)) for one in series]
    kind = torch.tensor([KINDS[card.kind if card else one.kind] for one, card in zip(series, cards, strict=True)])
    # A version may keep a series in another unit than this panel.
    scales = [one.unit_scale / card.unit_scale if card else 1.0 for one, card in zip(series, cards, strict=True)]
    scale = torch.tensor(scales, dtype=torch.float32)[:, None]
    seen = rolling.histories(part, model.context_length)
    history = torch.from_numpy(seen) * scale
    first_day = torch.from_numpy(rolling.cutoffs[part]) + rolling.panel.first_day + 1 - model.context_length
    bands = torch.from_numpy(_band_scales(rolling, series, model))
    steps = []
    for step in range(bands.shape[1]):
        with torch.no_grad():
            steps.append(model.forward(history, first_day, kind, bands[:, step]))
        history = torch.cat([history, steps[-1][..., MEDIAN]], 1)[:, -model.context_length :]
        first_day = first_day + model.horizon
    quantiles = np.asarray((torch.cat(steps, 1)[:, : rolling.horizon] / scale[..., None]).numpy())
    return answer_naively(
        quantiles,
        list(seen),
        [one.kind for one in series],
        [(one.site, one.metric) in model.naive for one in series],
        levels=LEVELS,
    )


def _band_scales(rolling: Rolling, series: Sequence[Series], model: Model) -> Float[np.ndarray, "part steps horizon"]:
    """What is known of each series' bands; else what holds for most series."""
    num_steps = -(-rolling.horizon // model.horizon)
    usual = usual_bands(model.horizon)
    bands = [model.bands.get((one.site, one.metric), usual) for one in series]
    return np.stack([np.outer(one.widening[:num_steps], one.scale) for one in bands]).astype(np.float32)


def _kinds(rolling: Rolling) -> list[Kind]:
    return [rolling.panel.series[row].kind for row in rolling.rows]
