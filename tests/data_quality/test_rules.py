"""Verdicts: each rule on days worked by hand, against a second way to find them, and day by day as all at once."""

import datetime as dt
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.data_quality.rules import CHUNK, find_breaks, judge, mark_breaks
from forecasting.data_quality.trailing_days import CONTEXT
from forecasting.domain import Kind, Verdict, to_day
from forecasting.settings.schema import VerdictConfig

RULES = VerdictConfig()
OFFICE = range(8, 21)
ALWAYS = range(24)


def judge_site(
    *series: Sequence[float],
    kinds: Sequence[Kind] | None = None,
    hours: Sequence[int] | None = None,
    thresholds: VerdictConfig = RULES,
    announced: np.ndarray | None = None,
) -> np.ndarray:
    """All days of the series of one site."""
    values = np.array(series, np.float64)
    settings = np.full(values.shape, -1) if hours is None else np.tile(np.array(hours), (len(series), 1))
    kinds = kinds or [Kind.count] * len(series)
    return judge(values, settings, kinds, np.zeros(len(series), np.int64), thresholds=thresholds, announced=announced)


def days_of(verdict: Verdict, verdicts: np.ndarray, row: int = 0) -> list[int]:
    return np.flatnonzero(verdicts[row] == verdict).tolist()


def bits(hours: Iterable[int]) -> int:
    return sum(1 << hour for hour in hours)


def test_day_with_a_value_is_observed_and_one_without_is_unmeasured() -> None:
    verdicts = judge_site([100.0] * 40 + [np.nan] + [90.0, 130.0])
    assert days_of(Verdict.unmeasured, verdicts) == [40]
    assert (np.delete(verdicts[0], 40) == Verdict.observed).all()


def test_value_that_cannot_be_is_invalid_and_no_spike() -> None:
    verdicts = judge_site([100.0] * 40 + [np.inf, -1.0], [100.0] * 42)
    assert days_of(Verdict.invalid, verdicts) == [40, 41]
    assert (verdicts[1] == Verdict.observed).all()
    rate = judge_site([0.5] * 3 + [1.5], [-5.0] * 4, kinds=[Kind.rate, Kind.other])
    assert days_of(Verdict.invalid, rate) == [3]
    assert (rate[1] == Verdict.observed).all()


def test_zero_is_an_outage_from_the_level_on_that_chance_does_not_reach() -> None:
    assert days_of(Verdict.outage, judge_site([20.0] * 40 + [0.0])) == [40]
    assert days_of(Verdict.outage, judge_site([19.0] * 40 + [0.0])) == []
    assert days_of(Verdict.outage, judge_site([19.0] * 40 + [0.0], thresholds=VerdictConfig(outage_level=19.0))) == [40]
    assert 1 / math.exp(-20) / 365.25 == pytest.approx(1.3e6, rel=0.03)  # years, as the docstring says


def test_what_is_usual_takes_14_days() -> None:
    assert days_of(Verdict.outage, judge_site([50.0] * 13 + [0.0])) == []
    assert days_of(Verdict.outage, judge_site([50.0] * 14 + [0.0])) == [14]


def test_usual_are_the_last_28_days_with_traffic() -> None:
    assert days_of(Verdict.outage, judge_site([100.0] * 28 + [5.0] * 14 + [0.0])) == [42]
    assert days_of(Verdict.outage, judge_site([100.0] * 28 + [5.0] * 15 + [0.0])) == []


def test_closed_weekday_is_no_outage_but_another_day_is() -> None:
    week = [100.0] * 5 + [0.0, 0.0]
    verdicts = judge_site(week * 10 + [0.0])
    assert days_of(Verdict.outage, verdicts) == [70]


def test_weekday_that_closes_anew_is_an_outage_twice() -> None:
    assert days_of(Verdict.outage, judge_site([100.0] * 35 + ([100.0] * 6 + [0.0]) * 5)) == [41, 48]


def test_long_outage_stays_one_for_six_weeks() -> None:
    verdicts = judge_site([100.0] * 60 + [0.0] * 60 + [100.0] * 3)
    assert days_of(Verdict.outage, verdicts) == list(range(60, 60 + CONTEXT - 14 + 1))
    assert (verdicts[0, 103:] == Verdict.observed).all()


