"""What comes before and after the model, by hand."""

import datetime as dt
import math

import numpy as np
import pytest

from forecasting.artifact import Card, SeriesCard
from forecasting.domain import Kind, Missing
from forecasting.errors import AmbiguousUnit, DataError, SettingError, TooFewDays, UnknownMetric, UnknownSite
from forecasting.panel import Observations, Series, build_panel, to_day
from forecasting.serving.forecasts import (
    Instance,
    check_days_ahead,
    find_series,
    first_instances,
    let_naive_answer,
    next_instance,
    shape_answers,
)
from forecasting.warehouse.pages import Page

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
FIRST = to_day(dt.date(2024, 1, 1))
NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)


def make_series(metric: str = "page_visits", **changed: object) -> SeriesCard:
    values = {
        "site": "blog", "metric": metric, "kind": Kind.count, "additive": True, "unit_scale": 1.0,
        "band_scale": (1.0,) * 7, "widening": (1.0, 1.5, 2.0, 2.0, 2.5), "day_correlation": 0.25,
    }  # fmt: skip
    return SeriesCard(**{**values, **changed})  # type: ignore[arg-type]


def make_card(*series: SeriesCard) -> Card:
    return Card(
        version="v1", created_at="", model={"sequence_length": 7, "prediction_horizon": 7}, context_length=56,
        levels=LEVELS, total_parameters=0, features=(), data={}, series=series, training={}, libraries={}, hashes={},
    )  # fmt: skip


def quantiles(*medians: float) -> np.ndarray:
    """Ten below and ten above a median at 0.1 and 0.9."""
    return np.array([[m - 15, m - 10, m - 5, m, m + 5, m + 10, m + 15] for m in medians], np.float32)


def answer(series: SeriesCard, *medians: float) -> dict:
    return shape(series, quantiles(*medians))


def shape(series: SeriesCard, values: np.ndarray) -> dict:
    [shaped] = shape_answers(values[None], [series], [FIRST], make_card(series), made_at=NOON)
    return shaped


def test_documented_answer_of_page_visits() -> None:
    shaped = answer(make_series(), 100.4, 200.6)
    assert shaped["predictions"] == [
        {"date": "2024-01-02", "predicted_visits": 100, "lower": 90, "upper": 110},
        {"date": "2024-01-03", "predicted_visits": 201, "lower": 191, "upper": 211},
    ]
    assert (shaped["days_ahead"], shaped["total_predicted_visits"], shaped["data_until"]) == (2, 301, "2024-01-01")
    assert shaped["prediction_date"] == "2024-06-01T12:00:00+00:00"


def test_total_adds_up_and_its_band_follows_the_correlation_of_days() -> None:
    independent, equal = (answer(make_series(day_correlation=r), 100, 100, 100, 100)["total"] for r in (0.0, 1.0))
    assert independent == {"value": 400, "lower": 400 - 20, "upper": 400 + 20}  # 10 a day, times sqrt(4)
    assert equal == {"value": 400, "lower": 360, "upper": 440}  # 10 a day, times 4
    between = answer(make_series(day_correlation=0.25), 100, 100, 100, 100)["total"]
    assert between["upper"] == round(400 + 10 * math.sqrt(4 + 12 * 0.25))


def test_visitors_do_not_add_up() -> None:
    shaped = answer(make_series("unique_visitors", additive=False), 100, 200)
    assert (shaped["total"], shaped["additive"]) == (None, False)
    assert shaped["total_predicted_visits"] == 300  # documented: the sum of the rows, whatever it means
    assert shaped["predictions"][0]["predicted_value"] == shaped["predictions"][0]["predicted_visits"] == 100


def test_rate_is_answered_in_the_sources_unit_and_as_no_visits() -> None:
    series = make_series("bounce_rate", kind=Kind.rate, additive=False, unit_scale=100.0)
    values = np.array([[0.1, 0.2, 0.25, 0.304, 0.4, 0.5, 0.6]], np.float32)
    shaped = shape(series, values)
    [row] = shaped["predictions"]
    assert row == {"date": "2024-01-02", "predicted_value": 30.4, "lower": 20.0, "upper": 50.0}
    assert shaped["total"] is None
    assert shaped["total_predicted_visits"] is None


@pytest.mark.parametrize("days", [0, 31, -1])
def test_days_ahead_is_1_to_30(days: int) -> None:
    with pytest.raises(SettingError) as refusal:
        check_days_ahead(days)
    assert str(refusal.value) == f"days_ahead is {days}; it must be 1 to 30."


def test_series_are_found_or_named() -> None:
    card = make_card(make_series(), make_series("signups"))
    assert find_series(card, metric="signups", site=None).metric == "signups"
    with pytest.raises(UnknownMetric) as refusal:
        find_series(card, metric="x", site="blog")
    assert str(refusal.value) == ("There is no metric 'x' in version v1. It was trained on: page_visits, signups.")
    with pytest.raises(UnknownSite) as refusal_of_site:
        find_series(card, metric="page_visits", site="x")
    assert str(refusal_of_site.value) == "There is no site 'x' in version v1. It was trained on: blog."
    two = make_card(make_series(), make_series(site="shop"))
    with pytest.raises(UnknownSite, match="There are 2 sites: say which with `site`, one of blog, shop."):
        find_series(two, metric="page_visits", site=None)


