"""Unusual days of data frames: planted ones are found, and later days change nothing."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from forecasting import TrafficForecaster
from forecasting.errors import SettingError

NUM_DAYS = 120
DAYS = pd.date_range("2024-01-01", periods=NUM_DAYS)
WEEK = np.resize([1.0, 1.1, 1.05, 1.0, 0.9, 0.5, 0.4], NUM_DAYS)


def make_site(name: str, seed: int, changes: dict[int, float]) -> pd.DataFrame:
    values = np.random.default_rng(seed).poisson(300 * WEEK).astype(float)
    values[list(changes)] = list(changes.values())
    return pd.DataFrame({"unique_id": name, "ds": DAYS, "y": values})


@pytest.fixture(scope="module")
def model() -> TrafficForecaster:
    return TrafficForecaster()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.concat([make_site("blog", 1, {90: 900.0, 110: 40.0}), make_site("shop", 2, {})], ignore_index=True)


def test_planted_days_are_found(model: TrafficForecaster, frame: pd.DataFrame) -> None:
    judged = model.detect_anomalies(frame, level=99.9)
    assert list(judged.columns) == ["unique_id", "ds", "y", "forecast", "lo", "hi", "score", "anomaly"]
    odd = judged[judged["anomaly"]]
    assert list(zip(odd["unique_id"], odd["ds"], np.sign(odd["score"]), strict=True)) == [
        ("blog", DAYS[90], 1.0),
        ("blog", DAYS[110], -1.0),
    ]
    assert np.all((odd["y"] > odd["hi"]) | (odd["y"] < odd["lo"]))
    assert np.all((judged["lo"] < judged["forecast"]) & (judged["forecast"] < judged["hi"]))
    given = judged.merge(frame, on=["unique_id", "ds"], suffixes=("", "_given"))
    np.testing.assert_allclose(given["y"], given["y_given"])
    assert judged["ds"].min() == DAYS[28]  # the first day after as many as a forecast needs


def test_later_days_change_nothing(model: TrafficForecaster, frame: pd.DataFrame) -> None:
    until = DAYS[95]
    whole = model.detect_anomalies(frame)
    part = model.detect_anomalies(frame[frame["ds"] <= until])
    before = whole[whole["ds"] <= until].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, before, rtol=1e-4, atol=1e-4)


def test_polars_and_a_wrong_level(model: TrafficForecaster, frame: pd.DataFrame) -> None:
    polars = model.detect_anomalies(pl.from_pandas(frame))
    assert polars["anomaly"].dtype == pl.Boolean
    np.testing.assert_array_equal(polars["score"], model.detect_anomalies(frame)["score"])
    with pytest.raises(SettingError) as caught:
        model.detect_anomalies(frame, level=100.0)
    assert str(caught.value) == "level has 100.0; write widths of bands in percent, such as level=[80, 95]."
