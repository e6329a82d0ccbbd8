"""Numbers that are known ahead, as X_df has them: equal to PredictionService's, and chosen as training does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from forecasting import PredictionService, TrafficForecaster
from forecasting.artifact import Artifact
from forecasting.card import SeriesCard
from forecasting.domain import Kind, SourceName
from forecasting.errors import DataError, DuplicateDays, SettingError
from forecasting.known_days.regressors import RegressorEffect
from forecasting.predictor import SEASONAL_NAIVE, usual_bands
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig

FIRST, NUM_DAYS, H = pd.Timestamp("2024-01-01"), 300, 14
COEFFICIENT = 0.3  # of a day one standard deviation warmer, in logarithms of counts


def make_frame(*, seed: int = 0, num_days: int = NUM_DAYS + H) -> pd.DataFrame:
    """Visits that follow the weather, which the noise does not; the last days are those ahead."""
    rng = np.random.default_rng(seed)
    days = np.arange(num_days)
    weather, noise = rng.normal(size=num_days), rng.normal(size=num_days)
    week = np.array([1.0, 1.1, 1.05, 1.0, 0.9, 0.5, 0.4])[days % 7]
    visits = rng.poisson(2000 * week * np.exp(COEFFICIENT * weather))
    ds = pd.date_range(FIRST, periods=num_days)
    return pd.DataFrame({"unique_id": "blog", "ds": ds, "y": visits, "weather": weather, "noise": noise})


@pytest.fixture(scope="module")
def base() -> TrafficForecaster:
    return TrafficForecaster()


@pytest.fixture(scope="module")
def whole() -> pd.DataFrame:
    return make_frame()


def split(whole: pd.DataFrame, *names: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frame up to the cutoff, and X_df."""
    return whole[:NUM_DAYS], whole[NUM_DAYS:][["unique_id", "ds", *names]]


def test_series_that_no_version_knows_uses_what_its_past_shows(base: TrafficForecaster, whole: pd.DataFrame) -> None:
    df, x_df = split(whole, "weather", "noise")
    with pytest.warns(UserWarning, match="No forecast uses noise: forecasts of the past weeks gained no more than"):
        used = base.forecast(df, H, X_df=x_df)["forecast"].to_numpy()
    plain = base.forecast(df, H)["forecast"].to_numpy()
    y = whole["y"][NUM_DAYS:].to_numpy()
    assert np.abs(used - y).mean() < 0.5 * np.abs(plain - y).mean()
    warmer = base.forecast(df, H, X_df=x_df.drop(columns="noise").assign(weather=1.0))["forecast"].to_numpy()
    colder = base.forecast(df, H, X_df=x_df.drop(columns="noise").assign(weather=-1.0))["forecast"].to_numpy()
    np.testing.assert_allclose(np.log(warmer / colder), 2 * COEFFICIENT, rtol=0.1)


def test_polars_and_a_frame_without_ids_are_the_same(base: TrafficForecaster, whole: pd.DataFrame) -> None:
    df, x_df = split(whole, "weather")
    expected = base.forecast(df, H, X_df=x_df)["forecast"]
    in_polars = base.forecast(pl.from_pandas(df), H, X_df=pl.from_pandas(x_df.sample(frac=1, random_state=0)))
    np.testing.assert_allclose(in_polars["forecast"].to_numpy(), expected, rtol=1e-6)
    alone = base.forecast(df.drop(columns="unique_id"), H, X_df=x_df.drop(columns="unique_id"))
    np.testing.assert_allclose(alone["forecast"], expected, rtol=1e-6)


def test_cross_validation_uses_them_and_sees_nothing_later(base: TrafficForecaster, whole: pd.DataFrame) -> None:
    settings: dict[str, Any] = {"h": 7, "n_windows": 2, "step_size": 7}
    past = base.cross_validation(whole, regressors=["weather"], **settings)
    plain = base.cross_validation(whole, **settings)
    error, plain_error = ((frame["forecast"] - frame["y"]).abs().mean() for frame in (past, plain))
    assert error < 0.6 * plain_error
    changed = whole.copy()
    changed.loc[len(whole) - 7 :, "y"] *= 3
    first = past[past["cutoff"] == past["cutoff"].min()]
    again = base.cross_validation(changed, regressors=["weather"], **settings)
    np.testing.assert_allclose(again[again["cutoff"] == again["cutoff"].min()]["forecast"], first["forecast"])