def test_long_outage_makes_no_weekday_a_closed_one() -> None:
    assert days_of(Verdict.outage, judge_site([100.0] * 40 + [0.0] * 14 + [100.0] * 3 + [0.0] * 4)) == [
        *range(40, 54),
        *range(57, 61),
    ]


def test_zero_speaks_for_a_site_where_nothing_was_counted() -> None:
    visits, signups, duration = [100.0] * 40 + [0.0], [1.0] * 40 + [0.0], [60.0] * 41
    kinds = [Kind.count, Kind.count, Kind.other]
    verdicts = judge_site(visits, signups, duration, kinds=kinds)
    assert (verdicts[:, 40] == Verdict.outage).all()
    verdicts = judge_site(visits, [1.0] * 41, duration, kinds=kinds)
    assert verdicts[:, 40].tolist() == [Verdict.outage, Verdict.observed, Verdict.observed]


@pytest.mark.parametrize(
    ("active", "verdict"),
    [
        ([*range(8, 14), 20], Verdict.partial),  # 14..19 are silent
        ([*range(8, 15), 20], Verdict.observed),  # 15..19
        ([*range(8, 15)], Verdict.partial),  # 15..20, the day's end
        ([8, 10, 12, 14, 16, 18, 20], Verdict.observed),  # six, but none beside another
        ([8, 11], Verdict.observed),  # a slow day: 9 and 10, which are not of the longest silence, are silent too
        ([3], Verdict.partial),
        ([], Verdict.outage),
    ],
)
def test_usual_hours_in_a_row_without_traffic_are_a_partial_day(active: list[int], verdict: Verdict) -> None:
    hours = [bits(OFFICE)] * 30 + [bits(active)]
    verdicts = judge_site([500.0] * 31, [0.5] * 31, kinds=[Kind.count, Kind.rate], hours=hours)
    assert verdicts[:, 30].tolist() == [verdict, verdict]
    assert (verdicts[:, :30] == Verdict.observed).all()


def test_number_of_hours_is_a_setting_and_of_nine_days_in_ten() -> None:
    five = [bits(OFFICE)] * 30 + [bits([*range(8, 15), 20])]
    assert judge_site([9.0] * 31, hours=five, thresholds=VerdictConfig(partial_hours=5))[0, 30] == Verdict.partial
    often = ([bits(OFFICE)] * 4 + [bits(range(8, 14))]) * 6  # every fifth day ends at 14
    assert days_of(Verdict.partial, judge_site([9.0] * 30, hours=often)) == []


def test_hours_say_nothing_where_they_are_rarely_active_or_known() -> None:
    rare = [bits([day % 24]) for day in range(60)] + [0] * 5
    assert (judge_site([1.0] * 65, hours=rare) == Verdict.observed).all()
    few = [-1] * 30 + [bits(OFFICE)] * 13 + [bits([8])]
    assert (judge_site([50.0] * 44, hours=few) == Verdict.observed).all()


def test_day_with_traffic_in_its_first_hour_alone_is_partial_not_silent() -> None:
    hours = [bits([0, *OFFICE])] * 30 + [bits([0])]
    assert judge_site([500.0] * 31, hours=hours)[0, 30] == Verdict.partial


@pytest.mark.parametrize(("num_known", "verdict"), [(13, Verdict.observed), (14, Verdict.partial)])
def test_silent_days_do_not_count_among_the_days_that_tell_the_usual_hours(num_known: int, verdict: Verdict) -> None:
    """Half of the days before were silent: the days with traffic alone are counted, and looked at."""
    hours = [0, bits(OFFICE)] * num_known + [bits(range(8, 14))]
    assert judge_site([500.0] * len(hours), hours=hours)[0, -1] == verdict


