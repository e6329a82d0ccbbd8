"""Scores of two series and two origins, by loops over single days."""

import math

import numpy as np
import pytest

from forecasting.domain import Series, Verdict
from forecasting.evaluation.rolling_origins import Rolling, RollingForecasts
from forecasting.evaluation.scoring import SeriesScore, coverage_by_day, judged_rows, score_series, summarize
from forecasting.panel import Panel

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
CUTOFFS = [30, 33]
UNITS = [1.0, 100.0]


def make_rolling(*, scale: tuple[float, float] = (1.0, 1.0)) -> Rolling:
    random = np.random.default_rng(4)
    values = (random.uniform(20, 60, (2, 40)) * np.array(scale)[:, None]).astype(np.float32)
    values[1, 32] = np.nan
    verdicts = np.full(values.shape, Verdict.observed, np.uint8)
    verdicts[1, 32] = Verdict.invalid
    series = tuple(Series("blog", f"metric_{row}", unit_scale=unit) for row, unit in enumerate(UNITS))
    return Rolling(Panel(series, values, 19_000, verdicts), np.array([0, 0, 1, 1]), np.array(CUTOFFS * 2), 3, None)


def make_forecasts(seed: int) -> RollingForecasts:
    quantiles = np.sort(np.random.default_rng(seed).uniform(10, 70, (4, 3, len(LEVELS))), axis=2)
    return RollingForecasts("made", quantiles.astype(np.float32), 1.0)


def days_of(rolling: Rolling, forecasts: RollingForecasts, row: int) -> list[tuple[float, list[float]]]:
    """Value and quantiles of each known day that was forecast."""
    days = []
    for origin in np.flatnonzero(rolling.rows == row):
        for ahead in range(3):
            value = float(rolling.panel.values[row, rolling.cutoffs[origin] + 1 + ahead])
            days.append((value, forecasts.quantiles[origin, ahead].tolist()))
    return [day for day in days if math.isfinite(day[0])]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_scores_of_each_series() -> None:
    rolling, forecasts, naive = make_rolling(), make_forecasts(1), make_forecasts(2)
    scores = score_series(rolling, forecasts, naive)
    assert [score.row for score in scores] == [0, 1]
    for row, score in enumerate(scores):
        days = days_of(rolling, forecasts, row)
        errors = [abs(value - quantiles[3]) for value, quantiles in days]
        naive_errors = [abs(value - quantiles[3]) for value, quantiles in days_of(rolling, naive, row)]
        past = rolling.panel.values[row, :31].tolist()
        scale = mean([abs(later - earlier) for earlier, later in zip(past, past[7:], strict=False)])
        losses = [
            level * (value - quantile) if value > quantile else (1 - level) * (quantile - value)
            for value, quantiles in days
            for level, quantile in zip(LEVELS, quantiles, strict=True)
        ]
        expected = SeriesScore(
            num_days=len(days),
            total=sum(value for value, _ in days) * UNITS[row],
            absolute_error=sum(errors) * UNITS[row],
            mase=mean(errors) / scale,
            pinball=mean(losses) / scale,
            relative_error=mean(errors) / mean(naive_errors),
            inside_80=0.0 + sum(quantiles[1] <= value <= quantiles[5] for value, quantiles in days),
            inside_90=0.0 + sum(quantiles[0] <= value <= quantiles[6] for value, quantiles in days),
            row=row,
        )
        assert vars(score) == pytest.approx(vars(expected), rel=1e-5)


def test_series_without_a_known_day_has_no_score() -> None:
    rolling = make_rolling()
    rolling.panel.values[0, 31:] = np.nan
    assert [score.row for score in score_series(rolling, make_forecasts(1), make_forecasts(2))] == [1]


def test_past_that_repeats_has_no_mase_and_naive_forecasts_without_error_no_relative_error() -> None:
    rolling = make_rolling()
    rolling.panel.values[0, :31] = np.arange(31) % 7
    exact = make_forecasts(2)
    exact.quantiles[:2] = rolling.actual()[:2, :, None]
    score = score_series(rolling, make_forecasts(1), exact)[0]
    assert [math.isnan(value) for value in (score.mase, score.pinball, score.relative_error)] == [True, True, True]


@pytest.mark.parametrize(
    ("mean_a_day", "error_a_day", "judged"), [(5.0, 0.05, True), (4.99, 0.05, False), (5.0, 0.049, False)]
)
def test_series_are_judged_from_five_a_day_and_one_percent_of_change_on(
    mean_a_day: float, error_a_day: float, judged: bool
) -> None:
    rolling = make_rolling()
    rolling.panel.values[0, 31:] = mean_a_day
    naive = make_forecasts(2)
    naive.quantiles[:2] = mean_a_day + error_a_day * 1.0001
    assert judged_rows(rolling, naive) == [0] * judged + [1]


def make_score(**values: float) -> SeriesScore:
    usual = {
        "num_days": 10, "total": 100.0, "absolute_error": 10.0, "mase": 1.0, "pinball": 0.4, "relative_error": 1.0,
        "inside_80": 8.0, "inside_90": 9.0,
    }  # fmt: skip
    return SeriesScore(**(usual | values))  # type: ignore[arg-type]


def test_summary_pools_days_and_averages_series() -> None:
    scores = [
        make_score(mase=0.5, relative_error=0.5),
        make_score(mase=1.5, relative_error=2.0, num_days=30, total=900.0, absolute_error=80.0, inside_80=15.0),
        make_score(mase=math.nan, relative_error=8.0, pinball=1.0, inside_90=0.0),
    ]
    summary = summarize(scores, name="made", ms_a_forecast=2.5)
    assert vars(summary) == pytest.approx(
        {
            "name": "made",
            "num_series": 3,
            "num_worse": 2,
            "mase": 1.0,
            "wape": 100 / 1100,
            "relative_error": 2.0,  # the cube root of 0.5 * 2 * 8
            "pinball": 0.6,
            "coverage_80": 31 / 50,
            "coverage_90": 18 / 50,
            "ms_a_forecast": 2.5,
            "sites_alike": None,
        }
    )


def test_summary_of_nothing_is_none_and_a_series_as_good_as_naive_is_not_worse() -> None:
    summary = summarize([], name="made", ms_a_forecast=0.0)
    measures = (summary.mase, summary.wape, summary.relative_error, summary.pinball, summary.coverage_80)
    assert (summary.num_series, summary.num_worse, *measures, summary.coverage_90) == (0, 0, *[None] * 6)
    assert summarize([make_score()], name="made", ms_a_forecast=0.0).num_worse == 0
    assert summarize([make_score(relative_error=0.0)], name="made", ms_a_forecast=0.0).relative_error == 0.0
    empty = summarize([make_score(total=0.0, relative_error=math.nan)], name="made", ms_a_forecast=0.0)
    assert (empty.wape, empty.relative_error) == (None, None)


def test_coverage_by_day_weighs_series_alike() -> None:
    rolling, forecasts = make_rolling(), make_forecasts(1)
    actual = rolling.actual()
    forecasts.quantiles[..., 1], forecasts.quantiles[..., 5] = actual, actual  # both ends count as inside
    forecasts.quantiles[0, 0, 5] -= 1  # row 0: outside on one of its two first days
    forecasts.quantiles[3, 2, 1] += 1  # row 1: outside on one of its two third days
    np.testing.assert_allclose(coverage_by_day(rolling, forecasts, [0, 1]), [0.75, 1.0, 0.75])
    np.testing.assert_allclose(coverage_by_day(rolling, forecasts, [1]), [1.0, 1.0, 0.5])
