"""What the shipped base model says of series that nobody would draw: sensible, by bounds that a person would give."""

import math

import pytest
import torch

from forecasting.artifact import load_base
from forecasting.model.forecaster import LEVELS, MEDIAN

WEEK = torch.tensor([100.0, 120, 110, 105, 95, 50, 45])
WEEKS = WEEK.repeat(8)
PLACE = torch.arange(56)
LOWER, UPPER = LEVELS.index(0.1), LEVELS.index(0.9)


def ask(history: torch.Tensor) -> torch.Tensor:
    """Quantiles [7, levels] of the days after a history that ends on a Sunday, as WEEK does."""
    first_day = torch.tensor([4])  # 1970-01-05, a Monday
    with torch.no_grad():
        quantiles = load_base()(history[None], first_day, torch.tensor([0]), torch.ones(1, 7))[0]
    assert torch.isfinite(quantiles).all()
    assert (quantiles >= 0).all()
    assert (quantiles.diff(dim=-1) >= 0).all()
    return quantiles


def width(quantiles: torch.Tensor) -> float:
    """Of the 80% band, as a share of the forecast, mean over days."""
    return float(((quantiles[:, UPPER] - quantiles[:, LOWER]) / quantiles[:, MEDIAN].clamp(min=1)).mean())


@pytest.mark.parametrize("level", [0.0, 1.0, 5.0, 1000.0, 1e9])
def test_constant_stays_constant(level: float) -> None:
    quantiles = ask(torch.full((56,), level))
    torch.testing.assert_close(quantiles[:, MEDIAN], torch.full((7,), level), rtol=0.05, atol=0.5)
    assert width(quantiles) < 0.5


def test_one_visit_in_eight_weeks_is_hardly_any() -> None:
    assert ask((PLACE == 55).float())[:, UPPER].max() < 2


@pytest.mark.parametrize("factor", [0.1, 1.0, 1e7])
def test_weeks_repeat_at_any_size(factor: float) -> None:
    quantiles = ask(WEEKS * factor)
    torch.testing.assert_close(quantiles[:, MEDIAN], WEEK * factor, rtol=0.15, atol=1.0)


def test_one_huge_spike_in_the_past_is_no_new_level() -> None:
    quantiles = ask(torch.where(PLACE == 40, 50 * WEEKS, WEEKS))
    torch.testing.assert_close(quantiles[:, MEDIAN], WEEK, rtol=0.5, atol=0)


def test_one_huge_spike_yesterday_makes_tomorrow_unsure() -> None:
    spiked = ask(torch.where(PLACE == 55, 50 * WEEKS, WEEKS))
    assert width(spiked) > 3 * width(ask(WEEKS))
    assert spiked[6, MEDIAN] < 0.5 * 50 * WEEK[6]


def test_a_week_of_outage_in_the_past_is_not_expected_again() -> None:
    quantiles = ask(torch.where((PLACE >= 42) & (PLACE < 49), 0.0, WEEKS))
    torch.testing.assert_close(quantiles[:, MEDIAN], WEEK, rtol=0.35, atol=0)


def test_a_week_of_outage_just_now_makes_unsure() -> None:
    quantiles = ask(torch.where(PLACE >= 49, 0.0, WEEKS))
    assert width(quantiles) > 2 * width(ask(WEEKS))
    assert quantiles[:, UPPER].mean() > 0.3 * WEEK.mean()


def test_a_level_that_doubled_yesterday_moves_the_forecast_part_of_the_way() -> None:
    ratio = ask(torch.where(PLACE == 55, 2 * WEEKS, WEEKS))[:, MEDIAN] / WEEK
    assert 1.0 < math.exp(float(ratio.log().mean())) < 2.0


def test_a_site_born_thirty_days_ago_is_forecast_as_its_weeks_are() -> None:
    quantiles = ask(torch.where(PLACE < 26, torch.nan, WEEKS))
    torch.testing.assert_close(quantiles[:, MEDIAN], WEEK, rtol=0.2, atol=0)
