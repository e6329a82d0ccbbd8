"""What two people read differently: numbers that are refused unless the file or a setting tells, metrics whose days do
not add up, and times in another zone."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from forecasting.domain import Kind, to_date
from forecasting.errors import DataError, SettingError
from forecasting.panel import Observations
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config
from forecasting.warehouse.csv.observations import read_csv_panel, read_csv_series

HEAD = "Date;Sessions\n"


@lru_cache
def configure(*settings: str) -> Config:
    return load_config(settings, environ={})


def write(folder: Path, text: str) -> Path:
    file = folder / "shop.csv"
    file.write_text(text, encoding="utf-8")
    return file


def read(folder: Path, text: str, *settings: str) -> dict[str, Observations]:
    """The series of a file of one site, by metric."""
    config = configure(*settings)
    content = read_csv_series(write(folder, text), metrics=config.metrics, data=config.data)
    return {row.series.metric: row for row in content.observations}


def values(folder: Path, text: str, *settings: str) -> dict[str, list[float]]:
    return {metric: row.values.tolist() for metric, row in read(folder, text, *settings).items()}


def days(folder: Path, text: str, *settings: str) -> list[str]:
    [row] = read(folder, text, *settings).values()
    return [str(to_date(day)) for day in row.days]


def refusal(folder: Path, text: str, *settings: str) -> str:
    with pytest.raises(DataError) as raised:
        read(folder, text, *settings)
    return str(raised.value).replace(str(folder / "shop.csv"), "{file}")


@pytest.mark.parametrize(
    ("cell", "mark", "whole", "fraction"),
    [
        ("1.205", "dot", "1205", "1.205"),
        ("12.050", "dot", "12050", "12.05"),
        ("1,205", "comma", "1205", "1.205"),
        ("999,999", "comma", "999999", "999.999"),
        ("-1.205", "dot", "-1205", "-1.205"),
        ("1.205k", "dot", "1205000", "1205"),
    ],
)
def test_number_that_two_conventions_read_differently_is_refused(
    tmp_path: Path, cell: str, mark: str, whole: str, fraction: str
) -> None:
    other, same = ("comma", "point") if mark == "dot" else ("point", "comma")
    text = f"{HEAD}2026-08-24;784\n2026-08-25;{cell}\n"
    assert refusal(tmp_path, text) == (
        f"{{file}}, line 3: '{cell}' in column 'Sessions' is {whole} if the {mark} separates thousands, and {fraction} "
        f"if it is the decimal mark. Set data.decimal={other} for {whole}, or data.decimal={same} for {fraction}."
    )
    assert values(tmp_path, text, f"data.decimal={other}") == {"sessions": [784, float(whole)]}
    assert values(tmp_path, text, f"data.decimal={same}") == {"sessions": [784, float(fraction)]}


@pytest.mark.parametrize("header", ["Date;Sessions", "Date;Average position", "Date;y", "Date;Visitors", "ds;y"])
def test_doubt_is_the_same_in_every_column(tmp_path: Path, header: str) -> None:
    assert "is 1205 if the dot separates thousands" in refusal(
        tmp_path, f"{header}\n2026-08-24;784\n2026-08-25;1.205\n"
    )


def test_doubt_in_a_long_file_is_refused_too(tmp_path: Path) -> None:
    text = "site,metric,date,value\na,visits,2026-08-20,1.205\na,visits,2026-08-21,784\n"
    assert "{file}, line 2: '1.205' in column 'value' is 1205 if" in refusal(tmp_path, text)
    assert values(tmp_path, text, "data.decimal=comma") == {"visits": [1205, 784]}
    # A fraction of another metric is one of the same program, but says nothing of whole numbers beside 1.205
    assert "line 2: '1.205'" in refusal(tmp_path, text + "a,position,2026-08-20,8.25\n")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1.205.300", "784.001"], [1_205_300, 784_001]),
        (["1,205,300", "784,001"], [1_205_300, 784_001]),
        (["1.205,5", "1.205"], [1205.5, 1205]),
        (["1,205.5", "1,205"], [1205.5, 1205]),
        (["1.205", "1.2"], [1.205, 1.2]),
        (["0,205", "1,205"], [0.205, 1.205]),
        (["1 205", "784"], [1205, 784]),
        (["1\u202f205", "784"], [1205, 784]),
        (["1'205", "784"], [1205, 784]),
        (["1\u2019205.5", "1,205"], [1205.5, 1205]),
        (["1.2k", "784"], [1200, 784]),
        (["1205", "784"], [1205, 784]),
    ],
)
def test_file_whose_numbers_leave_no_doubt_is_read(tmp_path: Path, cells: list[str], expected: list[float]) -> None:
    rows = "".join(f"2026-08-{day};{cell}\n" for day, cell in enumerate(cells, 20))
    assert values(tmp_path, f"Date;y\n{rows}") == {"y": expected}


def test_other_columns_prove_the_decimal_mark(tmp_path: Path) -> None:
    text = "Date;Sessions;Pages per session\n2026-08-20;1.205;2,5\n2026-08-21;784;3,1\n"
    assert values(tmp_path, text) == {"sessions": [1205, 784], "pages_per_session": [2.5, 3.1]}
    text = 'Date,Sessions,CTR\n2026-08-20,"1,205",3.5%\n2026-08-21,784,4%\n'
    assert values(tmp_path, text) == {"sessions": [1205, 784], "ctr": [0.035, 0.04]}


def test_proof_that_makes_a_count_a_fraction_is_not_believed(tmp_path: Path) -> None:
    text = "Date;Sessions;Pages per session\n2026-08-20;1.205;2.5\n2026-08-21;784;3.1\n"
    assert "line 2: '1.205' in column 'Sessions' is 1205 if" in refusal(tmp_path, text)


def test_numbers_written_in_two_ways_are_refused(tmp_path: Path) -> None:
    text = f"{HEAD}2026-08-20;1,5\n2026-08-21;784\n2026-08-22;1.5\n"
    assert refusal(tmp_path, text) == (
        "{file} writes numbers in two ways: '1.5' on line 4 with a decimal point, '1,5' on line 2 with a decimal "
        "comma. Write all of them in one way."
    )
    assert refusal(tmp_path, text, "data.decimal=comma") == (
        "{file}, line 4: '1.5' in column 'Sessions' is not a number with data.decimal=comma. Write it as 1234,5, or "
        "leave it empty."
    )


def test_percentages_have_the_same_doubt(tmp_path: Path) -> None:
    text = "Date;CTR\n2026-08-20;1.205 %\n2026-08-21;3 %\n"
    assert "line 2: '1.205' in column 'CTR' is 1205 if" in refusal(tmp_path, text)
    assert values(tmp_path, text, "data.decimal=point") == {"ctr": [0.01205, 0.03]}
    assert values(tmp_path, "Date;CTR\n2026-08-20;1,25 %\n2026-08-21;3 %\n") == {"ctr": [0.0125, 0.03]}


def test_empty_cells_of_every_spelling_are_unmeasured(tmp_path: Path) -> None:
    rows = "".join(
        f"2026-08-{day};{cell}\n" for day, cell in enumerate(["5", "", "-", "\u2013", "NaN", "n/a", "NULL"], 10)
    )
    np.testing.assert_array_equal(values(tmp_path, HEAD + rows)["sessions"], [5, *[np.nan] * 6])


@pytest.mark.parametrize("mark", ["point", "comma", ".", ","])
def test_decimal_mark_is_a_word_or_the_mark(mark: str) -> None:
    config = load_config([f"data.decimal={mark}"], environ={})
    assert config.data.decimal_mark == {"point": ".", "comma": ","}.get(mark, mark)


def test_other_settings_of_a_file_are_refused() -> None:
    with pytest.raises(SettingError) as raised:
        load_config(["data.decimal=semicolon"], environ={})
    assert str(raised.value) == "data.decimal is 'semicolon'; it must be point or comma."
    with pytest.raises(SettingError) as raised:
        load_config(["data.columns=value=A,value=B"], environ={})
    assert str(raised.value) == (
        "data.columns has 'value' twice. Give each metric a name: page_visits=Views,visits=Visits."
    )
    with pytest.raises(SettingError) as raised:
        load_config(["data.columns=Day"], environ={})
    assert str(raised.value) == (
        "data.columns has 'Day'. Write what a column is and its title, such as date=Day,value=Views."
    )


@pytest.mark.parametrize(
    ("title", "cells", "kind", "additive"),
    [
        ("Position", ["13.1", "12", "12.9"], Kind.other, False),
        ("Position", ["13", "12", "12"], Kind.other, False),  # whole, and yet a mean
        ("Average position", ["13", "12", "12"], Kind.other, False),
        ("CTR", ["3.1%", "2%", "4%"], Kind.rate, False),
        ("CTR", ["0.031", "0.02", "0"], Kind.rate, False),
        ("visitors", ["5", "6", "7"], Kind.count, False),
        ("Unique visitors", ["5", "6", "7"], Kind.count, False),
        ("Users", ["5", "6", "7"], Kind.count, False),
        ("uniqueVisitors", ["5", "6", "7"], Kind.count, False),
        ("Besucher", ["5", "6", "7"], Kind.count, False),
        ("Followers", ["5", "6", "7"], Kind.count, False),
        ("New followers", ["5", "6", "7"], Kind.count, True),
        ("New users", ["5", "6", "7"], Kind.count, True),
        ("Sessions per user", ["2", "1", "2"], Kind.other, False),
        ("Pages / visit", ["2", "1", "2"], Kind.other, False),
        ("DAU / MAU", ["1", "0", "0"], Kind.other, False),
        ("Avg. time", ["0:01:02", "0:00:58", "0:02:00"], Kind.other, False),
        ("Load time (ms)", ["200", "300", "250"], Kind.other, False),
        ("p95", ["200", "300", "250"], Kind.other, False),
        ("mystery", ["5", "6", "7"], Kind.count, False),
        ("mystery", ["5", "6.5", "7"], Kind.other, False),
        ("mystery", ["5", "-6", "7"], Kind.other, False),
        ("Views", ["5", "6", "7"], Kind.count, True),
        ("Sign-ups", ["5", "6", "7"], Kind.count, True),
        ("Seitenaufrufe", ["5", "6", "7"], Kind.count, True),
        ("Revenue", ["5.5", "6", "7.25"], Kind.other, True),
        ("Watch time (hours)", ["5.5", "6", "7.25"], Kind.other, True),
    ],
)
@pytest.mark.parametrize("layout", ["wide", "long"])
def test_what_is_not_known_to_add_up_does_not(
    tmp_path: Path, title: str, cells: list[str], kind: Kind, additive: bool, layout: str
) -> None:
    if layout == "long" and any(mark in "".join(cells) for mark in ":%"):
        return  # the values of a long file are plain numbers
    dated = [f"2024-01-0{day}" for day in (1, 2, 3)]
    if layout == "wide":
        text = f"date,{title}\n" + "".join(f"{day},{cell}\n" for day, cell in zip(dated, cells, strict=True))
    else:
        text = "site,metric,date,value\n" + "".join(
            f"shop,{title},{day},{cell}\n" for day, cell in zip(dated, cells, strict=True)
        )
    [row] = read(tmp_path, text).values()
    assert (row.series.kind, row.series.additive) == (kind, additive)


def test_setting_says_what_a_metric_is(tmp_path: Path) -> None:
    text = "date,mystery\n2024-01-01,5\n2024-01-02,6.5\n"
    series = read(tmp_path, text, "metrics.mystery.additive=true")["mystery"].series
    assert (series.kind, series.additive) == (Kind.other, True)
    series = read(tmp_path, text, "metrics.mystery.kind=count")["mystery"].series
    assert (series.kind, series.additive) == (Kind.count, False)


def test_metric_with_fractions_at_one_site_is_no_count_at_another(tmp_path: Path) -> None:
    text = "unique_id,ds,y\na,2024-01-01,5\na,2024-01-02,6\nb,2024-01-01,6.5\nb,2024-01-02,6\n"
    rows = read_csv_series(write(tmp_path, text)).observations
    assert [(row.series.site, row.series.kind, row.values.tolist()) for row in rows] == [
        ("a", Kind.other, [5.0, 6.0]),
        ("b", Kind.other, [6.5, 6.0]),
    ]


def test_rate_of_a_day_without_a_row_is_unmeasured_and_its_visits_are_zero(tmp_path: Path) -> None:
    rows = "".join(f"2024-01-{day:02d},40,30%,11 min 2s\n" for day in range(1, 32) if not 10 <= day < 13)
    rows += "".join(f"2024-02-{day:02d},40,30%,11 min 2s\n" for day in range(1, 10))
    file = write(
        tmp_path, f"Date,Visits,Bounce Rate,Avg. Visit Duration\n{rows}".replace("Date,Visits", "label,nb_visits")
    )
    panel = read_csv_panel(file, Config())
    gaps = {series.metric: panel.values[row, 9:12] for row, series in enumerate(panel.series)}
    np.testing.assert_array_equal(gaps["visits"], [0, 0, 0])
    np.testing.assert_array_equal(gaps["bounce_rate"], [np.nan] * 3)
    np.testing.assert_array_equal(gaps["visit_duration"], [np.nan] * 3)
    assert "bounce_rate of shop: 3 days without data, masked" in panel.notes


def test_rate_of_a_day_on_which_nobody_came_is_unmeasured_whatever_the_program_wrote(tmp_path: Path) -> None:
    text = (
        "label,nb_visits,nb_uniq_visitors,bounce_rate,avg_time_on_site\n2024-01-01,40,30,30%,60\n"
        "2024-01-02,0,0,0%,0\n2024-01-03,5,5,0%,0\n2024-01-04,,0,0%,0\n"
    )
    expected = {
        "visits": [40, 0, 5, np.nan],
        "unique_visitors": [30, 0, 5, 0],
        "bounce_rate": [0.3, np.nan, 0, 0],
        "visit_duration": [60, np.nan, 0, 0],
    }
    actual = values(tmp_path, text)
    for metric, row in expected.items():
        np.testing.assert_array_equal(actual[metric], row)
    shown = "Date,Clicks,Impressions,CTR,Position\n2024-01-01,0,0,0%,0\n2024-01-02,0,3,0%,13\n"
    np.testing.assert_array_equal(values(tmp_path, shown)["position"], [np.nan, 13])
    np.testing.assert_array_equal(values(tmp_path, shown)["ctr"], [np.nan, 0])
    np.testing.assert_array_equal(values(tmp_path, "date,position\n2024-01-01,0\n")["position"], [0])  # nothing tells


ZONED = "time,visits\n2026-11-17T23:00:00Z,4\n2026-11-18T23:00:00Z,5\n"


def test_time_with_a_zone_is_a_day_of_the_site(tmp_path: Path) -> None:
    assert days(tmp_path, ZONED, "data.timezone=Europe/Berlin") == ["2026-11-18", "2026-11-19"]
    assert days(tmp_path, ZONED, "data.timezone=America/New_York") == ["2026-11-17", "2026-11-18"]
    assert days(tmp_path, ZONED, "data.timezones=shop=Europe/Berlin") == ["2026-11-18", "2026-11-19"]
    local = ZONED.replace("Z", "")
    assert days(tmp_path, local, "data.timezone=Europe/Berlin") == ["2026-11-17", "2026-11-18"]


def test_times_that_look_like_midnights_elsewhere_are_reported(tmp_path: Path) -> None:
    file = write(tmp_path, ZONED)
    assert list(read_csv_series(file).notes) == [
        "shop.csv: every time is 23:00 in UTC: if that is where days begin at the site, set data.timezone to its zone, "
        "or the rows count for the day before"
    ]
    assert read_csv_series(file, data=configure("data.timezone=Europe/Berlin").data).notes == []
    for other in ("2026-11-18T00:00:00Z", "2026-11-18T14:12:05Z"):
        assert read_csv_series(write(tmp_path, f"{ZONED}{other},6\n".replace("18T23", "19T23"))).notes == []
    summer = "time,visits\n2026-03-28T23:00:00Z,4\n2026-03-29T22:00:00Z,5\n"
    [note] = read_csv_series(write(tmp_path, summer)).notes
    assert note.startswith("shop.csv: every time is 22:00 or 23:00 in UTC")


def test_midnights_of_another_zone_are_days_of_that_zone(tmp_path: Path) -> None:
    """A day of totals, whose hours nobody knows: as it is written it is right for most of its hours."""
    for offset in ("Z", "+01:00", "-08:00"):
        midnights = ZONED.replace("T23:00:00Z", f"T00:00:00{offset}")
        for zone in ("UTC", "America/New_York", "Asia/Tokyo"):
            assert days(tmp_path, midnights, f"data.timezone={zone}") == ["2026-11-17", "2026-11-18"]


def test_times_of_one_local_day_are_one_day(tmp_path: Path) -> None:
    text = "time,visits\n2026-11-18T22:30:00Z,4\n2026-11-18T23:30:00Z,5\n"
    assert days(tmp_path, text, "data.timezone=Europe/Berlin") == ["2026-11-18", "2026-11-19"]
    assert refusal(tmp_path, text).endswith(
        "visits of shop has a second value for 2026-11-18; the first is on line 2. Keep one row per day."
    )


def test_days_before_the_web_are_left_out_of_a_panel(tmp_path: Path) -> None:
    rows = "0001-01-01,7\n0026-01-01,7\n" + "".join(f"2024-01-{day:02d},5\n" for day in range(1, 32))
    panel = read_csv_panel(write(tmp_path, f"date,visits\n{rows}"), Config())
    assert panel.num_days == 31
    assert panel.notes == ("visits of shop: 2 rows dated before 1990, left out",)
