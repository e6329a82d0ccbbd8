"""The exports that people have: hand-made files against hand-worked values and pandas, and what is refused."""

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecasting.domain import Kind, to_date
from forecasting.errors import AmbiguousUnit, DataError, DuplicateDays
from forecasting.panel import Observations
from forecasting.settings.loading import load_config
from forecasting.warehouse.csv import observations as csv_file
from forecasting.warehouse.csv.observations import read_csv, read_csv_panel

SAMPLE = Path(csv_file.__file__).parents[1] / "sample" / "daily_metrics.csv.gz"
GA4_REPORT = """\
# ----------------------------------------
# Reports snapshot
# Account: "Shop
# Property: shop.example
# ----------------------------------------
#
# All Users
# Start date: 20240229
# End date: 20240302
Nth day,Active users
0000,120
0001,80
0002,95

# Start date: 20240229
# End date: 20240302
Nth day,New users
0000,20
0001,8
0002,9

# Start date: 20240229
# End date: 20240302
First user source,New users
google,30
(direct),7

# Start date: 20240229
# End date: 20240302
Date,Views,Sessions,Bounce rate,Average session duration
20240229,300,130,0.5,61.5
20240301,200,90,0.25,00:01:23
20240302,"1,250",100,0.4,75
"""
GA4_EXPLORATION = """\
# ----------------------------------------
# Free form 1
# 20240101-20240103
# ----------------------------------------

Date,Device category,Day,Total users,Engagement rate,
,,,30,0.5,Grand total
20240101,mobile,01,10,0.5,
20240103,mobile,03,12,0.25,

"""
PLAUSIBLE = """\
date,visitors,pageviews,visits,views_per_visit,bounce_rate,visit_duration
2024-01-01,10,25,12,2.08,42,90
2024-01-02,14,31,16,1.94,100,
2024-01-03,9,18,0,,,
"""
PLAUSIBLE_IMPORTED = """\
date,visitors,pageviews,bounces,visits,visit_duration
2024-01-01,10,25,3,12,600
2024-01-02,14,31,4,16,720
2024-01-03,0,0,0,0,0
"""
MATOMO = """\
Date,Unique visitors,Visits,Users,Actions,Bounces,Total time spent by visitors (in seconds),Pageviews,Bounce Rate,\
Actions per Visit,Avg. Visit Duration (in seconds),Conversion Rate,Revenue
2024-01-31,25,40,0,242,12,17222,225,30%,9.3,11 min 2s,4%,$ 0
"Thu, Feb 1, 2024",20,30,0,"1,100",15,1800,"1,001",50%,8,00:01:00,2.5%,$ 3.50
"""
MATOMO_API = """\
date,nb_uniq_visitors,nb_visits,nb_actions,bounce_count,sum_visit_length
2024-01-31,25,40,242,10,4800
2024-02-01,20,30,100,15,1800
"""


