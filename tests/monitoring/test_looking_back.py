"""What would have been told of made series whose unusual days are known, by the base model."""

from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import Float

from forecasting.artifact import load_base_predictor
from forecasting.card import describe_series_card
from forecasting.domain import Kind, Sensitivity, Series, Verdict
from forecasting.monitoring.looking_back import JudgedSeries, Past, judge_past
from forecasting.monitoring.rule import Reason
from forecasting.monitoring.scores import LeastChange
from forecasting.monitoring.simulation import describe_simulation, list_unusual
from forecasting.monitoring.wording import describe
from forecasting.panel import Panel
from forecasting.predictor import Predictor, usual_bands
from forecasting.settings.schema import AlertConfig

NUM_DAYS, FIRST_DAY = 160, 19723  # 2024-01-01, a Monday
DROP, SPIKE, SECOND = 100, 120, 123


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_base_predictor()


def make_visits() -> Float[np.ndarray, " days"]:
    """A weekly shape with noise of about 5%."""
    random = np.random.default_rng(7)
    level = np.where(np.arange(NUM_DAYS) % 7 < 5, 1000.0, 600.0)
    return np.round(level * np.exp(0.05 * random.normal(size=NUM_DAYS)))


def make_past(
    predictor: Predictor, *values: Float[np.ndarray, " days"], country: str = "", kind: Kind = Kind.count
) -> Past:
    series = tuple(Series(f"site {row}", "visits", kind, kind is Kind.count) for row in range(len(values)))
    known = np.stack(values).astype(np.float32)
    panel = Panel(series, known, FIRST_DAY, np.full(known.shape, Verdict.observed, np.uint8))
    bands = usual_bands(predictor.horizon)
    return Past(
        panel, known, predictor, lambda each: describe_series_card(each, bands), lambda _: country, LeastChange()
    )


def tell(past: Past) -> list[JudgedSeries]:
    return list(judge_past(past, num_days=NUM_DAYS))


def days_told(judged: JudgedSeries) -> dict[int, int]:
    told = judged.tell(Sensitivity.medium.threshold)
    return {judged.first_day - FIRST_DAY + int(day): int(told[day]) for day in np.flatnonzero(told)}


def test_planted_days_are_told_and_no_others(predictor: Predictor) -> None:
    usual, unusual = make_visits(), make_visits()
    unusual[DROP] = 0
    unusual[SPIKE] *= 30
    unusual[SECOND] *= 10  # by which the bands are still open
    quiet, judged = tell(make_past(predictor, usual, unusual))
    assert days_told(quiet) == {}
    assert days_told(judged) == {DROP: -1, SPIKE: 1, SECOND: 1}
    [drop, *_] = list_unusual(judged, AlertConfig())
    assert (drop.reason, drop.values.value) == (Reason.day, 0.0)
    assert drop.values.lower < drop.values.expected < drop.values.upper
    assert describe(drop).startswith("0 visits on Wednesday, ")
    lines = describe_simulation([quiet, judged], AlertConfig(sensitivity=["off"])).splitlines()
    assert lines[2].split()[:2] == ["medium", "3"]
    assert lines[-1] == "at the configured sensitivity: no message"


def test_an_outage_that_verdicts_mask_is_told(predictor: Predictor) -> None:
    visits = make_visits()
    visits[DROP] = 0
    past = make_past(predictor, visits)
    seen = past.panel.values.copy()
    seen[0, DROP] = np.nan
    assert days_told(tell(replace(past, panel=replace(past.panel, values=seen)))[0]) == {DROP: -1}


def test_later_days_change_nothing(predictor: Predictor) -> None:
    visits = make_visits()
    changed = visits.copy()
    changed[SPIKE:] = 7 * visits[SPIKE:][::-1]
    before, after = tell(make_past(predictor, visits, changed, country="US"))
    stop = SPIKE - (before.first_day - FIRST_DAY)
    np.testing.assert_array_equal(before.score[:stop], after.score[:stop])
    assert not np.array_equal(before.score, after.score, equal_nan=True)


def test_a_slow_decline_is_told(predictor: Predictor) -> None:
    visits = make_visits()
    visits[SPIKE:] *= 1 - 0.5 * np.minimum(np.arange(1, NUM_DAYS - SPIKE + 1), 10) / 10
    told = days_told(tell(make_past(predictor, visits))[0])
    assert set(told.values()) == {-1}
    assert SPIKE <= min(told) < SPIKE + 10


def test_a_holiday_softens_what_is_told(predictor: Predictor) -> None:
    """The fourth of July 2024 is day 185 of the year; May 27 is Memorial Day, day 147."""
    visits = make_visits()
    visits[147] *= 0.7
    plain, softened = (
        tell(make_past(predictor, visits, country=country))[0].score[147 - NUM_DAYS] for country in ("", "US")
    )
    assert plain < softened < 0
