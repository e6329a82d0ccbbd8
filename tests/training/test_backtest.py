"""Rolling backtests: which days they forecast, that none sees what came later, and measures recomputed by pandas."""

import importlib.util
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from forecasting import predictor
from forecasting.artifact import forecaster_predictor
from forecasting.baselines import seasonal_naive, seasonal_naive_quantiles
from forecasting.card import Card
from forecasting.domain import Init, Kind, Series, Verdict, to_date
from forecasting.errors import SettingError, TooFewDays, UnknownVersion
from forecasting.evaluation.report import describe_backtest, describe_panel, plot_backtest, write_forecasts
from forecasting.evaluation.rolling_origins import Rolling, RollingForecasts, roll
from forecasting.known_days.learning import NOTHING_KNOWN
from forecasting.model.forecaster import LEVELS, MEDIAN, Forecaster
from forecasting.panel import Observations, Panel
from forecasting.panel_building import build_panel
from forecasting.predictor import FORECASTER, SEASONAL_NAIVE, usual_bands
from forecasting.settings.loading import load_config
from forecasting.settings.schema import BacktestConfig, Config
from forecasting.training import forecasters as contestants
from forecasting.training.forecasters import Model, forecast_all, forecast_by, forecast_fine_tuned, forecast_naive
from forecasting.training.held_out import HeldOutForecasts, choose_answerers
from forecasting.training.model_card import describe_version
from tests.panels import make_panel

QUANTILES = ["q05", "q10", "q25", "q50", "q75", "q90", "q95"]
needs_statsforecast = pytest.mark.skipif(
    importlib.util.find_spec("statsforecast") is None, reason="the bench extra is not installed"
)


@pytest.fixture
def model(quick: Config) -> Model:
    torch.manual_seed(0)
    forecaster = Forecaster(quick.model)
    torch.nn.init.normal_(forecaster.network.head.weight, std=0.05)  # an untrained one is a weighted mean
    return Model(forecaster_predictor("made", forecaster))


def made_uneven(*, step: float = 1.0) -> Panel:
    """A site with a gap and a value that cannot be; one that ends 10 days earlier; a rate; one that is nearly empty."""
    even = make_panel(200, num_series=4, noise=0.2)
    first, values = even.first_day, even.values.astype(np.float64) * step
    days = np.arange(first, first + 200)
    gap = np.r_[0:150, 153:200]
    broken = values[0].copy()
    broken[170] = -1
    return build_panel(
        [
            Observations(Series("blog", "page_visits"), days[gap], broken[gap]),
            Observations(Series("shop", "page_visits"), days[:190], values[1, :190]),
            Observations(Series("blog", "bounce_rate", Kind.rate, additive=False), days, values[2] / 4000),
            Observations(Series("news", "page_visits"), days, np.round(values[3] / 400)),
        ],
        today=to_date(first + 400),
    )


def card_of(panel: Panel, forecaster: Forecaster, config: Config) -> Card:
    num_series = len(panel.series)
    bands, answers = [usual_bands(7)] * num_series, [FORECASTER] * num_series
    known = {"known": [NOTHING_KNOWN] * num_series, "regressors": [()] * num_series}
    settled = {"bands": bands, "answers": answers, **known, "training": {}}
    return describe_version(config, forecaster, panel, panel.series, [{}] * num_series, **settled)


def changed_after(panel: Panel, cutoff: int) -> Panel:
    values = panel.values.copy()
    values[:, cutoff + 1 :] = 1e6
    return replace(panel, values=values)


def test_last_horizon_ends_with_each_series_own_data() -> None:
    rolling = roll(made_uneven(), BacktestConfig(origins=3, step=10, days_ahead=14))
    cutoffs = [rolling.cutoffs[rolling.rows == row].tolist() for row in range(4)]
    assert cutoffs == [[165, 175, 185], [155, 165, 175], [165, 175, 185], [165, 175, 185]]


