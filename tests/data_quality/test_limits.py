"""Verdicts on the last day on which a rule holds, and on the next, on which it does not."""

import numpy as np
import pytest

from forecasting.data_quality.rules import judge
from forecasting.domain import Kind, Verdict
from forecasting.settings.schema import VerdictConfig


def judge_one_site(
    *series: list[float], kinds: list[Kind] | None = None, breaks: list[int] | None = None
) -> np.ndarray:
    values = np.array(series)
    return judge(
        values,
        np.full(values.shape, -1),
        kinds or [Kind.count] * len(series),
        np.zeros(len(series), np.int64),
        thresholds=VerdictConfig(),
        breaks=None if breaks is None else np.array(breaks),
    )


@pytest.mark.parametrize(("day", "verdict"), [(60, Verdict.observed), (61, Verdict.bot)])
def test_spike_is_compared_with_the_56_days_before(day: int, verdict: Verdict) -> None:
    """Two higher days among them, on days 4 and 30, make a third such day nothing new."""
    views = [100.0] * (day + 1)
    views[4] = views[30] = views[day] = 500.0
    assert judge_one_site(views, [100.0] * (day + 1))[0, day] == verdict


@pytest.mark.parametrize(("num_far", "verdict"), [(13, Verdict.observed), (14, Verdict.bot)])
def test_bounces_are_compared_with_the_median_of_28_days(num_far: int, verdict: Verdict) -> None:
    """From .6 it is twice as far to 1 as from .8; from .7 it is not."""
    bounce = [0.7] * (28 - num_far) + [0.6] * num_far + [0.8]
    verdicts = judge_one_site(
        [100.0] * 28 + [500.0], [100.0] * 28 + [500.0], bounce, kinds=[*[Kind.count] * 2, Kind.rate]
    )
    assert verdicts[0, 28] == verdict


@pytest.mark.parametrize(("num_days", "verdict"), [(13, Verdict.observed), (14, Verdict.outage)])
def test_day_of_a_break_is_of_the_new_definition(num_days: int, verdict: Verdict) -> None:
    """With it, 14 days say what is usual since."""
    views = [100.0] * (40 + num_days) + [0.0]
    assert judge_one_site(views, breaks=[40])[0, -1] == verdict


@pytest.mark.parametrize(("highest", "verdict"), [(0.89, Verdict.bot), (0.9, Verdict.observed)])
def test_bounces_are_of_bots_only_if_no_day_before_was_as_high(highest: float, verdict: Verdict) -> None:
    bounce = [0.5] * 27 + [highest, 0.9]
    verdicts = judge_one_site(
        [100.0] * 28 + [500.0], [100.0] * 28 + [500.0], bounce, kinds=[*[Kind.count] * 2, Kind.rate]
    )
    assert verdicts[0, 28] == verdict


@pytest.mark.parametrize(("num_days", "verdict"), [(13, Verdict.observed), (14, Verdict.bot)])
def test_what_a_calm_metric_or_a_bounce_rate_usually_is_takes_14_days(num_days: int, verdict: Verdict) -> None:
    views, usual = [100.0] * 28 + [500.0], [np.nan] * (28 - num_days)
    calm = [*usual, *[100.0] * num_days, 100.0]
    assert judge_one_site(views, calm)[0, 28] == verdict
    bounce = [*usual, *[0.5] * num_days, 0.9]
    assert judge_one_site(views, views, bounce, kinds=[*[Kind.count] * 2, Kind.rate])[0, 28] == verdict


def test_days_without_traffic_do_not_say_what_is_usual_of_a_calm_metric() -> None:
    """Of 14 days with traffic 13 are above half of today's."""
    calm = [0.0] * 14 + [1.0] + [100.0] * 14
    assert judge_one_site([100.0] * 28 + [500.0], calm)[0, 28] == Verdict.bot


@pytest.mark.parametrize(("before", "verdict"), [(200.0, Verdict.bot), (201.0, Verdict.observed)])
def test_day_two_thirds_as_high_makes_a_spike_nothing_new(before: float, verdict: Verdict) -> None:
    views = [50.0] * 40 + [300.0]
    views[4] = views[20] = before
    assert judge_one_site(views, [100.0] * 41)[0, 40] == verdict


def test_day_of_a_single_visit_is_a_day_with_traffic() -> None:
    assert judge_one_site([100.0] * 13 + [1.0, 0.0])[0, 14] == Verdict.outage
    assert judge_one_site([100.0] * 13 + [0.0, 0.0])[0, 14] == Verdict.observed


@pytest.mark.parametrize(("num_short", "verdict"), [(2, Verdict.partial), (3, Verdict.observed)])
def test_usual_hours_are_those_of_nine_in_ten_of_the_last_28_days_with_traffic(
    num_short: int, verdict: Verdict
) -> None:
    """Every third day is silent, and all days before those 28 ended at noon."""
    morning, whole = (sum(1 << hour for hour in range(8, stop)) for stop in (12, 21))
    active = [morning] * (8 + num_short) + [whole] * (28 - num_short)
    hours = [hour for pair in zip(active[::2], active[1::2], strict=True) for hour in (*pair, 0)]
    hours.append(sum(1 << hour for hour in range(8, 14)))
    values = np.full((1, len(hours)), 500.0)
    verdicts = judge(values, np.array([hours]), [Kind.count], np.zeros(1, np.int64), thresholds=VerdictConfig())
    assert verdicts[0, -1] == verdict
