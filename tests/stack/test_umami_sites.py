"""Two sites in somebody's Umami, as their owner runs the scripts: checked, trained, backtested, served, listed. Of the
database they use only the rights that forecasting/warehouse/README.md names.
"""

import asyncio
import datetime as dt
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest

from forecasting.artifact import load_artifact
from forecasting.card import Card
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import connected
from forecasting.warehouse.schema import load_schema
from scripts.bench.harness import PATIENCE_SECONDS, Place
from tests import PROJECT
from tests.waiting import CERTIFICATES, becomes
from tests.warehouse.ingesting import ask_own
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import BLOG, SHOP, UMAMI

from .conftest import PATIENT, QUICK, variables_of
from .forking import run_forked

# 200 days up to yesterday in Paris: 40 + 10 * weekday views of the blog or up to 30% more, as the weather is, three
# times as many of the shop, 2 a visit. On one day, 20 days ago, the blog has three times as many as usual.
TRAFFIC = f"""
insert into website_event (website_id, session_id, visit_id, created_at)
    select site.id, md5(site.id || day::text || n / 4)::uuid, md5(site.id || day::text || n / 2)::uuid,
        (day + interval '1 minute' * (7 + n * 1400 / count.views)) at time zone 'Europe/Paris'
    from (values ('{BLOG}'::uuid, 1), ('{SHOP}'::uuid, 3)) as site (id, size),
        lateral (select date_trunc('day', now() at time zone 'Europe/Paris') as today) as local,
        lateral generate_series(local.today - interval '200 days', local.today - interval '1 day', '1 day') as day,
        lateral (
            select round(
                site.size * (40 + 10 * extract(isodow from day)) * (1 + abs(hashtext(day::text)) % 100 * 0.003)
                * case when site.size = 1 and day = local.today - interval '20 days' then 3 else 1 end
            )::integer as views
        ) as count,
        lateral generate_series(0, count.views - 1) as n;
analyze;
"""  # noqa: S608 - ours
NUM_KNOWN_AHEAD = 4  # days of the weather, today included
WEATHER = f"""
create table weather as
    select day::date as date, abs(hashtext(day::text)) % 100 as sun, random() as dice
    from (select date_trunc('day', now() at time zone 'Europe/Paris') as today) as local,
        generate_series(today - interval '200 days', today + interval '{NUM_KNOWN_AHEAD - 1} days', '1 day') as day;
"""  # noqa: S608 - ours
PARIS = "data.timezone=Europe/Paris"


README = (PROJECT / "forecasting" / "warehouse" / "README.md").read_text()
GRANTS = re.findall(r"```sql\n(create role forecaster.*?)```", README, re.DOTALL)
ROLE = "least_rights"


@pytest.fixture
def umami(empty_place: Place, database: DatabaseConfig) -> Iterator[Place]:
    """Its tables, and scripts that reach them as a user whom a test has to make."""
    prepare(database, "drop table daily_metrics, page_visits", UMAMI, TRAFFIC, WEATHER)
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