def test_origins_with_too_few_days_before_them_are_left_out() -> None:
    rolling = roll(make_panel(60, num_series=1), BacktestConfig(origins=5, step=7, days_ahead=7))
    assert rolling.cutoffs.tolist() == [31, 38, 45, 52]  # 30 days at least are before the first
    assert rolling.left_out == 1
    with pytest.raises(TooFewDays) as error:
        roll(make_panel(40, num_series=1), BacktestConfig(days_ahead=14))
    assert str(error.value) == (
        "No series is long enough: 30 days before a cutoff and 14 after it are needed, and 28 known days among the "
        "last 56. Load more days, or lower --days-ahead."
    )


def test_missing_day_counts_as_zero_and_impossible_one_not_at_all() -> None:
    panel = made_uneven()
    rolling = roll(panel, BacktestConfig(origins=8))
    actual = rolling.actual()
    days = rolling.cutoffs[:, None] + np.arange(1, 8)
    blog = (rolling.rows == 0)[:, None] & np.ones_like(days, bool)
    assert panel.verdicts[0, 150] == Verdict.gap
    assert (actual[blog & (days >= 150) & (days < 153)] == 0).all()
    assert np.isnan(actual[blog & (days == 170)]).all()
    assert np.isfinite(actual).sum() == actual.size - 1
    masked = replace(panel, values=np.where(panel.verdicts == Verdict.gap, np.nan, panel.values).astype(np.float32))
    np.testing.assert_array_equal(roll(masked, BacktestConfig(origins=8)).actual(), actual)


@pytest.mark.parametrize("horizon", [7, 30])
def test_no_peeking(model: Model, horizon: int) -> None:
    panel = made_uneven()
    settings = BacktestConfig(origins=4, days_ahead=horizon)
    before = roll(panel, settings)
    for cutoff in np.unique(before.cutoffs):
        after = roll(changed_after(panel, cutoff), settings)
        at = before.cutoffs == cutoff
        for forecast in (lambda rolling: forecast_by(rolling, model), forecast_naive):
            forecasts, repeated = forecast(before).quantiles, forecast(after).quantiles
            np.testing.assert_array_equal(repeated[at], forecasts[at])
            # Later cutoffs do see the change.
            assert (cutoff == before.cutoffs.max()) == np.array_equal(repeated, forecasts)


def test_effects_of_holidays_do_not_peek(model: Model) -> None:
    """Those of a forecast come from the days before its cutoff: later days change nothing, earlier ones do."""
    panel, settings = make_panel(500, num_series=2, noise=0.05), BacktestConfig(origins=20, days_ahead=7)
    known = replace(model, country_of=lambda site: "US")
    before = roll(panel, settings)
    forecasts = forecast_by(before, known).quantiles
    assert not np.array_equal(forecasts, forecast_by(before, model).quantiles)
    cutoff = np.unique(before.cutoffs)[10]
    at = before.cutoffs == cutoff
    repeated = forecast_by(roll(changed_after(panel, cutoff), settings), known).quantiles
    np.testing.assert_array_equal(repeated[at], forecasts[at])
    assert not np.array_equal(repeated, forecasts)


@needs_statsforecast
def test_peers_do_not_peek() -> None:
    panel = made_uneven()
    before = roll(panel, BacktestConfig(origins=2))
    cutoff = before.cutoffs.min()
    after = roll(changed_after(panel, cutoff), BacktestConfig(origins=2))
    forecasts, repeated = contestants.forecast_peers(before), contestants.forecast_peers(after)
    assert [peer.name for peer in forecasts] == ["AutoETS", "AutoTheta", "DynamicOptimizedTheta", "median of the three"]
    for peer, repeated_peer in zip(forecasts, repeated, strict=True):
        at = before.cutoffs == cutoff
        np.testing.assert_array_equal(peer.quantiles[at], repeated_peer.quantiles[at])
    each = np.stack([peer.quantiles for peer in forecasts[:3]])
    np.testing.assert_array_equal(forecasts[3].quantiles, np.median(each, axis=0))
    rates = forecasts[0].quantiles[before.rows == 2]
    assert rates.min() >= 0
    assert rates.max() <= 1