@pytest.mark.parametrize("argument", ["country", "events"])
def test_cross_validation_expects_known_days(base: TrafficForecaster, whole: pd.DataFrame, argument: str) -> None:
    """Each window is the forecast of its cutoff, with what its past shows of holidays and events."""
    sale = pd.DataFrame({"ds": ["2024-04-10", "2024-07-10", "2024-10-29"], "event": "sale"})
    known: dict[str, Any] = {argument: {"country": "DE", "events": sale}[argument]}
    df = whole[:308].copy()  # to 2024-11-03, with the Reformation Day of 2024-10-31 as DE-BB has it
    if argument == "country":
        known = {"country": "DE-BB"}
    df.loc[df["ds"].isin(pd.to_datetime(sale["ds"])), "y"] *= 4
    past = base.cross_validation(df, 7, n_windows=1, **known)
    cutoff = past["cutoff"].iloc[0]
    alone = base.forecast(df[df["ds"] <= cutoff], 7, **known)
    np.testing.assert_allclose(past["forecast"], alone["forecast"], rtol=1e-6)
    assert not np.allclose(past["forecast"], base.cross_validation(df, 7, n_windows=1)["forecast"], rtol=1e-3)


def test_event_is_no_anomaly(base: TrafficForecaster, whole: pd.DataFrame) -> None:
    df = whole[:200].copy()
    df["y"] /= np.exp(COEFFICIENT * df["weather"])
    sale = pd.DataFrame({"ds": ["2024-04-10", "2024-05-22", "2024-07-10"], "event": "sale"})
    is_sale = df["ds"].isin(pd.to_datetime(sale["ds"]))
    df.loc[is_sale, "y"] *= 2
    plain, expected = (base.detect_anomalies(df, events=events).set_index("ds") for events in (None, sale))
    last = pd.Timestamp("2024-07-10")
    assert plain.loc[last, "anomaly"]
    assert not expected.loc[last, "anomaly"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda x_df: x_df[:-1],
            "X_df has no weather for series 'blog' on 2024-11-09. A forecast of h=14 days needs it on each day from "
            "2024-10-27 to 2024-11-09: add these days, or leave weather out of X_df.",
        ),
        (
            lambda x_df: x_df.assign(weather=x_df["weather"].where(x_df.index != x_df.index[1])),
            "X_df has no weather for series 'blog' on 2024-10-28. A forecast of h=14 days needs it on each day from "
            "2024-10-27 to 2024-11-09: add these days, or leave weather out of X_df.",
        ),
        (
            lambda x_df: x_df.rename(columns={"weather": "wether"}),
            "The frame has no column 'wether'; it has: unique_id, ds, y, weather, noise. Regressors are columns of "
            "both frames.",
        ),
        (
            lambda x_df: x_df.drop(columns="weather"),
            "X_df has no column of a regressor beside unique_id and ds. Add one, or leave X_df out.",
        ),
        (
            lambda x_df: x_df.drop(columns="ds"),
            "X_df has no column 'ds'; it has: unique_id, weather. Regressors are columns of both frames.",
        ),
        (lambda x_df: x_df.assign(unique_id="shop"), "X_df has series that the frame does not have: shop."),
        (
            lambda x_df: x_df.assign(weather="warm"),
            "X_df: Row 0 (counted from 0; series 'blog', 2024-10-27): weather is 'warm', which is text, not a number. "
            'Convert the column: df["weather"] = pd.to_numeric(df["weather"]).',
        ),
        (lambda x_df: x_df[:0], "X_df has no rows. Give it the days ahead."),
        (lambda x_df: x_df.to_dict(), "X_df is a dict; give a data frame of ids, days and regressors."),
    ],
)  # fmt: skip
def test_wrong_regressors(
    base: TrafficForecaster, whole: pd.DataFrame, change: Callable[[pd.DataFrame], Any], text: str
) -> None:
    df, x_df = split(whole, "weather")
    with pytest.raises(DataError) as refusal:
        base.forecast(df, H, X_df=change(x_df))
    assert str(refusal.value) == text


def test_two_rows_of_a_day(base: TrafficForecaster, whole: pd.DataFrame) -> None:
    df, x_df = split(whole, "weather")
    with pytest.raises(DuplicateDays) as refusal:
        base.forecast(df, H, X_df=pd.concat([x_df, x_df[3:4]]))
    assert str(refusal.value) == (
        "X_df: rows 3 and 14 (counted from 0) of series 'blog' are both of 2024-10-30. Keep one row a day."
    )


def make_card(name: str, *effects: RegressorEffect, **changed: Any) -> SeriesCard:
    return SeriesCard(
        site=name, metric="y", kind=Kind.count, additive=True, unit_scale=1.0, band_scale=usual_bands(7).scale,
        day_correlation=0.5, regressors=effects, **changed,
    )  # fmt: skip


