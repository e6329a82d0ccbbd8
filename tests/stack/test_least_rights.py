"""The scripts as a user of the database who has only the rights that forecasting/warehouse/README.md names."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace

import asyncpg
import pytest

from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import connected
from forecasting.warehouse.schema import load_schema
from scripts.bench.harness import Place
from tests import PROJECT
from tests.waiting import becomes, get
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import UMAMI

from .conftest import PATIENT, QUICK, variables_of
from .forking import run_forked
from .test_umami_sites import PARIS, TRAFFIC

README = (PROJECT / "forecasting" / "warehouse" / "README.md").read_text()
GRANTS = re.findall(r"```sql\n(create role forecaster.*?)```", README, re.DOTALL)
ROLE = "least_rights"


@pytest.fixture
def umami(empty_place: Place, database: DatabaseConfig) -> Iterator[Place]:
    """Its tables, and scripts that reach them as that user, whom a test has to make."""
    prepare(database, "drop table daily_metrics, page_visits", UMAMI, TRAFFIC)
    empty_place.environment |= variables_of(database) | {"DB_USER": ROLE}
    yield empty_place
    prepare(database, f"drop owned by {ROLE}; drop role {ROLE};")


def grants(block: int, database: DatabaseConfig) -> str:
    """A block of the README, for this database: the first lets the user create the schema, the second has it given."""
    assert len(GRANTS) == 2
    text = GRANTS[block].replace("forecaster", ROLE).replace("database umami", f"database {database.name}")
    return text.replace("'...'", "'not asked for on a socket'")


def attempt(database: DatabaseConfig, statement: str) -> None:
    async def run() -> None:
        async with connected(database, writable=True) as connection:
            await connection.execute(statement)

    asyncio.run(run())


def check_forbidden(database: DatabaseConfig, *statements: str) -> None:
    forbidden = ("delete from website_event", "create table public.other (id int)", "create role another", *statements)
    for statement in forbidden:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            attempt(replace(database, user=ROLE), statement)


def forecast(umami: Place, *arguments: str) -> str:
    result = run_forked(umami, "forecast.py", "data.source=umami", PARIS, *arguments)
    assert result.returncode == 0, result.stderr
    assert re.search(r"wrote \d+ rows to forecasting\.forecasts", result.stdout), result.stdout
    return result.stdout


def test_readmes_rights_are_enough_to_make_the_schema_and_no_more(database: DatabaseConfig, umami: Place) -> None:
    """Made by whichever script comes first; the others then find it as they do below."""
    prepare(database, grants(0, database))
    assert "embedded PostgreSQL" not in forecast(umami, "--model", "base", "data.metrics=page_visits")
    check_forbidden(database)


def test_readmes_rights_are_enough_where_the_schema_is_given_and_no_more(
    database: DatabaseConfig, umami: Place
) -> None:
    prepare(database, load_schema(), grants(1, database))
    trained = run_forked(umami, "train.py", "data.source=umami", PARIS, "data.metrics=page_visits", *QUICK)
    assert trained.returncode == 0, trained.stderr
    forecasts = forecast(umami)
    process = umami.serve(*PATIENT)
    answer = get(f"{process.url}/predict/page-visits?site=Blog")
    assert (answer.status_code, len(answer.json()["predictions"])) == (200, 7)
    assert becomes(lambda: get(f"{process.url}/ready").json() == {"ready": True})
    for text in (trained.stdout, forecasts, process.text):
        assert "embedded PostgreSQL" not in text
    check_forbidden(database, "create schema another", "drop table forecasting.daily")