def test_fine_tuning_does_not_peek(quick: Config) -> None:
    """Two blocks: what came after a cutoff of the first one changes the second one's model, and nothing before it."""
    config = replace(quick, model_version="fine-tune", backtest=BacktestConfig(origins=4, refit=14))
    panel = made_uneven()
    before = roll(panel, config.backtest)
    cutoff = before.cutoffs.min() + 7
    after = roll(changed_after(panel, int(cutoff)), config.backtest)
    forecasts, repeated = (forecast_fine_tuned(rolling, config).quantiles for rolling in (before, after))
    at = before.cutoffs == cutoff
    np.testing.assert_array_equal(forecasts[at], repeated[at])
    assert not np.array_equal(forecasts[~at], repeated[~at])


def test_history_hides_older_days(model: Model) -> None:
    panel = make_panel(150)
    settings = BacktestConfig(origins=1, history="35", days_ahead=30)
    older = panel.values.copy()
    older[:, : 120 - 35] = 1e6
    for forecast in (lambda rolling: forecast_by(rolling, model), forecast_naive):
        forecasts = forecast(roll(panel, settings)).quantiles
        np.testing.assert_array_equal(forecasts, forecast(roll(replace(panel, values=older), settings)).quantiles)
    assert roll(panel, settings).visible(0).size == 35
    assert np.isnan(roll(panel, settings).histories(slice(None), 56)[:, :21]).all()


def test_batches_do_not_matter(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    rolling = roll(made_uneven(), BacktestConfig(origins=5))
    whole = forecast_by(rolling, model).quantiles, forecast_naive(rolling).quantiles
    monkeypatch.setattr(contestants, "ORIGINS_AT_ONCE", 3)
    monkeypatch.setattr(predictor, "WINDOWS_AT_ONCE", 2)
    np.testing.assert_allclose(forecast_by(rolling, model).quantiles, whole[0], rtol=1e-4)
    np.testing.assert_array_equal(forecast_naive(rolling).quantiles, whole[1])


def read_back(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, parse_dates=["cutoff", "date"])


def test_file_holds_what_was_forecast(model: Model, tmp_path: Path) -> None:
    panel = made_uneven()
    rolling = roll(panel, BacktestConfig(origins=3))
    forecasts = forecast_by(rolling, model)
    write_forecasts(tmp_path / "out.csv", rolling, forecasts)
    frame = read_back(tmp_path / "out.csv")
    assert list(frame.columns) == ["series", "metric", "cutoff", "date", "value", "forecast", *QUANTILES]
    assert len(frame) == forecasts.quantiles.shape[0] * 7
    written = frame[QUANTILES].to_numpy(np.float32).reshape(forecasts.quantiles.shape)
    np.testing.assert_array_equal(written, forecasts.quantiles)
    np.testing.assert_array_equal(frame["value"].to_numpy(np.float32), rolling.actual().ravel())
    assert (frame["forecast"] == frame["q50"]).all()
    ahead = (frame["date"] - frame["cutoff"]).dt.days
    assert (ahead.to_numpy().reshape(-1, 7) == np.arange(1, 8)).all()
    assert frame["date"][frame["series"] == "shop"].max() == pd.Timestamp(to_date(panel.first_day + 189))
    with pytest.raises(SettingError) as error:
        write_forecasts(tmp_path / "no" / "out.csv", rolling, forecasts)
    assert str(error.value) == (
        f"--out {tmp_path}/no/out.csv cannot be written (No such file or directory). Choose another place."
    )


def table_row(text: str, name: str, *, block: int) -> list[float]:
    """Figures of a contestant in the first or second table, shares as shares."""
    rows = re.findall(rf"^{name} .*$", text, re.MULTILINE)
    cells = rows[block].removeprefix(name).split()
    return [float(cell.rstrip("%")) / (100 if cell.endswith("%") else 1) for cell in cells]


def recomputed(frame: pd.DataFrame, naive: pd.Series, panel: Panel) -> list[float]:
    """MASE, WAPE, relative error, series worse, pinball, coverage 80% and 90%, by pandas from the written file."""
    frame = frame.assign(naive=naive).dropna(subset="value")
    levels = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])
    mase, relative, pinball = [], [], []
    for (site, metric), group in frame.groupby(["series", "metric"]):
        row = panel.find(metric=str(metric), site=str(site))
        days = pd.date_range(to_date(panel.first_day), periods=panel.num_days)
        past = pd.Series(panel.values[row].astype(float), days)[: group["cutoff"].min()]
        scale = past.diff(7).abs().mean()
        errors = (group["forecast"] - group["value"]).abs()
        mase.append(errors.mean() / scale)
        relative.append(errors.mean() / (group["naive"] - group["value"]).abs().mean())
        misses = group["value"].to_numpy()[:, None] - group[QUANTILES].to_numpy()
        pinball.append(np.maximum(levels * misses, (levels - 1) * misses).mean() / scale)
    held_80 = frame["value"].between(frame["q10"], frame["q90"]).mean()
    held_90 = frame["value"].between(frame["q05"], frame["q95"]).mean()
    wape = (frame["forecast"] - frame["value"]).abs().sum() / frame["value"].sum()
    worse = float(sum(error > 1 for error in relative))
    return [np.mean(mase), wape, np.exp(np.mean(np.log(relative))), worse, np.mean(pinball), held_80, held_90]


