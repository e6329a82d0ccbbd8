"""CSV files of regressors: what they may be, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from forecasting.domain import to_date
from forecasting.errors import DataError
from forecasting.warehouse.csv.regressor_file import read_regressor_file


def read(folder: Path, text: str, *, decimal: str | None = None) -> dict[tuple[str, str], dict[str, float]]:
    """By site and name, the values that are known of each day."""
    file = folder / "weather.csv"
    file.write_text(text, encoding="utf-8")
    values = {}
    for rows in read_regressor_file(file, decimal=decimal):
        for name, column in rows.lay_out(str(file)).items():
            days = {str(to_date(column.first_day + place)): value for place, value in enumerate(column.values.tolist())}
            values[rows.site, name] = {day: value for day, value in days.items() if np.isfinite(value)}
    return values


def test_values_of_all_sites_and_of_single_ones(tmp_path: Path) -> None:
    text = "date,site,temperature,sale\n2025-01-02,,5.5,1\n2025-01-01,,4,0\n2025-01-02,blog,-7.25,\n"
    assert read(tmp_path, text) == {
        ("", "temperature"): {"2025-01-01": 4, "2025-01-02": 5.5},
        ("", "sale"): {"2025-01-01": 0, "2025-01-02": 1},
        ("blog", "temperature"): {"2025-01-02": -7.25},
        ("blog", "sale"): {},
    }


def test_numbers_and_dates_as_people_write_them(tmp_path: Path) -> None:
    expected = {("", "Preis"): {"2025-01-31": 1234.5, "2025-02-01": 8.25}}
    assert read(tmp_path, "Date;Preis\n31.01.2025;1.234,5\n01.02.2025;8,25\n") == expected
    assert read(tmp_path, "Date,Preis\n01/31/2025,1234.5\n02/01/2025,8.25\n") == expected
    assert read(tmp_path, "date,x\n2025-01-01,1.205\n", decimal=",") == {("", "x"): {"2025-01-01": 1205}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "day,temperature\n2025-01-01,5\n",
            " has no column date: its columns are day, temperature. Its first line must name date, site (if values "
            "differ by site), and the regressors.",
        ),
        ("date,site\n2025-01-01,blog\n", " has no column of numbers beside date and site. Add one for each regressor."),
        (
            "date,sky,temperature\n2025-01-01,1,5\n2025-01-02,cloudy,6\n",
            ", line 3: 'cloudy' in column 'sky' is not a number. Leave it empty if it is not known.",
        ),
        ("date,x\n2025-01-01,5\nsoon,6\n", ", line 3: 'soon' is not a date. Write it as 2026-11-27."),
        (
            "date,x\n2025-01-01,5\n2025-01-02,6,7\n",
            ", line 3: 3 fields, but the first line names 2. Quote fields that contain a comma.",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DataError) as error:
        read(tmp_path, text)
    assert str(error.value) == f"{tmp_path / 'weather.csv'}{problem}"
