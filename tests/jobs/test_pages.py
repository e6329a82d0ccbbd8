"""Every series at once: the same answers as one by one, what is left out, and what a failure leaves behind."""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from forecasting import PredictionService
from forecasting.artifact import Artifact
from forecasting.card import SeriesCard
from forecasting.domain import Kind, Unit
from forecasting.errors import AmbiguousUnit, TooFewDays, UnknownSite, WarehouseError
from forecasting.jobs.forecast_all import forecast_everything
from forecasting.jobs.pages import LoadedVersion, SeriesLookup, forecast_page, load_version
from forecasting.model.forecaster import LEVELS, Forecaster
from forecasting.predictor import usual_bands
from forecasting.settings.schema import Config, DatabaseConfig, ForecastConfig, MetricConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.pages import Page
from forecasting.warehouse.schema import load_schema
from forecasting.warehouse.sites import SiteIndex
from tests.conftest import VERSION

# A site whose series end on different days, with gaps, a rate in percent, and days without a value.
CHANGES = """
alter table daily_metrics add bounces double precision, add seconds double precision;
update daily_metrics set bounces = 30 + 20 * sin(extract(dow from date)), seconds = 60.125 + extract(dow from date);
update daily_metrics set page_visits = null where date > '2020-08-01' or date = '2020-07-07';
delete from daily_metrics where date in ('2020-07-01', '2020-07-10', '2020-07-11');
"""
# The last day with page visits is 1 August, that of the other metrics the 19th.
EVENTS = """
insert into forecasting.events (site, first_day, name, size)
    values (null, '2020-08-22', 'Launch', 3), (null, '2020-08-05', 'Sale', 0.5);
"""
EXPECTED = {
    7: "The forecast expects events: Sale (2020-08-05).",
    30: "The forecast expects events: Sale (2020-08-05), Launch (2020-08-22).",
}
MANY = """
drop table daily_metrics;
insert into forecasting.daily (site, metric, day, value)
    select 'site ' || n, 'page_visits', date '2024-02-29' - d, 100 * n + d % 7
    from generate_series(10, 29) as n, generate_series(0, n * 3 - 10) as d;
"""
Log = pytest.LogCaptureFixture
SCALE = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, *(2.0 + day / 20 for day in range(1, 24)))


