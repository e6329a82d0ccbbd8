"""scripts/forecast.py --csv: the forecasts that TrafficForecaster gives, without a database."""

import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecasting import TrafficForecaster
from forecasting.commands.forecast import COMMAND, writes_to_stdout
from forecasting.errors import DataError, SettingError, TooFewDays
from forecasting.frames.files import forecast_file

DAYS = pd.date_range("2024-01-01", periods=70)


def make_site(name: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"site": name, "date": DAYS, "page_visits": rng.poisson(300, 70), "bounce_rate": rng.uniform(0.3, 0.5, 70)}
    )


@pytest.fixture(scope="module")
def sites() -> pd.DataFrame:
    return pd.concat([make_site("blog", 1), make_site("shop", 2)], ignore_index=True)


@pytest.fixture(scope="module")
def expected(sites: pd.DataFrame) -> pd.DataFrame:
    model = TrafficForecaster()
    parts = [
        model.forecast(sites, 3, level=[80, 90], id_col="site", time_col="date", target_col=metric, kind=kind).assign(
            metric=metric
        )
        for metric, kind in (("page_visits", "count"), ("bounce_rate", "rate"))
    ]
    table = pd.concat(parts)
    return table.sort_values(["site", "metric", "date"], ignore_index=True)


def check(table: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert list(table.columns[:4]) == ["site", "metric", "date", "forecast"]
    table = table.assign(date=pd.to_datetime(table["date"])).sort_values(["site", "metric", "date"], ignore_index=True)
    pd.testing.assert_frame_equal(
        table[expected.columns], expected, rtol=1e-5, check_dtype=False, check_index_type=False
    )  # fmt: skip


def run(arguments: list[str]) -> None:
    """As the command does it, but for its log."""
    config, _ = COMMAND.parse(arguments)
    forecast_file(config)


@pytest.fixture(autouse=True)
def base_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "forecasting")
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "store"))


def test_csv_to_csv_and_a_plot(
    sites: pd.DataFrame, expected: pd.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sites.to_csv(tmp_path / "traffic.csv", index=False)
    out, plot = tmp_path / "forecasts.csv", tmp_path / "forecasts.png"
    run(["--csv", str(tmp_path / "traffic.csv"), "--out", str(out), "--plot", str(plot), "--days-ahead", "3"])
    check(pd.read_csv(out), expected)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert caplog.messages == [
        f"note: there is no version in {tmp_path / 'store'} yet: the base model forecasts",
        "base forecasts 4 of 4 series",
        f"wrote 12 rows to {out}",
        f"drew the first 4 of 4 series: {plot}",
    ]


def test_parquet_to_parquet_and_a_page(sites: pd.DataFrame, expected: pd.DataFrame, tmp_path: Path) -> None:
    sites.to_parquet(tmp_path / "traffic.parquet", index=False)
    out, page = tmp_path / "forecasts.parquet", tmp_path / "forecasts.html"
    run(
        ["--csv", str(tmp_path / "traffic.parquet"), "--out", str(out), "--plot", str(page), "--days-ahead", "3"]
    )  # fmt: skip
    check(pd.read_parquet(out), expected)
    assert "plotly" in page.read_text()


def test_folder_of_files(sites: pd.DataFrame, expected: pd.DataFrame, tmp_path: Path) -> None:
    """Each has the days of a part of the series, as exports by month have."""
    (tmp_path / "parts").mkdir()
    for number, part in enumerate((sites[::2], sites[1::2])):
        part.to_csv(tmp_path / "parts" / f"{number}.csv", index=False)
    out = tmp_path / "forecasts.csv"
    run(["--csv", str(tmp_path / "parts"), "--out", str(out), "--days-ahead", "3"])
    check(pd.read_csv(out), expected)


def test_stdin_to_stdout(
    sites: pd.DataFrame, expected: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the columns of a data frame, which need no setting."""
    frame = sites[["site", "date", "page_visits"]].set_axis(["unique_id", "ds", "page_visits"], axis=1)
    content = io.BytesIO(frame.to_csv(index=False).encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    run(["--csv", "-", "--model", "base", "--days-ahead", "3"])
    of_visits = expected[expected["metric"] == "page_visits"].reset_index(drop=True)
    check(pd.read_csv(io.StringIO(capsys.readouterr().out)), of_visits)


def test_selected_sites_and_short_ones(sites: pd.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "traffic.csv"
    pd.concat([sites, sites[:20].assign(site="new")]).to_csv(file, index=False)
    command = ["--csv", str(file), "--out", str(tmp_path / "out.csv"), "--model", "base", "--metric", "page_visits"]
    run([*command, "--site", "shop,new"])
    assert set(pd.read_csv(tmp_path / "out.csv")["site"]) == {"shop"}
    short = (
        "page_visits of new has 20 days with a value, 20 of them among the last 56; a forecast needs 30, and 28 among "
        "the last 56."
    )
    assert f"left out: page_visits of new. {short}" in caplog.messages
    with pytest.raises(TooFewDays) as caught:
        run([*command, "--site", "new"])
    assert str(caught.value) == f"{short} Add the missing days."


def test_wrong_files(tmp_path: Path) -> None:
    file = tmp_path / "traffic.parquet"
    with pytest.raises(DataError) as caught:
        run(["--csv", str(file), "--model", "base"])
    assert str(caught.value) == f"There is no file {file}."
    pd.DataFrame({"date": ["2024-01-01", "2024-01-01"], "page_visits": [1, 2]}).to_parquet(file)
    with pytest.raises(DataError) as caught:
        run(["--csv", str(file), "--model", "base"])
    assert str(caught.value) == (
        f"{file}, line 3: page_visits of traffic has a second value for 2024-01-01; the first is on line 2. Keep one "
        "row per day."
    )


def test_log_goes_to_stderr_where_forecasts_go_to_stdout() -> None:
    parsed = [COMMAND.parse(["--csv", "x.csv", *more])[0].forecast for more in ([], ["--out", "-"], ["--out", "y.csv"])]
    assert [writes_to_stdout(forecast) for forecast in parsed] == [True, True, False]


def test_flags_that_need_a_file() -> None:
    for arguments, text in (
        (["--out", "x.csv"],
         "forecast.out (--out) is given without forecast.csv (--csv), the file to forecast. Forecasts of a database "
         "are written to the database."),
        (["--csv", "x.csv", "--plot", "x.svg"], "forecast.plot (--plot) is x.svg; it must end with .png or .html."),
    ):  # fmt: skip
        with pytest.raises(SettingError) as caught:
            COMMAND.parse(arguments)
        assert str(caught.value) == text
