"""Which days are unusual: the rule. Pure numpy, and the same for one day of many series as for all days of one.

A day is judged by forecasts made up to AHEAD days before it and by nothing later, so that looking back tells what would
have been told on the day. Its score is compared with the threshold of a sensitivity; the score does not depend on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from forecasting.monitoring.scores import AHEAD, BAND_END, DayScores

ALARM = 3.0  # a day so far off is not trusted by the forecasts of the days after it
WEEK_SCALE = 1.25  # from the mean of a week's distances from the forecast made before it to a score
WEEK_WEIGHTS = np.arange(1, AHEAD + 1) / np.arange(1, AHEAD + 1).sum()  # later days lie further from where it began
LEAST_LARGE = 2  # days of such a week that are large enough to be told on their own
DRIFT_SCALE = 2.7  # from the mean of a week's distances from each day's own forecast to a score
DRIFT_WEIGHTS = np.array([0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0]) / 5.35
MOST = 2.0  # that a day counts for in it, so that none makes the week
LEVEL = 1.5  # days 2 and 3 both so far on the same side: still at a new level
LEVEL_DAYS = 3
WORSE = 1.5  # times as far off as what was told before: told again
CANDIDATE = 2.0  # the lowest score that is told is 2.5


class Reason(IntEnum):
    """What is unusual."""

    day = 0  # the day alone
    week = 1  # the week that ends with this day, though none of its days alone


@dataclass(frozen=True)
class Judgement:
    """Of each day; the score is signed, 0 where the difference is too small to be told and NaN where nothing is known.

    `ahead` is the forecast that the day was compared with: the one made so many days before it.
    """

    score: Float[np.ndarray, "series days"]
    ahead: Int[np.ndarray, "series days"]
    reason: Int[np.ndarray, "series days"]
    is_new_level: Bool[np.ndarray, "series days"]  # the third day of a change that began with an unusual one


def judge(days: DayScores) -> Judgement:
    """After an unusual day, the days of the week after it are compared with the forecast made before it: the later ones
    expect more of the same, and their bands are too wide to notice the end of it, or a second one.
    """
    own, candidates = days.score[..., 0], find_candidates(days)
    alarm = (np.abs(np.nan_to_num(own)) > ALARM) & days.is_large[..., 0]
    ahead = np.where(candidates, _forecast_before(alarm, days), 1)
    score = _take(np.where(days.is_large, np.nan_to_num(days.score), 0.0), ahead)
    week = np.where(candidates, _score_week(days, alarm), 0.0)
    is_week = (np.abs(week) > np.abs(score)) & (np.abs(score) <= ALARM)  # a day that is told alone is told so
    return Judgement(
        score=np.where(np.isnan(own), np.nan, np.where(is_week, week, score)),
        ahead=np.where(is_week, AHEAD, ahead),
        reason=np.where(is_week, Reason.week, Reason.day).astype(np.int64),
        is_new_level=candidates & _find_new_levels(days, alarm),
    )


def find_candidates(days: DayScores) -> Bool[np.ndarray, "series days"]:
    """The days that need the forecasts made between AHEAD days and one day before them.

    All others are as expected by these two: the day, the days before it and the week. Whatever was expected in between,
    they are judged by the forecast of the day before. The daily job makes no other forecasts for most series.
    """
    week = np.stack(_take_week(days.score), -1)
    near = np.abs(np.concatenate([days.score[..., :1], week], axis=-1)) <= CANDIDATE
    is_near = np.all(near, axis=-1) & (np.abs(_measure_week(week)) <= BAND_END)
    return np.asarray(~is_near)  # a day without a value is not known to be near


def find_first_days(
    score: Float[np.ndarray, " days"], reason: Sequence[int] | Int[np.ndarray, " days"], threshold: float
) -> Bool[np.ndarray, " days"]:
    """The days of one series on which something new is to be told: not those that go on with what was told.

    A day goes on with an unusual one before it on the same side, unless it is WORSE; a week with any of the last AHEAD
    days.
    """
    first = np.zeros(len(score), bool)
    known = np.nan_to_num(score)
    last_day, last_told = {True: -AHEAD - 2, False: -AHEAD - 2}, {True: 0.0, False: 0.0}  # by side: too high or not
    for day in np.flatnonzero(np.abs(known) > threshold).tolist():
        side, size = bool(known[day] > 0), abs(float(known[day]))
        reach = AHEAD if reason[day] == Reason.week else 1
        if day - last_day[side] > reach or size > WORSE * last_told[side]:
            first[day], last_told[side] = True, size
        last_day[side] = day
    return first


def _lag(x: Shaped[np.ndarray, "series days"], days: int) -> Shaped[np.ndarray, "series days"]:
    """Each day's value of so many days before; 0 before the first."""
    moved = np.zeros_like(x)
    moved[:, days:] = x[:, : x.shape[1] - days]
    return moved


