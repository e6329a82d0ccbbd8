"""The last days of many series as the daily job judges them, beside all forecasts of all of them."""

from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import Float

from forecasting.artifact import load_base_predictor
from forecasting.card import describe_series_card
from forecasting.domain import Kind, Series
from forecasting.monitoring.comparison import RecentDays, compare, keep_candidates, plan_comparison, split_plan
from forecasting.predictor import Predictor, usual_bands

NUM_SERIES, NUM_DAYS, FIRST_DAY = 60, 100, 19723
QUIET = slice(0, 20)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_base_predictor()


def make_values() -> Float[np.ndarray, "series days"]:
    """Quiet series, those with a few days far off among the last ten, and some that decline or have gaps."""
    random = np.random.default_rng(11)
    values = 500 * np.exp(0.05 * random.normal(size=(NUM_SERIES, NUM_DAYS)) + 0.3 * np.sin(np.arange(NUM_DAYS) * 0.898))
    for row in range(QUIET.stop, NUM_SERIES):
        values[row, NUM_DAYS - random.integers(1, 11, 3)] *= random.choice([0.1, 0.4, 2.0, 6.0], 3)
    values[40:50, -8:] *= 0.9 ** np.arange(1, 9)
    values[50:55, 70:-3] = np.nan
    return np.round(values).astype(np.float32)


@pytest.mark.parametrize("num_days", [1, 3, 7])
def test_series_that_are_as_expected_need_two_forecasts_and_are_judged_alike(
    predictor: Predictor, num_days: int
) -> None:
    bands = usual_bands(predictor.horizon)
    cards = [
        describe_series_card(Series(f"site {row}", "visits", Kind.count, additive=True), bands)
        for row in range(NUM_SERIES)
    ]
    cards[5] = replace(cards[5], country="US")
    values = make_values()
    days = RecentDays(cards, values, values, np.full(NUM_SERIES, FIRST_DAY))
    plan = plan_comparison(days, num_days=num_days, context_length=predictor.context_length)
    whole = compare([(plan, predictor.predict(plan.windows))], levels=predictor.levels)
    outer, middle = split_plan(plan)
    quantiles = predictor.predict(outer.windows)
    rest = keep_candidates(middle, outer, quantiles, levels=predictor.levels)
    parts = compare([(outer, quantiles), (rest, predictor.predict(rest.windows))], levels=predictor.levels)
    for before, after in zip(whole.values, parts.values, strict=True):
        np.testing.assert_allclose(before, after, rtol=1e-5)
    np.testing.assert_allclose(whole.judgement.score, parts.judgement.score, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(whole.judgement.ahead, parts.judgement.ahead)
    np.testing.assert_array_equal(whole.judgement.is_new_level, parts.judgement.is_new_level)
    assert (np.abs(whole.judgement.score) > 3).sum() > 10
    assert len(outer.windows) + len(middle.windows) == len(plan.windows)
    if num_days == 1:
        assert rest.is_due[QUIET].any(1).sum() <= 5  # about one in five is far off within a week by chance
        assert rest.is_due.any(1).sum() > 20
        assert (outer.is_due[QUIET].sum(1) == 2).all()