@pytest.fixture(scope="module")
def version(write_untrained: Callable[..., Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    weather = RegressorEffect("weather", COEFFICIENT, mean=0.1, spread=0.9, low=-1.5, high=1.5)
    noise = RegressorEffect("noise", -0.2, mean=0.0, spread=1.0, low=-3.0, high=3.0)
    cards = (
        make_card("blog", weather, noise), make_card("shop", weather), make_card("news"),
        make_card("naive", weather, answered_by=SEASONAL_NAIVE),
    )  # fmt: skip
    return write_untrained(tmp_path_factory.mktemp("frames"), "v1", series=cards, data={"missing": "zero"})


def test_forecasts_are_those_of_prediction_service(version: Artifact, database: DatabaseConfig, tmp_path: Path) -> None:
    """The same numbers by way of two files and PostgreSQL. The weather of the shop is its own."""
    names = ("blog", "shop", "news", "naive")
    whole = pd.concat([make_frame(seed=seed, num_days=144).assign(unique_id=name) for seed, name in enumerate(names)])
    is_past = whole["ds"] < FIRST + pd.Timedelta(days=130)
    day = whole["ds"].dt.strftime("%Y-%m-%d")
    pd.DataFrame({"site": whole["unique_id"], "date": day, "y": whole["y"]})[is_past].to_csv(
        tmp_path / "traffic.csv", index=False
    )
    columns = {"date": day, "site": whole["unique_id"], "weather": whole["weather"], "noise": whole["noise"]}
    pd.DataFrame(columns).to_csv(tmp_path / "weather.csv", index=False)
    model = TrafficForecaster(version.folder)
    x_df = whole[~is_past].drop(columns="y")
    forecasts = model.forecast(whole[is_past], H, level=[80], X_df=x_df)
    data = DataConfig(source=SourceName.csv, csv=tmp_path / "traffic.csv", regressors=str(tmp_path / "weather.csv"))
    with PredictionService(Config(database=database, data=data, model_dir=version.folder.parent)) as service:
        for name, rows in forecasts.groupby("unique_id", sort=False):
            answer = pd.DataFrame(service.predict("y", H, site=str(name))["predictions"])
            ends = {"forecast-lo-80": "lower", "forecast": "predicted_value", "forecast-hi-80": "upper"}
            for column, key in ends.items():
                np.testing.assert_allclose(rows[column], answer[key], atol=0.501, rtol=1e-6, err_msg=str(name))
    other = model.forecast(whole[is_past], H, X_df=x_df.assign(weather=-1.4))
    differs = (other["forecast"] != forecasts["forecast"]).groupby(forecasts["unique_id"]).any()
    assert differs.to_dict() == {"blog": True, "shop": True, "news": False, "naive": False}
    with pytest.raises(DataError) as refusal:
        model.forecast(whole[is_past], H)
    assert str(refusal.value) == (
        "Version v1 forecasts series 'blog' with noise, weather. Add it to the frame as a column, and its values on "
        "the days ahead in X_df."
    )


def test_fit_keeps_those_that_forecasts_gain_from(base: TrafficForecaster, whole: pd.DataFrame, tmp_path: Path) -> None:
    df, x_df = split(whole, "weather", "noise")
    tuned = base.fit(df, epochs=1, regressors=["weather", "noise"])
    with pytest.warns(UserWarning, match="No forecast uses noise"):
        forecasts = tuned.forecast(df, H, X_df=x_df)
    saved = TrafficForecaster(tuned.save("v2", folder=tmp_path))
    again = saved.forecast(df, H, X_df=x_df.drop(columns="noise"))
    np.testing.assert_allclose(again["forecast"], forecasts["forecast"], rtol=1e-4)
    y = whole["y"][NUM_DAYS:].to_numpy()
    assert np.abs(again["forecast"] - y).mean() < 0.6 * np.abs(base.forecast(df, H)["forecast"] - y).mean()


def test_engines_take_no_regressors(base: TrafficForecaster, whole: pd.DataFrame) -> None:
    dask = pytest.importorskip("dask.dataframe")
    df, x_df = split(whole, "weather")
    spread = dask.from_pandas(df, npartitions=1)
    for name, call in (
        ("X_df", lambda: base.forecast(spread, H, X_df=x_df)),
        ("regressors", lambda: base.cross_validation(spread, regressors=["weather"])),
    ):
        with pytest.raises(SettingError) as refusal:
            call()
        assert str(refusal.value) == (
            f"{name} is not read for a dask.dataframe.DataFrame. Leave it out, or give some series as a pandas frame."
        )