def observe(metric: str, num_days: int, missing: tuple[int, ...] = ()) -> Observations:
    days = np.setdiff1d(np.arange(num_days), missing)
    return Observations(Series("blog", metric), FIRST + days, days.astype(np.float64))


def as_page(*observed: Observations) -> Page:
    """As PostgreSQL gives it: the newest day first."""
    return Page(
        keys=tuple((one.series.site, one.series.metric) for one in observed),
        counts=np.array([one.days.size for one in observed]),
        days=np.concatenate([one.days[::-1] for one in observed]),
        values=np.concatenate([one.values[::-1] for one in observed]),
    )


def first_of(*observed: Observations, missing: Missing = Missing.zero) -> list[Instance | DataError]:
    series = [make_series(one.series.metric) for one in observed]
    return first_instances(as_page(*observed), series, make_card(*series), missing=missing)


def test_windows_are_those_of_the_panel() -> None:
    """However many are read together, and whatever gaps they have."""
    observed = [observe(str(number), 60 + number, tuple(range(20, 20 + number % 9))) for number in range(30)]
    for missing in Missing:
        panel = build_panel(observed, today=dt.date(2030, 1, 1), missing=missing)
        for row, instance in enumerate(first_of(*observed, missing=missing)):
            assert isinstance(instance, Instance)
            history, first_day = panel.window(row, 56)
            np.testing.assert_array_equal(instance.history, history)
            assert instance.first_day == first_day


def test_window_ends_on_the_series_own_last_day() -> None:
    """Alone or read together with a series that goes on: the same window."""
    [alone], [_, together] = first_of(observe("signups", 70)), first_of(observe("x", 300), observe("signups", 70))
    for instance in (alone, together):
        assert isinstance(instance, Instance)
        np.testing.assert_array_equal(instance.history, np.arange(14, 70))
        assert instance.first_day == FIRST + 14


def test_short_history_is_padded_and_too_short_a_one_refused() -> None:
    [padded] = first_of(observe("page_visits", 40))
    assert isinstance(padded, Instance)
    assert np.isnan(padded.history[:16]).all()
    np.testing.assert_array_equal(padded.history[16:], np.arange(40))
    assert padded.first_day == FIRST - 16
    [holes] = first_of(observe("page_visits", 80, missing=tuple(range(30, 70))), missing=Missing.mask)
    assert isinstance(holes, TooFewDays)
    assert str(holes) == (
        "page_visits of blog has 16 known days among the last 56; a forecast needs 28. "
        "Load the missing days, or train with data.missing=zero if they had no traffic."
    )
    [short] = first_of(observe("page_visits", 29))
    assert isinstance(short, TooFewDays)
    assert str(short) == (
        "page_visits of blog has fewer than 30 days of data; at least 30 are needed. Wait for more, or load older days."
    )


def test_rate_that_is_no_fraction_is_refused_by_itself() -> None:
    series = [make_series("bounce_rate", kind=Kind.rate), make_series("clicks")]
    page = as_page(observe("bounce_rate", 60), observe("clicks", 60))
    refused, instance = first_instances(page, series, make_card(*series), missing=Missing.zero)
    assert isinstance(refused, AmbiguousUnit)
    assert str(refused) == (
        "bounce_rate of blog is said to be a fraction, 0..1, but its values are 0..59. "
        "Say metrics.bounce_rate.unit=percent if it is 0..100."
    )
    assert isinstance(instance, Instance)


def test_thousands_of_sites_are_not_all_named() -> None:
    card = make_card(*(make_series(site=f"site{number:04}") for number in range(3000)))
    with pytest.raises(UnknownSite) as refusal:
        find_series(card, metric="page_visits", site="x")
    assert str(refusal.value).endswith("site0018, site0019 and 2,980 more.")


def test_next_window_moves_on_by_a_horizon_with_the_medians_in_place() -> None:
    series, card = make_series(band_scale=(2.0,) * 7), make_card(make_series())
    [first] = first_instances(as_page(observe("page_visits", 56)), [series], card, missing=Missing.zero)
    assert isinstance(first, Instance)
    second = next_instance(first, quantiles(*range(500, 507)), step=1, series=series, card=card)
    np.testing.assert_array_equal(second.history, [*range(7, 56), *range(500, 507)])
    assert second.first_day == first.first_day + 7
    np.testing.assert_allclose(first.band_scale, 2.0)
    np.testing.assert_allclose(second.band_scale, 2.0 * 1.5)


def test_seasonal_naive_answers_where_the_card_says_so() -> None:
    series = [make_series(), make_series("clicks", answers="seasonal_naive")]
    card = make_card(*series)
    week = np.array([10, 20, 30, 40, 50, 60, 70], np.float32)
    instances = [Instance(np.tile(week, 8), FIRST, one.kind, np.ones(7, np.float32)) for one in series]
    by_model = np.stack([quantiles(*range(100, 110))] * 2)
    answered = let_naive_answer(by_model, series, instances, card)
    np.testing.assert_array_equal(answered[0], by_model[0])
    np.testing.assert_array_equal(answered[1], np.repeat(np.tile(week, 2)[:10, None], 7, 1))  # no change, no band
    np.testing.assert_array_equal(by_model[1], by_model[0])
    assert answer(series[0], 100)["answered_by"] == "forecaster"
    assert answer(series[1], 100)["answered_by"] == "seasonal_naive"
