"""Bands from a series' own past: noise whose truth is known, and a base that is made too sure of itself."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from forecasting.artifact import forecaster_predictor, load_base
from forecasting.domain import KIND_CODES, Kind
from forecasting.model.forecaster import Forecaster
from forecasting.panel import Panel
from forecasting.predictor import Bands, Window, stack_windows, usual_bands
from forecasting.training import calibration
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

    def forward(steps: torch.Tensor, extra: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        quantiles, logits = unscaled(steps, extra)
        median = quantiles[..., 3:4]
        return median + factor * (quantiles - median), logits

    network.forward = forward  # type: ignore[method-assign]
    return other.eval()


def histories(panel: Panel, row: int, cutoffs: Sequence[int], context: int) -> np.ndarray:
    """Of one series, the days up to each cutoff; unknown before the panel."""
    padded = np.concatenate([np.full(context, np.nan, np.float32), panel.values[row]])
    return np.stack([padded[cutoff + 1 : cutoff + 1 + context] for cutoff in cutoffs])


def held(forecaster: Forecaster, panel: Panel, scale: tuple[float, ...]) -> float:
    """Share of the days of the last two years that the 80% band holds, counted by hand."""
    cutoffs = range(panel.num_days - 8, 400, -7)
    context, days = forecaster.settings.context_length, forecaster.settings.output_days
    past = torch.from_numpy(histories(panel, 0, cutoffs, context))
    first_days = torch.tensor([panel.first_day + cutoff + 1 - context for cutoff in cutoffs])
    scales = torch.tensor([scale[:days]] * len(cutoffs))
    with torch.no_grad():
        quantiles = forecaster(past, first_days, torch.zeros_like(first_days), scales)[:, :7].numpy()
    actual = np.stack([panel.values[0, cutoff + 1 : cutoff + 8] for cutoff in cutoffs])
    inside = (quantiles[..., 1] <= actual) & (actual <= quantiles[..., 5])
    return float(np.mean(inside))


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_bands_of_the_wrong_width_are_set_right(base: Forecaster, factor: float) -> None:
    panel = make_panel(1100, num_series=1, noise=0.2)
    wrong = squeezed(base, factor)
    (bands,) = calibrate(wrong, panel, unseen=0)
    assert bands.num_weeks == 104
    before, after = held(wrong, panel, (1.0,) * 30), held(wrong, panel, bands.scale)
    assert abs(after - 0.8) < 0.04 < abs(before - 0.8)
    right = calibrate(base, panel, unseen=0)[0].scale
    np.testing.assert_allclose(np.array(bands.scale[:7]) * factor, right[:7], rtol=0.06)


def test_few_weeks_say_little_and_none_nothing(base: Forecaster) -> None:
    wrong = squeezed(base, 0.7)
    panel = make_panel(1100, num_series=1, noise=0.2)
    means = [float(np.mean(calibrate(wrong, panel.tail(days), unseen=0)[0].scale[:7])) for days in (70, 200, 1100)]
    assert 1.0 < means[0] < means[1] < means[2]
    assert calibrate(wrong, panel, unseen=panel.num_days - 5) == [usual_bands(base.settings.output_days)]


def test_days_that_were_trained_on_are_not_asked(base: Forecaster) -> None:
    """Days that only forecasts from days before `unseen` would have looked back on."""
    panel = make_panel(700, num_series=2, noise=0.2)
    other = panel.values.copy()
    other[:, :200] *= np.random.default_rng(1).uniform(0.1, 10, 200).astype(np.float32)
    changed = replace(panel, values=other)
    unseen = 200 + base.settings.context_length
    assert calibrate(base, panel, unseen=unseen) == calibrate(base, changed, unseen=unseen)
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
        after_the_horizon = bands.scale[base.settings.output_days - 1 :]
        assert list(after_the_horizon) == sorted(after_the_horizon)


def test_later_bands_hold_what_they_should(base: Forecaster) -> None:
    """Of a level that wanders and a model too sure of itself, in the third week: counted over all past weeks."""
    still = make_panel(1000, num_series=1, noise=0.1)
    wander = np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.05, 1000))).astype(np.float32)
    panel = replace(still, values=np.round(still.values * wander))
    wrong = squeezed(base, 0.7)
    (bands,) = calibrate(wrong, panel, unseen=0)

    def share_held(scale: tuple[float, ...]) -> float:
        cutoffs = np.arange(992 - 21, 270, -7)
        context = base.settings.context_length
        windows = [
            Window(past, int(panel.first_day + cutoff + 1 - context), Kind.count, np.array(scale, np.float32))
            for past, cutoff in zip(histories(panel, 0, list(cutoffs), context), cutoffs, strict=True)
        ]
        quantiles = forecaster_predictor("wrong", wrong).predict(stack_windows(windows, 21))[:, 14:]
        actual = np.stack([panel.values[0, cutoff + 15 : cutoff + 22] for cutoff in cutoffs])
        return float(np.mean((quantiles[..., 1] <= actual) & (actual <= quantiles[..., 5])))

    assert (
        abs(share_held(bands.scale) - 0.8) < 0.06 < abs(share_held(usual_bands(base.settings.output_days).scale) - 0.8)
    )


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


def factor_by_hand(needed: dict[float, np.ndarray], *, trust: int) -> float:
    """Of some days of all past forecasts: [forecasts, days] for each share, NaN where a day is unknown."""
    logs, weeks = [], 0
    for share, of_forecasts in needed.items():
        values = of_forecasts[np.isfinite(of_forecasts)]
        weeks = int(np.isfinite(of_forecasts).any(1).sum())
        if weeks:
            held = np.quantile(values, min(1.0, share * (1 + 1 / len(values))))
            logs.append(math.log(min(max(held, 0.6), 1.6)))
    return math.exp(weeks / (weeks + trust) * sum(logs) / len(needed))


def bands_by_hand(forecaster: Forecaster, panel: Panel, row: int, unseen: int) -> Bands:
    """The factors of the horizon's days and the number of weeks, day after day in float64."""
    values = panel.values[row].astype(np.float64)
    kind = KIND_CODES[panel.series[row].kind]
    known = np.isfinite(values)
    cutoffs = list(range(int(np.flatnonzero(known)[-1]) - 7, max(unseen - 1, 0) - 1, -7))[:104]
    cutoffs = [cutoff for cutoff in cutoffs if known[max(cutoff - 55, 0) : cutoff + 1].sum() >= 28]
    context, horizon = forecaster.settings.context_length, forecaster.settings.output_days
    past = torch.from_numpy(histories(panel, row, cutoffs, context))
    first_days = torch.tensor([panel.first_day + cutoff + 1 - context for cutoff in cutoffs])
    with torch.no_grad():
        z, scaled = forecaster.scaled_quantiles(past, first_days, torch.full_like(first_days, kind))
    needed = {share: np.full((len(cutoffs), horizon), np.nan) for share in (0.8, 0.9)}
    after = np.concatenate([values, np.full(horizon, np.nan)])
    for place, cutoff in enumerate(cutoffs):
        for day in range(horizon):
            value = after[cutoff + 1 + day]
            if np.isnan(value):
                continue
            even = math.log1p(value) if kind == 0 else math.asin(math.sqrt(value)) if kind == 1 else value
            target = min(max((even - float(scaled.level[place])) / float(scaled.spread[place]), -15.0), 15.0)
            quantiles = z[place, day].numpy().astype(np.float64)
            error = target - quantiles[3]
            for share, lower, upper in ((0.8, 1, 5), (0.9, 0, 6)):
                width = quantiles[upper] - quantiles[3] if error > 0 else quantiles[3] - quantiles[lower]
                needed[share][place, day] = abs(error) / max(width, 1e-6)
    weeks = [
        factor_by_hand({share: part[:, start : start + 7] for share, part in needed.items()}, trust=8)
        for start in range(0, horizon, 7)
    ]
    middles = [3.0 + 7 * week for week in range(len(weeks))]
    of_weeks = np.exp([np.interp(day, middles, np.log(weeks)) for day in range(horizon)])
    weekdays = [
        factor_by_hand({share: (part / of_weeks)[:, day::7] for share, part in needed.items()}, trust=52)
        for day in range(7)
    ]
    scale = [float(of_weeks[day]) * weekdays[day % 7] for day in range(horizon)]
    return Bands(tuple(scale), 0.0, len(cutoffs))


