"""Long-format CSV as a source: what it reads, against pandas, and what it refuses, in which words."""

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecasting.domain import Kind, to_date
from forecasting.errors import DataError, DuplicateDays, UnknownMetric, UnknownSite
from forecasting.settings.loading import load_config
from forecasting.warehouse.csv.observations import read_csv, read_csv_panel

HEADER = "series,metric,date,value\n"


def made_file(folder: Path, text: str, name: str = "traffic.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def made_traffic() -> pd.DataFrame:
    """Two sites of two metrics, rows in no order, days missing, a comma in a name, a column nobody asked for."""
    random = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=90)
    frames = [
        pd.DataFrame({"label": 0, "series": site, "metric": metric, "date": days, "value": values})
        for site in ("blog, the", "shop")
        for metric, values in (("page_visits", random.poisson(50, 90)), ("bounce_rate", random.random(90).round(6)))
    ]
    frame = pd.concat(frames).sample(frac=1, random_state=0)
    missing = (frame["series"] == "shop") & frame["date"].between("2024-02-01", "2024-02-05")
    return frame[~missing]


@pytest.mark.parametrize("packed", [False, True])
def test_same_days_and_values_as_pandas(tmp_path: Path, packed: bool) -> None:
    frame = made_traffic()
    text = frame.to_csv(index=False)
    file = tmp_path / "traffic.csv"  # gzip is told by its content
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    actual = {(row.series.site, row.series.metric): row for row in read_csv(file)}
    groups = pd.read_csv(io.StringIO(text), parse_dates=["date"]).groupby(["series", "metric"])
    assert len(actual) == len(groups) == 4
    for name, group in groups:
        sorted_group = group.sort_values("date")
        assert [to_date(day) for day in actual[name].days] == [stamp.date() for stamp in sorted_group["date"]]
        np.testing.assert_array_equal(actual[name].values, sorted_group["value"].to_numpy(float))


def test_kinds_by_name_and_first_values(tmp_path: Path) -> None:
    rows = [f"a,{metric},2024-01-{day:02d},{value}" for day in range(1, 32) for metric, value in (
        ("bounce_rate", 0.5), ("exit_rate", 50), ("share", 0.5), ("late_rate", 0.5 if day <= 30 else 1e6),
    )]  # fmt: skip
    file = made_file(tmp_path, HEADER + "\n".join(rows))
    kinds = {row.series.metric: row.series.kind for row in read_csv(file)}
    # A value after the first 30 does not change what a series is: a backtest may not know it yet.
    assert kinds == {
        "bounce_rate": Kind.rate, "exit_rate": Kind.other, "share": Kind.other, "late_rate": Kind.rate,
    }  # fmt: skip
    config = load_config(["metrics.exit_rate.unit=percent", "metrics.share.kind=other"], environ={})
    settings = {row.series.metric: row for row in read_csv(file, metrics=config.metrics)}
    assert (settings["exit_rate"].series.kind, settings["exit_rate"].series.unit_scale) == (Kind.rate, 100.0)
    assert settings["exit_rate"].values[0] == 0.5
    assert settings["share"].series.kind is Kind.other


def test_iso_dates_of_any_form_and_empty_values(tmp_path: Path) -> None:
    text = "2024-01-01,1\na,v,20240102,2\na,v,2024-01-03T00:00:00,3\na,v,2024-01-04 12:30:00+00:00,4\na,v,2024-01-05,"
    (series,) = read_csv(made_file(tmp_path, "\ufeff" + HEADER + "a,v," + text + "\n\n"))
    assert [str(to_date(day)) for day in series.days] == [f"2024-01-0{day}" for day in range(1, 6)]
    np.testing.assert_array_equal(series.values, [1, 2, 3, 4, np.nan])  # the day is there, its value is not known


