"""A version knows its sites by their keys in Umami: renamed, joined by others of the same name, deleted, and back."""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from forecasting import PredictionService
from forecasting.artifact import Artifact
from forecasting.card import SeriesCard
from forecasting.domain import Kind, SourceName
from forecasting.errors import UnknownSite
from forecasting.jobs.forecast_all import Tally, forecast_everything, forecast_series
from forecasting.jobs.pages import load_version
from forecasting.predictor import usual_bands
from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.forecast_service import ForecastService
from forecasting.serving.health import Problems
from forecasting.serving.http.app import create_app
from forecasting.serving.recent_windows import RecentWindows
from forecasting.settings.schema import Config, DatabaseConfig, DataConfig
from forecasting.warehouse.site_directory import SiteDirectory
from tests.conftest import VERSION
from tests.serving.backend import CacheBackend, load_model
from tests.waiting import becomes_meanwhile
from tests.warehouse.ingesting import ask_own, bring, days, events_of
from tests.warehouse.sources.asking import prepare
from tests.warehouse.sources.test_umami import BLOG, SHOP, UMAMI

NOW = "2024-06-11 09:00"
SECOND = "dddddddd-0000-4000-8000-000000000000"
TRAFFIC = (
    days("2024-04-01", "2024-06-10", an_hour=2, hours=(9, 12)),
    days("2024-04-01", "2024-06-10", site=SHOP, an_hour=5, hours=(9, 12)),
)
SCALE = tuple(2 * scale for scale in usual_bands(7).scale)  # not those of series that a version does not know
Step = Callable[["Server"], Awaitable[None]]


def rename(key: str, name: str) -> str:
    return f"update website set name = '{name}' where website_id = '{key}'"  # noqa: S608 - ours


def delete(key: str) -> str:
    return f"update website set deleted_at = now() where website_id = '{key}'"  # noqa: S608 - ours


def create(key: str, name: str, *, an_hour: int) -> tuple[str, str]:
    site = f"insert into website (website_id, name) values ('{key}', '{name}')"  # noqa: S608 - ours
    return site, days("2024-04-01", "2024-06-10", site=key, an_hour=an_hour, hours=(9, 12))


def make_series(site: str, key: str | None) -> SeriesCard:
    return SeriesCard(
        site=site, metric="page_visits", kind=Kind.count, additive=True, unit_scale=1.0,
        band_scale=SCALE, day_correlation=0.5, site_key=key,
    )  # fmt: skip


def make_version(write_untrained: Callable[..., Artifact], store: Path, *, with_keys: bool) -> Artifact:
    sites = {"Blog": BLOG, "Shop": SHOP}
    series = tuple(make_series(site, key if with_keys else None) for site, key in sites.items())
    data = {"source": "umami", "missing": "zero", "timezone": "UTC", "last_day": "2024-06-10"}
    return write_untrained(store, VERSION, series=series, data=data)


