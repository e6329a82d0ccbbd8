"""Two sites in somebody's Umami, as their owner runs the scripts: checked, trained, backtested, served, listed."""

import re
from pathlib import Path

import httpx
import pytest

from forecasting.artifact import load_artifact
from forecasting.settings.schema import DatabaseConfig
from scripts.bench.harness import PATIENCE_SECONDS, Place
from tests.waiting import CERTIFICATES, becomes
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import BLOG, SHOP, UMAMI

from .conftest import PATIENT, QUICK, variables_of
from .forking import run_forked

# 120 days up to yesterday in Paris: 40 + 10 * weekday views of the blog, three times as many of the shop, 2 a visit.
TRAFFIC = f"""
insert into website_event (website_id, session_id, visit_id, created_at)
    select site.id, md5(site.id || day::text || n / 4)::uuid, md5(site.id || day::text || n / 2)::uuid,
        (day + interval '1 minute' * (7 + n * 1400 / count.views)) at time zone 'Europe/Paris'
    from (values ('{BLOG}'::uuid, 1), ('{SHOP}'::uuid, 3)) as site (id, size),
        lateral (select date_trunc('day', now() at time zone 'Europe/Paris') as today) as local,
        lateral generate_series(local.today - interval '120 days', local.today - interval '1 day', '1 day') as day,
        lateral (select site.size * (40 + 10 * extract(isodow from day)::integer) as views) as count,
        lateral generate_series(0, count.views - 1) as n;
analyze;
"""  # noqa: S608 - ours
PARIS = "data.timezone=Europe/Paris"


@pytest.fixture
def umami(empty_place: Place, database: DatabaseConfig) -> Place:
    """Its reader may read two tables, and make our own schema."""
    prepare(database, "drop table daily_metrics, page_visits", UMAMI, TRAFFIC)
    empty_place.environment |= variables_of(database)
    return empty_place


def run(place: Place, script: str, *arguments: str) -> str:
    result = run_forked(place, script, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_whole_way(umami: Place, database: DatabaseConfig, tmp_path: Path) -> None:
    checked = run(umami, "sources.py", "--check", "--source", "umami", PARIS)
    assert re.search(r"^Blog +\d{4}-\d\d-\d\d +\d{4}-\d\d-\d\d +120 +Europe/Paris$", checked, re.MULTILINE)

    trained = run(umami, "train.py", "data.source=umami", PARIS, "model_version=v1", *QUICK)
    assert "read 10 series of 116 days" in trained  # 60 with targets and 56 before them
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

    served = umami.serve(*PATIENT)
    with httpx.Client(base_url=served.url, timeout=PATIENCE_SECONDS, verify=CERTIFICATES) as client:
        sites = client.get("/sites").json()
        assert [(site["site"], site["timezone"]) for site in sites["sites"]] == [
            ("Blog", "Europe/Paris"),
            ("Shop", "Europe/Paris"),
        ]
        assert sites["untrained"] == ["Quiet"]
        assert {metric["metric"]: metric["additive"] for metric in sites["sites"][0]["metrics"]} == {
            "page_visits": True, "unique_visitors": False, "visits": True,
            "bounce_rate": False, "visit_duration": False,
        }  # fmt: skip
        refused = client.get("/predict/page-visits")
        assert (refused.status_code, refused.json()["detail"]) == (
            400, "There are 2 sites: say which with `site`, one of Blog, Shop.",
        )  # fmt: skip
        blog, shop = (client.get("/predict/page-visits", params={"site": site}).json() for site in ("Blog", "Shop"))
        assert 2 < shop["total"]["value"] / blog["total"]["value"] < 4.5
        request = {"metrics": ["unique_visitors", "bounce_rate"], "sites": ["Blog", "Shop"]}
        several = client.post("/predict/multiple", json=request).json()
        assert several["Shop"]["unique_visitors"]["total"] is None
        assert several["Shop"]["unique_visitors"]["additive"] is False
        assert all(0 <= row["predicted_value"] <= 1 for row in several["Blog"]["bounce_rate"]["predictions"])
        assert client.get("/health").json()["status"] == "healthy"

        prepare(database, f"update website set name = 'Journal' where website_id = '{BLOG}'")  # noqa: S608 - ours
        updated = run(umami, "sources.py", "--update", "--source", "umami", PARIS)
        assert "note: the site Blog is called Journal in umami now: " in updated
        renamed = ["The site Blog is called Journal now."]
        assert becomes(lambda: client.get("/health").json()["changes"] == renamed)
        for name in ("Blog", "Journal"):
            answer = client.get("/predict/page-visits", params={"site": name}).json()
            assert (answer["site"], answer["predictions"]) == ("Journal", blog["predictions"])
        assert client.get("/sites").json()["sites"][0]["aliases"] == ["Blog"]
        assert client.get("/health").json()["status"] == "healthy"
    assert served.end() == 0
    assert renamed[0] in served.text
