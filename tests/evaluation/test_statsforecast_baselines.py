"""The peers: as statsforecast gives them, and the seasonal naive forecast against statsforecast's own."""

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


def made_history(num_days: int = 60, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.round(200 * WEEK[np.arange(num_days) % 7] * np.exp(0.1 * random.normal(size=num_days))).astype(np.float32)


@needs_statsforecast
@pytest.mark.parametrize("horizon", [7, 28])
def test_seasonal_naive_is_statsforecasts(horizon: int) -> None:
    from statsforecast.models import SeasonalNaive

    history = made_history()
    theirs = SeasonalNaive(season_length=7).forecast(y=history.astype(float), h=horizon, level=[50, 80, 90])
    ours = seasonal_naive_quantiles(history[None], horizon=horizon, levels=LEVELS)[0]
    np.testing.assert_array_equal(seasonal_naive(history[None], horizon=horizon)[0], theirs["mean"])
    for place, key in enumerate(("lo-90", "lo-80", "lo-50", "mean", "hi-50", "hi-80", "hi-90")):
        np.testing.assert_allclose(ours[:, place], theirs[key], rtol=1e-5)


@needs_statsforecast
@pytest.mark.parametrize("name", peers.PEERS)
def test_peer_is_the_methods_own_answer(name: str) -> None:
    from statsforecast import models

    histories = [made_history(60), made_history(45, seed=1)]
    found = peers.forecast_peer(name, histories, horizon=14)
    assert (found.quantiles.shape, found.num_failed) == ((2, 14, 7), 0)
    for history, quantiles in zip(histories, found.quantiles, strict=True):
        own = getattr(models, name)(season_length=7).forecast(y=history.astype(float), h=14, level=[80])
        np.testing.assert_allclose(quantiles[:, 3], own["mean"], rtol=1e-6)
        np.testing.assert_allclose(quantiles[:, 1], own["lo-80"], rtol=1e-6)
    assert (np.diff(found.quantiles, axis=-1) >= 0).all()


@needs_statsforecast
def test_processes_give_what_one_does_in_the_same_order() -> None:
    histories = [made_history(40 + number % 20, seed=number) for number in range(peers.MIN_FOR_POOL)]
    told = []
    with peers.peer_processes(len(histories)) as processes:
        assert processes is not None
        name = "DynamicOptimizedTheta"
        found = peers.forecast_peer(name, histories, horizon=7, processes=processes, advance=told.append)
    here = peers.forecast_peer(name, histories, horizon=7)
    np.testing.assert_array_equal(found.quantiles, here.quantiles)
    assert sum(told) == len(histories)


@needs_statsforecast
@pytest.mark.parametrize("name", peers.PEERS)
@pytest.mark.parametrize(
    "history",
    [np.zeros(60), np.full(30, 7.0), np.append(np.zeros(59), 1e6), np.arange(60.0), 1e9 * made_history()],
    ids=["zeros", "constant", "spike", "ramp", "large"],
)
def test_odd_history_has_a_finite_forecast(name: str, history: np.ndarray) -> None:
    found = peers.forecast_peer(name, [history.astype(np.float32)], horizon=7)
    assert np.isfinite(found.quantiles).all()


@needs_statsforecast
def test_unknown_days_are_the_week_before() -> None:
    gaps, filled = made_history(), made_history()
    gaps[[20, 27]] = np.nan
    filled[[20, 27]] = filled[13]
    with_gaps, without = (peers.forecast_peer("AutoTheta", [one], horizon=7).quantiles for one in (gaps, filled))
    np.testing.assert_array_equal(with_gaps, without)


def test_weekday_that_was_never_known_is_the_mean() -> None:
    history = np.tile(np.float32([10, 20, 30, 40, 50, np.nan, np.nan]), 8)[None]
    median = seasonal_naive_quantiles(history, horizon=7, levels=LEVELS)[0, :, 3]
    np.testing.assert_array_equal(median, [10, 20, 30, 40, 50, 30, 30])


def test_missing_statsforecast_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if INSTALLED:
        monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingError) as error:
        peers.check_installed()
    assert str(error.value) == (
        "--peers needs statsforecast, which is not installed. Install it: pip install -e '.[bench]' -c constraints.txt"
    )
