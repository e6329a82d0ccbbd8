"""The shipped base model on unusual series: forecasts stay within bounds that a person would accept."""

import math

import pytest
import torch
from torch.nn import functional

from forecasting.artifact import load_base
from forecasting.model.forecaster import LEVELS, MEDIAN

WEEK = torch.tensor([100.0, 120, 110, 105, 95, 50, 45])
WEEKS = WEEK.repeat(8)
DAY = torch.arange(56)
LOWER, UPPER = LEVELS.index(0.1), LEVELS.index(0.9)


def forecast(history: torch.Tensor) -> torch.Tensor:
    """Quantiles [7, levels] of the days after a history that ends on a Sunday, like WEEK; nothing is known before."""
    base = load_base()
    num_before = base.settings.context_length - len(history)
    past = functional.pad(history, (num_before, 0), value=torch.nan)
    first_day = torch.tensor([4 - num_before])  # 1970-01-05 was a Monday
    with torch.no_grad():
        quantiles = base(past[None], first_day, torch.tensor([0]), torch.ones(1, base.settings.output_days))[0, :7]
    assert torch.isfinite(quantiles).all()
    assert (quantiles >= 0).all()
    assert (quantiles.diff(dim=-1) >= 0).all()
    return quantiles


def width(quantiles: torch.Tensor) -> float:
    """Mean width of the 80% band as a share of the forecast."""
    return float(((quantiles[:, UPPER] - quantiles[:, LOWER]) / quantiles[:, MEDIAN].clamp(min=1)).mean())


@pytest.mark.parametrize("level", [0.0, 1.0, 5.0, 1000.0, 1e9])
def test_constant_stays_constant(level: float) -> None:
    quantiles = forecast(torch.full((56,), level))
    torch.testing.assert_close(quantiles[:, MEDIAN], torch.full((7,), level), rtol=0.05, atol=0.5)
    assert width(quantiles) < 0.5


def test_one_visit_in_eight_weeks_forecasts_almost_none() -> None:
    assert forecast((DAY == 55).float())[:, UPPER].max() < 2


@pytest.mark.parametrize("factor", [0.1, 1.0, 1e7])
def test_weeks_repeat_at_any_size(factor: float) -> None:
    quantiles = forecast(WEEKS * factor)
    torch.testing.assert_close(quantiles[:, MEDIAN], WEEK * factor, rtol=0.15, atol=1.0)


def test_past_spike_is_not_a_new_level() -> None:
    quantiles = forecast(torch.where(DAY == 40, 50 * WEEKS, WEEKS))
    torch.testing.assert_close(quantiles[:, MEDIAN], WEEK, rtol=0.5, atol=0)


def test_spike_yesterday_widens_the_band() -> None:
    spiked = forecast(torch.where(DAY == 55, 50 * WEEKS, WEEKS))
    assert width(spiked) > 3 * width(forecast(WEEKS))
    assert spiked[6, MEDIAN] < 0.5 * 50 * WEEK[6]


def test_past_outage_is_not_expected_again() -> None:
    quantiles = forecast(torch.where((DAY >= 42) & (DAY < 49), 0.0, WEEKS))
    torch.testing.assert_close(quantiles[:, MEDIAN], WEEK, rtol=0.35, atol=0)


def test_current_outage_widens_the_band() -> None:
    quantiles = forecast(torch.where(DAY >= 49, 0.0, WEEKS))
    assert width(quantiles) > 2 * width(forecast(WEEKS))
    assert quantiles[:, UPPER].mean() > 0.3 * WEEK.mean()


def test_doubled_level_moves_the_forecast_part_of_the_way() -> None:
    ratio = forecast(torch.where(DAY == 55, 2 * WEEKS, WEEKS))[:, MEDIAN] / WEEK
    assert 1.0 < math.exp(float(ratio.log().mean())) < 2.0


def test_site_of_thirty_days_is_forecast_like_its_weeks() -> None:
    quantiles = forecast(torch.where(DAY < 26, torch.nan, WEEKS))
    torch.testing.assert_close(quantiles[:, MEDIAN], WEEK, rtol=0.2, atol=0)
