"""Effects of named days: planted ones are recovered, noise is not, and nothing later than the values is used."""

import datetime as dt

import numpy as np
import pytest

from forecasting.domain import Kind, to_day
from forecasting.known_days.effects import Effects, learn_effects, weekday
from forecasting.known_days.holiday_calendar import name_days

FIRST = 16_436  # 2015-01-01
NUM_DAYS = 4 * 365
SHAPE = np.array([1.0, 1.1, 1.05, 1.0, 0.9, 0.5, 0.45])


def make_site(*, noise: float, level: float = 1000.0, seed: int = 1) -> np.ndarray:
    days = FIRST + np.arange(NUM_DAYS)
    random = np.random.default_rng(seed)
    return level * SHAPE[(days + 3) % 7] * np.exp(noise * random.normal(size=NUM_DAYS))


def name_all() -> dict[int, str]:
    return name_days("US", range(FIRST - 30, FIRST + NUM_DAYS + 60))


def plant(values: np.ndarray, effects: dict[str, float]) -> tuple[np.ndarray, dict[int, str]]:
    names, planted = name_all(), values.copy()
    for day, name in names.items():
        if 0 <= day - FIRST < NUM_DAYS and name in effects:
            planted[day - FIRST] = np.expm1(np.log1p(planted[day - FIRST]) + effects[name])
    return planted, names


def test_planted_effects_are_recovered() -> None:
    """Without noise, four occurrences count for 4 / (4 + 1) of the mean, the rest is that of an unseen holiday."""
    values, names = plant(make_site(noise=0.0), {"Thanksgiving Day": -0.8, "day after Thanksgiving Day": -0.3})
    effects = learn_effects(values, FIRST, names, kind=Kind.count)
    thanksgiving = effects.by_name["Thanksgiving Day"]
    assert thanksgiving.learned == pytest.approx(-0.8 * 4 / 5, abs=1e-6)
    assert thanksgiving.rest == pytest.approx(1 / 5, abs=1e-6)
    beside = effects.by_name["day after Thanksgiving Day"]
    assert beside.learned == pytest.approx(-0.3 * 4 / 6, abs=1e-6)
    assert effects.effect_on(to_day(dt.date(2019, 11, 29)), "day after Thanksgiving Day") == beside.learned
    assert effects.by_name["Labor Day"].learned == pytest.approx(0, abs=1e-6)


def test_one_past_occurrence_is_half_of_the_next() -> None:
    values, names = plant(make_site(noise=0.0)[:400], {})
    day = next(day for day, name in names.items() if name == "Thanksgiving Day" and day >= FIRST)
    values[day - FIRST] *= 0.3
    effects = learn_effects(values, FIRST, names, kind=Kind.count)
    exact = np.log1p(values[day - FIRST]) - np.log1p(values[day - FIRST] / 0.3)
    assert effects.by_name["Thanksgiving Day"].learned == pytest.approx(exact / 2, rel=1e-6)


def test_noise_is_not_taken_for_an_effect() -> None:
    """Of 40 series without any effect, the learned ones lie within a third of one day's noise."""
    names, learned = name_all(), []
    for seed in range(40):
        effects = learn_effects(make_site(noise=0.3, seed=seed), FIRST, names, kind=Kind.count)
        learned += [effect.learned for effect in effects.by_name.values()]
    assert len(learned) > 1000
    assert np.sqrt(np.mean(np.square(learned))) < 0.1


def test_unseen_holiday_follows_the_others() -> None:
    """Where every known holiday is as quiet as a weekend, a holiday without a past is expected to be, too."""
    values, names = make_site(noise=0.0), name_all()
    for day in names:
        column = day - FIRST
        if 0 <= column < NUM_DAYS and not names[day].startswith("day ") and weekday(day) < 5:
            values[column] = 1000 * (0.5 * 0.45) ** 0.5
    effects = learn_effects(values, FIRST, names, kind=Kind.count)
    gap = np.log1p(1000 * (0.5 * 0.45) ** 0.5) - np.log1p(1000.0)
    assert effects.effect_on(to_day(dt.date(2019, 6, 20)), "a new holiday") == pytest.approx(gap, rel=0.05)
    assert effects.effect_on(to_day(dt.date(2019, 6, 22)), "a new holiday") == 0  # a Saturday
    assert Effects().effect_on(20_000, "a new holiday") == 0


def test_learning_does_not_peek() -> None:
    """Later values change nothing, since only earlier ones are given; later names do not, either."""
    values, names = plant(make_site(noise=0.1), {"Labor Day": -0.4})
    known = {day: name for day, name in names.items() if day < FIRST + 900}
    cut = learn_effects(values[:900], FIRST, names, kind=Kind.count)
    assert cut == learn_effects(values[:900], FIRST, known, kind=Kind.count)
    assert cut != learn_effects(values, FIRST, names, kind=Kind.count)


def test_usual_values_are_the_median_of_the_same_weekdays() -> None:
    """By a loop over days, with unknown days and named ones left out."""
    values = make_site(noise=0.4, seed=3)[:200]
    values[[20, 27, 34, 60, 61, 67, 74, 81, 88]] = np.nan
    names = {FIRST + 48: "a", FIRST + 100: "b"}
    effects = learn_effects(values, FIRST, names, kind=Kind.count)
    even = np.log1p(values)

    def deviation(column: int) -> float:
        around = [column + 7 * week for week in (-3, -2, -1, 1, 2, 3)]
        known = [even[at] for at in around if 0 <= at < 200 and at + FIRST not in names and np.isfinite(even[at])]
        return float(even[column] - np.median(known)) if len(known) >= 2 else float("nan")

    ordinary = np.array([deviation(column) for column in range(200) if column + FIRST not in names])
    ordinary = ordinary[np.isfinite(ordinary)]
    noise = np.mean(np.clip(ordinary, *np.quantile(ordinary, [0.02, 0.98])) ** 2)
    for day, name in names.items():
        exact = deviation(day - FIRST)
        assert effects.by_name[name].learned == pytest.approx(exact / 2 * exact**2 / (exact**2 + noise), rel=1e-6)


def test_short_or_empty_series_have_no_effects() -> None:
    assert learn_effects(np.full(10, 5.0), FIRST, name_all(), kind=Kind.count) == Effects()
    assert learn_effects(np.full(90, np.nan), FIRST, name_all(), kind=Kind.rate) == Effects()
