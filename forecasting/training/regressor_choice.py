"""Which regressors each series' forecasts use: those without which forecasts of its past weeks were worse.

The forecaster itself makes these forecasts, with and without each regressor. What is known of a regressor's effect at a
cutoff was learned from the days up to it, so that a useless one only adds noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from forecasting.artifact import forecaster_predictor
from forecasting.card import SeriesCard, describe_series_card, find_effects
from forecasting.domain import KIND_CODES, SeriesKey
from forecasting.evaluation.comparison import is_worse
from forecasting.known_days.learning import NO_DAYS, KnownDays
from forecasting.known_days.regressors import RegressorEffect, Regressors, learn_regressors, sum_effects
from forecasting.model.forecaster import MEDIAN, Forecaster
from forecasting.panel import Panel
from forecasting.predictor import Predictor, Windows, usual_bands
from forecasting.training.calibration import NO_CUTOFF, cut, find_cutoffs

DAYS_TO_LEARN = 84  # before the first week on which a regressor is tried
LEARN_EVERY = 4  # weeks: effects of earlier days hardly change in fewer
SERIES_AT_ONCE = 32  # this bounds memory


@dataclass(frozen=True)
class RegressorHistory:
    """All days of the series, and all that is known of the regressors."""

    panel: Panel
    regressors: Regressors


ChosenRegressors = dict[SeriesKey, tuple[RegressorEffect, ...]]
_Places = tuple[int, ...]  # of regressors among the names of a trial


@dataclass(frozen=True)
class _Trial:
    """One series and the weekly cutoffs that its days are forecast from, oldest first, as columns of its values."""

    card: SeriesCard
    names: tuple[str, ...]
    first_day: int
    values: Float[np.ndarray, " days"]
    inputs: Float[np.ndarray, "days regressors"]
    known: Float[np.ndarray, " days"]  # effects of known days
    cutoffs: Int[np.ndarray, " weeks"]

    def learn(self, places: _Places, cutoff: int) -> tuple[RegressorEffect, ...]:
        past, names = slice(0, cutoff + 1), [self.names[place] for place in places]
        named = np.flatnonzero(self.known[past])
        inputs = self.inputs[past, list(places)]
        return learn_regressors(self.values[past], inputs, names, kind=self.card.kind, left_out=named)

    def find_effects(self, places: _Places) -> Float[np.ndarray, "weeks days"]:
        """Of all days, as known at each cutoff."""
        rows = []
        for week, cutoff in enumerate(self.cutoffs):
            if week % LEARN_EVERY == 0:
                learned = self.learn(places, int(cutoff))
                columns = [self.names.index(effect.name) for effect in learned]
                effects = self.known + sum_effects(learned, self.inputs[:, columns])
            rows.append(effects)
        return np.stack(rows)


def choose_regressors(
    forecaster: Forecaster, history: RegressorHistory, *, known: KnownDays = NO_DAYS
) -> ChosenRegressors:
    """Of each series that gains from any, their effects, learned from all of its days; the best first.

    A regressor is tried alone at first. Those with which the errors of past weeks were smaller by more than chance are
    then added to each other, as long as each takes more off.
    """
    predictor = forecaster_predictor("tried", forecaster.eval())
    return try_regressors(predictor, history, horizon=forecaster.settings.prediction_horizon, known=known)


def try_regressors(
    predictor: Predictor, history: RegressorHistory, *, horizon: int, known: KnownDays = NO_DAYS
) -> ChosenRegressors:
    """As `choose_regressors`, by forecasts of `horizon` days."""
    if not history.regressors.by_site:
        return {}
    trials = [
        trial
        for row in range(len(history.panel.series))
        if (trial := _make_trial(history, row, known, context=predictor.context_length, horizon=horizon))
    ]
    chosen: ChosenRegressors = {}
    for start in range(0, len(trials), SERIES_AT_ONCE):
        chosen |= _choose(_Backtest(predictor, horizon, trials[start : start + SERIES_AT_ONCE]))
    return chosen


def _make_trial(history: RegressorHistory, row: int, known: KnownDays, *, context: int, horizon: int) -> _Trial | None:
    """None if nothing is known of any regressor on the days of the series, or there is no week to try it on."""
    panel, series = history.panel, history.panel.series[row]
    days = {"first_day": panel.first_day, "num_days": panel.num_days}
    inputs = history.regressors.find(series.site, history.regressors.names, **days)
    usable = [place for place in range(inputs.shape[1]) if np.isfinite(inputs[:, place]).any()]
    is_known = np.isfinite(panel.values[row])
    [cutoffs] = find_cutoffs(is_known[None], 0, horizon)
    cutoffs = cutoffs[cutoffs != NO_CUTOFF][::-1]
    num_before = np.cumsum(is_known & np.isfinite(inputs).any(1))
    cutoffs = cutoffs[num_before[cutoffs] >= DAYS_TO_LEARN]
    if not usable or not cutoffs.size:
        return None
    card = describe_series_card(series, usual_bands(horizon), known=known.of(series.key))
    effects = find_effects(card, panel.first_day, panel.num_days, known.events.of(series.site))
    return _Trial(
        card=card,
        names=tuple(history.regressors.names[place] for place in usable),
        first_day=panel.first_day,
        values=panel.values[row],
        inputs=inputs[:, usable],
        known=np.zeros(panel.num_days) if effects is None else effects.astype(np.float64),
        cutoffs=cutoffs,
    )


@dataclass(frozen=True)
class _Backtest:
    predictor: Predictor
    horizon: int
    trials: Sequence[_Trial]

    def find_errors(self, tries: Sequence[tuple[int, _Places]]) -> list[Float[np.ndarray, "weeks days"]]:
        """Absolute errors of the trials, each with the regressors named beside it."""
        if not tries:
            return []
        parts = [self._make_windows(self.trials[number], places) for number, places in tries]
        windows, actual = (list(column) for column in zip(*parts, strict=True))
        medians = self.predictor.roll_out(_join(windows))[..., MEDIAN]
        ends = np.cumsum([len(part) for part in actual])[:-1]
        return np.split(np.abs(medians - np.concatenate(actual)), ends)

    def _make_windows(self, trial: _Trial, places: _Places) -> tuple[Windows, Float[np.ndarray, "weeks days"]]:
        context, num_weeks = self.predictor.context_length, len(trial.cutoffs)
        rows = np.zeros(num_weeks, np.int64)
        past, actual = cut(trial.values[None], rows, trial.cutoffs, context)
        padded = np.pad(trial.find_effects(places), ((0, 0), (context, self.horizon)))
        columns = trial.cutoffs[:, None] + np.arange(1, context + self.horizon + 1)
        windows = Windows(
            history=past,
            first_day=trial.first_day + trial.cutoffs.astype(np.int64) + 1 - context,
            kind=np.full(num_weeks, KIND_CODES[trial.card.kind], np.int64),
            band_scale=np.ones((num_weeks, self.horizon), np.float32),
            naive=np.zeros(num_weeks, bool),
            effects=np.take_along_axis(padded, columns, 1).astype(np.float32),
        )
        return windows, actual[:, : self.horizon].numpy()


def _join(parts: Sequence[Windows]) -> Windows:
    names = ("history", "first_day", "kind", "band_scale", "naive", "effects")
    return Windows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _choose(backtest: _Backtest) -> ChosenRegressors:
    trials = backtest.trials
    plain = backtest.find_errors([(number, ()) for number in range(len(trials))])
    best: list[tuple[_Places, Float[np.ndarray, "weeks days"]]] = [((), errors) for errors in plain]
    tries: list[tuple[int, _Places]]
    tries = [(number, (place,)) for number, trial in enumerate(trials) for place in range(len(trial.names))]
    alone: dict[int, list[tuple[float, int]]] = {}
    for (number, places), errors in zip(tries, backtest.find_errors(tries), strict=True):
        if is_worse(plain[number], errors, trials[number].cutoffs):
            alone.setdefault(number, []).append((float(np.nanmean(errors)), places[0]))
    waiting = {number: [place for _, place in sorted(gains)] for number, gains in alone.items()}
    while waiting:
        tries = [(number, (*best[number][0], places.pop(0))) for number, places in waiting.items()]
        for (number, places), errors in zip(tries, backtest.find_errors(tries), strict=True):
            if is_worse(best[number][1], errors, trials[number].cutoffs):
                best[number] = places, errors
        waiting = {number: places for number, places in waiting.items() if places}
    return {
        trials[number].card.key: _learn(trials[number], places, gain=_find_gain(plain[number], errors))
        for number, (places, errors) in enumerate(best)
        if places
    }


def _find_gain(before: Float[np.ndarray, "weeks days"], after: Float[np.ndarray, "weeks days"]) -> float:
    return 1 - float(np.nanmean(after) / np.nanmean(before))


def _learn(trial: _Trial, places: _Places, *, gain: float) -> tuple[RegressorEffect, ...]:
    """From all days. `gain` is that of all of these regressors together."""
    return tuple(replace(effect, gain=gain) for effect in trial.learn(places, len(trial.values) - 1))
