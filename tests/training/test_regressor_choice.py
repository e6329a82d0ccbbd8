"""Which regressors are used: forecasts of later days gain what a closed form says, and useless ones stay out."""

import numpy as np
import pytest

from forecasting.artifact import forecaster_predictor, load_base
from forecasting.card import add_regressors, describe_series_card, make_windows
from forecasting.domain import Series, Verdict
from forecasting.known_days.regressors import ALL_SITES, DailyValues, Regressors
from forecasting.model.forecaster import MEDIAN, Forecaster
from forecasting.panel import Panel
from forecasting.predictor import usual_bands
from forecasting.training.regressor_choice import ChosenRegressors, RegressorHistory, choose_regressors
from tests.panels import WEEK

FIRST, NUM_DAYS, AHEAD, NOISE = 19_000, 300, 7, 0.1


@pytest.fixture(scope="module")
def base() -> Forecaster:
    return load_base()


def make_history(num_series: int, *, effect: float, num_days: int = NUM_DAYS) -> RegressorHistory:
    """A temperature moves the series by `effect` a standard deviation, a dice by nothing. With the days ahead."""
    random = np.random.default_rng(5)
    all_days = num_days + AHEAD
    temperature = random.normal(15, 5, (num_series, all_days))
    dice = random.normal(size=(num_series, all_days))
    days = FIRST + np.arange(all_days)
    noise = NOISE * random.normal(size=(num_series, all_days))
    values = 500 * WEEK[(days + 3) % 7] * np.exp(noise + effect * (temperature - 15) / 5)
    series = tuple(Series(f"site {number}", "page_visits") for number in range(num_series))
    by_site = {
        row.site: {"temperature": DailyValues(FIRST, temperature[place]), "dice": DailyValues(FIRST, dice[place])}
        for place, row in enumerate(series)
    }
    verdicts = np.full(values.shape, Verdict.observed, np.uint8)
    return RegressorHistory(Panel(series, values.astype(np.float32), FIRST, verdicts), Regressors(by_site))


def until(history: RegressorHistory, num_days: int) -> RegressorHistory:
    panel = history.panel
    known = Panel(panel.series, panel.values[:, :num_days], panel.first_day, panel.verdicts[:, :num_days])
    return RegressorHistory(known, history.regressors)


def count(chosen: ChosenRegressors, name: str) -> int:
    return sum(effect.name == name for effects in chosen.values() for effect in effects)


def forecast_errors(base: Forecaster, history: RegressorHistory, chosen: ChosenRegressors) -> float:
    """Of the days after NUM_DAYS, that no coefficient was learned from."""
    predictor, panel = forecaster_predictor("tested", base.eval()), history.panel
    bands = usual_bands(predictor.horizon)
    cards = [describe_series_card(row, bands, regressors=chosen.get(row.key, ())) for row in panel.series]
    context = predictor.context_length
    padded = np.pad(panel.values, ((0, 0), (context, 0)), constant_values=np.nan)[:, NUM_DAYS : NUM_DAYS + context]
    first_days = np.full(len(cards), FIRST + NUM_DAYS - context, np.int64)
    windows = make_windows(cards, padded, first_days, days_ahead=AHEAD)
    medians = predictor.predict(add_regressors(windows, cards, history.regressors))[..., MEDIAN]
    return float(np.mean(np.abs(medians - panel.values[:, NUM_DAYS:])))


def test_errors_fall_by_the_share_that_the_regressor_explains(base: Forecaster) -> None:
    """A day's error is noise and the regressor's effect; with it, noise alone, whoever forecasts."""
    history = make_history(40, effect=0.2)
    chosen = choose_regressors(base, until(history, NUM_DAYS))
    assert count(chosen, "temperature") == 40
    assert count(chosen, "dice") <= 2
    left = NOISE / np.hypot(NOISE, 0.2)
    assert forecast_errors(base, history, chosen) / forecast_errors(base, history, {}) == pytest.approx(left, rel=0.12)
    gains = [effects[0].gain for effects in chosen.values()]
    assert 1 - np.mean(gains) == pytest.approx(left, rel=0.12)
    [effect] = [effect for effect in chosen["site 0", "page_visits"] if effect.name == "temperature"]
    assert effect.coefficient == pytest.approx(0.2, abs=4 * NOISE / np.sqrt(NUM_DAYS))


def test_useless_regressors_are_kept_in_few_series(base: Forecaster) -> None:
    chosen = choose_regressors(base, until(make_history(60, effect=0.0), NUM_DAYS))
    assert count(chosen, "temperature") + count(chosen, "dice") <= 6  # 5% of 120


def test_twelve_weeks_to_learn_from_and_twelve_to_judge_are_needed(base: Forecaster) -> None:
    history = make_history(2, effect=0.5)
    assert choose_regressors(base, until(history, 167)) == {}
    assert count(choose_regressors(base, until(history, 168)), "temperature") == 2


def test_later_days_do_not_change_what_is_known_at_a_cutoff(base: Forecaster) -> None:
    """Series whose later regressors are spoilt have the same earlier forecasts, so that they are chosen alike until
    the spoilt weeks are judged, too.
    """
    history = make_history(3, effect=0.2)
    spoilt = {
        site: {name: DailyValues(FIRST, np.where(np.arange(NUM_DAYS + AHEAD) < 200, values.values, np.nan))
               for name, values in columns.items()}
        for site, columns in history.regressors.by_site.items()
    }  # fmt: skip
    short = until(history, 200)
    expected = choose_regressors(base, short)
    assert count(expected, "temperature") == 3
    assert choose_regressors(base, RegressorHistory(short.panel, Regressors(spoilt))) == expected


def test_a_regressor_of_all_sites_is_tried_at_each(base: Forecaster) -> None:
    history = make_history(1, effect=0.2)
    everywhere = Regressors({ALL_SITES: history.regressors.by_site["site 0"]})
    chosen = choose_regressors(base, RegressorHistory(until(history, NUM_DAYS).panel, everywhere))
    assert chosen == choose_regressors(base, until(history, NUM_DAYS))
    elsewhere = Regressors({"other": history.regressors.by_site["site 0"]})
    assert choose_regressors(base, RegressorHistory(history.panel, elsewhere)) == {}
