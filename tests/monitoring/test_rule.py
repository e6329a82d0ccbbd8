"""The rule on scores made by hand: each day's distance from forecasts that are known exactly."""

import numpy as np
import pytest
from jaxtyping import Float

from forecasting.domain import KIND_CODES, Kind, Sensitivity
from forecasting.monitoring.rule import Judgement, Reason, find_first_days, judge
from forecasting.monitoring.scores import AHEAD, DayScores, LeastChange, days_between, score_days

NUM_DAYS = 40
KINDS = {kind: np.array([KIND_CODES[kind]]) for kind in Kind}


def judge_scores(score: Float[np.ndarray, "days ahead"]) -> Judgement:
    known = np.arange(len(score))[:, None] >= np.arange(AHEAD)  # no forecast was made before the first day
    masked = np.where(known, score, np.nan)[None]
    return judge(DayScores(masked, known[None] & (np.abs(masked) > 1)))


def quiet() -> Float[np.ndarray, "days ahead"]:
    return np.zeros((NUM_DAYS, AHEAD))


def bands(low: float, median: float, high: float) -> Float[np.ndarray, "1 1 1 3"]:
    return np.array([low, median, high], np.float64).reshape(1, 1, 1, 3)


@pytest.mark.parametrize(
    ("kind", "band", "observed", "expected"),
    [
        (Kind.count, (np.expm1(4.0), np.expm1(5.0), np.expm1(7.0)), np.expm1(7.0), 1.645),  # the upper end
        (Kind.count, (np.expm1(4.0), np.expm1(5.0), np.expm1(7.0)), np.expm1(4.0), -1.645),  # the lower end
        (Kind.count, (np.expm1(4.0), np.expm1(5.0), np.expm1(7.0)), np.expm1(3.0), -3.29),  # twice as far
        (Kind.rate, (np.sin(0.4) ** 2, np.sin(0.5) ** 2, np.sin(0.6) ** 2), np.sin(0.8) ** 2, 4.935),
        (Kind.other, (-2.0, 1.0, 3.0), 7.0, 4.935),
        (Kind.other, (1.0, 1.0, 1.0), 1.002, 3.29),  # half a band is at least 0.001
    ],
)
def test_a_score_is_the_distance_in_half_bands(
    kind: Kind, band: tuple[float, float, float], observed: float, expected: float
) -> None:
    scores = score_days(np.array([[observed]]), bands(*band), KINDS[kind])
    np.testing.assert_allclose(scores.score, [[[expected]]])


def test_holidays_soften_and_small_changes_are_not_told() -> None:
    observed = np.array([[130.0, 130.0, 119.0, 130.0]])
    band = np.broadcast_to(np.array([99.0, 100.0, 101.0]), (1, 4, 1, 3))
    scores = score_days(observed, band, KINDS[Kind.other], softening=np.array([[1.0, 1.5, 1.0, 1.25]]))
    np.testing.assert_allclose(scores.score[0, :, 0], 1.645 * np.array([30, 20, 19, 24]))
    assert scores.is_large[0, :, 0].tolist() == [True, True, False, True]  # 19 is less than 20% of 100
    few = score_days(np.array([[11.0]]), bands(1, 2, 3), KINDS[Kind.count], least=LeastChange(0.2, 10.0))
    assert not few.is_large.any()
    rate = score_days(np.array([[0.14]]), bands(0.09, 0.1, 0.11), KINDS[Kind.rate])
    assert not rate.is_large.any()  # 4 points


def test_an_unknown_day_is_not_judged() -> None:
    scores = quiet()
    scores[20] = np.nan
    judged = judge_scores(scores).score[0]
    assert np.flatnonzero(np.isnan(judged)).tolist() == [20]


def test_a_day_far_off_is_told_alone() -> None:
    scores = quiet()
    scores[20] = -6.0
    judged = judge_scores(scores)
    assert np.flatnonzero(np.abs(judged.score[0]) > Sensitivity.medium.threshold).tolist() == [20]
    assert judged.score[0, 20] == -6.0
    assert (judged.reason[0, 20], judged.ahead[0, 20]) == (Reason.day, 1)


def test_a_second_spike_is_compared_with_the_forecast_made_before_the_first() -> None:
    scores = quiet()
    scores[20] = 20.0
    scores[23] = 18.0  # by forecasts that have not seen the first spike
    scores[23, :3] = 1.6  # by those that have: their bands are open
    judged = judge_scores(scores)
    assert judged.score[0, 23] == 18.0
    assert judged.ahead[0, 23] == 4
    assert find_first_days(judged.score[0], judged.reason[0], 3.0).nonzero()[0].tolist() == [20, 23]


