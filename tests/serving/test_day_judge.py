"""Days that an update has brought are judged by the served version, in PostgreSQL, as the daily job judges them."""

import asyncio
from typing import Any

from forecasting.artifact import Artifact
from forecasting.jobs.forecast_all import forecast_everything
from forecasting.serving.day_judge import DayJudge
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.ingest import update
from tests.serving.backend import load_model
from tests.warehouse.ingesting import ask_own
from tests.warehouse.sources.asking import prepare

KEPT = (
    "select site, metric, day, kind, round(value) as value, round(score::numeric, 3) as score, text, told_at is null "
    "from forecasting.anomalies order by site, metric, day"
)


def judge(config: Config, artifact: Artifact, *, has_new_days: bool = True) -> None:
    async def run() -> None:
        updated = await update(config)
        judging = DayJudge(config, artifact.card, load_model(artifact.folder))
        judging.start(updated.database, has_new_days)
        await judging.finish()

    asyncio.run(run())


def read(database: DatabaseConfig) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in ask_own(database, KEPT)]


def test_serving_keeps_what_the_daily_job_keeps(database: DatabaseConfig, sample_artifact: Artifact) -> None:
    prepare(database, "update daily_metrics set page_visits = 40000 where date = '2020-08-19'")
    config = Config(database=database, model_dir=sample_artifact.folder.parent)
    judge(config, sample_artifact)
    served = read(database)
    assert (database.name, "page_visits", "2020-08-19") in {
        (site, metric, str(day)) for site, metric, day, *_ in served
    }
    judge(config, sample_artifact)
    assert read(database) == served

    prepare(database, "truncate forecasting.anomalies, forecasting.judged")
    forecast_everything(config)
    known = {series.metric for series in sample_artifact.card.series}
    assert [row for row in read(database) if row[1] in known] == served
