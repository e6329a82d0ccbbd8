"""A file as a source: what the check says about it, what is stored, and what a version remembers of how to read it."""

import asyncio
import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from forecasting.artifact import Artifact
from forecasting.card import restore_settings
from forecasting.domain import SourceName
from forecasting.errors import DataError
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.source_report import check_source
from tests.warehouse.ingesting import ask_own, bring, stored

NOW = "2024-02-10"
RULE = "# ----------------------------------------\n"


def read_file(database: DatabaseConfig, folder: Path, text: str, data: DataConfig | None = None) -> Config:
    file = folder / "shop.csv"
    file.write_text(text)
    return Config(database=database, data=replace(data or DataConfig(), source=SourceName.csv, csv=file))


def test_check_and_update_report_what_is_skipped(database: DatabaseConfig, tmp_path: Path) -> None:
    days = "".join(f"{number:04d},{100 + number}\n" for number in range(31))
    dated = "# Fecha de inicio: 20240101\n# Fecha de finalización: 20240131\n"
    text = f"{RULE}# Resumen\n{RULE}{dated}Día N,Usuarios activos\n{days}\n{dated}País,Usuarios activos\nFrancia,30\n"
    config = read_file(database, tmp_path, text)
    note = "shop.csv: the table on line 41, by 'País', is not by day, and is skipped"
    checked = asyncio.run(check_source(config, now=dt.datetime(2024, 2, 1, tzinfo=dt.UTC))).splitlines()
    assert f"csv: {config.data.csv}" in checked
    assert f"warning: {note}" in checked
    result = bring(config, NOW)
    assert (result.num_rows, result.notes) == (31, (note,))
    (row,) = ask_own(database, "select metric, kind, additive from forecasting.metrics where source = 'csv'")
    assert tuple(row.values()) == ("unique_visitors", "count", False)


def test_settings_of_the_file_reach_what_is_stored(database: DatabaseConfig, tmp_path: Path) -> None:
    rows = "2024-01-18T23:00:00Z;1.205;0\n2024-01-19T23:00:00Z;784;8\n"
    config = read_file(database, tmp_path, "Moment;Wert;Rang\n" + rows)
    with pytest.raises(DataError, match=r"shop.csv, line 2: '1.205' in column 'Wert' is 1205 if the dot separates"):
        bring(config, NOW)
    data = DataConfig(timezone="Europe/Berlin", decimal="comma", columns=["date=Moment", "orders=Wert"])
    bring(read_file(database, tmp_path, "Moment;Wert;Rang\n" + rows, data), NOW)
    assert stored(database, "orders", "shop") == {"2024-01-19": 1205, "2024-01-20": 784}


def test_version_remembers_how_its_file_is_read(sample_artifact: Artifact) -> None:
    settings = {"source": "csv", "csv": "/old/traffic.csv", "decimal": "comma", "columns": ["date=Moment"]}
    card = replace(sample_artifact.card, data={**sample_artifact.card.data, **settings})
    data = restore_settings(card, Config()).data
    assert (data.decimal_mark, data.column_titles) == (",", {"date": "Moment"})
