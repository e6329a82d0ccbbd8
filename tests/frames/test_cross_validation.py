"""Forecasts of past days: equal to those that would have been made, beside what came."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from forecasting import TrafficForecaster
from forecasting.errors import SettingError, TooFewDays

NUM_DAYS = 100
DAYS = pd.date_range("2024-01-01", periods=NUM_DAYS)


def make_series(name: str, seed: int, num_days: int = NUM_DAYS) -> pd.DataFrame:
    values = np.random.default_rng(seed).poisson(200, num_days).astype(float)
    return pd.DataFrame({"unique_id": name, "ds": DAYS[:num_days], "y": values})


@pytest.fixture(scope="module")
def model() -> TrafficForecaster:
    return TrafficForecaster()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.concat([make_series("blog", 1), make_series("shop", 2, 95)], ignore_index=True)


def test_each_window_is_the_forecast_of_its_cutoff(model: TrafficForecaster, frame: pd.DataFrame) -> None:
    past = model.cross_validation(frame, 5, n_windows=3, step_size=4, level=[80])
    assert list(past.columns) == ["unique_id", "ds", "cutoff", "y", "forecast", "forecast-lo-80", "forecast-hi-80"]
    assert len(past) == 2 * 3 * 5
    for (name, cutoff), rows in past.groupby(["unique_id", "cutoff"]):
        seen = frame[(frame["unique_id"] == name) & (frame["ds"] <= cutoff)]
        expected = model.forecast(seen, 5, level=[80])
        found = rows.drop(columns=["cutoff", "y"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
    actual = past.merge(frame, on=["unique_id", "ds"], suffixes=("", "_given"))
    np.testing.assert_array_equal(actual["y"], actual["y_given"])
    cutoffs = {name: sorted(set(rows["cutoff"])) for name, rows in past.groupby("unique_id")}
    assert cutoffs == {"blog": list(DAYS[[86, 90, 94]]), "shop": list(DAYS[[81, 85, 89]])}


def test_days_after_a_cutoff_change_nothing_before_it(model: TrafficForecaster, frame: pd.DataFrame) -> None:
    cutoff = DAYS[90]
    changed = frame.assign(y=frame["y"].where(frame["ds"] <= cutoff, 10**6))
    one, other = (model.cross_validation(each, 3, n_windows=6, step_size=3) for each in (frame, changed))
    kept = [each[each["cutoff"] <= cutoff].drop(columns="y") for each in (one, other)]
    assert len(kept[0]) > 20
    pd.testing.assert_frame_equal(*kept)


def test_days_that_nobody_knows_are_left_out_and_missing_days_are_without_traffic(model: TrafficForecaster) -> None:
    frame = make_series("blog", 3)
    frame.loc[97, "y"] = np.nan
    frame = frame.drop(index=98)
    past = model.cross_validation(frame, 4, n_windows=1)
    assert list(past["ds"]) == [DAYS[96], DAYS[98], DAYS[99]]
    assert list(past["y"]) == [frame["y"][96], 0.0, frame["y"][99]]


def test_utilsforecast_takes_it_as_it_is(model: TrafficForecaster, frame: pd.DataFrame) -> None:
    evaluation = pytest.importorskip("utilsforecast.evaluation")
    losses = pytest.importorskip("utilsforecast.losses")
    past = model.cross_validation(frame, n_windows=2, level=[80])
    table = evaluation.evaluate(past, [losses.mae, losses.coverage], level=[80]).set_index(["unique_id", "metric"])
    of_blog = past[past["unique_id"] == "blog"]
    expected = (of_blog["y"] - of_blog["forecast"]).abs().groupby(of_blog["cutoff"]).mean()
    assert sorted(table.loc[("blog", "mae")]["forecast"]) == pytest.approx(sorted(expected))
    polars = model.cross_validation(pl.from_pandas(frame), n_windows=2, level=[80])
    assert isinstance(polars, pl.DataFrame)
    assert evaluation.evaluate(polars, [losses.mae]).height == 4


def test_too_short_for_any_window(model: TrafficForecaster, frame: pd.DataFrame) -> None:
    short = pd.concat([frame, make_series("new", 4, 36)])
    with pytest.raises(TooFewDays) as caught:
        model.cross_validation(short)
    assert str(caught.value) == (
        "Series 'new' has 29 days with a value before its last window, 29 of them among the last 56; a forecast needs "
        "30, and 28 among the last 56. Add the missing days, or leave such series out with drop_short=True."
    )
    with pytest.warns(UserWarning, match=r"^Series 'new' has 29 days .* It is left out\.$"):
        kept = model.cross_validation(short, drop_short=True)
    assert set(kept["unique_id"]) == {"blog", "shop"}


def test_fewer_windows_are_told(model: TrafficForecaster, frame: pd.DataFrame) -> None:
    with pytest.warns(UserWarning, match="fewer|few days for all") as caught:
        past = model.cross_validation(pd.concat([frame, make_series("young", 4, 45)]), n_windows=3)
    assert [str(each.message) for each in caught] == [
        "1 of 3 series have too few days for all 3 windows: the earliest windows are left out."
    ]
    assert past.groupby("unique_id")["cutoff"].nunique().to_dict() == {"blog": 3, "shop": 3, "young": 2}


def test_wrong_windows(model: TrafficForecaster, frame: pd.DataFrame) -> None:
    with pytest.raises(SettingError) as caught:
        model.cross_validation(frame, n_windows=0)
    assert str(caught.value) == "n_windows is 0; it must be at least 1."
    with pytest.raises(SettingError) as caught:
        model.cross_validation(frame, step_size=-7)
    assert str(caught.value) == "step_size is -7; it must be at least 1."