def test_panel_has_what_settings_choose(tmp_path: Path) -> None:
    file = tmp_path / "traffic.csv"
    made_traffic().to_csv(file, index=False)
    panel = read_csv_panel(file, load_config(["data.sites=shop", "data.metrics=page_visits"], environ={}))
    assert [series.name for series in panel.series] == ["page_visits of shop"]
    assert (panel.values[0, 31:36] == 0).all()  # data.missing=zero
    masked = read_csv_panel(file, load_config(["data.sites=shop", "data.missing=mask"], environ={}))
    assert np.isnan(masked.values[:, 31:36]).all()
    with pytest.raises(UnknownMetric) as metric:
        read_csv_panel(file, load_config(["data.metrics=clicks"], environ={}))
    assert str(metric.value) == "There is no metric 'clicks'. Metrics: bounce_rate, page_visits."
    with pytest.raises(UnknownSite) as site:
        read_csv_panel(file, load_config(["data.sites=news"], environ={}))
    assert str(site.value) == "There is no site 'news'. Sites: blog, the, shop."


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read_csv(tmp_path / "no.csv")
    assert str(error.value) == f"There is no file {tmp_path}/no.csv. Check the path."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "date,metric\n2024-01-01,visits\n",
            "{file} has no column series, value. Its first line must name series, metric, date, value; it is: "
            "date, metric.",
        ),
        ("", "{file} is empty. Its first line must name its columns."),
        (
            f"{HEADER}a,v,2024-01-01,5\na,v,2024-01-02\n",
            "{file}, line 3: 3 fields, but the first line names 4. Quote fields that contain a comma.",
        ),
        (
            f"{HEADER}a,v,2024-01-01,5\na,v,02/01/2024,5\n",
            "{file}, line 3: '02/01/2024' is 2024-01-02 or 2024-02-01, and no date in the file tells which. Write "
            "dates as 2024-12-31.",
        ),
        (
            f"{HEADER}a,v,2024-02-30,5\n",
            "{file}, line 2: '2024-02-30' is not a date. Write it as 2024-12-31.",
        ),
        (
            f'{HEADER}a,v,2024-01-01,"1,5,"\n',
            "{file}, line 2: '1,5,' is not a number. Write it as 1234.5, or leave the day out.",
        ),
        (HEADER, "{file} has no row below its first line. It must have one for each series and day."),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = made_file(tmp_path, text)
    with pytest.raises(DataError) as error:
        read_csv(file)
    assert str(error.value) == message.format(file=file)


def test_duplicate_day_names_both_lines(tmp_path: Path) -> None:
    file = made_file(tmp_path, f"{HEADER}a,v,2024-01-01,5\na,w,2024-01-01,5\na,v,2024-01-01T00:00,6\n")
    with pytest.raises(DuplicateDays) as error:
        read_csv(file)
    assert str(error.value) == (
        f"{file}, line 4: v of a has a second value for 2024-01-01; the first is on line 2. Keep one row per day."
    )


def test_what_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "traffic.csv"
    file.write_bytes(b"series,metric\xff\xfe")
    with pytest.raises(DataError, match="traffic.csv is not text in UTF-8 (.*). Save it as CSV in UTF-8."):
        read_csv(file)
    packed = gzip.compress(HEADER.encode())
    for broken in (packed[:-4], packed[:12] + b"\xff" * 20):
        file.write_bytes(broken)
        with pytest.raises(DataError, match="traffic.csv cannot be read"):
            read_csv(file)


def test_quote_that_never_closes(tmp_path: Path) -> None:
    file = made_file(tmp_path, HEADER + 'a,v,2024-01-01,5\n"a,v,2024-01-02,5\n' + "a,v,2024-01-03,5\n" * 10_000)
    with pytest.raises(DataError) as error:
        read_csv(file)
    assert str(error.value) == (
        f"{file}, after line 2: field larger than field limit (131072). Look for an unclosed quote."
    )


def test_half_counted_last_day_is_masked_for_its_own_site_alone(tmp_path: Path) -> None:
    """As in forecasting.daily: else the last forecast of a backtest would be compared with half a day."""
    days = pd.date_range("2024-01-01", periods=61)
    rows = [
        (site, metric, day, 70 if site == "shop" and number == 60 else level + number % 3)
        for site in ("blog", "shop")
        for metric, level in (("page_visits", 120), ("visits", 115))
        for number, day in enumerate(days)
    ]
    frame = pd.DataFrame(rows, columns=["series", "metric", "date", "value"])
    panel = read_csv_panel(made_file(tmp_path, frame.to_csv(index=False)), load_config())
    ends = {series.key: bool(np.isnan(row[-1])) for series, row in zip(panel.series, panel.values, strict=True)}
    assert ends == {(site, metric): site == "shop" for site in ("blog", "shop") for metric in ("page_visits", "visits")}
    assert np.isfinite(panel.values[:, :-1]).all()
    assert panel.notes == tuple(
        f"{metric} of shop: 1 day counted in part, masked (2024-03-01)" for metric in ("page_visits", "visits")
    )
