"""Events: what their past and their size say, alone, on holidays and on each other. The effects are planted."""

import datetime as dt
import math

import numpy as np
import pytest

from forecasting.card import describe_series_card, find_effects, make_windows
from forecasting.domain import Kind, Series, to_day
from forecasting.known_days.effects import TRUST_EVENT, Effects, learn_effects
from forecasting.known_days.events import EVENT, Event, Events, layer_events
from forecasting.known_days.holiday_calendar import name_days
from forecasting.known_days.learning import learn_days, name_known_days
from forecasting.predictor import usual_bands

FIRST = 16_436  # 2015-01-01
SHAPE = np.array([1.0, 1.1, 1.05, 1.0, 0.9, 0.5, 0.45])
NUM_DAYS = 3 * 365
OF_ONE = 1 / (1 + TRUST_EVENT)  # what one past occurrence counts


def make_site(*events: Event, effects: dict[str, float], noise: float = 0.0, level: float = 1e6) -> np.ndarray:
    days = FIRST + np.arange(NUM_DAYS)
    even = np.log1p(level * SHAPE[(days + 3) % 7]) + noise * np.random.default_rng(1).normal(size=NUM_DAYS)
    for event in events:
        even[event.first_day - FIRST : event.last_day + 1 - FIRST] += effects[event.name]
    return np.expm1(even)


def on(name: str, first: str, num_days: int = 1, *, site: str | None = None, size: float | None = None) -> Event:
    day = to_day(dt.date.fromisoformat(first))
    return Event(name, day, day + num_days - 1, site, size)


def learn(values: np.ndarray, *events: Event, country: str = "") -> Effects:
    return learn_days(values, FIRST, country, events, kind=Kind.count)


def test_one_past_occurrence_of_many_days_is_one() -> None:
    sale = on("Sale", "2016-03-07", 10)
    learned = learn(make_site(sale, effects={"Sale": math.log(3)}), sale).by_name[EVENT + "Sale"]
    assert learned.learned == pytest.approx(math.log(3) * OF_ONE, rel=1e-6)
    assert learned.rest == pytest.approx(1 - OF_ONE)
    again = on("Sale", "2017-03-06", 3)
    learned = learn(make_site(sale, again, effects={"Sale": math.log(3)}), sale, again).by_name[EVENT + "Sale"]
    assert learned.learned == pytest.approx(math.log(3) * 2 / (2 + TRUST_EVENT), rel=1e-6)


def test_what_noise_explains_is_no_effect() -> None:
    """The shrinkage by hand: the mean of the days, over the noise of one day by their number."""
    sale = on("Sale", "2016-03-08", 5)
    values = make_site(sale, effects={"Sale": 0.05}, noise=0.2)
    learned = learn(values, sale).by_name[EVENT + "Sale"].learned
    even, named = np.log1p(values), range(sale.first_day - FIRST, sale.last_day + 1 - FIRST)
    deviations = {}
    for day in range(21, NUM_DAYS - 21):
        around = [even[day + 7 * week] for week in (-3, -2, -1, 1, 2, 3) if day + 7 * week not in named]
        deviations[day] = even[day] - np.median(around)
    mean = np.mean([deviations[day] for day in named])
    ordinary = np.array([deviation for day, deviation in deviations.items() if day not in named])
    noise = np.var(ordinary[-379:])
    assert learned == pytest.approx(OF_ONE * mean**3 / (mean**2 + noise / 5), rel=0.2)
    assert abs(learned) < 0.5 * abs(mean)


def test_holidays_and_events_that_meet_add_up() -> None:
    """Thanksgiving is learned from 2015 and 2017, and so the sale on that of 2016 from what it leaves."""
    sales = [on("Sale", "2016-11-24"), on("Sale", "2016-03-09"), on("Sale", "2017-03-08")]
    values = make_site(*sales, effects={"Sale": math.log(2)})
    for day in ("2015-11-26", "2016-11-24", "2017-11-23"):
        values[to_day(dt.date.fromisoformat(day)) - FIRST] *= 0.5
    effects = learn(values, *sales, country="US")
    thanksgiving = effects.by_name["Thanksgiving Day"]
    assert thanksgiving.learned == pytest.approx(-math.log(2) * 2 / 3, rel=1e-3)
    left = math.log(2) + (-math.log(2) - effects.effect_on(sales[0].first_day, "Thanksgiving Day"))
    mean = 0.5 * ((left + 2 * math.log(2)) / 3 + math.log(2))  # of the mean and the median of three
    assert effects.by_name[EVENT + "Sale"].learned == pytest.approx(mean * 3 / (3 + TRUST_EVENT), rel=1e-3)
    card = describe_series_card(Series("blog", "visits"), usual_bands(7), known=("US", effects))
    both = find_effects(card, sales[0].first_day, 1, [sales[0]])
    day = sales[0].first_day
    expected = effects.effect_on(day, "Thanksgiving Day") + effects.effect_on(day, EVENT + "Sale")
    assert both == pytest.approx(expected, rel=1e-6)