@pytest.mark.parametrize("horizon", [7, 30])
def test_printed_measures_are_those_of_the_file(model: Model, tmp_path: Path, horizon: int) -> None:
    panel = made_uneven()
    rolling = roll(panel, BacktestConfig(origins=4, days_ahead=horizon))
    forecasts = [forecast_by(rolling, model), forecast_naive(rolling)]
    text = describe_backtest(rolling, forecasts)
    write_forecasts(tmp_path / "out.csv", rolling, forecasts[0])
    frame = read_back(tmp_path / "out.csv")
    naive = pd.Series(seasonal_naive(rolling.histories(slice(None), 90), days_ahead=horizon).ravel())
    judged = ~frame["metric"].str.endswith("_rate") & (frame["series"] != "news")  # below 5 a day
    assert "2 series with a mean of at least 5 a day that do not repeat exactly:" in text
    assert "2 other series (nearly empty, rates, or repeating exactly):" in text
    for block, rows in enumerate((judged, ~judged)):
        printed = table_row(text, "made", block=block)[:7]
        np.testing.assert_allclose(printed, recomputed(frame[rows], naive[rows], panel), atol=0.00051)
        of_naive = table_row(text, "seasonal naive", block=block)
        assert of_naive[2:4] == [1.0, 0.0]


def test_printed_coverage_by_day_ahead_is_that_of_the_file(model: Model, tmp_path: Path) -> None:
    rolling = roll(make_panel(150, noise=0.2, num_series=3), BacktestConfig(origins=6, days_ahead=16))
    forecasts = forecast_by(rolling, model)
    text = describe_backtest(rolling, [forecasts, forecast_naive(rolling)])
    [line] = re.findall(r"^80% band held, by day ahead .*: (.*)$", text, re.MULTILINE)
    assert re.findall(r"day (\d+) ", line) == ["1", "7", "8", "14", "15", "16"]
    write_forecasts(tmp_path / "out.csv", rolling, forecasts)
    frame = read_back(tmp_path / "out.csv")
    frame["ahead"] = (frame["date"] - frame["cutoff"]).dt.days
    frame["inside"] = frame["value"].between(frame["q10"], frame["q90"])
    expected = frame.groupby(["metric", "ahead"])["inside"].mean().groupby("ahead").mean()
    printed = {int(day): int(share) / 100 for day, share in re.findall(r"day (\d+) (\d+)%", line)}
    for day, share in printed.items():
        assert share == pytest.approx(expected[day], abs=0.0051)