@pytest.mark.parametrize("hours", [ALWAYS, OFFICE])
def test_clock_change_is_no_partial_day(hours: Sequence[int]) -> None:
    """A day of 23 hours lacks its last, and each hour after the change comes one earlier; of 25, one later."""
    spring = bits([hour if hour < 2 else hour - 1 for hour in hours if hour != 2])
    autumn = bits([hour if hour < 2 else hour + 1 for hour in hours] + [2] * (2 in hours))
    settings = [bits(hours)] * 30 + [spring] + [bits(hours)] * 30 + [autumn] + [bits(hours)]
    rules = VerdictConfig(partial_hours=2)
    assert (judge_site([100.0] * 63, hours=settings, thresholds=rules) == Verdict.observed).all()


def test_silent_day_is_an_outage_for_a_site_whose_counts_are_low() -> None:
    hours = [bits(OFFICE)] * 30 + [0]
    assert judge_site([15.0] * 30 + [0.0], hours=hours)[0, 30] == Verdict.outage
    assert judge_site([15.0] * 30 + [0.0])[0, 30] == Verdict.observed


def test_silent_days_of_a_closed_weekday_are_observed() -> None:
    hours = ([bits(OFFICE)] * 6 + [0]) * 8
    assert (judge_site(([15.0] * 6 + [0.0]) * 8, hours=hours)[0, 20:] == Verdict.observed).all()


@pytest.mark.parametrize(
    ("views", "visitors", "bot"),
    [
        (400.0, 100.0, True),
        (399.0, 100.0, False),  # below four times the median
        (400.0, 199.0, True),
        (400.0, 200.0, False),  # twice as many visitors: a crowd
        (2900.0, 2900.0, False),
        (3000.0, 3000.0, True),  # whatever the others say
    ],
)
def test_spike_is_of_bots_where_another_count_saw_no_crowd(views: float, visitors: float, bot: bool) -> None:
    verdicts = judge_site([100.0] * 40 + [views, 100.0], [100.0] * 40 + [visitors, 100.0])
    assert days_of(Verdict.bot, verdicts, 0) == days_of(Verdict.bot, verdicts, 1) == [40] * bot


def test_metric_of_chance_is_no_witness() -> None:
    views = [100.0] * 40 + [500.0]
    assert days_of(Verdict.bot, judge_site(views, [4.0] * 41)) == []
    assert days_of(Verdict.bot, judge_site(views, [5.0] * 41)) == [40]
    assert math.exp(-20) * sum(20**n / math.factorial(n) for n in range(10)) == pytest.approx(0.005, abs=1e-5)


def test_spike_that_chance_reaches_is_none() -> None:
    assert days_of(Verdict.bot, judge_site([4.0] * 40 + [19.0], [50.0] * 41)) == []
    assert days_of(Verdict.bot, judge_site([4.0] * 40 + [20.0], [50.0] * 41)) == [40]
    tail = 1 - math.exp(-5) * sum(5**n / math.factorial(n) for n in range(20))
    assert tail == pytest.approx(3.5e-7, rel=0.02)


@pytest.mark.parametrize(("usual", "today", "bot"), [(0.5, 0.76, True), (0.5, 0.74, False), (0.8, 0.91, True)])
def test_visits_that_all_bounce_are_bots(usual: float, today: float, bot: bool) -> None:
    visits, bounce = [100.0] * 40 + [500.0], [usual] * 40 + [today]
    actual = judge_site(visits, visits, bounce, kinds=[Kind.count, Kind.count, Kind.rate])
    assert days_of(Verdict.bot, actual, 2) == [40] * bot
    seen = judge_site(visits, visits, [usual] * 30 + [0.95] + bounce[31:], kinds=[Kind.count, Kind.count, Kind.rate])
    assert days_of(Verdict.bot, seen) == []


def test_third_day_in_a_row_is_a_new_level() -> None:
    views, visitors = [100.0] * 40 + [500.0] * 20, [100.0] * 60
    assert days_of(Verdict.bot, judge_site(views, visitors)) == [40, 41]
    assert days_of(Verdict.bot, judge_site([*views[:40], 500.0, 5000.0, 5000.0], visitors[:43])) == [40, 41]


def test_what_the_series_has_done_before_is_no_bot() -> None:
    weekly = ([100.0] * 6 + [500.0]) * 8
    assert days_of(Verdict.bot, judge_site(weekly, [100.0] * 56)) == []
    assert days_of(Verdict.bot, judge_site([*weekly, 760.0], [100.0] * 57)) == [56]


