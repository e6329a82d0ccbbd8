"""Bands from a series' own past: noise whose truth is known, and a base that is made too sure of itself."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from forecasting.artifact import forecaster_predictor, load_base
from forecasting.domain import Kind
from forecasting.model.forecaster import Forecaster
from forecasting.panel import Panel
from forecasting.predictor import Window, stack_windows, usual_bands
from forecasting.training.calibration import MAX_FACTOR, calibrate
from tests.panels import make_panel


@pytest.fixture(scope="module")
def base() -> Forecaster:
    return load_base()


def squeezed(base: Forecaster, factor: float) -> Forecaster:
    """The base with bands `factor` times as wide as they should be: its gaps are softplus of the head's outputs."""
    other = Forecaster(base.settings)
    other.load_state_dict(base.state_dict())
    network, unscaled = other.network, other.network.forward

    def forward(steps: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
        quantiles = unscaled(steps, extra)
        median = quantiles[..., 3:4]
        return median + factor * (quantiles - median)

    network.forward = forward  # type: ignore[method-assign]
    return other.eval()


def held(forecaster: Forecaster, panel: Panel, scale: tuple[float, ...]) -> float:
    """Share of the days of the last two years that the 80% band holds, counted by hand."""
    inside = []
    for cutoff in range(panel.num_days - 8, 400, -7):
        history = torch.from_numpy(panel.values[:1, cutoff - 55 : cutoff + 1])
        first_day = torch.tensor([panel.first_day + cutoff - 55])
        with torch.no_grad():
            quantiles = forecaster(history, first_day, torch.tensor([0]), torch.tensor([scale[:7]]))[0].numpy()
        actual = panel.values[0, cutoff + 1 : cutoff + 8]
        inside.append((quantiles[:, 1] <= actual) & (actual <= quantiles[:, 5]))
    return float(np.mean(inside))


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_bands_of_the_wrong_width_are_set_right(base: Forecaster, factor: float) -> None:
    panel = make_panel(1100, num_series=1, noise=0.2)
    wrong = squeezed(base, factor)
    (bands,) = calibrate(wrong, panel, unseen=0)
    assert bands.num_weeks == 104
    before, after = held(wrong, panel, (1.0,) * 7), held(wrong, panel, bands.scale)
    assert abs(after - 0.8) < 0.04 < abs(before - 0.8)
    right = calibrate(base, panel, unseen=0)[0].scale
    np.testing.assert_allclose(np.array(bands.scale[:7]) * factor, right[:7], rtol=0.06)


def test_few_weeks_say_little_and_none_nothing(base: Forecaster) -> None:
    wrong = squeezed(base, 0.7)
    panel = make_panel(1100, num_series=1, noise=0.2)
    means = [float(np.mean(calibrate(wrong, panel.tail(days), unseen=0)[0].scale[:7])) for days in (70, 200, 1100)]
    assert 1.0 < means[0] < means[1] < means[2]
    assert calibrate(wrong, panel, unseen=panel.num_days - 5) == [usual_bands(7)]


def test_days_that_were_trained_on_are_not_asked(base: Forecaster) -> None:
    panel = make_panel(400, num_series=2, noise=0.2)
    other = panel.values.copy()
    other[:, :200] *= np.random.default_rng(1).uniform(0.1, 10, 200).astype(np.float32)
    changed = replace(panel, values=other)
    assert calibrate(base, panel, unseen=300) == calibrate(base, changed, unseen=300)
    assert calibrate(base, panel, unseen=0) != calibrate(base, changed, unseen=0)


def test_noise_around_a_fixed_week_widens_less_than_a_wandering_level(base: Forecaster) -> None:
    still = make_panel(1000, num_series=1, noise=0.1)
    random = np.random.default_rng(0)
    wander = np.exp(np.cumsum(random.normal(0, 0.05, 1000))).astype(np.float32)
    moving = replace(still, values=np.round(still.values * wander))
    (calm,), (lively,) = calibrate(base, still, unseen=0), calibrate(base, moving, unseen=0)
    assert calm.scale[27] / calm.scale[6] < lively.scale[27] / lively.scale[6]
    for bands in (calm, lively):
        assert len(bands.scale) == 30
        assert list(bands.scale[6:]) == sorted(bands.scale[6:])


def test_later_bands_hold_what_they_should(base: Forecaster) -> None:
    """Of a level that wanders and a model too sure of itself, in the third week: counted over all past weeks."""
    still = make_panel(1000, num_series=1, noise=0.1)
    wander = np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.05, 1000))).astype(np.float32)
    panel = replace(still, values=np.round(still.values * wander))
    wrong = squeezed(base, 0.7)
    (bands,) = calibrate(wrong, panel, unseen=0)

    def share_held(scale: tuple[float, ...]) -> float:
        cutoffs = np.arange(992 - 21, 270, -7)
        history = np.stack([panel.values[0, cutoff - 55 : cutoff + 1] for cutoff in cutoffs])
        windows = [
            Window(past, int(panel.first_day + cutoff - 55), Kind.count, np.array(scale, np.float32))
            for past, cutoff in zip(history, cutoffs, strict=True)
        ]
        quantiles = forecaster_predictor("wrong", wrong).predict(stack_windows(windows, 21))[:, 14:]
        actual = np.stack([panel.values[0, cutoff + 15 : cutoff + 22] for cutoff in cutoffs])
        return float(np.mean((quantiles[..., 1] <= actual) & (actual <= quantiles[..., 5])))

    assert abs(share_held(bands.scale) - 0.8) < 0.06 < abs(share_held(usual_bands(7).scale) - 0.8)


def test_independent_errors_correlate_less_than_a_wandering_level(base: Forecaster) -> None:
    still = make_panel(1000, num_series=1, noise=0.1)
    wander = np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.05, 1000))).astype(np.float32)
    moving = replace(still, values=np.round(still.values * wander))
    (calm,), (lively,) = calibrate(base, still, unseen=0), calibrate(base, moving, unseen=0)
    assert 0 <= calm.day_correlation < 0.35 < lively.day_correlation <= 1


@pytest.mark.parametrize("value", [0.0, 1.0, 1e9])
def test_series_that_repeats_itself_has_bands_that_are_numbers(base: Forecaster, value: float) -> None:
    panel = make_panel(300, num_series=1)
    (bands,) = calibrate(base, replace(panel, values=np.full_like(panel.values, value)), unseen=0)
    numbers = [*bands.scale, bands.day_correlation]
    assert all(math.isfinite(number) for number in numbers)
    assert max(bands.scale) <= MAX_FACTOR * 2


def test_forecasts_out_of_a_hole_are_not_asked(base: Forecaster) -> None:
    """A context without 28 known days is what serving refuses to forecast from."""
    panel = make_panel(400, num_series=1, noise=0.2)
    values = panel.values.copy()
    values[0, 150:300] = np.nan
    cutoffs = range(392, -1, -7)
    enough = sum(np.isfinite(values[0, max(cutoff - 55, 0) : cutoff + 1]).sum() >= 28 for cutoff in cutoffs)
    (bands,) = calibrate(base, replace(panel, values=values), unseen=0)
    assert bands.num_weeks == enough < len(cutoffs)