def test_units_of_the_source(model: Model, tmp_path: Path, quick: Config) -> None:
    """A rate kept as 0..1 for a source of percents is written as percents; a version may keep another unit."""
    panel = made_uneven()
    percents = replace(panel, series=tuple(
        replace(series, unit_scale=100.0) if series.kind is Kind.rate else series for series in panel.series
    ))  # fmt: skip
    settings = BacktestConfig(origins=2)
    for name, source in (("plain", panel), ("percent", percents)):
        rolling = roll(source, settings)
        write_forecasts(tmp_path / f"{name}.csv", rolling, forecast_by(rolling, model))
    plain, percent = (read_back(tmp_path / f"{name}.csv").query("metric == 'bounce_rate'") for name in
                      ("plain", "percent"))  # fmt: skip
    columns = ["value", "forecast", *QUANTILES]
    np.testing.assert_allclose(percent[columns], 100 * plain[columns], rtol=1e-6)
    # The same percents from a file that says nothing: numbers of 0..100, which the version knows as a rate.
    forecaster = model.predictor.forward
    assert isinstance(forecaster, Forecaster)
    card = card_of(percents, forecaster, quick)
    version = replace(model, cards={series.key: series for series in card.series})
    unsaid = replace(
        panel,
        series=tuple(replace(series, kind=Kind.count) for series in panel.series),
        values=np.where(np.arange(4)[:, None] == 2, 100 * panel.values, panel.values).astype(np.float32),
    )
    by_version = forecast_by(roll(unsaid, settings), version).quantiles
    known = forecast_by(roll(percents, settings), version).quantiles
    rates = roll(percents, settings).rows == 2
    np.testing.assert_allclose(by_version[rates], 100 * known[rates], rtol=1e-4)
    np.testing.assert_allclose(by_version[~rates], known[~rates], rtol=1e-4)


def test_bands_of_a_version_are_scaled_as_its_card_says(model: Model, quick: Config) -> None:
    panel = make_panel(150, noise=0.2, num_series=1)
    rolling = roll(panel, BacktestConfig(origins=2, days_ahead=14))
    forecaster = model.predictor.forward
    assert isinstance(forecaster, Forecaster)
    (card,) = card_of(panel, forecaster, quick).series
    factors = np.linspace(2.0, 4.0, 30)
    plain, widened = (
        forecast_by(rolling, replace(model, cards={card.key: replace(card, band_scale=tuple(scale))})).quantiles
        for scale in (np.ones(30), factors)
    )
    np.testing.assert_array_equal(plain[..., 3], widened[..., 3])
    logs = [np.log1p(quantiles) for quantiles in (plain, widened)]  # counts are scaled in logarithms
    distances = [log - log[..., 3:4] for log in logs]
    np.testing.assert_allclose(distances[1], factors[:14, None] * distances[0], rtol=1e-3, atol=1e-5)


def test_plot_is_drawn_for_more_series_than_it_shows(model: Model, tmp_path: Path) -> None:
    rolling = roll(make_panel(116, num_series=8), BacktestConfig(origins=3))
    plot_backtest(tmp_path / "new" / "plot.png", rolling, forecast_by(rolling, model), title="made")
    assert (tmp_path / "new" / "plot.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_notes_on_the_data_are_told_and_not_all_of_them() -> None:
    panel = replace(make_panel(60), notes=tuple(f"odd {number}" for number in range(14)))
    lines = describe_panel(panel).splitlines()
    assert lines == [
        "read 2 series, 2024-01-01..2024-02-29",
        *(f"note: odd {number}" for number in range(12)),
        "note: 2 more like these",
    ]


def test_perfect_forecasts_and_exact_repetition() -> None:
    """A series that repeats itself counts apart, and what cannot be divided by zero is undefined, not infinite."""
    panel = make_panel(116, num_series=1, noise=0.0)
    rolling = roll(panel, BacktestConfig(origins=2))
    exact = RollingForecasts("exact", np.repeat(rolling.actual()[..., None], len(LEVELS), 2), 0.0)
    text = describe_backtest(rolling, [exact, forecast_naive(rolling)])
    assert "1 other series" in text
    assert re.search(
        r"^exact +undefined +0\.0% +undefined +0 +undefined +100\.0% +100\.0% +undefined +0\.00$", text, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("history=20", "backtest.history (--history) is 20; it must be at least 30, or all."),
        ("history=none", "backtest.history (--history) is 'none'; it must be a number of days, or all."),
        ("origins=0", "backtest.origins (--origins) is 0; it must be at least 1."),
        ("step=0", "backtest.step (--step) is 0; it must be at least 1."),
        ("refit=0", "backtest.refit (--refit) is 0; it must be at least 1."),
        ("days_ahead=31", "backtest.days_ahead (--days-ahead) is 31; it must be 1 to 30."),
    ],
)
def test_settings_that_cannot_be(setting: str, text: str) -> None:
    with pytest.raises(SettingError) as error:
        load_config([f"backtest.{setting}"], environ={})
    assert str(error.value) == text