@pytest.fixture(scope="module")
def mixed() -> Panel:
    """Series of all kinds and many lengths, with holes."""
    panel = make_panel(240, num_series=9, noise=0.3)
    values = panel.values.copy()
    kinds = [Kind.count, Kind.rate, Kind.other] * 3
    values[1::3] = 1 / (1 + 300 / (values[1::3] + 1))
    values[2::3] -= 400
    for row in range(9):
        values[row, : 20 * row] = np.nan  # the younger, the fewer weeks
    values[3, 100:140] = np.nan
    values[4, 130::9] = np.nan
    values[5, -3:] = np.nan
    values[8, :] = np.nan  # never known
    series = tuple(replace(of_panel, kind=kind) for of_panel, kind in zip(panel.series, kinds, strict=True))
    return replace(panel, series=series, values=values)


def test_factors_are_those_of_a_plain_loop_over_series_weeks_and_days(base: Forecaster, mixed: Panel) -> None:
    for unseen in (0, 150):
        together = calibrate(base, mixed, unseen=unseen)
        for row in range(8):
            expected = bands_by_hand(base, mixed, row, unseen)
            assert together[row].num_weeks == expected.num_weeks > 0
            np.testing.assert_allclose(together[row].scale[: len(expected.scale)], expected.scale, rtol=2e-6)
        assert together[8] == usual_bands(base.settings.output_days)


def test_series_are_calibrated_as_if_each_were_alone(
    base: Forecaster, mixed: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they are grouped: here at most 40 past forecasts at once, of series that have up to 30."""
    together = calibrate(base, mixed, unseen=0)
    assert [bands.num_weeks for bands in together][:2] == [30, 27]
    monkeypatch.setattr(calibration, "ORIGINS_AT_ONCE", 40)
    in_small_groups = calibrate(base, mixed, unseen=0)
    for row in (0, 3, 7):
        one_row = slice(row, row + 1)
        own = replace(
            mixed, series=mixed.series[one_row], values=mixed.values[one_row], verdicts=mixed.verdicts[one_row]
        )
        (alone,) = calibrate(base, own, unseen=0)
        for grouped in (together[row], in_small_groups[row]):
            assert grouped.num_weeks == alone.num_weeks
            np.testing.assert_allclose(grouped.scale, alone.scale, rtol=2e-6)
            assert grouped.day_correlation == pytest.approx(alone.day_correlation, abs=5e-6)
