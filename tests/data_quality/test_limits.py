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
