"""Parquet files, and folders of files that share series."""

import asyncio
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecasting.domain import SourceName
from forecasting.errors import DataError, DuplicateDays, SettingError
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.csv.files import read_files
from forecasting.warehouse.csv.observations import CsvSeries
from forecasting.warehouse.sources.csv import open_source

DAYS = pd.date_range("2024-01-01", periods=90)


def make_table(site: str) -> pd.DataFrame:
    return pd.DataFrame({"site": site, "date": DAYS, "page_visits": np.arange(90) + len(site), "rate": 0.25})


def read(path: Path, **settings: object) -> dict[tuple[str, str], list[tuple[int, float]]]:
    content: CsvSeries = read_files(path, data=DataConfig(**settings))  # type: ignore[arg-type]
    return {
        row.series.key: sorted(zip(row.days.tolist(), row.values.tolist(), strict=True)) for row in content.observations
    }


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """One file of two sites."""
    file = tmp_path / "whole.csv"
    pd.concat([make_table("blog"), make_table("shop")]).to_csv(file, index=False)
    return file


def test_parquet_is_what_csv_is(whole: Path, tmp_path: Path) -> None:
    pd.read_csv(whole, parse_dates=["date"]).to_parquet(tmp_path / "whole.parquet", index=False)
    assert read(tmp_path / "whole.parquet") == read(whole)
    assert len(read(whole)) == 4


def test_folder_is_what_its_files_are_together(whole: Path, tmp_path: Path) -> None:
    """By month, one of them as Parquet, and one with the columns of a data frame."""
    folder = tmp_path / "months"
    folder.mkdir()
    table = pd.read_csv(whole, parse_dates=["date"])
    month = table["date"].dt.month
    table[month == 1].to_csv(folder / "2024-01.csv", index=False)
    table[month == 2].to_parquet(folder / "2024-02.parquet", index=False)
    table[month == 3].rename(columns={"site": "unique_id", "date": "ds"}).to_csv(folder / "2024-03.csv", index=False)
    (folder / "notes.md").write_text("not read")
    assert read(folder) == read(whole)


def test_files_that_name_no_site_are_sites(tmp_path: Path) -> None:
    for site in ("blog", "shop"):
        make_table(site).drop(columns="site").to_csv(tmp_path / f"{site}.csv", index=False)
    assert {site for site, _ in read(tmp_path)} == {"blog", "shop"}


def test_day_that_two_files_have_is_refused(tmp_path: Path) -> None:
    make_table("blog")[:10].to_csv(tmp_path / "a.csv", index=False)
    make_table("blog")[9:].to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(DuplicateDays) as refusal:
        read(tmp_path)
    assert str(refusal.value) == (
        f"{tmp_path}: a.csv and b.csv both have page_visits of blog on 2024-01-10. Keep one of them."
    )


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        read(tmp_path)
    assert str(refusal.value) == (
        f"The folder {tmp_path} has no file that ends with .csv, .tsv, .txt, .gz, .parquet, .pq."
    )
    make_table("blog").to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError) as refusal:
        read(tmp_path)
    assert str(refusal.value).startswith(f"{tmp_path}/b.parquet cannot be read as Parquet: ")
    with pytest.raises(SettingError) as unset:
        open_source(DataConfig(source=SourceName.parquet))
    assert str(unset.value) == (
        "data.source=parquet reads a file, or a folder of files. Set data.csv to its path, such as "
        "data.csv=traffic.parquet."
    )


def test_parquet_is_a_source(whole: Path, tmp_path: Path) -> None:
    file = tmp_path / "whole.parquet"
    pd.read_csv(whole).to_parquet(file, index=False)
    source = open_source(DataConfig(source=SourceName.parquet, csv=file))
    sites = asyncio.run(source.list_sites(None))  # type: ignore[arg-type]  # a file needs no connection
    assert [(site.key, site.first and str(site.first.date())) for site in sites] == [
        ("blog", "2024-01-01"),
        ("shop", "2024-01-01"),
    ]
    assert source.name == "parquet"