def test_announced_day_is_no_bot() -> None:
    views, visitors = [100.0] * 40 + [500.0, 500.0], [100.0] * 42
    announced = np.zeros((2, 42), bool)
    announced[1, 40] = True
    verdicts = judge_site(views, visitors, announced=announced)
    assert days_of(Verdict.bot, verdicts, 0) == days_of(Verdict.bot, verdicts, 1) == [41]


def test_sites_do_not_speak_for_each_other() -> None:
    values = np.full((4, 41), 100.0)
    values[0, 40] = 500  # site 7, whose other series is the third
    values[3, 40] = 0
    sites = np.array([7, -2, 7, -2])
    verdicts = judge(values, np.full(values.shape, -1), [Kind.count] * 4, sites, thresholds=RULES)
    assert verdicts[:, 40].tolist() == [Verdict.bot, Verdict.observed, Verdict.bot, Verdict.outage]


def test_latest_break_in_the_past_counts() -> None:
    rules = VerdictConfig(breaks=["visits=2024-05-01", "2024-04-11", "visits=2024-03-01", "views=2024-09-01"])
    first_day = to_day(dt.date(2024, 4, 1))
    actual = find_breaks(["visits", "views", "visits"], thresholds=rules, first_day=first_day, num_days=60)
    assert actual.tolist() == [30, 10, 30]
    assert find_breaks(["visits"], thresholds=rules, first_day=first_day, num_days=30).tolist() == [10]
    assert find_breaks(["visits"], thresholds=rules, first_day=to_day(dt.date(2024, 5, 1)), num_days=30).tolist() == [0]


def test_days_before_a_break_that_have_a_value_are_of_another_definition() -> None:
    verdicts = np.array([list(Verdict)] * 2, np.uint8)
    before, kept = Verdict.definition_break, list(Verdict)
    marked = mark_breaks(verdicts, np.array([7, 0]))
    assert marked[0].tolist() == [0, before, 2, 3, 4, before, before, *kept[7:]]
    assert marked[1].tolist() == kept


def test_days_after_a_break_are_not_compared_with_days_before() -> None:
    values = np.array([[10.0] * 40 + [1000.0] * 20, [10.0] * 60])
    values[0, 20] = np.nan
    breaks = np.array([40, 0])
    verdicts = judge(
        values, np.full(values.shape, -1), [Kind.count] * 2, np.zeros(2, int), thresholds=RULES, start=10, breaks=breaks
    )
    assert days_of(Verdict.unmeasured, verdicts) == [10]
    assert days_of(Verdict.definition_break, verdicts) == [day for day in range(30) if day != 10]
    assert (verdicts[0, 30:] == Verdict.observed).all()
    assert (verdicts[1] == Verdict.observed).all()


