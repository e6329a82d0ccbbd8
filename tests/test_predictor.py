"""Forecasts of 1 to 30 days: the fed-back medians and the bands by a loop over days, and who answers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from forecasting import predictor as predictors
from forecasting.artifact import forecaster_predictor, load_base
from forecasting.baselines import seasonal_naive
from forecasting.domain import KIND_CODES, MAX_DAYS_AHEAD, Kind, Scaling
from forecasting.model.forecaster import LEVELS, MEDIAN, Forecaster
from forecasting.model.rollout import from_even, to_even, within_range
from forecasting.model.scaling import MinMaxScaling
from forecasting.predictor import Predictor, Window, Windows, extend_scale, stack_windows, usual_bands
from forecasting.settings.schema import ModelConfig

SITE_OF_WORKING_DAYS = np.array([100.0, 110.0, 105.0, 100.0, 90.0, 50.0, 45.0])


@pytest.fixture(scope="module")
def base() -> Predictor:
    return forecaster_predictor("base", load_base())


def make_windows(predictor: Predictor, num: int, days: int, *, scale: np.ndarray | None = None) -> Windows:
    """Windows of every kind, with unknown days; usual bands unless `scale` says otherwise."""
    random = np.random.default_rng(5)
    kinds = [list(Kind)[row % 3] for row in range(num)]
    context = predictor.context_length
    history = np.stack([
        {Kind.count: 200.0, Kind.rate: 0.005, Kind.other: 3.0}[kind] * np.resize(SITE_OF_WORKING_DAYS, context)
        * np.exp(0.2 * random.normal(size=context))
        for kind in kinds
    ]).astype(np.float32)  # fmt: skip
    history[:, -46] = np.nan
    factors = np.array(usual_bands(predictor.horizon).scale if scale is None else scale, np.float32)[:days]
    return Windows(
        history=history,
        first_day=19_000 + np.arange(num),
        kind=np.array([KIND_CODES[kind] for kind in kinds], np.int64),
        band_scale=np.tile(factors, (num, 1)),
        naive=np.zeros(num, bool),
    )


def even(value: float, kind: int) -> float:
    """In the units in which noise is even: written with math alone."""
    if kind == KIND_CODES[Kind.count]:
        return math.log(1 + max(value, 0.0))
    return math.asin(math.sqrt(min(max(value, 0.0), 1.0))) if kind == KIND_CODES[Kind.rate] else value


def medians_by_feeding_back(predictor: Predictor, windows: Windows, days: int) -> np.ndarray:
    """A window at a time, a horizon at a time."""
    medians = []
    for row in range(len(windows)):
        known, first = list(windows.history[row]), int(windows.first_day[row])
        forecast: list[float] = []
        while len(forecast) < days:
            past = torch.tensor([(known + forecast)[-predictor.context_length :]], dtype=torch.float32)
            day = torch.tensor([first + len(forecast)])
            scale = torch.ones(1, predictor.horizon)
            with torch.no_grad():
                block = predictor.forward(past, day, torch.tensor([windows.kind[row]]), scale)
            forecast += block[0, :, MEDIAN].tolist()
        medians.append(forecast[:days])
    return np.array(medians)


@pytest.fixture(scope="module")
def weekly() -> Predictor:
    """Of a network that forecasts seven days in one pass."""
    torch.manual_seed(3)
    forecaster = Forecaster(ModelConfig(hidden_size=16, direct_days=0, last_year=False))
    torch.nn.init.normal_(forecaster.network.head.weight, std=0.05)  # days differ
    return forecaster_predictor("weekly", forecaster)


@pytest.mark.parametrize("days", [1, 6, 7, 8, 14, 15, 30])
def test_medians_are_fed_back(weekly: Predictor, days: int) -> None:
    windows = make_windows(weekly, 6, days)
    quantiles = weekly.predict(windows)
    assert quantiles.shape == (6, days, len(LEVELS))
    np.testing.assert_allclose(quantiles[..., MEDIAN], medians_by_feeding_back(weekly, windows, days), rtol=1e-4)
    assert (np.diff(quantiles, axis=2) >= 0).all()


def test_direct_days_are_the_networks_own_and_the_others_are_rolled_out() -> None:
    """Of 21 days that one forward pass forecasts: as the network says, and the 9 after them by its fed-back medians."""
    torch.manual_seed(3)
    forecaster = Forecaster(ModelConfig(hidden_size=16, direct_days=21))
    torch.nn.init.normal_(forecaster.network.head.weight, std=0.05)  # days differ
    predictor = forecaster_predictor("direct", forecaster)
    windows = make_windows(predictor, 5, 30, scale=np.ones(30))
    quantiles = predictor.predict(windows)
    past, first_day, kind = (torch.from_numpy(part) for part in (windows.history, windows.first_day, windows.kind))
    with torch.no_grad():
        direct = forecaster(past, first_day, kind, torch.ones(5, 21))
        fed_back = torch.cat([past, direct[..., MEDIAN]], 1)[:, 21:]
        later = forecaster(fed_back, first_day + 21, kind, torch.ones(5, 21))
    np.testing.assert_allclose(quantiles[:, :21], direct.numpy(), rtol=1e-5)
    np.testing.assert_allclose(quantiles[:, 21:, MEDIAN], later[:, :9, MEDIAN].numpy(), rtol=1e-5)
    others = quantiles[windows.kind == KIND_CODES[Kind.other]]  # in their own units, noise is even
    width = others[..., -1] - others[..., 0]
    np.testing.assert_allclose(width[:, 21:], np.tile(width[:, 20:21], 9), rtol=1e-3)


def test_first_horizon_is_the_models_own(base: Predictor) -> None:
    assert base.logarithmic
    windows = make_windows(base, 6, 30, scale=np.linspace(0.5, 3, 30))
    with torch.no_grad():
        own = base.forward(
            torch.from_numpy(windows.history), torch.from_numpy(windows.first_day), torch.from_numpy(windows.kind),
            torch.from_numpy(windows.band_scale[:, : base.horizon].copy()),
        ).numpy()  # fmt: skip
    np.testing.assert_allclose(base.predict(windows)[:, : base.horizon], own, rtol=1e-5)


def test_later_bands_are_the_last_days_times_their_factor(weekly: Predictor) -> None:
    windows = make_windows(weekly, 6, 30)
    quantiles, factors = weekly.predict(windows).astype(float), usual_bands(7).scale
    for row, kind in enumerate(windows.kind):
        last = [even(value, kind) for value in quantiles[row, 6]]
        for day in range(7, 30):
            later = [even(value, kind) for value in quantiles[row, day]]
            for level in range(len(LEVELS)):
                expected = factors[day] * (last[level] - last[MEDIAN])
                at_end = quantiles[row, day, level] == 1.0  # of a rate's range
                if not at_end:
                    assert later[level] - later[MEDIAN] == pytest.approx(expected, rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("scale", [usual_bands(7).scale, (1.5,) * 7 + tuple(np.linspace(1.5, 2.0, 23))])
def test_bands_neither_narrow_nor_jump_where_horizons_join(weekly: Predictor, scale: tuple[float, ...]) -> None:
    """Relative to the level, from day 7 on: each day at least as wide as the one before, and by a tenth at most."""
    windows = make_windows(weekly, 24, 30, scale=np.array(scale))
    counts = windows.kind == KIND_CODES[Kind.count]
    logs = np.log1p(weekly.predict(windows)[counts].astype(float))
    widths = logs[..., LEVELS.index(0.9)] - logs[..., LEVELS.index(0.1)]
    ratios = widths[:, 7:] / widths[:, 6:-1]
    assert ratios.min() > 0.999
    assert ratios.max() < 1.1


def test_bands_of_minmax_scaling_are_in_raw_units() -> None:
    torch.manual_seed(0)
    settings = ModelConfig(hidden_size=8, scaling=Scaling.minmax, direct_days=0)
    forecaster = Forecaster(settings, MinMaxScaling(0.0, 200.0)).eval()
    predictor = forecaster_predictor("minmax", forecaster)
    assert not predictor.logarithmic
    windows = make_windows(predictor, 1, 30)
    history = windows.history / 200
    quantiles = predictor.predict(
        Windows(history, windows.first_day, windows.kind, windows.band_scale, windows.naive)
    ).astype(float)
    widths = quantiles[0, :, 5] - quantiles[0, :, MEDIAN]
    np.testing.assert_allclose(widths[7:], widths[6] * np.array(usual_bands(7).scale[7:]), rtol=1e-4)
    assert quantiles.min() >= 0


def test_usual_bands_grow_with_the_days_ahead() -> None:
    scale = usual_bands(7).scale
    assert (usual_bands(7).num_weeks, usual_bands(7).day_correlation) == (0, 0.5)
    assert len(scale) == MAX_DAYS_AHEAD
    assert scale[:7] == (1.0,) * 7
    assert scale[13] == pytest.approx(1.2)  # a week after the horizon
    assert scale[20] == pytest.approx(1 + 0.2 * 2**0.8)
    assert all(np.diff(scale[6:]) > 0)
    assert usual_bands(30).scale == (1.0,) * 30
    assert usual_bands(1).scale[7] == pytest.approx(1.2)
    assert extend_scale((0.5, 2.0))[:2] == (0.5, 2.0)
    assert extend_scale((0.5, 2.0))[8] == pytest.approx(2.4)


def test_seasonal_naive_answers_where_a_window_says_so(base: Predictor) -> None:
    windows = make_windows(base, 4, 10)
    model = base.roll_out(windows)
    mixed = Windows(windows.history, windows.first_day, windows.kind, windows.band_scale, np.arange(4) % 2 == 1)
    answered = base.predict(mixed)
    np.testing.assert_array_equal(answered[::2], model[::2])
    repeated = seasonal_naive(windows.history, days_ahead=10)
    np.testing.assert_allclose(answered[1::2, :, MEDIAN], repeated[1::2], rtol=1e-6)
    np.testing.assert_array_equal(base.roll_out(mixed), model)
    assert answered[windows.kind == KIND_CODES[Kind.rate]].max() <= 1


def test_windows_forecast_together_are_those_forecast_alone(base: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = make_windows(base, 7, 30)
    together = base.predict(windows)
    alone = np.concatenate([base.predict(windows.select(slice(row, row + 1))) for row in range(7)])
    np.testing.assert_allclose(alone, together, rtol=1e-4)
    monkeypatch.setattr(predictors, "WINDOWS_AT_ONCE", 3)
    np.testing.assert_allclose(base.predict(windows), together, rtol=1e-4)
    assert base.predict(windows.select(slice(0, 0))).shape == (0, 30, len(LEVELS))


def test_stacked_windows_are_cut_to_the_days_ahead() -> None:
    history = np.arange(56, dtype=np.float32)
    scale = np.arange(30, dtype=np.float32)
    stacked = stack_windows([Window(history, 5, Kind.rate, scale), Window(history, 6, Kind.other, scale, True)], 3)
    np.testing.assert_array_equal(stacked.band_scale, [[0, 1, 2]] * 2)
    assert (stacked.first_day.tolist(), stacked.kind.tolist(), stacked.naive.tolist()) == (
        [5, 6],
        [1, 2],
        [False, True],
    )


def test_counts_reach_down_to_zero_and_rates_from_zero_to_one() -> None:
    quantiles = torch.tensor([[[-2.0, 0.25, 3.0]]]).expand(3, 1, 3)
    kinds = torch.tensor([KIND_CODES[kind] for kind in (Kind.count, Kind.rate, Kind.other)])
    limited = within_range(quantiles, kinds)
    assert limited[:, 0].tolist() == [[0.0, 0.25, 3.0], [0.0, 0.25, 1.0], [-2.0, 0.25, 3.0]]


@pytest.mark.parametrize("kind", list(Kind))
def test_even_units_are_those_of_math_and_lead_back(kind: Kind) -> None:
    code, values = KIND_CODES[kind], torch.linspace(0, 1, 11, dtype=torch.float64)[None]
    units = to_even(values, torch.tensor([code]))
    np.testing.assert_allclose(units[0], [even(value, code) for value in values[0].tolist()])
    np.testing.assert_allclose(from_even(units, torch.tensor([code])), values, atol=1e-12)


def test_effects_leave_the_history_and_enter_the_days_ahead(base: Predictor) -> None:
    """A site with planted holidays and their effects is forecast as the same site without holidays, holidays apart."""
    plain = make_windows(base, 3, 30)
    effects = np.zeros((3, base.context_length + 30), np.float32)
    effects[:, base.context_length + np.array([-26, -6, 2, 24])] = 0.1 * np.array([-1, 1, -1, 1], np.float32)
    history = plain.history.copy()
    for row, column in np.ndindex(history.shape):
        if effects[row, column]:
            kind = int(plain.kind[row])
            history[row, column] = back(even(float(history[row, column]), kind) + float(effects[row, column]), kind)
    known = replace(plain, history=history, effects=effects)
    expected, quantiles = base.predict(plain), base.predict(known)
    for row, day in ((row, day) for row in range(3) for day in range(30)):
        kind = int(plain.kind[row])
        effect = float(effects[row, base.context_length + day])
        moved = [back(even(float(value), kind) + effect, kind) for value in expected[row, day]]
        np.testing.assert_allclose(quantiles[row, day], moved, rtol=2e-3, atol=1e-6)


def test_nothing_known_changes_nothing(base: Predictor) -> None:
    windows = make_windows(base, 6, 30)
    zeros = np.zeros((6, base.context_length + 30), np.float32)
    assert (base.predict(replace(windows, effects=zeros)) == base.predict(windows)).all()


def back(value: float, kind: int) -> float:
    """The inverse of `even`."""
    if kind == KIND_CODES[Kind.count]:
        return math.exp(max(value, 0.0)) - 1
    return math.sin(min(max(value, 0.0), math.pi / 2)) ** 2 if kind == KIND_CODES[Kind.rate] else value
