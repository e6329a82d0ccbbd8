"""Fine-tuning on a data frame, and what is saved of it."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecasting import PredictionService, TrafficForecaster
from forecasting.domain import SourceName
from forecasting.errors import SettingError, TooFewDays
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig

NUM_DAYS = 150


def make_site(name: str, seed: int) -> pd.DataFrame:
    week = np.array([1.0, 1.1, 1.05, 1.0, 0.9, 0.5, 0.4])
    values = np.random.default_rng(seed).poisson(300 * np.resize(week, NUM_DAYS))
    return pd.DataFrame({"unique_id": name, "ds": pd.date_range("2024-01-01", periods=NUM_DAYS), "y": values})


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.concat([make_site("blog", 1), make_site("shop", 2)], ignore_index=True)


@pytest.fixture(scope="module")
def tuned(frame: pd.DataFrame) -> TrafficForecaster:
    return TrafficForecaster().fit(frame, epochs=1)


def test_saved_version_forecasts_as_it_did_in_memory_and_as_prediction_service(
    tuned: TrafficForecaster, frame: pd.DataFrame, database: DatabaseConfig, tmp_path: Path
) -> None:
    folder = tuned.save("v1.1.0", folder=tmp_path / "store")
    assert folder == tmp_path / "store" / "v1.1.0"
    assert (folder / "report.png").is_file()
    expected = tuned.forecast(frame, 9, level=[80])
    np.testing.assert_allclose(
        TrafficForecaster(folder).forecast(frame, 9, level=[80])["forecast-lo-80"],
        expected["forecast-lo-80"],
        rtol=1e-5,
    )
    file = tmp_path / "traffic.csv"
    frame.set_axis(["site", "date", "page_visits"], axis=1).to_csv(file, index=False)
    config = Config(
        database=database,
        data=DataConfig(source=SourceName.csv, csv=file),
        model_dir=tmp_path / "store",
        given={"data.source": "the command line", "data.csv": "the command line"},
    )
    with PredictionService(config) as service:
        rows = service.predict(days_ahead=9, site="shop")["predictions"]
    of_shop = expected[expected["unique_id"] == "shop"]
    for key, column in (("predicted_visits", "forecast"), ("lower", "forecast-lo-80"), ("upper", "forecast-hi-80")):
        np.testing.assert_allclose([row[key] for row in rows], of_shop[column], atol=0.501)


def test_what_was_fitted_can_be_sent_to_another_process(tuned: TrafficForecaster, frame: pd.DataFrame) -> None:
    sent = pickle.loads(pickle.dumps(tuned))  # noqa: S301 - our own
    pd.testing.assert_frame_equal(sent.forecast(frame, 3), tuned.forecast(frame, 3))


def test_its_bands_are_those_of_each_series(tuned: TrafficForecaster, frame: pd.DataFrame) -> None:
    known = tuned.forecast(frame, 1, level=[80])
    unknown = tuned.forecast(frame.assign(unique_id=frame["unique_id"] + " 2"), 1, level=[80])
    np.testing.assert_allclose(known["forecast"], unknown["forecast"], rtol=1e-5)
    assert not np.allclose(known["forecast-hi-80"], unknown["forecast-hi-80"], rtol=1e-3)


def test_refusals(frame: pd.DataFrame) -> None:
    model = TrafficForecaster()
    with pytest.raises(SettingError) as caught:
        model.save("v2")
    assert str(caught.value) == "There is nothing to save: only what fit() returns is new. tuned = model.fit(df)."
    with pytest.raises(TooFewDays) as refused:
        model.fit(frame[:20])
    assert str(refused.value) == (
        "page_visits of blog has 20 days of data; at least 30 are needed. Wait for more, or load older days."
    )
