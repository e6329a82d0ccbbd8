"""What followed a year ago, by plain loops over days."""

import numpy as np
import pytest
import torch

from forecasting.domain import YEAR_OF_DAYS
from forecasting.model.forecaster import MEDIAN, Forecaster
from forecasting.model.last_year import LEVEL_DAYS, YEAR, LastYear, find_last_year, num_days
from forecasting.settings.schema import ModelConfig


def read(z: torch.Tensor, known: torch.Tensor, horizon: int) -> LastYear:
    days = torch.stack([torch.where(known, z, 0.0), known.float()], 1)
    return find_last_year(days[..., : num_days(horizon)], horizon=horizon)


def test_drift_and_differences_are_those_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4, YEAR_OF_DAYS, generator=generator)
    known = torch.rand(4, YEAR_OF_DAYS, generator=generator) > 0.4
    known[3, -YEAR - 20 : -YEAR] = False  # of the four weeks before, eight days are left
    year = read(z, known, 28)
    values = np.where(known.numpy(), z.numpy(), np.nan)
    for row in range(4):
        month = values[row, YEAR_OF_DAYS - YEAR - LEVEL_DAYS : YEAR_OF_DAYS - YEAR]
        level, has_level = np.nanmean(month), np.isfinite(month).sum() >= 14
        for ahead in range(28):
            day = YEAR_OF_DAYS - YEAR + ahead
            week = values[row, day - 3 : day + 4]
            assert bool(year.known[row, ahead]) == (has_level and np.isfinite(week).sum() >= 4)
            drift = np.nanmean(week) - level if year.known[row, ahead] else 0.0
            difference = values[row, day] - np.nanmean(week) if year.known[row, ahead] and known[row, day] else 0.0
            assert year.drift[row, ahead].item() == pytest.approx(drift, abs=1e-5)
            assert year.difference[row, ahead].item() == pytest.approx(difference, abs=1e-5)


def test_too_few_known_days_a_year_ago_are_none() -> None:
    z, known = torch.ones(1, YEAR_OF_DAYS), torch.ones(1, YEAR_OF_DAYS, dtype=torch.bool)
    known[0, :15] = False  # of the four weeks before, 13 are left
    assert not read(z, known, 7).known.any()


def test_inputs_carry_everything() -> None:
    year = LastYear(torch.randn(2, 5), torch.randn(2, 5), torch.rand(2, 5) > 0.5)
    for part, expected in zip(LastYear.from_inputs(year.as_inputs()), year, strict=True):
        assert torch.equal(part, expected)


def test_an_untrained_network_expects_a_share_of_last_years_way_and_forgets_it_where_it_is_unknown() -> None:
    """A level of 100 which rose by half a year ago, after the same weeks: the forecast rises by a part of that."""
    torch.manual_seed(0)
    forecaster = Forecaster(ModelConfig(hidden_size=8, direct_days=28, last_year=True)).eval()
    assert forecaster.settings.context_length == YEAR_OF_DAYS
    history = torch.full((2, YEAR_OF_DAYS), 100.0) + torch.arange(YEAR_OF_DAYS) % 2
    history[0, LEVEL_DAYS : LEVEL_DAYS + 60] *= 1.5
    history[1, : YEAR_OF_DAYS - 100] = torch.nan
    with torch.no_grad():
        quantiles = forecaster(history, torch.tensor([19_000, 19_000]), torch.tensor([0, 0]), torch.ones(2, 28))
    old, young = quantiles[..., MEDIAN].numpy()
    np.testing.assert_allclose(young, 100.5, rtol=0.02)
    assert (old[10:24] > 105).all()
    assert (old[10:24] < 150).all()
