"""The documented answers, by hand."""

import datetime as dt
import math

import numpy as np

from forecasting.card import Card, SeriesCard
from forecasting.domain import Kind, to_day
from forecasting.predictor import usual_bands
from forecasting.serving.responses import write_responses

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
FIRST = to_day(dt.date(2024, 1, 1))
NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)


def make_series(metric: str = "page_visits", **changed: object) -> SeriesCard:
    values = {
        "site": "blog", "metric": metric, "kind": Kind.count, "additive": True, "unit_scale": 1.0,
        "band_scale": usual_bands(7).scale, "day_correlation": 0.25,
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
    [shaped] = write_responses(values[None], [series], [FIRST], make_card(series), made_at=NOON)
    return shaped


def test_documented_answer_of_page_visits() -> None:
    shaped = answer(make_series(), 100.4, 200.6)
    assert shaped["predictions"] == [
        {"date": "2024-01-02", "predicted_visits": 100, "lower": 90, "upper": 110},
        {"date": "2024-01-03", "predicted_visits": 201, "lower": 191, "upper": 211},
    ]
    assert (shaped["days_ahead"], shaped["total_predicted_visits"], shaped["data_until"]) == (2, 301, "2024-01-01")
    assert shaped["band"] == 0.8  # from the level 0.1 to 0.9
    assert shaped["prediction_date"] == "2024-06-01T12:00:00+00:00"


def test_total_adds_up_and_its_band_follows_the_correlation_of_days() -> None:
    days = [10_000] * 4
    independent, equal = (answer(make_series(day_correlation=r), *days)["total"] for r in (0.0, 1.0))
    assert independent == {"value": 40_000, "lower": 40_000 - 20, "upper": 40_000 + 20}  # 10 a day, times sqrt(4)
    assert equal == {"value": 40_000, "lower": 39_960, "upper": 40_040}  # 10 a day, times 4
    between = answer(make_series(day_correlation=0.25), *days)["total"]
    assert between["upper"] == round(40_000 + 10 * math.sqrt(4 + 12 * 0.25))


def test_total_of_a_quiet_site_lies_above_the_sum_of_its_rows() -> None:
    week = np.array([[0, 0, 0, 0, 1, 2, 3]] * 7, np.float32)  # a day's mean: 0.2 * 1 + 0.1 * 2 + 0.075 * 3 = 0.625
    shaped = shape(make_series(), week)
    assert (shaped["total_predicted_visits"], shaped["total"]["value"]) == (0, round(7 * 0.625 / 2))
    assert 0 <= shaped["total"]["lower"] < 2 < shaped["total"]["upper"] < 14  # 14: every day at the end of its band


def test_total_of_counts_is_never_negative() -> None:
    assert answer(make_series(day_correlation=1.0), 4, 5)["total"]["lower"] == 0


def test_counts_beyond_any_site_stay_numbers_that_json_can_carry() -> None:
    shaped = answer(make_series(), 1e30, 2e30)
    assert [row["predicted_visits"] for row in shaped["predictions"]] == [2**53, 2**53]
    assert shaped["total"] == dict.fromkeys(("value", "lower", "upper"), 2 * 2**53)


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


def test_answer_says_who_made_it() -> None:
    assert answer(make_series(), 100)["answered_by"] == "forecaster"
    assert answer(make_series(answered_by="seasonal_naive"), 100)["answered_by"] == "seasonal_naive"