def made_site(seed: int, num_days: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of three counts and a rate, hours and events, with every trouble there is, at random."""
    random = np.random.default_rng(seed)
    values = random.poisson(random.choice([3, 30, 300], (3, 1)), (3, num_days)).astype(np.float64)
    hours = np.full(num_days, bits(random.choice(24, 16, replace=False)))
    if random.random() < 0.4:
        values[:, random.integers(7) :: 7] = 0
    for _ in range(random.integers(8)):
        first, length = random.integers(num_days), random.choice([1, 2, 3, 9, 50])
        rows = random.choice(3, random.integers(1, 4), replace=False)
        values[rows, first : first + length] *= random.choice([0, 5, 40, np.nan])
        hours[first : first + length] = random.choice([0, -1, bits(range(9)), bits(ALWAYS)])
    rate = np.clip(random.normal(0.5, random.choice([0.01, 0.2]), num_days), 0, 1)
    rate[random.random(num_days) < 0.05] = 0.99
    return np.vstack([values, rate]), hours, random.random(num_days) < 0.1


@settings(max_examples=30)  # of up to 300 days each
@given(st.integers(0, 2**32), st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_days_judged_a_few_at_a_time_get_the_verdicts_of_all_at_once(seed: int, blocks: list[int]) -> None:
    """With the context before them, and nothing after them: so a verdict does not rest on later days either."""
    sites = np.array([0, 1, 0, 0])
    kinds = [Kind.count] * 3 + [Kind.rate]
    values, site_hours, site_announced = made_site(seed, sum(blocks))
    hours, announced = (np.tile(row, (4, 1)) for row in (site_hours, site_announced))
    whole = judge(values, hours, kinds, sites, thresholds=RULES, announced=announced)
    stop = 0
    for length in blocks:
        start, stop = stop, stop + length
        first = max(0, start - CONTEXT)
        seen = slice(first, stop)
        part = judge(
            values[:, seen],
            hours[:, seen],
            kinds,
            sites,
            thresholds=RULES,
            start=start - first,
            announced=announced[:, seen],
        )
        np.testing.assert_array_equal(part, whole[:, start:stop])


def test_made_sites_have_every_verdict() -> None:
    actual = set()
    for seed in range(60):
        values, hours, _ = made_site(seed, 120)
        actual |= set(judge_site(*values, kinds=[Kind.count] * 3 + [Kind.rate], hours=hours.tolist()).ravel().tolist())
    assert actual == {Verdict.observed, Verdict.unmeasured, Verdict.outage, Verdict.partial, Verdict.bot}


@pytest.mark.parametrize("seed", range(20))
def test_outages_and_spikes_are_those_found_by_medians(seed: int) -> None:
    values, _, _ = made_site(seed, 150)
    for series in values[:3]:
        verdicts = judge_site(series)[0]
        for day in range(150):
            assert (verdicts[day] == Verdict.outage) == is_outage(series, day), day
            assert (verdicts[day] == Verdict.bot) == is_huge_spike(series, day), day


def is_outage(series: np.ndarray, day: int) -> bool:
    before = series[max(0, day - CONTEXT) : day]
    usual = before[before > 0][-28:]
    if series[day] != 0 or usual.size < 14 or np.sort(usual)[usual.size // 2] < 20:
        return False
    return sum(is_silent_alone(series, other) for other in range(day - 7, max(-1, day - CONTEXT), -7)) < 2


def is_silent_alone(series: np.ndarray, day: int) -> bool:
    """Zero, with traffic in each week that it lies in."""
    weeks = [series[max(0, last - 6) : last + 1] for last in range(day, day + 7)]
    return series[day] == 0 and all((week > 0).any() for week in weeks)


def is_high(series: np.ndarray, day: int, factor: float) -> bool:
    before = series[max(0, day - 28) : max(0, day)]
    usual = np.sort(before[before > 0])
    return usual.size >= 14 and series[day] >= max(20, factor * usual[(usual.size - 1) // 2])


def is_huge_spike(series: np.ndarray, day: int) -> bool:
    before = series[max(0, day - CONTEXT) : day]
    goes_on = all(is_high(series, day - lag, 4) for lag in (1, 2))
    return is_high(series, day, 30) and not goes_on and (before > series[day] / 1.5).sum() < 2


def test_many_series_are_judged_as_each_alone() -> None:
    """More than one chunk, of counts and of hours."""
    sites = [made_site(seed, 100) for seed in range(CHUNK // 156 // 4 + 10)]
    values = np.concatenate([values for values, _, _ in sites])
    hours = np.repeat([site_hours for _, site_hours, _ in sites], 4, axis=0)
    kinds = [*[Kind.count] * 3, Kind.rate]
    verdicts = judge(values, hours, kinds * len(sites), np.arange(len(values)) // 4, thresholds=RULES)
    for number in range(0, len(sites), 20):
        alone = judge_site(*sites[number][0], kinds=kinds, hours=sites[number][1].tolist())
        np.testing.assert_array_equal(verdicts[4 * number : 4 * number + 4], alone)


def test_no_series_and_no_days_have_no_verdicts() -> None:
    nothing = np.zeros((0, 60))
    assert judge(nothing, nothing.astype(int), [], np.zeros(0, int), thresholds=RULES, start=56).shape == (0, 4)
    assert (
        judge(np.ones((1, 60)), np.full((1, 60), -1), [Kind.count], np.zeros(1, int), thresholds=RULES, start=60).size
        == 0
    )
