"""forecasting/warehouse/README.md describes what there is: files, settings, variables, sources, formats and SQL."""

import re
from pathlib import Path

from forecasting.commands import backtest, sources
from forecasting.domain import SourceName, Verdict
from forecasting.settings.keys import list_settings
from forecasting.settings.schema import DatabaseConfig, DataConfig
from forecasting.warehouse.csv.formats import LONG, WIDE, detect_format
from forecasting.warehouse.schema import load_schema
from forecasting.warehouse.sources.query import open_source
from tests import PROJECT
from tests.warehouse.ingesting import ask_own
from tests.warehouse.sources.asking import list_sites, prepare, read_days

FOLDER = PROJECT / "forecasting" / "warehouse"
README = (FOLDER / "README.md").read_text()


def chapter(title: str) -> str:
    """The text below a heading, to the next one of its level."""
    level, rest = re.split(rf"^(?=#+ {title}$)", README, flags=re.MULTILINE)[1].split(" ", 1)
    return re.split(rf"^{level} ", rest, flags=re.MULTILINE)[0]


def test_every_module_is_described() -> None:
    modules = set(re.findall(r"`(\w+\.py|\w+/)`", chapter("Files")))
    files = {file.name for file in FOLDER.glob("*.py")} - {"__init__.py"}
    assert modules == files | {"sources/", "csv/", "sql/"}


def test_named_files_and_flags_exist() -> None:
    files = set(re.findall(r"(?<![\w-])(?:forecasting|scripts|configs|tests)/[\w/]+(?:\.\w+)?", README))
    assert len(files) > 15
    assert {file for file in files if not (PROJECT / file).exists()} == set()
    flags = set(re.findall(r"(?<=[ `])--[a-z]+", README))
    assert {"--check", "--days", "--update", "--whole", "--source", "--csv"} == flags
    assert flags <= sources.COMMAND.flags | backtest.COMMAND.flags


def test_named_settings_and_variables_exist() -> None:
    settings = set(re.findall(r"\b((?:data|verdicts|serving|metrics)\.[a-z_.]+\w)(?==|`)", README))
    rates = {"metrics.bounce_rate.unit", "metrics.page_visits.additive", "metrics.signups.additive"}
    assert len(settings) > 15
    assert settings - rates - {key for key, _, _ in list_settings()} == set()
    verdict_settings = {key for key, _, _ in list_settings() if key.startswith("verdicts.")}
    assert verdict_settings <= settings
    variables = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", README)) - {"TIME_ZONE"}  # Shynet's
    assert {"DB_HOST", "SOURCE_URL", "CACHE_URL", "TRAFFIC_PGDATA"} <= variables
    assert {name for name in variables if f"# {name}=" not in (PROJECT / "env.example").read_text()} == set()


def test_every_source_and_verdict_has_a_row() -> None:
    assert set(re.findall(r"^\| `(\w+)`", chapter("Sources"), re.MULTILINE)) == {source.value for source in SourceName}
    rows = re.findall(r"^\| ([a-z_, ]+) \|", chapter("Days and verdicts"), re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == {"verdict", *(verdict.name for verdict in Verdict)}


def test_headers_of_long_and_wide_files_are_those_that_are_read() -> None:
    headers = re.findall(r"^\| (?:long|wide) \| `([\w,]+)`", README, re.MULTILINE)
    assert [detect_format([*header.split(","), "signups"], below_comments=False) for header in headers] == [LONG, WIDE]


def test_the_query_runs(database: DatabaseConfig, tmp_path: Path) -> None:
    (query,) = re.findall(r"```sql\n(select.*?)```", README, re.DOTALL)
    file = tmp_path / "traffic.sql"
    file.write_text(query)
    prepare(
        database,
        "create table orders (placed_at timestamptz)",
        "insert into orders values ('2024-06-30 22:00+00'), ('2024-07-01 21:59+00'), ('2024-07-01 22:00+00')",
    )
    source = open_source(DataConfig(query=file))
    assert [site.name for site in list_sites(database, source)] == ["shop"]
    assert read_days(database, source, ["shop"], first="2024-07-01", until="2024-07-02") == {
        ("shop", "orders", "2024-07-01"): 2
    }


def test_every_table_of_our_own_schema_is_described(database: DatabaseConfig) -> None:
    prepare(database, load_schema())
    tables = ask_own(database, "select tablename from pg_tables where schemaname = 'forecasting'")
    described = set(re.findall(r"^\| (`forecasting\.[^|]*) \|", README, re.MULTILINE))
    assert {name for cell in described for name in re.findall(r"`forecasting\.(\w+)`", cell)} == {
        row["tablename"] for row in tables
    }
    columns = ask_own(database, "select column_name from information_schema.columns where table_schema = 'forecasting'")
    rows = "".join(re.findall(r"^\| `forecasting\.\w+` \| (.*) \|$", README, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", rows)) <= {row["column_name"] for row in columns}