def test_unknown_version_names_those_there_are(tmp_path: Path) -> None:
    config = load_config(["model_version=v9", f"model_dir={tmp_path}"], environ={})
    with pytest.raises(UnknownVersion) as error:
        forecast_all(made_rolling(), config, peers=False)
    assert str(error.value) == (
        f"There is no version v9 in {tmp_path} (there: none). Train it: traffic-forecast train --model-version v9"
    )


def made_rolling() -> Rolling:
    return roll(make_panel(100), BacktestConfig())


def weeks_tested(panel: Panel, *, weeks: int, ours: float, naive: float, spread: float) -> HeldOutForecasts:
    """Test parts of two series: errors of `ours` and `naive` a day on the first, the other way round on the second."""
    random = np.random.default_rng(0)
    num = 7 * weeks
    series = np.repeat([0, 1], num)
    first_days = np.tile(panel.first_day + np.arange(num), 2)
    actual = np.full((2 * num, 7), 100, np.float32)
    errors = np.abs(np.array([ours, naive, naive, ours])[:, None, None] + spread * random.normal(size=(4, num, 7)))
    quantiles = np.repeat(np.concatenate([100 + errors[0], 100 + errors[2]])[..., None], 7, 2).astype(np.float32)
    naive_forecast = np.concatenate([100 + errors[1], 100 + errors[3]]).astype(np.float32)
    return HeldOutForecasts(series, first_days, actual, quantiles, naive_forecast)


def test_seasonal_naive_answers_where_it_is_better_beyond_chance_over_enough_weeks() -> None:
    panel = make_panel(200, num_series=2)
    clearly = {"ours": 12.0, "naive": 10.0, "spread": 3.0}
    assert choose_answerers(weeks_tested(panel, weeks=16, **clearly), panel) == [SEASONAL_NAIVE, FORECASTER]
    assert choose_answerers(weeks_tested(panel, weeks=8, **clearly), panel) == [FORECASTER, FORECASTER]
    barely = {"ours": 10.02, "naive": 10.0, "spread": 3.0}
    assert choose_answerers(weeks_tested(panel, weeks=16, **barely), panel) == [FORECASTER, FORECASTER]


@pytest.mark.parametrize(
    ("num_windows", "ours", "naive", "answerer"),
    [
        (6, 7.6, 0.0, SEASONAL_NAIVE),  # as of 60 days, of which 12 are tested
        (6, 7.6, 1.0, SEASONAL_NAIVE),
        (1, 7.6, 0.0, SEASONAL_NAIVE),  # as of 30 days
        (6, 3.9, 1.0, FORECASTER),  # few weeks say little unless the difference is overwhelming
        (6, 0.19, 0.0, FORECASTER),  # of 100: nobody would notice
        (6, 0.21, 0.0, SEASONAL_NAIVE),
    ],
)
def test_few_windows_decide_where_the_difference_is_overwhelming(
    num_windows: int, ours: float, naive: float, answerer: str
) -> None:
    panel = make_panel(60, num_series=1)
    actual = np.full((num_windows, 7), 100, np.float32)
    quantiles = np.repeat((actual + np.float32(ours))[..., None], 7, 2)
    first_days = panel.first_day + 47 + np.arange(num_windows)
    tested = HeldOutForecasts(
        np.zeros(num_windows, np.int64), first_days, actual, quantiles, actual - np.float32(naive)
    )
    assert choose_answerers(tested, panel) == [answerer]


def test_one_window_on_which_the_forecaster_was_good_keeps_the_series() -> None:
    panel = make_panel(60, num_series=1)
    actual = np.full((6, 7), 100, np.float32)
    quantiles = np.repeat((actual + np.float32(9))[..., None], 7, 2)
    quantiles[3], naive = 101, actual - np.float32(1)
    tested = HeldOutForecasts(np.zeros(6, np.int64), panel.first_day + 47 + np.arange(6), actual, quantiles, naive)
    assert choose_answerers(tested, panel) == [FORECASTER]