def make_series(metric: str, **changed: object) -> SeriesCard:
    values = {
        "site": "siteanalytics", "metric": metric, "kind": Kind.count, "additive": True, "unit_scale": 1.0,
        "band_scale": SCALE, "day_correlation": 0.5,
    }  # fmt: skip
    return SeriesCard(**{**values, **changed})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(write_untrained: Callable[..., Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a version of a site, with a series of each kind."""
    folder = tmp_path_factory.mktemp("batch")
    series = (
        make_series("page_visits"),
        make_series("unique_visitors", answered_by="seasonal_naive"),
        make_series("bounces", kind=Kind.rate, unit_scale=100.0, additive=False),
        make_series("seconds", kind=Kind.other, additive=False),
    )
    write_untrained(folder, VERSION, series=series, data={"missing": "zero", "timezone": "UTC"})
    return folder


@pytest.fixture
def many(database: DatabaseConfig) -> DatabaseConfig:
    """20 sites of 21 to 78 days."""
    execute(database, load_schema(), MANY)
    return database


@pytest.fixture
def log(caplog: Log) -> Log:
    caplog.set_level(logging.INFO, "forecasting")
    return caplog


def execute(database: DatabaseConfig, *scripts: str) -> None:
    async def run() -> None:
        connection = await connect(database, writable=True)
        for script in scripts:
            await connection.execute(script)
        await connection.close()

    asyncio.run(run())


def written(database: DatabaseConfig) -> list[asyncpg.Record]:
    async def run() -> list[asyncpg.Record]:
        connection = await connect(database)
        rows = await connection.fetch("select * from forecasting.forecasts order by site, metric, day")
        await connection.close()
        return list(rows)

    return asyncio.run(run())


def configure(database: DatabaseConfig, store: Path, **forecast: object) -> Config:
    return Config(database=database, model_dir=store, forecast=ForecastConfig(**forecast))  # type: ignore[arg-type]


@pytest.mark.parametrize("days", [7, 30])
def test_answers_are_those_of_the_service(database: DatabaseConfig, store: Path, days: int) -> None:
    execute(database, CHANGES, load_schema(), EVENTS)
    config = configure(database, store, days_ahead=days)
    assert forecast_everything(config) == VERSION
    rows = written(database)
    assert len(rows) == 6 * days
    with PredictionService(config) as service:
        for series in service.card.series:
            answer = service.predict(series.metric, days_ahead=days)
            notes = [note for note in answer["notes"] if "expects events" in note]
            assert notes == ([EXPECTED[days]] if series.metric == "page_visits" else [])
            ours = [row for row in rows if row["metric"] == series.metric]
            assert [str(row["day"]) for row in ours] == [row["date"] for row in answer["predictions"]]
            assert {str(row["cutoff"]) for row in ours} == {answer["data_until"]}
            for row, answered in zip(ours, answer["predictions"], strict=True):
                value = answered["predicted_visits"] if "predicted_visits" in answered else answered["predicted_value"]
                precise = 0.5001 if series.kind is Kind.count else 2e-5 * value
                assert row["quantiles"][1] == pytest.approx(answered["lower"], abs=precise)
                assert row["quantiles"][3] == pytest.approx(value, abs=precise)
                assert row["quantiles"][5] == pytest.approx(answered["upper"], abs=precise)
    assert {row["version"] for row in rows} == {VERSION}


def test_quantiles_are_the_forecasters(many: DatabaseConfig, store: Path, untrained: Forecaster) -> None:
    """A series that nobody knows, by the Forecaster itself: all seven quantiles, bands as trained."""
    import torch

    forecast_everything(configure(many, store))
    [row] = [row for row in written(many) if row["site"] == "site 29" and row["day"] == dt.date(2024, 3, 1)]
    context, days = untrained.settings.context_length, untrained.settings.output_days
    history = np.full(context, np.nan, np.float32)
    history[-78:] = [2900 + before % 7 for before in range(77, -1, -1)]
    first_day = (dt.date(2024, 2, 29) - dt.date(1970, 1, 1)).days + 1 - context
    with torch.no_grad():
        quantiles = untrained(
            torch.from_numpy(history)[None], torch.tensor([first_day]), torch.tensor([0]), torch.ones(1, days)
        )
    np.testing.assert_allclose(row["quantiles"], quantiles[0, 0], rtol=1e-5)
    assert len(row["quantiles"]) == len(LEVELS)


def test_running_again_changes_nothing(many: DatabaseConfig, store: Path) -> None:
    forecast_everything(configure(many, store))
    before = written(many)
    forecast_everything(configure(many, store, batch_size=3))  # rows of forecasts from other batches differ by 1e-7
    after = written(many)
    assert [row["day"] for row in after] == [row["day"] for row in before]
    np.testing.assert_allclose([r["quantiles"] for r in after], [r["quantiles"] for r in before], rtol=1e-5)
    forecast_everything(configure(many, store, batch_size=3))
    assert written(many) == after


def test_series_with_too_few_days_are_left_out_and_said(
    many: DatabaseConfig, store: Path, log: pytest.LogCaptureFixture
) -> None:
    forecast_everything(configure(many, store, batch_size=4))
    assert {row["site"] for row in written(many)} == {f"site {n}" for n in range(13, 30)}
    assert log.messages[-1] == (
        "left out: 3 series (page_visits of site 10, page_visits of site 11, page_visits of site 12) with fewer than "
        "30 days, or fewer than 28 known ones among the last 56"
    )
    assert log.messages[0] == f"{VERSION} forecasts 7 days of every series"
    assert "there is no table daily_metrics: forecasting.daily is used as it is" in log.messages
    assert any(line.startswith("read 20 series, forecast 17, wrote 119 rows to forecasting.") for line in log.messages)


def test_nothing_to_forecast_is_refused(many: DatabaseConfig, store: Path) -> None:
    execute(many, "delete from forecasting.daily where day > '2024-02-01' or site <> 'site 20'")
    with pytest.raises(TooFewDays) as caught:
        forecast_everything(configure(many, store))
    assert str(caught.value) == "None of 1 series could be forecast. Load more days."


def test_unknown_site_is_named(many: DatabaseConfig, store: Path) -> None:
    execute(many, "delete from forecasting.daily where site > 'site 12'")
    config = configure(many, store)
    config.data.sites.append("shop")
    with pytest.raises(UnknownSite) as caught:
        forecast_everything(config)
    assert str(caught.value) == "There is no site 'shop'. Sites: site 10, site 11, site 12."


def test_failure_leaves_whole_batches_and_another_run_completes_them(many: DatabaseConfig, store: Path) -> None:
    """A row that PostgreSQL refuses, in a batch in the middle."""
    execute(many, "alter table forecasting.forecasts add constraint bad check (site <> 'site 22')")
    config = configure(many, store, batch_size=3)
    with pytest.raises(WarehouseError) as caught:
        forecast_everything(config)
    assert str(caught.value) == (
        'PostgreSQL failed while writing forecasts: new row for relation "forecasts" violates check constraint "bad".'
    )
    sites = [row["site"] for row in written(many)]
    assert sorted(set(sites)) == [f"site {n}" for n in range(13, 22)]
    assert len(sites) == 9 * 7
    execute(many, "alter table forecasting.forecasts drop constraint bad")
    forecast_everything(config)
    assert len(written(many)) == 17 * 7


def test_lost_connection_is_said(many: DatabaseConfig, store: Path) -> None:
    """The server ends the session that writes."""
    cut = """
        create function cut() returns trigger language plpgsql as
            $$ begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$;
        create trigger cut before insert on forecasting.forecasts for each statement execute function cut();
    """
    execute(many, cut)
    with pytest.raises(WarehouseError, match=r"^The connection to PostgreSQL was lost while writing forecasts: "):
        forecast_everything(configure(many, store, batch_size=3))
    assert written(many) == []


def test_without_a_version_the_base_forecasts(
    many: DatabaseConfig, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    assert forecast_everything(configure(many, tmp_path / "none")) == "base"
    assert log.messages[0] == f"note: there is no version in {tmp_path}/none yet: the base model forecasts"
    assert len(written(many)) == 17 * 7


def make_lookup(
    sample_artifact: Artifact, *cards: SeriesCard, **metrics: MetricConfig
) -> tuple[LoadedVersion, SeriesLookup]:
    version = replace(load_version(Config(model_dir=sample_artifact.folder.parent)), cards=cards)
    return version, SeriesLookup(version, metrics, SiteIndex(()), unnamed="mine")


def describe(lookup: SeriesLookup, site: str, metric: str) -> tuple[Kind, float, tuple[float, ...]]:
    card = lookup.cards[lookup.find([(site, metric)])[0]]
    return card.kind, card.unit_scale, card.band_scale


def test_what_is_known_of_a_series(sample_artifact: Artifact) -> None:
    rate = make_series("rate", kind=Kind.rate, unit_scale=100.0)
    usual = usual_bands(28).scale
    metrics = {"rate": MetricConfig(kind=Kind.rate), "seconds": MetricConfig(kind=Kind.other)}
    metrics |= {"share": MetricConfig(unit=Unit.percent), "page_visits": MetricConfig(kind=Kind.other)}
    _, lookup = make_lookup(sample_artifact, make_series("page_visits"), rate, **metrics)
    assert describe(lookup, "siteanalytics", "page_visits") == (Kind.count, 1.0, SCALE)  # as it was trained
    assert describe(lookup, "mine", "page_visits") == (Kind.count, 1.0, SCALE)  # the database's name is its site
    assert describe(lookup, "shop", "page_visits") == (Kind.other, 1.0, usual)
    assert describe(lookup, "shop", "rate") == (Kind.rate, 100.0, usual)  # the unit of the known site's
    assert describe(lookup, "shop", "share") == (Kind.rate, 100.0, usual)
    assert describe(lookup, "shop", "clicks") == (Kind.count, 1.0, usual)
    assert lookup.without_unit == set()


def make_page(*series: tuple[str, np.ndarray]) -> Page:
    days = [np.arange(20_000 - len(values), 20_000) for _, values in series]
    return Page(
        tuple(("blog", metric) for metric, _ in series),
        np.array([len(values) for _, values in series]),
        np.concatenate(days),
        np.concatenate([values for _, values in series]),
    )


def test_rate_of_unknown_unit_is_left_out(sample_artifact: Artifact) -> None:
    version, lookup = make_lookup(sample_artifact, bounces=MetricConfig(kind=Kind.rate))
    page = make_page(("bounces", np.full(60, 30.0)), ("clicks", np.full(60, 30.0)))
    forecasts = forecast_page(version, lookup, page, days_ahead=3)
    assert (forecasts.keys, forecasts.without_unit, forecasts.too_few) == (
        (("blog", "clicks"),),
        (("blog", "bounces"),),
        (),
    )
    assert forecasts.quantiles.shape == (1, 3, 7)


def test_percent_that_is_called_a_fraction_is_refused(sample_artifact: Artifact) -> None:
    version, lookup = make_lookup(sample_artifact, bounces=MetricConfig(unit=Unit.fraction))
    with pytest.raises(AmbiguousUnit) as caught:
        forecast_page(version, lookup, make_page(("bounces", np.full(60, 30.0))), days_ahead=3)
    assert str(caught.value) == (
        "bounces of blog has the unit fraction, 0..1, but its values are 30..30. "
        "Set metrics.bounces.unit=percent if they are 0..100."
    )
