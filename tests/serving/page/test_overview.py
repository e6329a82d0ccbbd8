"""What the list of sites shows, from windows and answers made by hand."""

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from forecasting.card import SeriesCard
from forecasting.domain import Kind, Verdict, to_day
from forecasting.errors import TooFewDays, Unavailable
from forecasting.monitoring.data_age import AnswerAge
from forecasting.predictor import Window, usual_bands
from forecasting.serving.forecast_cache import CachedForecast, CacheStatus, Result
from forecasting.serving.page.history import describe_history
from forecasting.serving.page.overview import choose_series, describe_site
from forecasting.warehouse.pages import Page


def make_card(site: str, metric: str) -> SeriesCard:
    bands = usual_bands(7)
    return SeriesCard(site, metric, Kind.count, True, 1.0, bands.scale, bands.day_correlation)


UNTIL = dt.date(2026, 3, 8)
VISITS = make_card("blog", "page_visits")


def find_age(card: SeriesCard, until: dt.date) -> AnswerAge:
    return AnswerAge((dt.date(2026, 3, 10) - until).days, is_stale=False)


def make_window(values: list[float]) -> Window:
    history = np.full(100, np.nan, np.float32)
    history[-len(values) :] = values
    return Window(history, to_day(UNTIL) - 99, Kind.count, np.ones(30, np.float32))


def make_answer(medians: list[int], total: dict[str, int] | None, key: str = "predicted_visits") -> CachedForecast:
    rows = [{"date": "2026-03-09", key: value, "lower": value - 1, "upper": value + 1} for value in medians]
    return CachedForecast(orjson.dumps({"predictions": rows, "total": total}), CacheStatus.computed)


def describe(
    card: SeriesCard, values: list[float], result: Result, unusual: dict[str, Any] | None = None
) -> dict[str, Any]:
    return describe_site(card, make_window(values), result, unusual, find_age)


def test_the_next_week_stands_beside_the_last() -> None:
    total = {"value": 70, "lower": 60, "upper": 80}
    site = describe(VISITS, [4.0, 5.0, *range(1, 8)], make_answer([10] * 7, total))
    assert site["week"] == {"value": 70, "lower": 60, "upper": 80, "last": 1 + 2 + 3 + 4 + 5 + 6 + 7}
    assert (site["first_date"], site["data_until"], site["age_days"]) == ("2026-02-28", "2026-03-08", 2)
    assert site["values"] == [4, 5, 1, 2, 3, 4, 5, 6, 7]
    assert len(site["predictions"]) == 7


def test_a_metric_that_does_not_add_up_has_the_mean_of_its_days() -> None:
    card = replace(make_card("blog", "bounce_rate"), kind=Kind.rate, additive=False, unit_scale=100.0)
    site = describe(card, [0.5] * 7, make_answer([40, 41, 42, 43, 44, 45, 46], None, "predicted_value"))
    assert site["week"] == {"value": 43, "lower": None, "upper": None, "last": 50}


def test_a_week_with_an_unknown_day_has_no_total() -> None:
    site = describe(VISITS, [1, 2, np.nan, 4, 5, 6, 7], make_answer([1] * 7, {"value": 7, "lower": 5, "upper": 9}))
    assert site["week"]["last"] is None
    assert site["values"] == [1, 2, None, 4, 5, 6, 7]


def test_only_the_newest_day_makes_a_site_unusual() -> None:
    answer = make_answer([1] * 7, {"value": 7, "lower": 5, "upper": 9})
    newest, before = {"date": "2026-03-08", "score": 4.0}, {"date": "2026-03-07", "score": 9.0}
    assert describe(VISITS, [1] * 8, answer, newest)["unusual"] == newest
    assert describe(VISITS, [1] * 8, answer, before)["unusual"] is None


def test_a_site_that_cannot_be_forecast_says_why() -> None:
    site = describe_site(VISITS, TooFewDays("blog has 3 days."), TooFewDays("blog has 3 days."), None, find_age)
    assert (site["error"], site["values"], site["data_until"], site["is_late"]) == ("blog has 3 days.", [], None, True)
    down = describe(VISITS, [1] * 8, Unavailable("TorchServe does not answer."))
    assert (down["error"], down["predictions"], down["week"]) == ("TorchServe does not answer.", [], None)
    assert down["values"] == [1] * 8


def test_each_site_is_shown_by_its_page_visits_or_what_adds_up() -> None:
    rate = replace(make_card("a", "bounce_rate"), additive=False)
    cards = [
        rate,
        make_card("a", "sessions"),
        make_card("b", "clones"),
        make_card("b", "page_visits"),
        replace(rate, site="c"),
    ]
    assert [(card.site, card.metric) for card in choose_series(cards)] == [
        ("a", "sessions"), ("b", "page_visits"), ("c", "bounce_rate"),
    ]  # fmt: skip


def test_a_history_has_a_place_for_each_day_between_its_first_and_last() -> None:
    first = to_day(dt.date(2026, 3, 1))
    days, values = [first + 4, first + 3, first + 1, first], [40.0, 0.0, np.nan, 10.0]
    page = Page((("blog", "page_visits"),), np.array([4]), np.array(days), np.array(values))
    verdicts = {first + 3: Verdict.outage, first - 1: Verdict.bot}
    history = describe_history(VISITS, page, verdicts, {first + 4: (30.4, 39.5, 50.6), first - 2: (1, 2, 3)})
    assert history["values"] == [10, None, None, 0, 40]
    assert (history["first_date"], history["data_until"]) == ("2026-03-01", "2026-03-05")
    assert history["expected"] == {"2026-03-05": {"lower": 30, "value": 40, "upper": 51}}
    assert history["left_out"] == {"2026-03-04": "outage"}


def test_a_history_without_a_value_has_no_days() -> None:
    page = Page((("blog", "page_visits"),), np.array([0]), np.array([], np.int64), np.array([]))
    history = describe_history(VISITS, page, {}, {})
    assert (history["values"], history["first_date"], history["data_until"]) == ([], None, None)
