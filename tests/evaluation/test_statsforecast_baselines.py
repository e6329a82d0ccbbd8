"""The peers against statsforecast itself, and our seasonal naive forecast against statsforecast's."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from forecasting.baselines import seasonal_naive, seasonal_naive_quantiles
from forecasting.errors import SettingError
from forecasting.evaluation import statsforecast_baselines as peers
from forecasting.model.forecaster import LEVELS
from tests.panels import WEEK

INSTALLED = importlib.util.find_spec("statsforecast") is not None
needs_statsforecast = pytest.mark.skipif(not INSTALLED, reason="the bench extra is not installed")


def make_history(num_days: int = 60, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.round(200 * WEEK[np.arange(num_days) % 7] * np.exp(0.1 * random.normal(size=num_days))).astype(np.float32)


@needs_statsforecast
@pytest.mark.parametrize("horizon", [7, 28])
def test_seasonal_naive_equals_statsforecast(horizon: int) -> None:
    from statsforecast.models import SeasonalNaive

    history = make_history()
    theirs = SeasonalNaive(season_length=7).forecast(y=history.astype(float), h=horizon, level=[50, 80, 90])
    ours = seasonal_naive_quantiles(history[None], days_ahead=horizon, levels=LEVELS)[0]
    np.testing.assert_array_equal(seasonal_naive(history[None], days_ahead=horizon)[0], theirs["mean"])
    for column, key in enumerate(("lo-90", "lo-80", "lo-50", "mean", "hi-50", "hi-80", "hi-90")):
        np.testing.assert_allclose(ours[:, column], theirs[key], rtol=1e-5)


@needs_statsforecast
@pytest.mark.parametrize("name", peers.PEERS)
def test_peer_equals_the_method(name: str) -> None:
    from statsforecast import models

    histories = [make_history(60), make_history(45, seed=1)]
    forecasts = peers.forecast_peer(name, histories, horizon=14)
    assert (forecasts.quantiles.shape, forecasts.num_failed) == ((2, 14, 7), 0)
    for history, quantiles in zip(histories, forecasts.quantiles, strict=True):
        own = getattr(models, name)(season_length=7).forecast(y=history.astype(float), h=14, level=[80])
        np.testing.assert_allclose(quantiles[:, 3], own["mean"], rtol=1e-6)
        np.testing.assert_allclose(quantiles[:, 1], own["lo-80"], rtol=1e-6)
    assert (np.diff(forecasts.quantiles, axis=-1) >= 0).all()


@needs_statsforecast
def test_processes_give_the_forecasts_of_one_in_the_same_order() -> None:
    histories = [make_history(40 + number % 20, seed=number) for number in range(peers.MIN_FOR_POOL)]
    advanced: list[int] = []
    with peers.peer_processes(len(histories)) as processes:
        assert processes is not None
        name = "DynamicOptimizedTheta"
        there = peers.forecast_peer(name, histories, horizon=7, processes=processes, advance=advanced.append)
    here = peers.forecast_peer(name, histories, horizon=7)
    np.testing.assert_array_equal(there.quantiles, here.quantiles)
    assert sum(advanced) == len(histories)


@needs_statsforecast
@pytest.mark.parametrize("name", peers.PEERS)
@pytest.mark.parametrize(
    "history",
    [np.zeros(60), np.full(30, 7.0), np.append(np.zeros(59), 1e6), np.arange(60.0), 1e9 * make_history()],
    ids=["zeros", "constant", "spike", "ramp", "large"],
)
def test_odd_history_has_a_finite_forecast(name: str, history: np.ndarray) -> None:
    forecasts = peers.forecast_peer(name, [history.astype(np.float32)], horizon=7)
    assert np.isfinite(forecasts.quantiles).all()


@needs_statsforecast
def test_unknown_days_take_the_value_a_week_before() -> None:
    gaps, filled = make_history(), make_history()
    gaps[[20, 27]] = np.nan
    filled[[20, 27]] = filled[13]
    with_gaps, without = (
        peers.forecast_peer("AutoTheta", [history], horizon=7).quantiles for history in (gaps, filled)
    )
    np.testing.assert_array_equal(with_gaps, without)


def test_weekday_that_was_never_known_takes_the_mean() -> None:
    history = np.tile(np.float32([10, 20, 30, 40, 50, np.nan, np.nan]), 8)[None]
    median = seasonal_naive_quantiles(history, days_ahead=7, levels=LEVELS)[0, :, 3]
    np.testing.assert_array_equal(median, [10, 20, 30, 40, 50, 30, 30])


def test_missing_statsforecast_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if INSTALLED:
        monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingError) as error:
        peers.check_installed()
    assert str(error.value) == (
        "--peers needs statsforecast, which is not installed. Install it: pip install -e '.[bench]' -c constraints.txt"
    )
