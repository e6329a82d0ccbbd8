"""Forecasts that were answered are kept in PostgreSQL, as the daily job would keep them."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forecasting.artifact import Artifact
from forecasting.jobs.forecast_all import forecast_everything
from forecasting.serving import forecast_keeper
from forecasting.serving.forecast_keeper import ForecastKeeper
from forecasting.serving.forecast_service import ForecastService
from forecasting.serving.recent_windows import RecentWindows
from forecasting.settings.schema import Config, DatabaseConfig, ForecastConfig
from tests.serving.backend import load_model
from tests.warehouse.ingesting import ask_own
from tests.warehouse.sources.asking import prepare


async def answer(
    config: Config, artifact: Artifact, days: list[int], *, broken: bool = False, is_served: bool = True
) -> None:
    windows = RecentWindows(config, artifact.card)
    keeper = ForecastKeeper(config, artifact.card.version, windows)
    service = ForecastService(
        artifact.card, load_model(artifact.folder), windows.read, find_sites=windows.sites.find, keep=keeper.add
    )
    await windows.updates.refresh()
    if is_served:
        keeper.start()
    for number in days:
        await service.predict_multiple(metrics=["page_visits", "unique_visitors"], days_ahead=number)
    if broken:
        windows.client.database = replace(windows.client.database, port=1)
    await keeper.close()
    await windows.close()


def read(database: DatabaseConfig) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in ask_own(database, "select * from forecasting.forecasts order by site, metric, day")]


def test_answers_are_kept_as_the_job_keeps_forecasts(database: DatabaseConfig, sample_artifact: Artifact) -> None:
    """The longest of each series; nothing changes when the job forecasts the same."""
    config = Config(database=database, model_dir=sample_artifact.folder.parent, forecast=ForecastConfig(days_ahead=14))
    asyncio.run(answer(config, sample_artifact, [3, 14, 7]))
    served = read(database)
    assert len(served) == 2 * 14
    [(num_predictions,)] = ask_own(database, "select count(*) from predictions")
    assert num_predictions == 2 * 14
    forecast_everything(config)
    known = {series.metric for series in sample_artifact.card.series}
    assert [row for row in read(database) if row[1] in known] == served
    [(num_predictions,)] = ask_own(database, "select count(*) from predictions")
    assert num_predictions == 4 * 14

    prepare(database, "truncate forecasting.forecasts")
    forecast_everything(config)
    by_the_job = [row for row in read(database) if row[1] in known]
    assert [row[:5] for row in by_the_job] == [row[:5] for row in served]
    for ours, theirs in zip(served, by_the_job, strict=True):
        assert ours[6] == pytest.approx(theirs[6], rel=1e-5, abs=1e-4)


def test_forecasts_that_only_verify_a_version_are_not_kept(database: DatabaseConfig, sample_artifact: Artifact) -> None:
    asyncio.run(answer(Config(database=database, model_dir=Path()), sample_artifact, [7], is_served=False))
    assert read(database) == []


def test_what_cannot_be_written_is_told(
    database: DatabaseConfig, sample_artifact: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(database=database, model_dir=Path())
    asyncio.run(answer(config, sample_artifact, [7], broken=True))
    assert read(database) == []
    [warning] = [record.getMessage() for record in caplog.records if record.name == forecast_keeper.logger.name]
    assert warning.startswith("forecasts are not kept at present: Cannot connect to PostgreSQL at host ")
