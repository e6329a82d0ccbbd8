"""Regressors: planted coefficients are recovered within their standard error, and the pattern of weeks is none."""

import datetime as dt

import numpy as np
import pytest

from forecasting.domain import Kind, to_date, to_day
from forecasting.errors import DataError, DuplicateDays
from forecasting.known_days.regressors import (
    DailyValues,
    RegressorEffect,
    RegressorRows,
    Regressors,
    check_regressors,
    learn_regressors,
    sum_effects,
)

FIRST = to_day(dt.date(2025, 1, 1))
NUM_DAYS = 400
SHAPE = np.array([1.0, 1.1, 1.05, 1.0, 0.9, 0.5, 0.45])
NOISE = 0.1


def make_site(effect: np.ndarray, *, noise: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    days = np.arange(len(effect))
    usual = np.log(1000 * SHAPE[days % 7]) + 0.001 * days  # with a trend
    return np.expm1(usual + effect + noise * random.normal(size=len(effect)))


def test_planted_coefficients_are_recovered_within_their_standard_errors() -> None:
    """Of two regressors together; a coefficient's standard error is noise / sqrt(days), known exactly here."""
    errors = []
    for seed in range(60):
        random = np.random.default_rng(1000 + seed)
        inputs = random.normal([15, 3], [5, 0.5], size=(NUM_DAYS, 2))
        values = make_site(inputs @ [0.02, -0.3], noise=NOISE, seed=seed)
        warm, dear = learn_regressors(values, inputs, ["temperature", "price"], kind=Kind.count)
        assert (warm.name, dear.name) == ("temperature", "price")
        errors += [warm.coefficient - 0.02 * warm.spread, dear.coefficient + 0.3 * dear.spread]
    ratios = np.array(errors) / (NOISE / np.sqrt(NUM_DAYS))
    assert np.abs(ratios).max() < 4
    assert np.sqrt(np.mean(ratios**2)) == pytest.approx(1, abs=0.2)


def test_without_noise_the_coefficient_is_ridge_regressions() -> None:
    """By a loop over days: how far a day lies from the same weekdays around it."""
    inputs = np.random.default_rng(1).normal(size=(120, 1))
    values = make_site(0.4 * inputs[:, 0], noise=0.0)
    values[[30, 37, 44]] = np.nan
    [effect] = learn_regressors(values, inputs, ["x"], kind=Kind.count)
    known = np.isfinite(values)
    z, even = (inputs[:, 0] - inputs[known, 0].mean()) / inputs[known, 0].std(), np.log1p(values)
    x, y = [], []
    for day in np.flatnonzero(known):
        around = [day + 7 * week for week in (-3, -2, -1, 1, 2, 3) if 0 <= day + 7 * week < 120]
        around = [other for other in around if known[other]]
        if len(around) >= 2:
            x.append(z[day] - z[around].mean())
            y.append(even[day] - even[around].mean())
    assert effect.coefficient == pytest.approx(np.dot(x, y) / (np.dot(x, x) + 4), rel=1e-6)
    assert effect.mean == pytest.approx(inputs[known, 0].mean())
    assert effect.spread == pytest.approx(inputs[known, 0].std())
    assert (effect.low, effect.high) == (inputs[known, 0].min(), inputs[known, 0].max())


def test_a_pattern_of_weekdays_has_no_effect() -> None:
    inputs = np.log(SHAPE[np.arange(NUM_DAYS) % 7])[:, None]
    [effect] = learn_regressors(make_site(np.zeros(NUM_DAYS), noise=0.1), inputs, ["open"], kind=Kind.count)
    assert abs(effect.coefficient) < 1e-9


def test_outlying_days_count_for_less() -> None:
    """Where 4% of days have twenty times the visits, beside plain least squares on a known pattern."""
    errors, plain = [], []
    for seed in range(20):
        random = np.random.default_rng(1000 + seed)
        inputs = random.normal(size=(NUM_DAYS, 1))
        values = make_site(0.1 * inputs[:, 0], noise=0.05, seed=seed)
        values[random.choice(NUM_DAYS, 16, replace=False)] *= 20
        [effect] = learn_regressors(values, inputs, ["x"], kind=Kind.count)
        errors.append(effect.coefficient / effect.spread - 0.1)
        usual = np.log1p(make_site(np.zeros(NUM_DAYS), noise=0.0))
        plain.append(np.polyfit(inputs[:, 0], np.log1p(values) - usual, 1)[0] - 0.1)
    assert np.sqrt(np.mean(np.square(errors))) < np.sqrt(np.mean(np.square(plain))) / 2


def test_left_out_days_change_nothing() -> None:
    inputs = np.random.default_rng(3).normal(size=(NUM_DAYS, 1))
    values = make_site(0.1 * inputs[:, 0], noise=0.05)
    changed = values.copy()
    changed[[100, 200]] = 5
    left_out = [100, 200]
    before = learn_regressors(values, inputs, ["x"], kind=Kind.count, left_out=left_out)
    assert before == learn_regressors(changed, inputs, ["x"], kind=Kind.count, left_out=left_out)
    assert before != learn_regressors(changed, inputs, ["x"], kind=Kind.count)


def test_nothing_is_learned_from_constants_or_few_days() -> None:
    values, random = make_site(np.zeros(NUM_DAYS), noise=0.1), np.random.default_rng(4)
    assert learn_regressors(values, np.full((NUM_DAYS, 1), 3.7), ["price"], kind=Kind.count) == ()
    assert learn_regressors(values[:50], random.normal(size=(50, 1)), ["x"], kind=Kind.count) == ()
    late = np.full((NUM_DAYS, 2), np.nan)
    late[-40:, 0], late[:, 1] = 1.0, random.normal(size=NUM_DAYS)
    assert [effect.name for effect in learn_regressors(values, late, ["late", "x"], kind=Kind.count)] == ["x"]


def test_effects_are_clipped_to_what_was_learned_from_and_unknown_ones_are_none() -> None:
    effect = RegressorEffect("temperature", coefficient=0.2, mean=10.0, spread=5.0, low=0.0, high=20.0)
    values = np.array([10.0, 15.0, 20.0, 35.0, -90.0, np.nan])
    np.testing.assert_allclose(effect.find_effects(values), [0, 0.2, 0.4, 0.4, -0.4, 0])
    other = RegressorEffect("price", coefficient=-1.0, mean=1.0, spread=1.0, low=0.0, high=2.0)
    both = np.column_stack([values, [1.0, 1.0, 2.0, 2.0, 2.0, np.nan]])
    np.testing.assert_allclose(sum_effects([effect, other], both), [0, 0.2, -0.6, -0.6, -1.4, 0])


def test_a_sites_own_value_comes_before_that_of_all_sites() -> None:
    nan = np.nan
    regressors = Regressors(
        {
            "": {"price": DailyValues(FIRST, np.array([1.0, 2.0, 3.0])), "sale": DailyValues(FIRST, np.ones(2))},
            "blog": {"price": DailyValues(FIRST + 1, np.array([9.0, nan, 8.0]))},
        }
    )
    found = regressors.find("blog", ["price", "sale"], first_day=FIRST - 1, num_days=5)
    np.testing.assert_array_equal(found, [[nan, nan], [1, 1], [9, 1], [3, nan], [8, nan]])
    shop = regressors.find("shop", ["price"], first_day=FIRST, num_days=4)
    np.testing.assert_array_equal(shop[:, 0], [1, 2, 3, nan])
    renamed = regressors.also_as({"weblog": "blog"}).find("weblog", ["price"], first_day=FIRST + 1, num_days=1)
    np.testing.assert_array_equal(renamed, [[9]])
    assert regressors.names == ["price", "sale"]


def lay_out(*rows: tuple[str, float], site: str = "blog") -> dict[str, DailyValues]:
    table = RegressorRows(site, ("price",))
    for day, value in rows:
        table.add(to_day(dt.date.fromisoformat(day)), [value])
    return table.lay_out("prices")


def test_rows_are_laid_out_on_one_calendar() -> None:
    laid_out = lay_out(("2025-01-04", 4.0), ("2025-01-01", 1.0), ("2025-01-02", float("inf")))["price"]
    assert to_date(laid_out.first_day) == dt.date(2025, 1, 1)
    np.testing.assert_array_equal(laid_out.values, [1, np.nan, np.nan, 4])


def test_two_rows_of_a_day_are_refused() -> None:
    rows = [("2025-01-01", 1.0), ("2025-01-03", 1.0), ("2025-01-03", 2.0), ("2025-01-05", 2.0)]
    with pytest.raises(DuplicateDays) as error:
        lay_out(*rows)
    assert str(error.value) == "prices has 2 rows of 2025-01-03 for the site blog. Keep one row a day."
    with pytest.raises(DuplicateDays) as error:
        lay_out(*rows, site="")
    assert str(error.value) == "prices has 2 rows of 2025-01-03 for all sites. Keep one row a day."


def test_impossible_dates_are_refused() -> None:
    with pytest.raises(DataError) as error:
        lay_out(("0225-01-01", 1.0), ("2025-01-03", 1.0))
    assert str(error.value) == "prices has a row dated 0225-01-01 for the site blog. Correct its date."


def check(*columns: tuple[str, str, list[float]], first_day: int = FIRST) -> list[str]:
    by_site: dict[str, dict[str, DailyValues]] = {}
    for site, name, values in columns:
        by_site.setdefault(site, {})[name] = DailyValues(first_day, np.array(values, np.float64))
    return check_regressors(
        Regressors(by_site), table="prices", sites=["blog", "shop"], first_day=FIRST, cutoff=FIRST + 9
    )


def test_regressors_that_nothing_can_be_learned_from_are_refused() -> None:
    changing = ("", "x", [*range(20)])
    cases = {
        "The column price of prices has the value 3 in all rows, from which nothing is learned. Remove it.": (
            [changing, ("blog", "price", [3.0] * 20)]
        ),
        "The column price of prices has no value in any row, from which nothing is learned. Remove it.": (
            [changing, ("blog", "price", [np.nan] * 20)]
        ),
        "data.regressors is prices, whose sites are Blog, forum, but the series are of blog, shop. Name the sites as "
        "they are there, or leave the site empty for all.": [("forum", "x", [1, 2]), ("Blog", "x", [1, 2])],
    }
    for text, columns in cases.items():
        with pytest.raises(DataError) as error:
            check(*columns)
        assert str(error.value) == text
    for shift in (-30, 10):
        with pytest.raises(DataError) as error:
            check(changing, first_day=FIRST + shift)
        assert str(error.value) == (
            "The column x of prices has no value from 2025-01-01 to 2025-01-10, the days of the series. Add these "
            "days, or remove it."
        )


def test_regressors_that_end_with_the_series_are_noted() -> None:
    assert check(("", "x", [*range(11)]), ("", "late", [*range(10)])) == [
        "late has no value after 2025-01-10: forecasts take its mean until prices has the days ahead"
    ]
