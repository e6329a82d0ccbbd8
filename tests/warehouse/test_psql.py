"""How psql is called on somebody's own server. That it works as printed: tests/stack/test_forecast_script.py."""

import shutil

import pytest

from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.cluster import programs
from forecasting.warehouse.psql import show_psql

OWN = DatabaseConfig(embedded=False, host="db.example", port=6432, name="my db", user="a@b", password="hunter2")


@pytest.mark.parametrize(
    ("database", "url"),
    [
        (OWN, "postgresql://a%40b@db.example:6432/my%20db"),
        (DatabaseConfig(embedded=False, host="::1", sslmode="require"),
         "'postgresql://postgres@[::1]:5432/siteanalytics?sslmode=require'"),
        (DatabaseConfig(embedded=False, host="/run/pg"),
         "'postgresql://postgres@/siteanalytics?host=%2Frun%2Fpg&port=5432'"),
    ],
)  # fmt: skip
def test_the_whole_place_without_the_password(database: DatabaseConfig, url: str) -> None:
    program = "psql" if shutil.which("psql") else programs() / "psql"
    assert show_psql(database, "select 1") == f'{program} {url} -c "select 1"'