def _forecast_before(alarm: Bool[np.ndarray, "series days"], days: DayScores) -> Int[np.ndarray, "series days"]:
    """The forecast to compare each day with: of the day before, or before the first alarm of the last days."""
    ahead = np.ones(alarm.shape, np.int64)
    for back in range(1, AHEAD):
        is_known = np.isfinite(days.score[..., back])
        ahead[_lag(alarm, back) & is_known] = back + 1
    return ahead


def _take(
    values: Float[np.ndarray, "series days ahead"], ahead: Int[np.ndarray, "series days"]
) -> Float[np.ndarray, "series days"]:
    return np.asarray(np.take_along_axis(values, ahead[..., None] - 1, axis=-1)[..., 0])


def _take_week(values: Shaped[np.ndarray, "series days ahead"]) -> list[Shaped[np.ndarray, "series days"]]:
    """Of the last AHEAD days, by the forecast made before them."""
    return [_lag(values[..., day], AHEAD - 1 - day) for day in range(AHEAD)]


def _score_week(days: DayScores, alarm: Bool[np.ndarray, "series days"]) -> Float[np.ndarray, "series days"]:
    """How far the last AHEAD days lie on one side of what was expected of each the day before; 0 where one of them is
    an alarm of its own, or where the week as a whole is not far from the forecast made before it.
    """
    own = np.clip(np.nan_to_num(days.score[..., 0]), -MOST, MOST)
    week = np.stack([_lag(own, AHEAD - 1 - day) for day in range(AHEAD)], -1) @ DRIFT_WEIGHTS * DRIFT_SCALE
    moved = _measure_week(np.stack(_take_week(days.score), -1))
    num_large = sum(large.astype(np.int64) for large in _take_week(days.is_large))
    known = (moved * np.sign(week) > BAND_END) & (num_large >= LEAST_LARGE)
    side = np.sign(np.nan_to_num(days.score[..., 0]))
    for back in range(AHEAD):
        known = known & ~(_lag(alarm, back) & (_lag(side, back) == np.sign(week)))
    return np.where(known, week, 0.0)


def _measure_week(scores: Float[np.ndarray, "series days week"]) -> Float[np.ndarray, "series days"]:
    """How far a week lies from the forecast made before it. Each day counts for no more than an alarm."""
    return np.asarray(np.clip(np.nan_to_num(scores), -ALARM, ALARM) @ WEEK_WEIGHTS * WEEK_SCALE)


def _find_new_levels(days: DayScores, alarm: Bool[np.ndarray, "series days"]) -> Bool[np.ndarray, "series days"]:
    """Whether an alarm was LEVEL_DAYS - 1 days ago, with all days since on its side of the forecast made before it."""
    back = LEVEL_DAYS - 1
    starts = alarm & ~_lag(alarm, 1)
    side = np.sign(_lag(np.nan_to_num(days.score[..., 0]), back))
    stays = _lag(starts, back)
    for day in range(1, LEVEL_DAYS):
        stays = stays & (side * np.nan_to_num(_lag(days.score[..., day], back - day)) > LEVEL)
    return np.asarray(stays)
