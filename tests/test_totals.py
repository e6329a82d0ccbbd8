"""Totals beside made sites whose totals are known."""

import numpy as np
import pytest

from forecasting.totals import correlation_share, sum_up

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
BAND = (0.1, 0.9)
CORRELATION = 0.5


def visit(volume: float, rng: np.random.Generator, *, num_days: int) -> np.ndarray:
    """Weeks of a Poisson site whose weeks are good or bad, so that its days correlate as totals take for granted."""
    correlation = CORRELATION * float(correlation_share(np.array([volume]))[0])
    variance = correlation / (1 - correlation) / volume
    weeks = rng.gamma(1 / variance, variance * volume, (4_000, 1))
    return rng.poisson(np.repeat(weeks, num_days, axis=1))


def sum_up_truth(weeks: np.ndarray) -> tuple[float, float, float]:
    """The rounded total and band, from the true quantiles of each day."""
    days = np.quantile(weeks + np.random.default_rng(1).uniform(-0.5, 0.5, weeks.shape), LEVELS)
    quantiles = np.tile(np.maximum(days, 0), (1, weeks.shape[1], 1)).astype(np.float32)
    value, lower, upper = np.rint(sum_up(quantiles, LEVELS, np.array([CORRELATION]), band=BAND))[:, 0]
    return value, lower, upper


@pytest.mark.parametrize("num_days", [7, 28])
@pytest.mark.parametrize(("fewest", "most"), [(0.6, 4), (4, 50)])
def test_band_holds_its_share_of_weeks_at_every_volume(fewest: float, most: float, num_days: int) -> None:
    rng, held = np.random.default_rng(7), []
    for volume in np.geomspace(fewest, most, 10):
        weeks = visit(volume, rng, num_days=num_days)
        _, lower, upper = sum_up_truth(weeks)
        total = weeks.sum(1)
        held.append(np.mean((lower <= total) & (total <= upper)))
    assert 0.77 <= np.mean(held) <= 0.83, np.round(held, 2)


def test_value_of_a_quiet_site_errs_less_than_the_sum_of_its_medians() -> None:
    weeks = visit(0.4, np.random.default_rng(3), num_days=7)
    value, _, _ = sum_up_truth(weeks)
    assert np.median(weeks) == 0
    assert np.abs(weeks.sum(1) - value).mean() < 0.85 * weeks.sum(1).mean()  # 0 errs by the mean


def test_total_of_one_day_is_that_day() -> None:
    day = np.array([[[0, 0, 0, 1, 2, 4, 6]]], np.float32)
    assert [float(end[0]) for end in sum_up(day, LEVELS, np.array([CORRELATION]), band=BAND)] == [1, 0, 4]


def test_value_lies_within_its_band_and_nothing_is_negative() -> None:
    rng = np.random.default_rng(11)
    scales = np.geomspace(1e-3, 1e9, 500)[:, None, None]
    quantiles = (np.sort(rng.gamma(0.3, size=(500, 30, 7)), axis=-1) * scales).astype(np.float32)
    quantiles[::9] = 0
    value, lower, upper = sum_up(quantiles, LEVELS, rng.uniform(0, 1, 500), band=BAND)
    assert (lower >= 0).all()
    assert (lower <= value).all()
    assert (value <= upper).all()