@pytest.fixture(scope="module")
def version(write_untrained: Callable[..., Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_version(write_untrained, tmp_path_factory.mktemp("keys"), with_keys=True)


@pytest.fixture(scope="module")
def older_version(write_untrained: Callable[..., Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """As programs before series had keys wrote it."""
    return make_version(write_untrained, tmp_path_factory.mktemp("names"), with_keys=False)


@pytest.fixture
def config(database: DatabaseConfig, version: Artifact) -> Config:
    config = replace(events_of(database), model_dir=version.folder.parent)
    bring(config, NOW, UMAMI, *TRAFFIC)
    return config


OF_THE_BASE = """
select quantiles[4] as median from forecasting.forecasts
where site = 'Blog (dddddddd)' and metric = 'page_visits' order by day
"""


class Backend(CacheBackend):
    def __init__(self, forecast_cache: ForecastCache, windows: RecentWindows) -> None:
        super().__init__(forecast_cache)
        self.windows = windows

    async def list_sites(self) -> SiteDirectory:
        return await self.windows.list_sites()

    async def find_problems(self) -> Problems:
        return Problems(None, self.windows.problem, self.windows.updates.problem, self.windows.sites.find().problem)


class Server:
    """The routes on the real PostgreSQL, with the model in this process."""

    def __init__(self, config: Config, client: httpx.AsyncClient, windows: RecentWindows) -> None:
        self._config = config
        self._client = client
        self._windows = windows

    async def change(self, *scripts: str) -> None:
        """Changes Umami, and reads its days as another program does; the server notices when it checks."""
        await asyncio.to_thread(bring, self._config, NOW, *scripts)
        await self._windows.check()

    async def forecast_by_the_base(self) -> None:
        """Every series, as scripts/forecast.py --model base does it."""
        version = load_version(replace(self._config, model_version="base"))
        await forecast_series(version, self._config.kept_in, Tally())

    async def keep(self) -> None:
        """Reads the days of the source, as the server does by itself, until something is kept."""
        self._windows.updates.expire()
        await self._windows.updates.refresh()
        assert await becomes_meanwhile(lambda: self._windows.updates.kept)

    async def get(self, path: str, **parameters: str) -> Any:  # Any: json's own types
        response = await self._client.get(path, params=parameters)
        return response.json() if response.status_code == 200 else (response.status_code, response.json()["detail"])

    async def predict(self, site: str) -> tuple[str, list[int]] | tuple[int, str]:
        """The site's name and its forecast, or why there is none."""
        answer = await self.get("/predict/page-visits", site=site)
        if isinstance(answer, tuple):
            return answer
        return answer["site"], [row["predicted_visits"] for row in answer["predictions"]]


def serve(config: Config, artifact: Artifact, step: Step) -> None:
    async def run() -> None:
        windows = RecentWindows(config, artifact.card)
        service = ForecastService(
            artifact.card, load_model(artifact.folder), windows.read, find_sites=windows.sites.find
        )
        cache = ForecastCache(
            service, windows.revisions, megabytes=1.0, stale_seconds=60.0, find_kept=lambda: windows.updates.kept
        )
        transport = httpx.ASGITransport(create_app(Backend(cache, windows)))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                await windows.list_sites()
                await windows.check()
                await step(Server(config, client, windows))
        finally:
            await windows.close()

    asyncio.run(run())


@pytest.fixture(params=["version", "older_version"])
def any_version(request: pytest.FixtureRequest) -> Artifact:
    artifact: Artifact = request.getfixturevalue(request.param)
    return artifact


def test_a_renamed_site_is_served_by_both_names(
    config: Config, any_version: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "forecasting")

    async def step(server: Server) -> None:
        before = await server.predict("Blog")
        assert before[0] == "Blog"
        assert (await server.get("/health"))["changes"] == []
        await server.change(rename(BLOG, "Journal"))
        assert await server.predict("Blog") == await server.predict("Journal") == ("Journal", before[1])
        assert [
            (site["site"], site["aliases"], site["timezone"]) for site in (await server.get("/sites"))["sites"]
        ] == [
            ("Journal", ["Blog"], "UTC"),
            ("Shop", [], "UTC"),
        ]
        assert (await server.get("/sites"))["untrained"] == ["Quiet"]
        health = await server.get("/health")
        assert (health["status"], health["changes"]) == ("healthy", ["The site Blog is called Journal now."])
        assert [series["site"] for series in (await server.get("/model/info"))["series"]] == ["Journal", "Shop"]
        assert "The site Blog is called Journal now." in caplog.messages
        await server.change(rename(BLOG, "Blog"))
        assert await server.predict("Blog") == await server.predict("Journal") == before
        assert (await server.get("/health"))["changes"] == []

    serve(config, any_version, step)


def test_sites_that_exchange_their_names_keep_their_forecasts(config: Config, any_version: Artifact) -> None:
    async def step(server: Server) -> None:
        blog, shop = await server.predict("Blog"), await server.predict("Shop")
        assert blog[1] != shop[1]
        await server.change(rename(BLOG, "Shop"), rename(SHOP, "Blog"))
        assert await server.predict("Shop") == ("Shop", blog[1])
        assert await server.predict("Blog") == ("Blog", shop[1])
        assert (await server.get("/health"))["changes"] == [
            "The site Blog is called Shop now. Another site has its former name.",
            "The site Shop is called Blog now. Another site has its former name.",
        ]

    serve(config, any_version, step)


def test_a_second_site_of_the_same_name_changes_nothing_for_the_first(config: Config, any_version: Artifact) -> None:
    async def step(server: Server) -> None:
        before = await server.predict("Blog")
        await server.change(*create(SECOND, "Blog", an_hour=9))
        assert await server.predict("Blog") == before
        assert (await server.get("/sites"))["untrained"] == ["Blog (dddddddd)", "Quiet"]
        assert (await server.get("/health"))["changes"] == []
        new = await server.get("/predict/page-visits", site="Blog (dddddddd)")
        assert (new["site"], new["answered_by"], new["model_version"]) == ("Blog (dddddddd)", "base", VERSION)
        await server.forecast_by_the_base()
        expected = await asyncio.to_thread(ask_own, config.database, OF_THE_BASE)
        assert [row["predicted_visits"] for row in new["predictions"]] == [round(row["median"]) for row in expected]
        both = await server.get("/predict/page-visits", site="Blog (dddddddd)", days_ahead="3")
        assert both["predictions"] == new["predictions"][:3]
        await server.change(delete(SECOND))
        assert await server.predict("Blog") == before
        assert (await server.get("/sites"))["untrained"] == ["Quiet"]

    serve(config, any_version, step)


def test_a_deleted_site_is_not_taken_for_another_of_its_name(config: Config, any_version: Artifact) -> None:
    async def step(server: Server) -> None:
        blog = await server.predict("Blog")
        await server.change(*create(SECOND, "Blog", an_hour=9))
        await server.change(delete(BLOG))
        assert await server.predict("Blog") == (
            400, "The site 'Blog' is no longer in umami. Sites that can be forecast: Shop.",
        )  # fmt: skip
        assert (await server.predict("Shop"))[0] == "Shop"
        health = await server.get("/health")
        assert (health["status"], health["changes"]) == (
            "healthy", ["The site Blog is no longer in umami: it is not forecast."],
        )  # fmt: skip
        assert [(site["site"], site["timezone"]) for site in (await server.get("/sites"))["sites"]] == [
            ("Blog", None),
            ("Shop", "UTC"),
        ]
        await server.change(f"update website set deleted_at = null where website_id = '{BLOG}'")  # noqa: S608 - ours
        assert await server.predict("Blog") == blog

    serve(config, any_version, step)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_new_site_with_the_name_of_a_deleted_one_is_another(config: Config, version: Artifact, at_once: bool) -> None:
    async def step(server: Server) -> None:
        await server.change(delete(BLOG), *(create(SECOND, "Blog", an_hour=9) if at_once else ()))
        await server.change(*(() if at_once else create(SECOND, "Blog", an_hour=9)))
        assert (await server.get("/predict/page-visits", site="Blog"))["answered_by"] == "base"
        sites = await server.get("/sites")
        assert [site["site"] for site in sites["sites"]] == ["Blog (gone)", "Shop"]
        assert sites["untrained"] == ["Blog", "Quiet"]
        assert (await server.get("/health"))["changes"] == [
            "The site Blog (gone) is no longer in umami: it is not forecast."
        ]

    serve(config, version, step)


def test_health_counts_the_days_that_the_source_no_longer_has(
    config: Config, version: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    async def step(server: Server) -> None:
        assert (await server.get("/health"))["changes"] == []
        await asyncio.to_thread(prepare, config.database, "delete from website_event where created_at < '2024-05-01'")
        await server.keep()
        health = await server.get("/health")
        sentence = (
            "umami no longer has 60 days of 2 sites, Blog, Shop (2024-04-01..2024-04-30), which are kept as they were "
            "read"
        )
        assert (health["status"], health["changes"]) == ("healthy", [sentence])
        assert sentence in caplog.messages

    serve(config, version, step)


def test_a_version_without_any_site_left_is_a_problem(config: Config, version: Artifact) -> None:
    async def step(server: Server) -> None:
        await server.change(delete(BLOG), delete(SHOP))
        health = await server.get("/health")
        assert (health["status"], health["problems"]) == (
            "degraded", [f"None of the sites of version {VERSION} is in umami any more. Train a new version."],
        )  # fmt: skip
        assert await server.predict("Blog") == (400, "The site 'Blog' is no longer in umami.")

    serve(config, version, step)


def test_python_answers_by_both_names_in_a_service_that_began_before_and_after(config: Config) -> None:
    with PredictionService(config) as service:
        before = service.predict(site="Blog")
        bring(config, NOW, rename(BLOG, "Journal"))
        assert service.predict(site="Blog")["site"] == "Journal"
    prepare(config.database, rename(BLOG, "Diary"))  # which the service itself reads
    with PredictionService(config) as service:
        for name in ("Blog", "Journal", "Diary"):
            answer = service.predict(site=name)
            assert (answer["site"], answer["predictions"]) == ("Diary", before["predictions"])
        with pytest.raises(UnknownSite) as caught:
            service.predict(site="Log")
        assert str(caught.value) == f"There is no site 'Log' in version {VERSION}. It was trained on: Diary, Shop."


def test_forecasts_of_every_series_are_those_of_the_renamed_sites(config: Config, any_version: Artifact) -> None:
    config = replace(config, model_dir=any_version.folder.parent)
    forecast_everything(config)
    bring(config, NOW, rename(BLOG, "Journal"), rename(SHOP, "Blog"))
    with PredictionService(config) as service:
        answers = {site: service.predict(site=site)["predictions"] for site in ("Journal", "Blog")}
    forecast_everything(replace(config, data=replace(config.data, sites=["Journal", "Blog"])))
    rows = ask_own(config.database, "select * from forecasting.latest where metric = 'page_visits' order by site, day")
    assert {row["site"] for row in rows} == {"Journal", "Blog"}
    assert len(rows) == 2 * 7
    for site, answer in answers.items():
        quantiles = [row["quantiles"] for row in rows if row["site"] == site]
        for place, name in ((1, "lower"), (3, "predicted_visits"), (5, "upper")):
            expected = [row[name] for row in answer]
            assert [row[place] for row in quantiles] == pytest.approx(expected, abs=0.5001)


def test_newer_export_of_the_only_site_may_have_another_name(
    database: DatabaseConfig, write_untrained: Callable[..., Artifact], tmp_path: Path
) -> None:
    """Its file names the site: by default that of the version, else the one that is given."""
    files = [tmp_path / f"traffic-{number}.csv" for number in (1, 2)]
    for file, num_days in zip(files, (60, 61), strict=True):
        dates = [dt.date(2024, 4, 1) + dt.timedelta(days=day) for day in range(num_days)]
        file.write_text("date,page_visits\n" + "".join(f"{date},{500 + date.day}\n" for date in dates))
    data = {"source": "csv", "csv": str(files[0]), "missing": "zero", "timezone": "UTC", "last_day": "2024-05-30"}
    series = (make_series("traffic-1", "traffic-1"),)
    version = write_untrained(tmp_path / "store", VERSION, series=series, data=data)
    config = Config(database=database, model_dir=version.folder.parent)
    with PredictionService(config) as service:
        before = service.predict()
        assert (before["site"], before["data_until"]) == ("traffic-1", "2024-05-30")
    newer = replace(config, data=DataConfig(source=SourceName.csv, csv=files[1]), given={"data.csv": "--csv"})
    with PredictionService(newer) as service:
        after = service.predict(site="traffic-1")
        assert after == service.predict(site="traffic-2") | {"prediction_date": after["prediction_date"]}
        assert (after["site"], after["data_until"]) == ("traffic-1", "2024-05-31")


def test_a_site_that_an_older_version_knows_by_a_forgotten_name_is_gone(
    config: Config, older_version: Artifact
) -> None:
    """It was renamed before our own schema kept earlier names."""
    card = older_version.card
    series = (make_series("Forgotten", None), make_series("Shop", None))
    forgotten = replace(older_version, card=replace(card, series=series))

    async def step(server: Server) -> None:
        assert await server.predict("Forgotten") == (
            400, "The site 'Forgotten' is no longer in umami. Sites that can be forecast: Shop.",
        )  # fmt: skip
        assert (await server.get("/health"))["changes"] == [
            "The site Forgotten is no longer in umami: it is not forecast."
        ]
        sites = await server.get("/sites")
        assert [(site["site"], site["timezone"]) for site in sites["sites"]] == [("Forgotten", None), ("Shop", "UTC")]

    serve(config, forgotten, step)


def test_two_sites_that_were_once_called_the_same(config: Config, version: Artifact) -> None:
    async def step(server: Server) -> None:
        await server.change(rename(BLOG, "Journal"))
        await server.change(rename(SHOP, "Blog"))
        await server.change(rename(SHOP, "Store"))
        assert await server.predict("Blog") == (
            400, "2 sites were once called 'Blog': say which, one of Journal, Store.",
        )  # fmt: skip
        assert (await server.predict("Shop"))[0] == "Store"

    serve(config, version, step)