def made_file(folder: Path, text: str, name: str = "shop.example.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def read(file: Path, *settings: str) -> dict[str, Observations]:
    """By metric, of a file with one site."""
    actual = read_csv(file, metrics=load_config(settings, environ={}).metrics)
    assert len({row.series.site for row in actual}) == 1
    return {row.series.metric: row for row in actual}


def days(row: Observations) -> list[str]:
    return [str(to_date(day)) for day in row.days]


def values(observations: dict[str, Observations]) -> dict[str, list[float]]:
    return {metric: row.values.tolist() for metric, row in observations.items()}


def refused(file: Path, error: type[DataError] = DataError) -> str:
    with pytest.raises(error) as raised:
        read_csv(file)
    return str(raised.value).replace(str(file), "{file}")


def test_report_of_google_analytics_has_all_its_tables_by_day(tmp_path: Path) -> None:
    actual = read(made_file(tmp_path, GA4_REPORT))
    assert values(actual) == {
        "unique_visitors": [120, 80, 95],
        "new_users": [20, 8, 9],  # by day; 30 and 7 are by source
        "page_visits": [300, 200, 1250],
        "visits": [130, 90, 100],
        "bounce_rate": [0.5, 0.25, 0.4],
        "visit_duration": [61.5, 83, 75],  # 00:01:23
    }
    assert all(days(row) == ["2024-02-29", "2024-03-01", "2024-03-02"] for row in actual.values())
    assert actual["page_visits"].series.site == "shop.example"
    kinds = {metric: (row.series.kind, row.series.additive) for metric, row in actual.items()}
    assert kinds == {
        "page_visits": (Kind.count, True),
        "unique_visitors": (Kind.count, False),
        "new_users": (Kind.count, True),
        "visits": (Kind.count, True),
        "bounce_rate": (Kind.rate, False),
        "visit_duration": (Kind.other, False),
    }


def test_exploration_of_google_analytics_without_its_grand_total(tmp_path: Path) -> None:
    actual = read(made_file(tmp_path, GA4_EXPLORATION))
    assert values(actual) == {"total_users": [10, 12], "engagement_rate": [0.5, 0.25]}
    assert days(actual["total_users"]) == ["2024-01-01", "2024-01-03"]


def test_days_of_an_exploration_count_from_its_date_range(tmp_path: Path) -> None:
    text = "# ----------------\n# 20231231-20240101\n# ----------------\n\nNth day,Sessions\n0000,5\n0001,6\n"
    actual = read(made_file(tmp_path, text))
    assert (days(actual["visits"]), values(actual)) == (["2023-12-31", "2024-01-01"], {"visits": [5, 6]})


def test_google_analytics_without_comments_is_told_by_its_columns(tmp_path: Path) -> None:
    actual = read(
        made_file(tmp_path, "Date;Views;Active users;Bounce rate\r\n20240101;7;3;45.2 %\r\n20240102;8;4;50%\r\n")
    )
    assert values(actual) == {"page_visits": [7, 8], "unique_visitors": [3, 4], "bounce_rate": [0.452, 0.5]}
    assert actual["bounce_rate"].series.unit_scale == 100


def test_blank_line_within_a_table_loses_no_day(tmp_path: Path) -> None:
    actual = read(made_file(tmp_path, GA4_REPORT.replace("\n0001,80", "\n\n0001,80")))
    assert values(actual)["unique_visitors"] == [120, 80, 95]


def test_plausible(tmp_path: Path) -> None:
    actual = read(made_file(tmp_path, PLAUSIBLE))
    frame = pd.read_csv(io.StringIO(PLAUSIBLE))
    for metric, column, unit in (
        ("unique_visitors", "visitors", 1), ("page_visits", "pageviews", 1), ("visits", "visits", 1),
        ("views_per_visit", "views_per_visit", 1), ("bounce_rate", "bounce_rate", 100),
        ("visit_duration", "visit_duration", 1),
    ):  # fmt: skip
        np.testing.assert_allclose(actual[metric].values, frame[column] / unit)
    assert len(actual) == 6
    assert (actual["bounce_rate"].series.kind, actual["bounce_rate"].series.unit_scale) == (Kind.rate, 100)
    assert not actual["unique_visitors"].series.additive
    assert actual["views_per_visit"].series.kind is Kind.other


def test_sums_of_plausible_become_means_of_a_visit(tmp_path: Path) -> None:
    actual = read(made_file(tmp_path, PLAUSIBLE_IMPORTED))
    assert set(actual) == {"unique_visitors", "page_visits", "visits", "bounce_rate", "visit_duration"}
    np.testing.assert_array_equal(
        actual["bounce_rate"].values, [3 / 12, 4 / 16, np.nan]
    )  # nobody came on the third day
    np.testing.assert_array_equal(actual["visit_duration"].values, [50, 45, np.nan])
    assert (actual["bounce_rate"].series.kind, actual["bounce_rate"].series.unit_scale) == (Kind.rate, 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_matomo_as_people_read_it(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "shop.csv"
    file.write_bytes(MATOMO.encode(encoding))
    actual = read(file)
    assert values(actual) == {
        "unique_visitors": [25, 20],
        "visits": [40, 30],
        "users": [0, 0],
        "actions": [242, 1100],
        "page_visits": [225, 1001],
        "bounce_rate": [0.3, 0.5],  # of its own column, not of the bounces
        "actions_per_visit": [9.3, 8],
        "visit_duration": [662, 60],
        "conversion_rate": [0.04, 0.025],
    }  # Revenue is no number
    assert days(actual["visits"]) == ["2024-01-31", "2024-02-01"]


def test_matomo_as_its_api_writes_it(tmp_path: Path) -> None:
    actual = read(made_file(tmp_path, MATOMO_API))
    assert set(actual) == {"unique_visitors", "visits", "actions", "bounce_rate", "visit_duration"}
    assert actual["bounce_rate"].values.tolist() == [0.25, 0.5]
    assert actual["visit_duration"].values.tolist() == [120, 60]


def test_wide_file_equals_pandas(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({
        "Day": pd.date_range("2024-01-01", periods=40).repeat(2), "Site": ["shop", "blog, the"] * 40,
        "page_visits": random.poisson(50, 80), "unique_visitors": random.poisson(20, 80),
        "bounce_rate": random.random(80), "Sign-ups (new)": random.poisson(3, 80),
    }).sample(frac=1, random_state=0)  # fmt: skip
    for separator in ",;\t":
        actual = read_csv(made_file(tmp_path, frame.to_csv(index=False, sep=separator)), site="not asked")
        assert len(actual) == 8
        for row in actual:
            column = "Sign-ups (new)" if row.series.metric == "sign_ups_new" else row.series.metric
            wanted = frame[frame["Site"] == row.series.site].sort_values("Day")
            assert days(row) == wanted["Day"].dt.strftime("%Y-%m-%d").tolist()
            np.testing.assert_array_equal(row.values, wanted[column].to_numpy(float))
        kinds = {row.series.metric: (row.series.kind, row.series.additive) for row in actual}
        assert kinds == {
            "page_visits": (Kind.count, True), "unique_visitors": (Kind.count, False),
            "bounce_rate": (Kind.rate, False), "sign_ups_new": (Kind.count, True),
        }  # fmt: skip


def test_rows_in_another_order_are_the_same_days(tmp_path: Path) -> None:
    header, *rows = PLAUSIBLE.splitlines()
    turned = read(made_file(tmp_path, "\n".join([header, *reversed(rows)])))
    straight = read(made_file(tmp_path, PLAUSIBLE))
    for metric, row in straight.items():
        assert days(turned[metric]) == days(row) == ["2024-01-01", "2024-01-02", "2024-01-03"]
        np.testing.assert_array_equal(turned[metric].values, row.values)


def test_packed_sample_is_a_panel_like_any_other(tmp_path: Path) -> None:
    panel = read_csv_panel(SAMPLE, load_config(["data.metrics=page_visits,unique_visitors"], environ={}))
    frame = pd.read_csv(SAMPLE, parse_dates=["date"])
    assert panel.num_days == len(frame) > 1000
    for row, series in enumerate(panel.series):
        assert series.site == "daily_metrics"
        np.testing.assert_array_equal(panel.values[row, :-1], frame[series.metric].to_numpy(np.float32)[:-1])
    assert np.isnan(panel.values[:, -1]).all()  # the last day of the sample was counted in part
    assert [series.additive for series in panel.series] == [True, False]


def test_site_is_the_files_name_or_the_one_said(tmp_path: Path) -> None:
    file = tmp_path / "shop.example.csv.gz"
    file.write_bytes(gzip.compress(b"# exported by hand\n\ndate,page_visits\n2024-01-01,5\n\n2024-01-02,\n"))
    (row,) = read_csv(file)
    assert row.series.site == "shop.example"
    np.testing.assert_array_equal(row.values, [5, np.nan])
    assert read_csv(file, site="blog")[0].series.site == "blog"


def test_long_file_with_other_names_of_its_columns(tmp_path: Path) -> None:
    file = made_file(tmp_path, "Site,Metric,Day,Value\na,unique_visitors,2024-01-01,5\n")
    (row,) = read_csv(file)
    assert (row.series.site, row.series.metric, row.values.tolist()) == ("a", "unique_visitors", [5])


def test_settings_win_over_the_format(tmp_path: Path) -> None:
    file = made_file(tmp_path, PLAUSIBLE_IMPORTED.replace("3,12", "12,12"))
    assert read(file, "metrics.bounce_rate.unit=percent")["bounce_rate"].values[0] == 0.01
    assert read(file, "metrics.bounce_rate.kind=other")["bounce_rate"].series.kind is Kind.other
    assert read(file, "metrics.unique_visitors.additive=true")["unique_visitors"].series.additive
    assert read(file, "metrics.visits.kind=other")["visits"].series.kind is Kind.other
    # A percent sign in the cell is no matter of settings: 30% is 0.3
    assert read(made_file(tmp_path, MATOMO), "metrics.bounce_rate.unit=fraction")["bounce_rate"].values[0] == 0.3


def test_percent_signs_tell_the_unit_in_a_file_of_ones_own(tmp_path: Path) -> None:
    actual = read(made_file(tmp_path, "date,share\n2024-01-01,45.2%\n2024-01-02,50 %\n"))
    assert (actual["share"].series.kind, actual["share"].values.tolist()) == (Kind.rate, [0.452, 0.5])


def test_unknown_header_names_the_known_ones(tmp_path: Path) -> None:
    assert refused(made_file(tmp_path, "Page path,Views\n/,5\n")) == (
        "{file} has an unknown header: Page path, Views. Name its columns with data.columns, such as "
        "data.columns=date=Day,value=Views, or use one of these:\n"
        "  long: series (or site), metric, date (or day), value\n"
        "  wide: date (or day), then a column of numbers for each metric; site (or series) if there are several sites\n"
        "  Google Analytics 4: Date or Nth day (below a comment `# Start date: 20240101`), and Views, Active users, "
        "Sessions or others\n"
        "  Google Search Console: Date, Clicks, Impressions, CTR, Position\n"
        "  Plausible's visitors.csv: date, visitors, pageviews, visits, views_per_visit, bounce_rate, visit_duration\n"
        "  Plausible's imported_visitors.csv: date, visitors, pageviews, bounces, visits, visit_duration\n"
        "  Matomo: date or label, and nb_visits, nb_uniq_visitors, bounce_rate or others; or Date, Unique visitors, "
        "Visits, Bounce Rate or others\n"
        "  GitHub's traffic: timestamp, count, uniques"
    )


WEEKLY = "date,page_visits\n2024-01-01,5\n2024-01-08,6\n2024-01-15,7\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "# Start date: 20240101\nCountry,Views\nFrance,3\n\nCity,Views\nParis,3\n",
            "{file} has no table by day, only by 'Country', 'City'. Export one row per day from Google Analytics 4: "
            "Date or Nth day (below a comment `# Start date: 20240101`), and Views, Active users, Sessions or others.",
        ),
        (
            "Nth day,Views\n0000,3\n",
            "{file}, line 1: no comment gives the day from which 'Nth day' counts. Write `# Start date: 20241231` "
            "above the table, or export it with Date.",
        ),
        (
            "# Start date: 20240199\nNth day,Views\n0000,3\n",
            "{file}: the start date '20240199' in its comments is not a date.",
        ),
        (
            "# Start date: 20240101\nNth day,Views\n0000,3\n1.5,3\n",
            "{file}, line 4: '1.5' is not a number of days. 'Nth day' counts 0000, 0001, ... from the start date.",
        ),
        (
            "Date,Active users,Bounce rate\n20240101,3,45%\n20240102,4,0.4\n",
            "{file}, line 3: '0.4' in column 'Bounce rate' is not a percentage, unlike the first value of the "
            "column. Write it as 45.2%, or leave it empty.",
        ),
        (
            "# Start date: 20240101\nDate,Bounce rate\n20240101,45%\n\nDate,Bounce rate\n20240102,0.4\n",
            "{file}, line 6: the column 'Bounce rate' has percent signs in one table but not in another. Use one unit.",
        ),
        (
            'Date,nb_visits\n2024-01-31,3\n"Thu, Feb 1",3\n',
            "{file}, line 3: 'Thu, Feb 1' is not a date. Export with period=day, and write dates as 2024-12-31, with "
            "the year.",
        ),
        (
            "Date,nb_visits,avg_time_on_site\n2024-01-31,3,eine Minute\n",
            "{file}, line 2: 'eine Minute' in column 'avg_time_on_site' is not a duration. Write it in seconds, or as "
            "00:01:23, or leave it empty.",
        ),
        (
            "Date,Unique visitors,nb_uniq_visitors,Visits\n2024-01-31,3,3,3\n",
            "{file}: the columns 'Unique visitors' and 'nb_uniq_visitors' are both unique_visitors. Keep one.",
        ),
        (
            "date;page_visits\n2024-01-01;5\n2024-01-02;1,5,\n2024-01-03;6;7\n",
            "{file} has 2 rows that cannot be read:\n"
            "  line 3: '1,5,' in column 'page_visits' is not a number. Write it as 1234.5, or leave it empty.\n"
            "  line 4: 3 fields, but the first line names 2. Quote fields that contain a semicolon.",
        ),
        (
            "date,page_visits\n" + "".join(f"2024-02-{day},5\n" for day in range(31, 38)),
            "{file} has 7 rows that cannot be read:\n"
            + "".join(
                f"  line {line}: '2024-02-{line + 29}' is not a date. Write it as 2024-12-31.\n" for line in range(2, 7)
            )
            + "  and 2 more",
        ),
        (
            "2024-01-01,5\n2024-01-02,6\n",
            "{file}, line 1: 2024-01-01, 5 are no names of columns. Write a line with their names above it, such as "
            "date,page_visits, or number them: data.columns=date=1,page_visits=2.",
        ),
        ("date,weekday\n2024-01-01,Mon\n", "{file} has no column of numbers, only of words: weekday."),
        (",date,page_visits\n7,2024-01-01,5\n", "{file}, line 2: a column has no name. Name it, or leave it out."),
        (
            "date,Sign ups,sign-ups\n2024-01-01,5,6\n",
            "{file}: the columns 'Sign ups' and 'sign-ups' are both sign_ups. Keep one.",
        ),
        (
            "date,page_visits\n2024-01-01,x\n2024-01-01,5\n2024-01-01,6\n",
            "{file}, line 2: 'x' in column 'page_visits' is not a number. Write it as 1234.5, or leave it empty.",
        ),
        (
            "date,site,page_visits\n2024-01-01,,5\n",
            "{file}, line 2: the site is empty. Name it in every row, or leave that column out.",
        ),
        (
            WEEKLY,
            "{file}: the rows of page_visits of shop.example are 7 days or more apart. Export one row per day, not "
            "per week or month.",
        ),
        ("date,page_visits\n", "{file} has no row below its first line. It must have one for each day."),
        (
            "Date,Active users,Country\n\n",
            "{file} has no row below its first line. It must have one for each day.",
        ),
        (" \n\n", "{file} is empty. Its first line must name its columns."),
        ("# Start date: 20240101\n", "{file} is empty. Its first line must name its columns."),
        (
            'date,page_visits\n2024-01-01,5\n"2024-01-02,5\n2024-01-03,5\n',
            "{file}, after line 2: unexpected end of data. Look for an unclosed quote.",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, error: str) -> None:
    assert refused(made_file(tmp_path, text)) == error


@pytest.mark.parametrize(
    ("text", "line", "metric", "value"),
    [
        ("date,bounce_rate\n2024-01-01,0.5\n2024-01-02,45.2\n", 3, "bounce_rate", "45.2"),
        ("date,site,exit_rate\n2024-01-01,shop.example,45\n", 2, "exit_rate", "45"),
        ("Date,Active users,Bounce rate\n20240101,3,45\n", 2, "bounce_rate", "45"),
        ("Date,nb_visits,bounce_rate\n2024-01-01,3,45\n", 2, "bounce_rate", "45"),
    ],
)
def test_unit_of_a_rate_is_never_guessed(tmp_path: Path, text: str, line: int, metric: str, value: str) -> None:
    file = made_file(tmp_path, text)
    assert refused(file, AmbiguousUnit) == (
        f"{{file}}, line {line}: {metric} of shop.example is a rate, 0..1 or with a percent sign, but {value} is "
        f"neither. Set metrics.{metric}.unit=percent if it is 0..100, or metrics.{metric}.kind=other if it is not a "
        "rate."
    )
    assert read(file, f"metrics.{metric}.unit=percent")[metric].values[-1] == float(value) / 100


def test_second_value_of_a_day_names_both_lines_and_the_dimension(tmp_path: Path) -> None:
    text = "Date,Device category,Active users\n20240101,mobile,3\n20240101,desktop,4\n"
    assert refused(made_file(tmp_path, text), DuplicateDays) == (
        "{file}, line 3: unique_visitors of shop.example has a second value for 2024-01-01; the first is on line 2. "
        "Keep one row per day. The columns Device category are ignored: export by day only."
    )


def test_lines_count_from_the_files_first_in_every_table(tmp_path: Path) -> None:
    text = GA4_REPORT.replace("20240302,", "20240301,")
    line = text[: text.index('20240301,"1,250"')].count("\n") + 1
    assert refused(made_file(tmp_path, text), DuplicateDays) == (
        f"{{file}}, line {line}: page_visits of shop.example has a second value for 2024-03-01; the first is on line "
        f"{line - 1}. Keep one row per day."
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("date,visits à\n2024-01-01,5\n".encode("latin-1"), "UTF-8 (line 1: invalid continuation byte)"),
        (b"date,visits\n2024-01-01,5\0\n", "UTF-8 (it holds zero bytes)"),
        ("date,visits\n".encode("utf-16")[:-1], "UTF-16 (line 1: truncated data)"),
    ],
)
def test_wrong_encoding(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "shop.csv"
    file.write_bytes(content)
    assert refused(file) == f"{{file}} is not text in {problem}. Save it as CSV in UTF-8."


def test_packed_files(tmp_path: Path) -> None:
    file = tmp_path / "shop.csv.gz"
    file.write_bytes(gzip.compress(b"date,visits\n2024-01-01,5\n")[:-9])
    assert refused(file) == (
        "{file} cannot be read (Compressed file ended before the end-of-stream marker was reached). Save or download "
        "it again."
    )
    file.write_bytes(b"PK\x03\x04" + bytes(20))
    assert refused(file) == "{file} is a ZIP archive or an Excel workbook. Unpack it, or save it as CSV in UTF-8."
