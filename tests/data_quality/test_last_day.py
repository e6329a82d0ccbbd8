"""A half-counted last day: made series whose every figure is known, and the sample's own last day."""

import csv
import gzip

import numpy as np
import pytest

from forecasting.data_quality.rules import judge
from forecasting.domain import Kind, Verdict
from forecasting.settings.schema import VerdictConfig
from tests import PROJECT

WEEK = [100.0, 110.0, 105.0, 95.0, 90.0, 50.0, 40.0]
NUM_DAYS = 63  # the last day is one of 40
SAMPLE = PROJECT / "forecasting" / "warehouse" / "sample" / "daily_metrics.csv.gz"


def make_series(*last: float, scale: float = 1.0, swing: float = 0.04) -> list[float]:
    """Nine weeks, up and down by turns, whose last days are multiplied by these."""
    days = scale * np.array(WEEK * 9) * np.where(np.arange(NUM_DAYS) % 2, 1 + swing, 1 - swing)
    days[NUM_DAYS - len(last) :] *= last
    return days.tolist()


def judge_last(
    *series: list[float], kinds: list[Kind] | None = None, hours: int = -1, last: int | None = NUM_DAYS - 1
) -> np.ndarray:
    """The verdicts on the last column, of series of one site whose last day is this."""
    values = np.array(series)
    return judge(
        values,
        np.full(values.shape, hours),
        kinds or [Kind.count] * len(series),
        np.zeros(len(series), np.int64),
        thresholds=VerdictConfig(),
        last=None if last is None else np.full(len(series), last),
    )[:, -1]


def is_partial(*series: list[float], **settings: object) -> bool:
    verdicts = judge_last(*series, **settings)  # type: ignore[arg-type]  # as the keywords of judge_last
    return bool((verdicts == Verdict.partial).all())


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.8])
def test_all_metrics_that_fall_alike_are_partial(share: float) -> None:
    assert is_partial(make_series(share), make_series(share + 0.04, scale=3.0))


def test_a_usual_last_day_is_observed() -> None:
    assert not is_partial(make_series(1.0), make_series(1.0))
    assert not is_partial(make_series(0.95), make_series(0.95))
    assert not is_partial(make_series(2.0), make_series(2.0))


def test_a_metric_that_holds_its_level_shows_that_the_day_is_whole() -> None:
    assert (judge_last(make_series(0.5), make_series(1.0)) == Verdict.observed).all()


def test_metrics_that_fall_unlike_each_other_are_no_half_day() -> None:
    """0.8 and 0.55 are 1.45 to 1 apart; of a part of a day, about the same share of everything is counted."""
    assert (judge_last(make_series(0.8), make_series(0.55)) == Verdict.observed).all()


def test_a_fall_that_began_the_day_before_is_a_new_level() -> None:
    assert is_partial(make_series(1.0, 0.5), make_series(1.0, 0.5))
    assert not is_partial(make_series(0.5, 0.5), make_series(0.5, 0.5))


def test_only_the_last_day_of_the_site_is_judged_so() -> None:
    low = make_series(0.5)
    for last in (None, NUM_DAYS, NUM_DAYS - 2, -1):
        assert not is_partial(low, low, last=last)


def test_hours_that_are_known_tell_more() -> None:
    all_hours = 2**24 - 1
    assert not is_partial(make_series(0.5), make_series(0.5), hours=all_hours)


def test_rates_and_rare_counts_are_no_witnesses_but_share_the_verdict() -> None:
    rate, rare = [0.4] * NUM_DAYS, [1.0] * NUM_DAYS
    kinds = [Kind.count, Kind.count, Kind.rate, Kind.count]
    assert is_partial(make_series(0.5), make_series(0.5), rate, rare, kinds=kinds)


def test_a_metric_without_a_value_on_the_last_day_stays_unmeasured() -> None:
    ended = make_series(1.0)
    ended[-1] = np.nan
    assert judge_last(make_series(0.5), make_series(0.5), ended).tolist() == [
        Verdict.partial,
        Verdict.partial,
        Verdict.unmeasured,
    ]


@pytest.mark.parametrize(("share", "several", "alone"), [(0.95, False, False), (0.85, True, False), (0.6, True, True)])
def test_a_site_with_one_metric_must_fall_twice_as_far(share: float, several: bool, alone: bool) -> None:
    """8% above or below usual days by turns, the band ends 15 to 20% below them, and twice as far is 30 to 40%. The
    last day is 8% low before it is cut, so it falls by .08 - log(share) in logarithms: .13, .24 and .59.
    """
    series = make_series(share, swing=0.08)
    assert is_partial(series, series) is several
    assert is_partial(series) is alone


@pytest.mark.parametrize(("num_days", "expected"), [(22, False), (23, True)])
def test_what_is_usual_takes_14_days_after_a_week_and_a_day(num_days: int, expected: bool) -> None:
    short = make_series(0.36)[-num_days:]
    assert is_partial(short, short, last=num_days - 1) is expected
    assert is_partial(short, last=num_days - 1) is expected


def test_a_last_day_far_below_all_others_is_partial_though_traffic_is_low() -> None:
    """An export made at 13:36: 21 after 57 and 60."""
    rng = np.random.default_rng(0)
    assert is_partial([*rng.poisson(58, 60).astype(float).tolist(), 57.0, 60.0, 21.0])


def test_the_sample_ends_in_a_partial_day() -> None:
    with gzip.open(SAMPLE, "rt") as file:
        rows = list(csv.reader(file))[1:]
    series = [[float(row[column]) for row in rows] for column in range(1, 5)]
    assert is_partial(*series, last=len(rows) - 1)
    assert is_partial(series[0], last=len(rows) - 1)
    usual = [values[:-1] for values in series]
    assert not is_partial(*usual, last=len(rows) - 2)