def test_nearly_empty_series_stays_with_the_forecaster() -> None:
    """Repeating zeros is exact until somebody comes."""
    panel = make_panel(60, num_series=1)
    actual = np.zeros((6, 7), np.float32)
    actual[:, 2] = 1
    quantiles = np.full((6, 7, 7), 0.3, np.float32)
    tested = HeldOutForecasts(np.zeros(6, np.int64), panel.first_day + 47 + np.arange(6), actual, quantiles, actual)
    assert choose_answerers(tested, panel) == [FORECASTER]


def test_what_repeats_itself_stays_with_the_forecaster() -> None:
    panel = make_panel(200, num_series=2)
    tested = weeks_tested(panel, weeks=16, ours=0.1, naive=0.0, spread=0.0)
    assert choose_answerers(tested, panel) == [FORECASTER, FORECASTER]


def test_series_that_a_version_leaves_to_the_seasonal_naive_forecast(model: Model, quick: Config) -> None:
    panel = made_uneven()
    rolling = roll(panel, BacktestConfig(origins=2, days_ahead=30))
    forecaster = model.predictor.forward
    assert isinstance(forecaster, Forecaster)
    cards = card_of(panel, forecaster, quick).series
    mixed = [replace(card, answered_by=SEASONAL_NAIVE) if row in (1, 2) else card for row, card in enumerate(cards)]
    plain, forecasts = (
        forecast_by(rolling, replace(model, cards={card.key: card for card in some})).quantiles
        for some in (cards, mixed)
    )
    left = np.isin(rolling.rows, (1, 2))
    np.testing.assert_array_equal(forecasts[~left], plain[~left])
    expected = seasonal_naive_quantiles(
        rolling.histories(slice(None), model.predictor.context_length), days_ahead=30, levels=LEVELS
    )
    highest = np.where(rolling.rows == 2, 1, np.inf)[:, None, None]
    np.testing.assert_allclose(forecasts[left], np.clip(expected, 0, highest)[left], rtol=1e-6)


def made_of_two_eras() -> Panel:
    """A site that ended years before another began."""
    even = make_panel(200, num_series=2, noise=0.1)
    days = np.arange(even.first_day, even.first_day + 200)
    return build_panel(
        [
            Observations(Series("old", "page_visits"), days, even.values[0].astype(np.float64)),
            Observations(Series("new", "page_visits"), days + 2000, even.values[1].astype(np.float64)),
        ],
        today=to_date(even.first_day + 3000),
    )


def test_fine_tuning_goes_by_the_sites_that_live(quick: Config) -> None:
    panel = made_of_two_eras()
    config = replace(quick, backtest=BacktestConfig(origins=4, refit=14), model=replace(quick.model, init=Init.scratch))
    rolling = roll(panel, config.backtest)
    forecasts = forecast_fine_tuned(rolling, config).quantiles
    assert np.isfinite(forecasts).all()
    alone = replace(panel, series=panel.series[1:], values=panel.values[1:], verdicts=panel.verdicts[1:]).tail(200)
    by_itself = forecast_fine_tuned(roll(alone, config.backtest), config).quantiles
    assert by_itself.shape == forecasts[rolling.rows == 1].shape
    error, of_itself = (np.abs(quantiles[..., MEDIAN] - rolling.actual()[rolling.rows == 1]).mean()
                        for quantiles in (forecasts[rolling.rows == 1], by_itself))  # fmt: skip
    assert error == pytest.approx(of_itself, rel=0.3)


def test_base_as_it_is_forecasts_where_days_are_too_few_to_train_on(
    quick: Config, caplog: pytest.LogCaptureFixture
) -> None:
    panel = made_of_two_eras()
    values = panel.values.copy()
    values[0, 32:150] = np.nan  # nothing is known of the days that would validate
    config = load_config(["backtest.origins=1"], environ={})
    rolling = roll(replace(panel, values=values), config.backtest).select(np.array([True, False]))
    with caplog.at_level(logging.INFO):
        forecasts = forecast_fine_tuned(rolling, config)
    assert "note: the base as it is forecasts from 2024-07-11 on: There is no window to " in caplog.text
    expected = forecast_by(rolling, contestants.load_base_model())
    np.testing.assert_allclose(forecasts.quantiles, expected.quantiles, rtol=1e-5)