def test_events_that_meet_are_told_apart_by_the_days_on_which_they_do_not() -> None:
    season, mail = on("Season", "2016-03-01", 21), [on("Mail", "2016-03-08"), on("Mail", "2016-06-07")]
    values = make_site(season, *mail, effects={"Season": 0.5, "Mail": 1.0})
    effects = learn(values, season, *mail)
    season_effect = effects.by_name[EVENT + "Season"].learned
    assert season_effect == pytest.approx(0.5 * OF_ONE, rel=1e-3)
    expected = (1.0 + 1.0 + 0.5 - season_effect) / 2 * 2 / (2 + TRUST_EVENT)
    assert effects.by_name[EVENT + "Mail"].learned == pytest.approx(expected, rel=1e-3)


def test_a_size_counts_fully_without_a_past_and_less_with_one() -> None:
    past, sized = on("Sale", "2016-03-08"), on("Sale", "2018-03-06", size=2.0)
    card = describe_series_card(Series("blog", "visits"), usual_bands(7))
    assert find_effects(card, sized.first_day - 1, 3, [sized]) == pytest.approx([0, math.log(2), 0])
    effects = learn(make_site(past, effects={"Sale": math.log(4)}), past)
    known = describe_series_card(Series("blog", "visits"), usual_bands(7), known=("", effects))
    [effect] = find_effects(known, sized.first_day, 1, [sized])
    assert effect == pytest.approx(math.log(4) * OF_ONE + math.log(2) * (1 - OF_ONE), rel=1e-3)
    rate = describe_series_card(Series("blog", "bounces", Kind.rate), usual_bands(7))
    assert find_effects(rate, sized.first_day, 1, [sized]) == pytest.approx([0])


def test_a_name_counts_once_a_day_and_the_sites_own_size_wins() -> None:
    events = Events((on("Sale", "2018-03-06", 3, site="blog", size=3.0), on("Sale", "2018-03-05", 3, size=2.0)))
    card = describe_series_card(Series("blog", "visits"), usual_bands(7))
    first = events.of("blog")[0].first_day
    assert find_effects(card, first, 4, events.of("blog")) == pytest.approx(np.log([2, 3, 3, 3]))
    assert find_effects(card, first, 4, events.of("shop")) == pytest.approx(np.log([2, 2, 2, 1]))
    assert events.sites == {"blog"}


def test_names_do_not_share_a_day_of_a_layer() -> None:
    events = [on("A", "2016-03-01", 3), on("B", "2016-03-02", 9), on("C", "2016-03-20"), on("A", "2016-03-20")]
    days = range(FIRST, FIRST + NUM_DAYS)
    layers = layer_events(events, days)
    assert [sorted({name.removeprefix(EVENT) for name in layer.values()}) for layer in layers] == [["B", "C"], ["A"]]
    assert sum(len(layer) for layer in layers) == 3 + 9 + 1 + 1


def test_without_events_nothing_changes() -> None:
    values = make_site(effects={}, noise=0.3)
    holidays = name_days("US", range(FIRST, FIRST + NUM_DAYS))
    assert learn(values, country="US") == learn_effects(values, FIRST, holidays, kind=Kind.count)
    assert learn(values, on("Far", "2030-01-01")) == Effects()
    cards = [describe_series_card(Series(site, "visits"), usual_bands(7)) for site in ("blog", "shop")]
    history, first_day = np.ones((2, 56), np.float32), np.array([FIRST, FIRST])
    windows = make_windows(cards, history, first_day, days_ahead=7, events=[(), ()])
    assert windows.effects is None
    windows = make_windows(cards, history, first_day, days_ahead=7, events=[[on("Sale", "2015-02-28", size=2.0)], ()])
    assert windows.effects is not None
    expected = np.zeros((2, 63))
    expected[0, 58] = math.log(2)
    np.testing.assert_allclose(windows.effects, expected, rtol=1e-6)


def test_days_of_several_names_have_all_of_them() -> None:
    names = name_known_days("US", [on("Sale", "2016-11-23", 2)], range(FIRST, FIRST + NUM_DAYS))
    day = to_day(dt.date(2016, 11, 24))
    assert (names[day - 1], names[day], names[day + 1]) == (
        "day before Thanksgiving Day, Sale", "Thanksgiving Day, Sale", "day after Thanksgiving Day",
    )  # fmt: skip