def decline(first: int, *, by_day: float, in_all: float) -> Float[np.ndarray, "days ahead"]:
    """Seven days that are each a little lower than the day before let expect, and lie far from where it began."""
    scores = quiet()
    for ahead in range(AHEAD):
        scores[first + ahead] = -by_day
        scores[first + ahead, ahead] = -in_all * (ahead + 1)
    return scores


def test_a_slow_decline_is_told_by_its_week() -> None:
    judged = judge_scores(decline(20, by_day=1.3, in_all=0.6))
    [day] = np.flatnonzero(judged.score[0] < -3)
    assert (day, judged.reason[0, day], judged.ahead[0, day]) == (26, Reason.week, AHEAD)
    # Of the first day the two forecasts are the same one.
    assert judged.score[0, 26] == pytest.approx(-2.7 * (0.4 * 0.6 + (0.6 + 0.7 + 0.8 + 0.9 + 0.95 + 1.0) * 1.3) / 5.35)


def test_a_week_near_the_forecast_made_before_it_is_not_told() -> None:
    """However its days lie beside the forecasts made meanwhile: here 1.25 times 1.25 half bands."""
    scores = decline(20, by_day=1.3, in_all=0.0)
    for ahead in range(AHEAD):
        scores[20 + ahead, ahead] = -1.25
    assert judge_scores(scores).reason.sum() == 0
    for ahead in range(AHEAD):
        scores[20 + ahead, ahead] = -1.4  # 1.25 times this is more than 1.645
    assert np.flatnonzero(judge_scores(scores).reason[0]).tolist() == [26]


def test_a_week_with_an_alarm_of_its_own_is_not_told_again() -> None:
    scores = quiet()
    scores[20] = -6.0
    for ahead in range(AHEAD):
        scores[20 + ahead, ahead] = -6.0
    judged = judge_scores(scores)
    assert not np.any(judged.reason[0, :27][np.abs(judged.score[0, :27]) > 3] == Reason.week)


def test_a_level_that_stays_for_three_days_is_noticed() -> None:
    scores = quiet()
    for ahead in range(AHEAD):
        scores[20 + ahead, ahead:] = 4.0  # by the forecasts made before
    assert np.flatnonzero(judge_scores(scores).is_new_level[0]).tolist() == [22]
    scores[22] = 1.4
    assert not judge_scores(scores).is_new_level.any()


def test_later_days_change_nothing() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(0, 2, (NUM_DAYS, AHEAD))
    changed = scores.copy()
    changed[25:] += 9.0
    before, after = judge_scores(scores), judge_scores(changed)
    np.testing.assert_array_equal(before.score[:, :25], after.score[:, :25])
    np.testing.assert_array_equal(before.is_new_level[:, :25], after.is_new_level[:, :25])
    assert not np.array_equal(before.score, after.score)


def test_one_day_is_judged_as_in_the_whole_past() -> None:
    """From the forecasts of the last AHEAD days alone: what a daily job has."""
    rng = np.random.default_rng(4)
    scores = rng.normal(0, 3, (NUM_DAYS, AHEAD))
    whole = judge_scores(scores)
    for day in range(AHEAD, NUM_DAYS):
        part = judge_scores(scores[day - AHEAD + 1 : day + 1])
        assert part.score[0, -1] == whole.score[0, day]
        assert part.reason[0, -1] == whole.reason[0, day]


def test_runs_are_told_once() -> None:
    score = np.array([0, 4, 5, 0, 3.5, -4, -4, 0, 0, 4, 0, 4])
    reason = np.zeros(12, np.int64)
    assert find_first_days(score, reason, 3.0).nonzero()[0].tolist() == [1, 4, 5, 9, 11]
    score[2] = 6.1  # more than half as far off again
    assert find_first_days(score, reason, 3.0).nonzero()[0].tolist() == [1, 2, 4, 5, 9, 11]
    score[2] = 5.0
    reason[11] = Reason.week
    assert find_first_days(score, reason, 3.0).nonzero()[0].tolist() == [1, 4, 5, 9]
    assert find_first_days(score, reason, Sensitivity.off.threshold).sum() == 0


def test_rarity_grows_with_the_distance() -> None:
    assert days_between(1.645) == pytest.approx(13)
    days = [days_between(score) for score in np.linspace(1.7, 12, 50)]
    assert days == sorted(days)
    assert days_between(-3.0) == days_between(3.0)
