"""Reading new days in the background: whatever fails is told, tried again, and makes answers stale."""

import asyncio
import datetime as dt
import re
from collections.abc import Sequence

from forecasting import PredictionService
from forecasting.artifact import Artifact
from forecasting.serving.source_updates import SourceUpdates
from forecasting.settings.schema import Config, DatabaseConfig, ServingConfig
from tests.warehouse.sources.asking import prepare

TODAY = dt.date(2024, 5, 10)
DAY_BEFORE_YESTERDAY, YESTERDAY = dt.date(2024, 5, 8), dt.date(2024, 5, 9)
UNFORESEEN = (
    r"New days cannot be read since \d{4}-\d\d-\d\d \d\d:\d\d UTC, for a reason that nobody foresaw: RuntimeError: the "
    r"roof fell in\. Please report it; the server's log has the details\."
)
TEXT = "alter table daily_metrics alter column date type text"


class Sink:
    """Gets the database that an update has found; each of the given errors is raised once, in order."""

    def __init__(self, errors: Sequence[Exception | None]) -> None:
        self.errors = list(errors)
        self.num_calls = 0

    async def use(self, database: DatabaseConfig) -> None:
        self.num_calls += 1
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error


def run_updates(
    database: DatabaseConfig, artifact: Artifact, sink: Sink, *, times: int, refresh_seconds: float
) -> SourceUpdates:
    config = Config(database=database, serving=ServingConfig(refresh_seconds=refresh_seconds))

    async def run() -> SourceUpdates:
        updates = SourceUpdates(config, artifact.card, sink.use)
        for _ in range(times):
            await updates.refresh()
        await updates.close()
        return updates

    return asyncio.run(run())


def test_failure_that_nobody_foresaw_is_a_problem_and_is_not_tried_again_at_once(
    database: DatabaseConfig, sample_artifact: Artifact
) -> None:
    sink = Sink([RuntimeError("the roof fell in")])
    updates = run_updates(database, sample_artifact, sink, times=5, refresh_seconds=3600.0)
    assert re.fullmatch(UNFORESEEN, updates.problem or "")
    assert (updates.has_succeeded, updates.read_at, sink.num_calls) == (False, None, 1)


def test_failure_is_over_when_an_update_succeeds(database: DatabaseConfig, sample_artifact: Artifact) -> None:
    sink = Sink([RuntimeError("the roof fell in"), None])
    updates = run_updates(database, sample_artifact, sink, times=2, refresh_seconds=0.0)
    assert (updates.problem, updates.has_succeeded, sink.num_calls) == (None, True, 2)


def test_days_are_missed_only_if_they_are_over_and_could_not_be_read(
    database: DatabaseConfig, sample_artifact: Artifact
) -> None:
    failed = run_updates(database, sample_artifact, Sink([RuntimeError("!")]), times=1, refresh_seconds=3600.0)
    assert failed.misses_days(DAY_BEFORE_YESTERDAY, today=TODAY)
    assert not failed.misses_days(YESTERDAY, today=TODAY)
    read = run_updates(database, sample_artifact, Sink([]), times=1, refresh_seconds=3600.0)
    assert not read.misses_days(DAY_BEFORE_YESTERDAY, today=TODAY)
    # Read today, and failed since: all days that are over were there to be read.
    both = run_updates(database, sample_artifact, Sink([None, RuntimeError("!")]), times=2, refresh_seconds=0.0)
    today = dt.datetime.now(dt.UTC).date()
    assert both.problem is not None
    assert not both.misses_days(today - dt.timedelta(days=5), today=today)
    assert both.misses_days(today, today=today + dt.timedelta(days=2))


def test_forecasts_are_stale_while_the_days_since_cannot_be_read(
    database: DatabaseConfig, sample_artifact: Artifact
) -> None:
    config = Config(database=database, model_dir=sample_artifact.folder.parent)
    with PredictionService(config) as service:
        fresh = service.predict()
    prepare(database, TEXT)
    with PredictionService(config) as service:
        stale = service.predict()
        several = service.predict_multiple(["page_visits"])
    assert (fresh["stale"], stale["stale"], several["page_visits"]["stale"]) == (False, True, True)
    assert (stale["data_until"], stale["predictions"]) == (fresh["data_until"], fresh["predictions"])
