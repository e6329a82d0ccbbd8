"""The scripts as a user of the database who has the rights that README names, and no other."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace

import asyncpg
import httpx
import pytest

from forecasting.config import PROJECT, DatabaseConfig
from forecasting.warehouse.connect import connected
from forecasting.warehouse.queries import load_query
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import UMAMI

from .conftest import FREE_PORTS, QUICK, Place
from .test_umami_sites import PARIS, TRAFFIC

README = (PROJECT / "README.md").read_text()
GRANTS = re.findall(r"```sql\n(create role forecaster.*?)```", README, re.DOTALL)
ROLE = "least_rights"


@pytest.fixture(params=[0, 1], ids=["makes the schema", "is given the schema"])
def grants(request: pytest.FixtureRequest, database: DatabaseConfig) -> Iterator[str]:
    """A block of README, for this database."""
    assert len(GRANTS) == 2
    text = GRANTS[request.param].replace("forecaster", ROLE).replace("database umami", f"database {database.name}")
    yield text.replace("'...'", "'not asked for on a socket'")
    prepare(database, f"drop owned by {ROLE}; drop role {ROLE};")


def attempt(database: DatabaseConfig, statement: str) -> None:
    async def run() -> None:
        async with connected(database, writable=True) as connection:
            await connection.execute(statement)

    asyncio.run(run())


def test_readmes_rights_are_enough_and_no_more(database: DatabaseConfig, empty_place: Place, grants: str) -> None:
    given = "on schema forecasting" in grants
    prepare(database, "drop table daily_metrics, page_visits", UMAMI, TRAFFIC)
    prepare(database, *([load_query("create_forecasting")] if given else []), grants)
    empty_place.environment.update(
        {"DB_HOST": database.host, "DB_NAME": database.name, "DB_USER": ROLE, "DB_PASSWORD": "none"}
    )

    trained = empty_place.run("train.py", "data.source=umami", PARIS, "data.metrics=page_visits", *QUICK)
    assert trained.returncode == 0, trained.stderr
    forecast = empty_place.run("forecast.py", "data.source=umami", PARIS)
    assert forecast.returncode == 0, forecast.stderr
    assert re.search(r"wrote \d+ rows to forecasting\.forecasts", forecast.stdout), forecast.stdout
    process = empty_place.start("serve.py", "--port", "0", "serving.workers=1", *FREE_PORTS)
    answer = httpx.get(f"{process.url}/predict/page-visits", params={"site": "Blog"}, timeout=30)
    assert (answer.status_code, len(answer.json()["predictions"])) == (200, 7)
    assert httpx.get(f"{process.url}/ready", timeout=30).json() == {"ready": True}
    for text in (trained.stdout, forecast.stdout, process.text):
        assert "embedded PostgreSQL" not in text

    user = replace(database, user=ROLE)
    forbidden = ["delete from website_event", "create table public.other (id int)", "create role another"]
    forbidden += ["create schema another", "drop table forecasting.daily"] if given else []
    for statement in forbidden:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            attempt(user, statement)