def run(place: Place, script: str, *arguments: str) -> str:
    result = run_forked(place, script, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "embedded PostgreSQL" not in result.stdout
    return result.stdout


@dataclass(frozen=True)
class Sales:
    """The blog's sales, of 20 days ago and of tomorrow."""

    file: Path
    past: dt.date
    ahead: str

    @staticmethod
    def plan(file: Path) -> "Sales":
        today = dt.datetime.now(ZoneInfo("Europe/Paris")).date()
        sales = Sales(file, today - dt.timedelta(days=20), str(today + dt.timedelta(days=1)))
        file.write_text(f"site,first_day,name\nBlog,{sales.past},Sale\nBlog,{sales.ahead},Sale\n")
        return sales

    @property
    def note(self) -> str:
        return f"The forecast expects events: Sale ({self.ahead})."

    def call_off(self) -> None:
        """That of tomorrow."""
        self.file.write_text(f"site,first_day,name\nBlog,{self.past},Sale\n")

    def launch(self, database: DatabaseConfig, client: httpx.Client, usual: dict[str, int]) -> None:
        """The shop's event of twice the usual views counts at once, on its day alone."""
        row = f"('Shop', '{self.ahead}', 'Launch', 2)"
        prepare(database, f"insert into forecasting.events (site, first_day, name, size) values {row}")  # noqa: S608
        note = f"The forecast expects events: Launch ({self.ahead})."
        assert becomes(lambda: note in get_views(client, "Shop")[0]["notes"])
        doubled = usual | {self.ahead: 2 * (usual[self.ahead] + 1) - 1}
        assert get_views(client, "Shop")[1] == pytest.approx(doubled, abs=1)

    def add(self, views: dict[str, int], card: Card) -> dict[str, float]:
        """The blog's views without a sale, with what the version has learned of the past one."""
        learned = card.find_series(site="Blog", metric="page_visits").effects.by_name["event: Sale"].learned
        assert learned == pytest.approx(math.log(3) * 2 / 3, rel=0.3)
        return views | {self.ahead: math.exp(learned) * (views[self.ahead] + 1) - 1}


def get_views(client: httpx.Client, site: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The answer, and the views by day."""
    answer = client.get("/predict/page-visits", params={"site": site}).json()
    return answer, {row["date"]: row["predicted_visits"] for row in answer["predictions"]}


def forecast(umami: Place, *arguments: str) -> None:
    printed = run(umami, "forecast.py", "data.source=umami", PARIS, *arguments)
    assert re.search(r"wrote \d+ rows to forecasting\.forecasts", printed), printed


def check_weather(database: DatabaseConfig, answer: dict[str, Any], views: dict[str, int]) -> None:
    """The shop's views are those of the weekday and the weather on the days on which it is known."""
    assert "sun" in answer["regressors"]
    assert any(note.startswith("sun is not known for ") for note in answer["notes"])
    rows = ask_own(database, "select date, sun from weather where date >= $1", dt.date.fromisoformat(min(views)))
    assert len(rows) == NUM_KNOWN_AHEAD
    truth = {str(row["date"]): 3 * (40 + 10 * row["date"].isoweekday()) * (1 + row["sun"] * 0.003) for row in rows}
    assert {day: views[day] for day in truth} == pytest.approx(truth, rel=0.1)


def check_daily_job(client: httpx.Client) -> None:
    """No job has ever run here, so the server runs it once it has started, with the settings that it has itself."""

    def read() -> dict[str, Any]:
        return client.get("/health").json()["daily_job"]

    assert becomes(lambda: read()["outcome"] not in (None, "running"))
    job = read()
    assert job["outcome"] == "succeeded"
    assert job["age_hours"] < 1
    next_at = dt.datetime.fromisoformat(job["next_at"]).astimezone(ZoneInfo("Europe/Paris"))
    assert (next_at.hour, next_at.minute) == (6, 15)
    metrics = client.get("/metrics").text
    for step in ("update", "forecast", "judge", "outcomes", "prune", "tell"):
        assert f'forecaster_daily_job_step_seconds{{step="{step}"}}' in metrics


def check_several_sites_and_the_daily_job(client: httpx.Client) -> None:
    request = {"metrics": ["unique_visitors", "bounce_rate"], "sites": ["Blog", "Shop"]}
    several = client.post("/predict/multiple", json=request).json()
    assert several["Shop"]["unique_visitors"]["total"] is None
    assert several["Shop"]["unique_visitors"]["additive"] is False
    assert all(0 <= row["predicted_value"] <= 1 for row in several["Blog"]["bounce_rate"]["predictions"])
    check_daily_job(client)


def test_readmes_rights_are_enough_to_make_the_schema_and_no_more(database: DatabaseConfig, umami: Place) -> None:
    """Made by whichever script comes first; the others then find it as they do below."""
    prepare(database, grants(0, database))
    forecast(umami, "--model", "base", "data.metrics=page_visits")
    check_forbidden(database)


def test_the_whole_way_where_the_schema_is_given(umami: Place, database: DatabaseConfig, tmp_path: Path) -> None:
    prepare(database, load_schema(), grants(1, database), f"grant select on weather to {ROLE}")
    checked = run(umami, "sources.py", "--check", "--source", "umami", PARIS)
    assert re.search(r"^Blog +\d{4}-\d\d-\d\d +\d{4}-\d\d-\d\d +200 +Europe/Paris$", checked, re.MULTILINE)

    sales = Sales.plan(tmp_path / "events.csv")
    known = ("data.country=FR", f"data.events={sales.file}")
    checked = run(umami, "sources.py", "--check", "--source", "umami", PARIS, *known)
    assert re.search(
        r"^holidays of FR: \d+ since [\d-]+, \d+ in the next 365 days, for 3 sites$", checked, re.MULTILINE
    )
    assert "events: 2, 1 of them not over yet: Sale\n" in checked

    trained = run(
        umami, "train.py", "data.source=umami", PARIS, *known, "data.regressors=weather", "model_version=v1", *QUICK
    )
    for told in (
        "read 10 series of 200 days",  # all there are
        "events: 1 known from the past of 5 series; forecasts expect them",
        "regressors used: .*sun by [2-9] series of 10; they take ",
    ):
        assert re.search(told, trained), trained
    card = load_artifact(umami.store, "v1").card
    assert {(series.site, series.metric) for series in card.series} == {
        (site, metric)
        for site in ("Blog", "Shop")
        for metric in ("page_visits", "unique_visitors", "visits", "bounce_rate", "visit_duration")
    }
    assert {(series.site, series.site_key) for series in card.series} == {("Blog", BLOG), ("Shop", SHOP)}

    days = run(umami, "sources.py", "--days", "--source", "umami", PARIS)
    assert "forecasting.daily" not in days  # nothing to tell beside the days
    assert re.search(r"^Blog: \d{4}-\d\d-\d\d partial: page_visits, unique_visitors", days, re.MULTILINE)  # the oldest

    report = run(
        umami, "backtest.py", "data.source=umami", PARIS, "data.sites=Shop", "data.metrics=page_visits",
        "--origins", "3", "--plot", str(tmp_path / "plot.png"),
    )  # fmt: skip
    assert "read 1 series" in report

    forecast(umami)
    served = umami.serve(*PATIENT, "schedule.daily=06:15")
    with httpx.Client(base_url=served.url, timeout=PATIENCE_SECONDS, verify=CERTIFICATES) as client:
        sites = client.get("/sites").json()
        zones = {site["site"]: site["timezone"] for site in sites["sites"]}
        assert (zones, sites["untrained"]) == ({"Blog": "Europe/Paris", "Shop": "Europe/Paris"}, ["Quiet"])
        assert {metric["metric"]: metric["additive"] for metric in sites["sites"][0]["metrics"]} == {
            "page_visits": True, "unique_visitors": False, "visits": True,
            "bounce_rate": False, "visit_duration": False,
        }  # fmt: skip
        refused = client.get("/predict/page-visits")
        assert (refused.status_code, refused.json()["detail"]) == (
            400, "There are 2 sites: say which with `site`, one of Blog, Shop.",
        )  # fmt: skip
        (blog, views_of_blog), (shop, views_of_shop) = (get_views(client, site) for site in ("Blog", "Shop"))
        assert [sales.note in answer["notes"] for answer in (blog, shop)] == [True, False]
        check_weather(database, shop, views_of_shop)
        sales.launch(database, client, views_of_shop)
        assert 2 < shop["total"]["value"] / blog["total"]["value"] < 4.5
        check_several_sites_and_the_daily_job(client)
        assert client.get("/health").json()["status"] == "healthy"
        assert becomes(lambda: client.get("/ready").json() == {"ready": True})

        prepare(database, f"update website set name = 'Journal' where website_id = '{BLOG}'")  # noqa: S608 - ours
        sales.call_off()
        updated = run(umami, "sources.py", "--update", "--source", "umami", PARIS, known[1])
        assert "note: the site Blog is called Journal in umami now: " in updated
        renamed = ["The site Blog is called Journal now."]
        assert becomes(lambda: client.get("/health").json()["changes"] == renamed)
        for name in ("Blog", "Journal"):
            answer, views = get_views(client, name)
            assert (answer["site"], sales.note in answer["notes"]) == ("Journal", False)
            assert views_of_blog == pytest.approx(sales.add(views, card), abs=2)
        assert client.get("/sites").json()["sites"][0]["aliases"] == ["Blog"]
        assert client.get("/health").json()["status"] == "healthy"
    assert served.end() == 0
    assert renamed[0] in served.text
    assert "embedded PostgreSQL" not in served.text
    check_forbidden(database, "create schema another", "drop table forecasting.daily")
