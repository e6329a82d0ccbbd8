"""Files just inside and just outside each rule."""

from pathlib import Path

import pytest

from forecasting.domain import Kind, Unit
from forecasting.errors import AmbiguousUnit, DataError
from forecasting.settings.schema import MetricConfig
from forecasting.warehouse.csv.observations import read_csv


def write(folder: Path, text: str) -> Path:
    file = folder / "shop.csv"
    file.write_text(text)
    return file


def test_rows_six_days_apart_are_days_and_seven_are_weeks(tmp_path: Path) -> None:
    six = write(tmp_path, "date,signups\n2024-01-01,5\n2024-01-07,6\n2024-01-14,7\n")
    assert read_csv(six)[0].values.tolist() == [5.0, 6.0, 7.0]
    two = write(tmp_path, "date,signups\n2024-01-01,5\n2024-01-15,6\n")  # two rows have no rhythm
    assert read_csv(two)[0].values.tolist() == [5.0, 6.0]
    weekly = write(tmp_path, "date,signups\n2024-01-15,7\n2024-01-01,5\n2024-01-08,6\n")
    with pytest.raises(DataError, match="signups of shop are 7 days or more apart"):
        read_csv(weekly)


def test_rate_of_exactly_one_is_a_fraction_and_the_first_above_is_named(tmp_path: Path) -> None:
    [rate] = read_csv(write(tmp_path, "date,exit_rate\n2024-01-01,1\n2024-01-02,0\n"))
    assert (rate.series.kind, rate.values.tolist()) == (Kind.rate, [1.0, 0.0])
    with pytest.raises(AmbiguousUnit, match=r"shop.csv, line 3: .* but 1.01 is"):
        read_csv(write(tmp_path, "date,exit_rate\n2024-01-01,1\n2024-01-02,1.01\n2024-01-03,45\n"))


@pytest.mark.parametrize(
    "text", ["date,bounce_rate\n2024-01-01,0.4\n", "site,metric,date,value\nshop,bounce_rate,2024-01-01,0.4\n"]
)
def test_rate_that_is_known_as_one_needs_its_unit_too(tmp_path: Path, text: str) -> None:
    """The default settings know bounce_rate: its percentages would be impossible values, all of them."""
    known = {"bounce_rate": MetricConfig(kind=Kind.rate)}
    assert read_csv(write(tmp_path, text), metrics=known)[0].values.tolist() == [0.4]
    percent = write(tmp_path, text.replace("0.4", "45"))
    with pytest.raises(AmbiguousUnit, match="bounce_rate of shop is a rate, 0..1 or .*, but 45 is neither"):
        read_csv(percent, metrics=known)
    known = {"bounce_rate": MetricConfig(kind=Kind.rate, unit=Unit.percent)}
    assert read_csv(percent, metrics=known)[0].values.tolist() == [0.45]


@pytest.mark.parametrize(
    ("value", "kind"), [("0", Kind.rate), ("1", Kind.rate), ("-0.01", Kind.other), ("1.01", Kind.other)]
)
def test_metric_called_a_rate_is_one_within_its_range(tmp_path: Path, value: str, kind: Kind) -> None:
    [series] = read_csv(write(tmp_path, f"site,metric,date,value\nshop,exit_rate,2024-01-01,{value}\n"))
    assert series.series.kind is kind


def test_row_of_a_day_is_no_total_whatever_its_words(tmp_path: Path) -> None:
    text = "# 20240101-20240103\nDate,Channel,Views\n20240101,Total,5\n20240102,,6\n,Grand total,11\nTotals,,11\n"
    [views] = read_csv(write(tmp_path, text))
    assert views.values.tolist() == [5.0, 6.0]


def test_short_first_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        read_csv(write(tmp_path, "date,signups,orders\n2024-01-01,5\n2024-01-02,5,6\n"))
    assert "line 2: 2 fields, but the first line names 3." in str(refusal.value)


def test_column_without_name_or_values_is_named_by_its_header(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 3: a column has no name"):
        read_csv(write(tmp_path, "# of the shop\n\ndate,,signups\n2024-01-01,,5\n"))


def test_sums_are_dropped_for_every_site_that_has_the_means(tmp_path: Path) -> None:
    text = "date,site,nb_visits,bounce_rate,bounce_count\n2024-01-01,shop,4,0.5,2\n2024-01-01,blog,8,0.25,2\n"
    values = {(row.series.site, row.series.metric): row.values.tolist() for row in read_csv(write(tmp_path, text))}
    assert values == {
        ("shop", "visits"): [4.0],
        ("shop", "bounce_rate"): [0.5],
        ("blog", "visits"): [8.0],
        ("blog", "bounce_rate"): [0.25],
    }
